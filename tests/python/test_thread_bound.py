"""What belongs to the thread that has made it: connections of Peewee, sessions of Pony, SQLAlchemy's
registry, locks. Each in all kinds of view, as docs/views.md says."""

from __future__ import annotations

import contextlib
import threading

import flask
import flask.globals
import pytest
from conftest import wait_for
from test_views import KINDS, add_view, ask, code_of, ended

peewee = pytest.importorskip("peewee")
pony_orm = pytest.importorskip("pony.orm")
pony_flask = pytest.importorskip("pony.flask")
sqlalchemy = pytest.importorskip("sqlalchemy")
sqlalchemy_orm = pytest.importorskip("sqlalchemy.orm")


def two(server):
    return [server.connect("/ws"), server.connect("/ws")]


# ---- Peewee, as its documentation shows for Flask ----


class Watched(peewee.SqliteDatabase):
    """Which thread has opened and closed each connection."""

    def __init__(self, *args, **kwargs):
        self.opened, self.closed = {}, {}
        super().__init__(*args, **kwargs)

    def _connect(self):
        connection = super()._connect()
        self.opened[id(connection)] = threading.get_ident()
        self.kept = [*getattr(self, "kept", ()), connection]  # so that no id is used again
        return connection

    def _close(self, connection):
        self.closed[id(connection)] = threading.get_ident()
        super()._close(connection)


def add_peewee(application, path, autoconnect=False):
    database = Watched(str(path), autoconnect=autoconnect)

    class Note(peewee.Model):
        text = peewee.TextField()

        class Meta:
            pass

    Note.bind(database)
    with database.connection_context():
        database.create_tables([Note])

    @application.app.before_request
    def connect():
        database.connect()

    @application.app.teardown_request
    def close(error):
        if not database.is_closed():
            database.close()

    return database, Note


@pytest.mark.parametrize("kind", KINDS)
def test_peewee_connected_for_each_request(application, kind, tmp_path):
    database, Note = add_peewee(application, tmp_path / "peewee.db")
    # The handshake's connection is there in a function; elsewhere it has ended with the handshake.
    around = contextlib.nullcontext if kind == "function" else database.connection_context

    def work(ws, data):
        with around():
            Note.create(text=data)
            return Note.select().where(Note.text == data).count()

    def opening(ws):
        Note.create(text="opened") if kind != "async" else None

    add_view(application, kind, work, opening)
    clients = two(application.serve())
    for turn in range(3):
        assert [ask(client, f"{turn}") for client in clients] == ["1", "2"]
    for client in clients:
        client.close()
    ended(application)
    wait_for(lambda: len(database.opened) == len(database.closed))
    assert database.opened == database.closed  # by the same thread
    assert len(database.opened) == {"function": 3, "class": 9, "async": 9}[kind]


@pytest.mark.parametrize("kind", ["class", "async"])
def test_peewee_says_that_the_connection_has_ended_with_the_handshake(
    application, kind, tmp_path, caplog
):
    _, Note = add_peewee(application, tmp_path / "peewee.db")
    add_view(application, kind, lambda ws, data: Note.create(text=data))
    client = application.serve().connect("/ws")
    client.send("x")
    assert code_of(client) == 1011
    wait_for(lambda: "database connection not opened" in caplog.text)


def test_peewee_that_connects_by_itself_keeps_the_connection(application, tmp_path):
    """Of each thread that runs a callback: nobody closes that."""
    database, Note = add_peewee(application, tmp_path / "peewee.db", autoconnect=True)
    add_view(application, "class", lambda ws, data: Note.create(text=data))
    client = application.serve().connect("/ws")
    ask(client, "x")
    client.close()
    ended(application)
    handshake = wait_for(lambda: database.closed.copy() if len(database.closed) == 2 else None)
    (kept,) = set(database.opened) - set(handshake)  # nor is it that of create_tables()
    assert database.opened[kept] not in handshake.values()


