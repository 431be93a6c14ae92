"""Serve the contract's application with a server that has no command line of its own.

serve.py KIND PORT [CERTIFICATE KEY]
"""

import sys

KIND, PORT = sys.argv[1], int(sys.argv[2])
CERTIFICATE = sys.argv[3:5]

if KIND == "gevent-patched":
    from gevent import monkey

    monkey.patch_all()
elif KIND == "eventlet-patched":
    import eventlet

    eventlet.monkey_patch()

from contract_app import app  # noqa: E402 - after the patches


def werkzeug(threaded):
    options = {"ssl_context": tuple(CERTIFICATE)} if CERTIFICATE else {}
    app.run("127.0.0.1", PORT, threaded=threaded, **options)


def gevent(**options):
    from gevent import ssl
    from gevent.pywsgi import WSGIServer

    if CERTIFICATE:
        options["ssl_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        options["ssl_context"].load_cert_chain(*CERTIFICATE)
    WSGIServer(("127.0.0.1", PORT), app, **options).serve_forever()


def gevent_websocket():
    from geventwebsocket.handler import WebSocketHandler

    gevent(handler_class=WebSocketHandler)


def eventlet():
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", PORT), backlog=512)
    eventlet.wsgi.server(listener, app)


def cheroot():
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", PORT), app, request_queue_size=512)
    if CERTIFICATE:
        from cheroot.ssl.builtin import BuiltinSSLAdapter

        server.ssl_adapter = BuiltinSSLAdapter(*CERTIFICATE)
    server.error_log = lambda message="", level=20, traceback=False: print(message, traceback)
    server.safe_start()


def waitress():
    from waitress import serve

    serve(app, host="127.0.0.1", port=PORT)


KINDS = {
    "werkzeug": lambda: werkzeug(True),
    "werkzeug-single": lambda: werkzeug(False),
    "werkzeug-processes": lambda: app.run("127.0.0.1", PORT, threaded=False, processes=3),
    "gevent": gevent,
    "gevent-patched": gevent,
    "gevent-websocket": gevent_websocket,
    "eventlet": eventlet,
    "eventlet-patched": eventlet,
    "cheroot": cheroot,
    "waitress": waitress,
}

if __name__ == "__main__":
    KINDS[KIND]()
