"""An application of twelve popular extensions, as a team would put it together, whose WebSocket views
use all of them. What Sentry and OpenTelemetry send is appended to files in ``$PROBE_FOLDER``.

probe_app.py: make the database, by Flask-Migrate.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib

import flask
import flask_migrate
import sentry_sdk
from cachelib import FileSystemCache
from flask_babel import Babel, format_decimal, get_locale
from flask_caching import Cache
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from flask_wtf.csrf import CSRFProtect, generate_csrf
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport

from flask_websockets import WebSockets, WebSocketView

FOLDER = pathlib.Path(os.environ["PROBE_FOLDER"])
POOL = 5


# ---- what is sent to the outside, for the tests to read ----


def append(name: str, value: object) -> None:
    """A line of JSON, in one system call, so that processes may do it at once."""
    with (FOLDER / name).open("ab", buffering=0) as file:
        file.write(json.dumps(value).encode() + b"\n")


class RecordingTransport(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            if (event := item.get_event() or item.get_transaction_event()) is not None:
                exceptions = event.get("exception", {}).get("values", [])
                append(
                    "sentry.jsonl",
                    {
                        "type": event.get("type", "event"),
                        "transaction": event.get("transaction"),
                        "exceptions": [value["value"] for value in exceptions],
                        "message": (event.get("logentry") or {}).get("message"),
                        "user": (event.get("user") or {}).get("username"),
                        "tag": (event.get("tags") or {}).get("name"),
                        "url": event.get("request", {}).get("url"),
                        "query": event.get("request", {}).get("query_string"),
                    },
                )


class RecordingExporter(SpanExporter):
    def export(self, spans):
        for span in spans:
            append(
                "spans.jsonl",
                {
                    "name": span.name,
                    "span": span.context.span_id,
                    "trace": span.context.trace_id,
                    "parent": span.parent.span_id if span.parent else None,
                    "attributes": {k: str(v) for k, v in span.attributes.items()},
                },
            )
        return SpanExportResult.SUCCESS


sentry_sdk.init(
    dsn="http://key@localhost/1",
    transport=RecordingTransport,
    integrations=[FlaskIntegration()],
    traces_sample_rate=1.0,
    send_default_pii=True,
    shutdown_timeout=0,
)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(RecordingExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("probe")

app = flask.Flask(__name__)
app.config.update(
    SECRET_KEY="secret",
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{FOLDER / 'probe.db'}",
    SQLALCHEMY_ENGINE_OPTIONS={"pool_size": POOL, "max_overflow": 0, "pool_timeout": 3},
    SESSION_TYPE="cachelib",
    SESSION_CACHELIB=FileSystemCache(str(FOLDER / "sessions"), threshold=5000),
    RATELIMIT_STORAGE_URI="memory://",
    RATELIMIT_HEADERS_ENABLED=True,
    CACHE_TYPE="SimpleCache",
    BABEL_DEFAULT_LOCALE="en",
    WEBSOCKETS_CLOSE_TIMEOUT=3,
    WEBSOCKETS_ALLOWED_ORIGINS=["https://page.example"],
)
db = SQLAlchemy()
websockets = WebSockets()
login_manager = LoginManager()
limiter = Limiter(get_remote_address, default_limits=["100000 per hour"])
cache = Cache()


class User(db.Model, UserMixin):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(20), unique=True)
    locale = db.Column(db.String(5))
    notes = db.relationship("Note")


class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, db.ForeignKey(User.id))
    text = db.Column(db.String(50))


USERS = {"ann": "de", "ben": "fr"}


@login_manager.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


def select_locale():
    if current_user.is_authenticated:
        return current_user.locale
    return flask.request.accept_languages.best_match(["en", "de"])


@cache.memoize(60)
def greeting(name):
    return f"hello {name}"


@app.before_request
def tell_sentry():
    if current_user.is_authenticated:
        sentry_sdk.set_user({"username": current_user.name})
        sentry_sdk.set_tag("name", current_user.name)


# Tracing at both ends of the list, as teams do either.
db.init_app(app)
flask_migrate.Migrate(app, db, directory=str(FOLDER / "migrations"))
login_manager.init_app(app)
Session(app)
CSRFProtect(app)
limiter.init_app(app)
cache.init_app(app)
Babel(app, locale_selector=select_locale)
CORS(app, origins=["https://page.example"], supports_credentials=True)
if os.environ.get("PROBE_TRACED") == "first":
    FlaskInstrumentor().instrument_app(app)
websockets.init_app(app)
Talisman(app, force_https=True, session_cookie_secure=False)
if os.environ.get("PROBE_TRACED") != "first":
    FlaskInstrumentor().instrument_app(app)


# ---- pages ----


@app.get("/")
def whoami():
    name = current_user.name if current_user.is_authenticated else "nobody"
    return {"name": name, "cart": flask.session.get("cart"), "token": generate_csrf()}


@app.post("/login/<name>")
def login(name):
    login_user(db.session.scalars(db.select(User).filter_by(name=name)).one())
    return "welcome"


@app.post("/logout")
@login_required
def logout():
    logout_user()
    return "good-bye"


@app.post("/cart/<thing>")
@login_required
def put_into_cart(thing):
    flask.session["cart"] = thing
    return flask.session["cart"]


@app.post("/notes/<text>")
@login_required
def add_note(text):
    db.session.add(Note(user_id=current_user.id, text=text))
    db.session.commit()
    return text


@app.get("/pool")
def pool():
    """How many connections are in use, but for the one of this page."""
    count = db.session.scalar(db.select(db.func.count(User.id)))
    return {
        "users": count,
        "others": db.engine.pool.checkedout() - 1,
        "open": len(websockets.connections),
    }


# ---- websockets ----


def work(data):
    """What each message is answered with: a piece of every extension's work."""
    user = db.session.get(User, current_user.id)
    with tracer.start_as_current_span("work"):
        if data == "boom":
            raise LookupError(f"boom of {current_user.name}")
        if data.startswith("draft"):  # of a user who never commits
            db.session.add(Note(user_id=user.id, text=data))
            db.session.flush()
        return json.dumps(
            {
                "data": data,
                "name": current_user.name,
                "database": user.name,
                "notes": sorted(note.text for note in user.notes),
                "locale": str(get_locale()),
                "number": format_decimal(1234.5),
                "greeting": greeting(user.name),
                "cart": flask.session.get("cart"),
                "sentry": (sentry_sdk.get_isolation_scope()._user or {}).get("username"),
            }
        )