# ---- Pony, by its own extension ----


def add_pony(application, path):
    database = pony_orm.Database()

    class Note(database.Entity):
        text = pony_orm.Required(str)

    database.bind("sqlite", str(path), create_db=True)
    database.generate_mapping(create_tables=True)
    pony_flask.Pony(application.app)
    return Note


@pytest.mark.parametrize("kind", KINDS)
def test_pony_with_a_session_for_each_request(application, kind, tmp_path):
    Note = add_pony(application, tmp_path / "pony.db")

    def work(ws, data):
        with pony_orm.db_session:  # in a function it is a part of the handshake's
            Note(text=data)
            count = Note.select().filter(text=data).count()
            pony_orm.commit()  # lets go of the connection, and of Pony's lock of it
            return count

    add_view(application, kind, work)
    clients = two(application.serve())
    for turn in range(3):
        assert [ask(client, f"{turn}") for client in clients] == ["1", "2"]
    for client in clients:
        client.close()
    ended(application)


@pytest.mark.parametrize("kind", ["class", "async"])
def test_pony_says_that_the_session_has_ended_with_the_handshake(application, kind, tmp_path, caplog):
    Note = add_pony(application, tmp_path / "pony.db")
    add_view(application, kind, lambda ws, data: Note(text=data))
    client = application.serve().connect("/ws")
    client.send("x")
    assert code_of(client) == 1011
    wait_for(lambda: "db_session" in caplog.text)


# ---- SQLAlchemy without an extension, as Flask's documentation shows it ----


def add_registry(application, path, scopefunc=None):
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0.2})
    table = sqlalchemy.Table(
        "note",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("text", sqlalchemy.Text),
    )
    table.create(engine)

    class Note:
        def __init__(self, text):
            self.text = text

    sqlalchemy_orm.registry().map_imperatively(Note, table)
    Session = sqlalchemy_orm.scoped_session(sqlalchemy_orm.sessionmaker(engine), scopefunc=scopefunc)

    @application.app.teardown_appcontext
    def remove(error):
        Session.remove()

    return engine, Session, Note


def of_the_context():
    """As Flask-SQLAlchemy does."""
    return id(flask.globals.app_ctx._get_current_object())


def drafting(Session, Note):
    """A draft stays one: it is not committed, by nobody."""

    def work(ws, data):
        Session.add(Note(data))
        if data.startswith("note"):
            Session.commit()
        return Session.query(Note).count()

    return work


@pytest.mark.parametrize(
    ("kind", "scopefunc"),
    [("function", None), ("class", None), *((kind, of_the_context) for kind in KINDS)],
    ids=lambda value: (
        value if isinstance(value, str) else "by thread" if value is None else "by context"
    ),
)
def test_a_registry_of_sessions(application, kind, scopefunc, tmp_path):
    engine, Session, Note = add_registry(application, tmp_path / "alchemy.db", scopefunc)
    add_view(application, kind, drafting(Session, Note))
    server = application.serve()
    writer, committer = two(server)
    assert ask(committer, "note 1") == "1"
    writer.send("draft")
    if kind == "class":  # nobody sees it after the call
        assert writer.recv() == "2"
        assert ask(committer, "note 2") == "2"
    else:  # it waits in a session of its own, for a commit of its own
        assert writer.recv() == "2"
        writer.close()
        ended_but_one(application)
        assert ask(committer, "note 2") == "2"
    writer.close()
    committer.close()
    ended(application)
    wait_for(lambda: engine.pool.checkedout() == 0)
    with engine.connect() as connection:
        texts = connection.execute(sqlalchemy.text("select text from note order by id")).scalars().all()
    assert texts == ["note 1", "note 2"]
    if scopefunc is not None:
        assert Session.registry.registry == {}


def ended_but_one(application):
    wait_for(lambda: len(application.app.extensions["flask_websockets.runtime"]._open) == 1)


