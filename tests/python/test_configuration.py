"""The configuration keys."""

from __future__ import annotations

import flask
import pytest

from flask_websockets import ConfigurationError, WebSockets
from flask_websockets.config import Compression, Config


def test_the_defaults():
    config = Config.from_mapping({"SECRET_KEY": "x"})
    assert config == Config()
    assert (config.ping_interval, config.ping_timeout, config.close_timeout) == (25, 20, 5)
    assert (config.max_message_size, config.send_buffer, config.receive_queue) == (1 << 20, 1 << 20, 16)


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean WEBSOCKETS_PING_INTERVAL"):
        Config.from_mapping({"WEBSOCKETS_PING_INTERVALL": 5})


def test_a_key_without_the_s():
    with pytest.raises(
        ConfigurationError, match="WEBSOCKET_MAX_MESSAGE_SIZE; did you mean WEBSOCKETS_M"
    ):
        Config.from_mapping({"WEBSOCKET_MAX_MESSAGE_SIZE": 5})
    assert Config.from_mapping({"WEBSOCKET_URL": "wss://elsewhere"}) == Config()  # somebody else's


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PING_INTERVAL", "25"),
        ("PING_INTERVAL", -1),
        ("PING_TIMEOUT", True),
        ("CLOSE_TIMEOUT", None),
        ("CLOSE_TIMEOUT", float("nan")),
        ("MAX_MESSAGE_SIZE", 1.5),
        ("MAX_MESSAGE_SIZE", -1),
        ("RECEIVE_QUEUE", 0),
        ("SEND_BUFFER", "1M"),
        ("SLOW_CONSUMER", "drop"),
        ("ALLOWED_ORIGINS", "example.com"),
        ("ALLOWED_ORIGINS", 5),
        ("SUBPROTOCOLS", ["a b"]),
        ("SUBPROTOCOLS", 5),
        ("MAX_CONNECTIONS", 0),
        ("HANDLER_THREADS", 0),
        ("ACCEPT_DELAY", "soon"),
        ("SEND_TIMEOUT", "never"),
        ("HANDSHAKE_TIMEOUT", -1),
        ("MAX_FRAGMENTS", -1),
        ("MAX_MESSAGE_RATE", 1.5),
        ("MAX_CONNECTIONS_PER_ADDRESS", "1000"),
        ("COMPRESSION", "deflate"),
        ("COMPRESSION", 1),
        ("COMPRESSION", {"windows": 1}),
        ("COMPRESSION", {"context_takeover": 1}),
        ("COMPRESSION", {"server_max_window_bits": 7}),
        ("COMPRESSION", {"client_max_window_bits": 16}),
        ("COMPRESSION", {"level": 0}),
        ("COMPRESSION", {"level": 10}),
        ("COMPRESSION", {"threshold": -1}),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_key(key, value):
    app = flask.Flask("x")
    app.config["WEBSOCKETS_" + key] = value
    with pytest.raises(ConfigurationError, match="WEBSOCKETS_" + key):
        WebSockets(app)


def test_none_turns_a_limit_off():
    config = Config.from_mapping(
        {"WEBSOCKETS_PING_INTERVAL": None, "WEBSOCKETS_MAX_MESSAGE_SIZE": None}
    )
    assert (config.ping_interval, config.max_message_size) == (0, 0)


def test_the_limits_and_their_defaults():
    config = Config()
    assert (config.max_fragments, config.max_message_rate) == (131_072, 0)
    assert (config.send_timeout, config.max_connections_per_address) == (30, None)
    off = Config.from_mapping(
        {
            "WEBSOCKETS_MAX_FRAGMENTS": None,
            "WEBSOCKETS_MAX_MESSAGE_RATE": None,
            "WEBSOCKETS_SEND_TIMEOUT": None,
        }
    )
    assert (off.max_fragments, off.max_message_rate, off.send_timeout) == (0, 0, 0)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, Compression()),
        (False, None),
        (None, None),
        ({}, Compression()),
        ({"level": 9, "threshold": 0}, Compression(level=9, threshold=0)),
        (
            {"context_takeover": True, "server_max_window_bits": 8},
            Compression(context_takeover=True, server_max_window_bits=8),
        ),
    ],
)
def test_compression(value, kept):
    assert Config.from_mapping({"WEBSOCKETS_COMPRESSION": value}).compression == kept


def test_keys_set_after_init_app_count(application):
    application.app.config["WEBSOCKETS_SUBPROTOCOLS"] = "late"

    @application.route("/ws")
    def ws_(ws):
        pass

    assert application.serve().connect("/ws", subprotocols=["late"]).subprotocol == "late"


def test_what_is_changed_after_the_first_handshake_is_said_once(application, caplog):
    config = application.app.config
    config["WEBSOCKETS_SUBPROTOCOLS"] = names = ["early"]

    @application.route("/ws")
    def ws_(ws):
        pass

    server = application.serve()

    def said():
        caplog.clear()
        server.connect("/ws", subprotocols=["early"])
        return [record.getMessage() for record in caplog.records]

    config["WEBSOCKETS_PING_INTERVAL"] = 7
    assert said() == said() == []  # the first handshake reads it
    assert application.app.extensions["flask_websockets.runtime"].config.ping_interval == 7
    config["WEBSOCKETS_PING_INTERVAL"] = 8
    names.append("late")
    config["WEBSOCKETS_SEND_TIMEOUT"] = None
    config["WEBSOCKETS_PING_TIMEOUTT"] = 5
    config["OTHERS"] = 5
    why = "after the settings had been read, at the first handshake or publish: this has no effect;"
    assert said() == [
        f'app.config["WEBSOCKETS_PING_INTERVAL"] was changed from 7 to 8 {why} set it before',
        f'app.config["WEBSOCKETS_SEND_TIMEOUT"] was changed from unset to None {why} set it before',
        "app.config[\"WEBSOCKETS_SUBPROTOCOLS\"] was changed from ['early'] to ['early', 'late'] "
        f"{why} set it before",
        "unknown configuration key WEBSOCKETS_PING_TIMEOUTT; did you mean WEBSOCKETS_PING_TIMEOUT? "
        "(set after the first handshake or publish)",
    ]
    assert said() == []
    del config["WEBSOCKETS_PING_INTERVAL"], config["OTHERS"]
    config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 9}
    assert [text.partition(" after")[0] for text in said()] == [
        'app.config["WEBSOCKETS_PING_INTERVAL"] was changed from 8 to unset',
        "app.config[\"SOCK_SERVER_OPTIONS\"] was changed from unset to {'ping_interval': 9}",
    ]
    assert application.app.extensions["flask_websockets.runtime"].config.ping_interval == 7
    assert caplog.records[0].setting == "WEBSOCKETS_PING_INTERVAL"


def test_the_older_options_are_honoured():
    options = {"ping_interval": 7, "max_message_size": 99, "subprotocols": ["a"]}
    config = Config.from_mapping({"SOCK_SERVER_OPTIONS": options})
    assert (config.ping_interval, config.max_message_size, config.subprotocols) == (7, 99, ("a",))
    config = Config.from_mapping({"SOCK_SERVER_OPTIONS": options, "WEBSOCKETS_PING_INTERVAL": 8})
    assert config.ping_interval == 8
    with pytest.warns(UserWarning, match="receive_bytes"):
        Config.from_mapping({"SOCK_SERVER_OPTIONS": {"receive_bytes": 4096}})
    with pytest.raises(ConfigurationError, match="is unknown"):
        Config.from_mapping({"SOCK_SERVER_OPTIONS": {"pings": 4096}})
