"""The code and the reason of a close: the same rules for one websocket and for all of them; and what is
refused closes nothing."""

from __future__ import annotations

import pytest
import wire

from flask_websockets import _core

FORMS = ["ws.close", "websockets.close_all"]


@pytest.fixture
def echo(application):
    """A connection, and the two forms of closing it."""
    seen = []

    @application.route("/ws")
    def echo(ws):
        seen.append(ws)
        for data in ws.iter_data():
            ws.send(data)

    with wire.connect(application.serve().port, "/ws") as connection:
        connection.sendall(wire.frame(1, b"begin"))
        assert wire.read_frame(connection) == (0x81, b"begin")

        def on_the_wire(close):
            def form(*arguments):
                close(*arguments)
                first, payload = wire.read_frame(connection)
                assert first == 0x88
                return payload

            return form

        yield (
            connection,
            {
                "ws.close": on_the_wire(seen[0].close),
                "websockets.close_all": on_the_wire(application.websockets.close_all),
            },
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ((1000,), b"\x03\xe8"),
        ((4999, ""), b"\x13\x87"),
        ((3000, None), b"\x0b\xb8"),
        ((1001, "x" * 123), b"\x03\xe9" + b"x" * 123),
        ((1001, "€" * 41), b"\x03\xe9" + "€".encode() * 41),
        ((4000, "before\0after"), b"\x0f\xa0before\0after"),
    ],
    ids=["code", "longest code", "None", "123 bytes", "41 characters", "zero byte"],
)
def test_what_may_be_sent_is_sent_whole(echo, form, arguments, payload):
    assert echo[1][form](*arguments) == payload


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((1000, "x" * 124), ValueError, "at most 123 bytes in UTF-8, not 124"),
        ((1000, "x" * 200), ValueError, "not 200"),
        ((1000, "x" * 256), ValueError, "not 256"),
        ((1000, "x" * (1 << 20)), ValueError, "not 1048576"),
        ((1000, "€" * 42), ValueError, "not 126"),
        ((1000, "\ud800"), UnicodeEncodeError, "surrogates not allowed"),
        ((1000, b"bytes"), TypeError, "reason must be str, not bytes"),
        ((1000, 1), TypeError, "reason must be str, not int"),
        ((1005,), ValueError, "1005 may not be sent"),
        ((0,), ValueError, "0 may not be sent"),
        ((-1000,), ValueError, "-1000 may not be sent"),
        ((1000 + (1 << 16),), ValueError, "66536 may not be sent"),
        ((1000 + (1 << 64),), ValueError, "may not be sent"),
        (("1000",), TypeError, "code must be int, not str"),
        ((1000.0,), TypeError, "code must be int, not float"),
        ((None,), TypeError, "code must be int, not NoneType"),
    ],
    ids=lambda value: (
        "" if isinstance(value, type) else str(value)[:20] if isinstance(value, str) else None
    ),
)
def test_what_may_not_be_sent_closes_nothing(echo, form, arguments, error, text):
    connection, forms = echo
    with pytest.raises(error, match=text):
        forms[form](*arguments)
    connection.sendall(wire.frame(1, b"still there"))
    assert wire.read_frame(connection) == (0x81, b"still there")


@pytest.mark.parametrize(("code", "error"), [(1005, ValueError), (66536, ValueError), ("1", TypeError)])
def test_the_codes_of_a_frame_without_a_socket_are_the_same(code, error):
    with pytest.raises(error):
        _core.Protocol().close(code)
    assert _core.Protocol().close(4000, "enough") == b"\x88\x08\x0f\xa0enough"