def must_be_logged_in():
    if not current_user.is_authenticated:
        flask.abort(401)


@websockets.route("/function")
def function(ws):
    must_be_logged_in()
    db.session.remove()  # an idle websocket holds no connection
    for data in ws.iter_data():
        answer = work(data)
        db.session.remove()
        ws.send(answer)


@websockets.route("/class")
class Class(WebSocketView):
    def on_open(self, ws):
        must_be_logged_in()

    def on_message(self, ws, data):
        ws.send(work(data))


@websockets.route("/async", endpoint="async")
async def coroutine(ws):
    must_be_logged_in()
    db.session.remove()
    async for data in ws:
        answer = work(data)
        db.session.remove()
        await asyncio.sleep(0)  # others come between
        await ws.send(answer)


limited = flask.Blueprint("limited", __name__)


@websockets.route("/limited", bp=limited)
class Limited(WebSocketView):
    def on_message(self, ws, data):
        ws.send(data)


limiter.limit("3 per minute")(limited)
app.register_blueprint(limited)


if __name__ == "__main__":
    with app.app_context():
        flask_migrate.init()
        flask_migrate.migrate(message="first")
        flask_migrate.upgrade()
        for number, (user, locale) in enumerate(USERS.items(), 1):
            db.session.add(User(id=number, name=user, locale=locale))
        db.session.commit()