def test_coroutines_share_what_is_kept_for_their_thread(application, tmp_path):
    """So the commit of one takes along what another has not committed."""
    engine, Session, Note = add_registry(application, tmp_path / "alchemy.db")
    add_view(application, "async", drafting(Session, Note))
    writer, committer = two(application.serve())
    assert (ask(writer, "draft"), ask(committer, "note 1")) == ("1", "2")
    writer.close()
    committer.close()
    ended(application)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from note")).scalar() == 2


# ---- Flask-SQLAlchemy ----


@pytest.mark.parametrize(
    ("kind", "lets_go"),
    [("function", True), ("function", False), ("class", False), ("async", True), ("async", False)],
)
def test_idle_websockets_and_a_pool_of_connections(application, kind, lets_go, tmp_path, caplog):
    """As many as the pool has leave none for pages, unless they let go: after the work, and of what was
    asked for before the first message."""
    flask_sqlalchemy = pytest.importorskip("flask_sqlalchemy")
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 1}
    application.app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'pool.db'}"
    application.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    database = flask_sqlalchemy.SQLAlchemy(application.app)

    def query(*_):
        return database.session.execute(sqlalchemy.text("select 40 + 2")).scalar()

    def work(ws, data):
        answer = query()
        if lets_go:
            database.session.remove()
        return answer

    @application.app.before_request
    def before():
        query()

    application.app.add_url_rule("/page", "page", lambda: str(query()))
    add_view(application, kind, work, lambda ws: database.session.remove() if lets_go else None)
    server = application.serve()
    page = "GET /page HTTP/1.1\nHost: localhost\nConnection: close\n\n"

    def status():
        return int(server.request(page)[9:12])

    clients = two(server)
    asleep = 500 if kind == "function" and not lets_go else 200
    wait_for(lambda: status() == asleep)  # the handshakes are over at any time after the 101
    assert [ask(client) for client in clients] == ["42"] * 2
    with application.app.app_context():
        pool = database.engine.pool
    held = 0 if lets_go or kind == "class" else 2
    wait_for(lambda: pool.checkedout() == held)
    assert status() == (500 if held else 200)
    assert ("QueuePool limit" in caplog.text) == bool(held)
    for client in clients:
        client.close()
    ended(application)
    wait_for(lambda: status() == 200)


# ---- locks ----


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_a_thread_must_release_itself(application, kind, caplog):
    lock, counts = threading.RLock(), []

    @application.app.before_request
    def acquire():
        lock.acquire()
        counts.append("acquired")

    @application.app.teardown_request
    def release(error):
        lock.release()  # an error in another thread
        counts.append("released")

    add_view(application, kind, lambda ws, data: data)
    server = application.serve()
    for _ in range(2):
        client = server.connect("/ws")
        assert ask(client, "x") == "x"
        if kind == "function":
            assert not lock.acquire(blocking=False)  # as long as its request
        else:
            wait_for(lambda: counts[-1] == "released")
            assert lock.acquire(blocking=False)
            lock.release()
        client.close()
        ended(application)
    wait_for(lambda: counts == ["acquired", "released"] * 2)
    assert lock.acquire(blocking=False)
    assert not caplog.records


def test_a_lock_in_each_unit_of_work(application):
    """A teardown function looks whether there is something to tidy up, as before_request functions may
    not have run."""
    lock, threads = threading.RLock(), []

    def locked():
        if "lock" not in flask.g:
            lock.acquire()
            flask.g.lock = threading.get_ident()

    @application.app.teardown_appcontext
    def release(error):
        if (thread := flask.g.pop("lock", None)) is not None:
            lock.release()
            threads.append((thread, threading.get_ident()))

    def work(ws, data):
        locked()
        return data

    add_view(application, "class", work)
    clients = two(application.serve())
    for client in clients:
        client.send("x")
    assert [client.recv() for client in clients] == ["x", "x"]
    wait_for(lambda: len(threads) == 2)
    assert all(acquired == released for acquired, released in threads)
