"""The protocol without a socket, against itself (any cut of the bytes gives the same events, what is
encoded is decoded) and against two others: wsproto and websockets."""

from __future__ import annotations

import random
import zlib

import pytest
import websockets.exceptions
import websockets.extensions.permessage_deflate
import websockets.frames
import websockets.protocol
import websockets.server
import wsproto.connection
import wsproto.events
import wsproto.extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_websockets._core import Protocol, confirm, negotiate, offer

#: server_no_context_takeover, client_no_context_takeover, server_max_window_bits and
#: client_max_window_bits.
MODES = [
    None,
    (True, True, 15, 15),
    (False, False, 15, 15),
    (False, True, 9, 15),
    (True, False, 15, 9),
    (False, False, 8, 8),
]
MESSAGES = st.lists(st.one_of(st.text(max_size=400), st.binary(max_size=400)), max_size=6)

settings.register_profile("product", deadline=None, max_examples=150)
settings.load_profile("product")


def cut(data: bytes, seed: int) -> list[bytes]:
    """The bytes in pieces, from one byte to all."""
    chance = random.Random(seed)
    pieces = []
    while data:
        size = chance.choice((1, 2, 3, 7, 50, 1000, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def events_of(protocol: Protocol, pieces: list[bytes]) -> list[tuple]:
    return [event for piece in pieces for event in protocol.receive(piece)]


def without_replies(events: list[tuple]) -> list[tuple]:
    """A client's replies are masked with a key that differs each time."""
    return [event[:-1] if event[0] in ("ping", "close", "failed") else event for event in events]


def expected(messages: list[str | bytes]) -> list[tuple]:
    return [("text", m) if isinstance(m, str) else ("binary", m) for m in messages]


# ---- against itself ----


@given(st.sampled_from(MODES), MESSAGES, st.booleans(), st.integers(0, 2**32))
def test_what_is_encoded_is_decoded_however_it_is_cut(mode, messages, from_client, seed):
    sender = Protocol(client=from_client, compression=mode)
    receiver = Protocol(client=not from_client, compression=mode)
    wire = b"".join(sender.send(message) for message in messages) + sender.close(1000, "bye")
    events = events_of(receiver, cut(wire, seed))
    assert without_replies(events) == [*expected(messages), ("close", 1000, "bye")]


@given(st.sampled_from(MODES), st.binary(max_size=300), st.booleans(), st.integers(0, 2**32))
def test_any_bytes_give_the_same_events_however_they_are_cut(mode, data, client, seed):
    whole = Protocol(client=client, compression=mode, max_message_size=100)
    pieces = Protocol(client=client, compression=mode, max_message_size=100)
    wanted = without_replies(whole.receive(data))
    assert without_replies(events_of(pieces, cut(data, seed))) == wanted


CONTROL = st.tuples(st.sampled_from((0x9, 0xA)), st.binary(max_size=125))
FRAGMENTED = st.tuples(
    st.sampled_from((0x1, 0x2)), st.lists(st.text(max_size=60), min_size=1, max_size=5)
)


@given(st.lists(st.one_of(CONTROL, FRAGMENTED), max_size=8), st.integers(0, 2**32))
def test_fragments_with_control_frames_between_them(items, seed):
    sender, receiver = Protocol(client=True), Protocol()
    wire, wanted = b"", []
    for opcode, content in items:
        if opcode in (0x9, 0xA):
            wire += sender.frame(opcode, content)
            wanted.append(("ping" if opcode == 0x9 else "pong", content))
            continue
        parts = [part.encode() for part in content]
        for i, part in enumerate(parts):
            wire += sender.frame(opcode if i == 0 else 0, part, final=i == len(parts) - 1)
            if i < len(parts) - 1:
                wire += sender.frame(0x9, b"between")
                wanted.append(("ping", b"between"))
        whole = b"".join(parts)
        wanted.append(("text", whole.decode()) if opcode == 1 else ("binary", whole))
    assert without_replies(events_of(receiver, cut(wire, seed))) == wanted


@given(st.text(max_size=100), st.integers(0, 2**32))
def test_a_reason_is_cut_between_characters(reason, seed):
    sender, receiver = Protocol(), Protocol(client=True)
    ((kind, code, given_reason, _reply),) = events_of(receiver, cut(sender.close(4000, reason), seed))
    assert (kind, code) == ("close", 4000)
    assert reason.startswith(given_reason)
    assert len(given_reason.encode()) >= min(len(reason.encode()), 120)


# ---- against wsproto ----


def wsproto_deflate(mode: tuple[bool, bool, int, int] | None, client: bool) -> list:
    if mode is None:
        return []
    extension = wsproto.extensions.PerMessageDeflate(
        server_no_context_takeover=mode[0],
        client_no_context_takeover=mode[1],
        server_max_window_bits=mode[2],
        client_max_window_bits=mode[3],
    )
    extension._enabled = True
    return [extension]


#: zlib's own interface in Python has no raw streams with a window of 2**8.
OTHERS_MODES = [mode for mode in MODES if mode is None or 8 not in mode]


def wsproto_connection(client: bool, mode: tuple[bool, bool, int, int] | None):
    kind = (
        wsproto.connection.ConnectionType.CLIENT if client else wsproto.connection.ConnectionType.SERVER
    )
    return wsproto.connection.Connection(kind, wsproto_deflate(mode, client))


def wsproto_messages(connection, pieces: list[bytes]) -> list[tuple]:
    """Its events as ours: pieces of a message joined."""
    result: list[tuple] = []
    parts: list = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, (wsproto.events.TextMessage, wsproto.events.BytesMessage)):
                parts.append(event.data)
                if event.message_finished:
                    if isinstance(event, wsproto.events.TextMessage):
                        result.append(("text", "".join(parts)))
                    else:
                        result.append(("binary", b"".join(bytes(part) for part in parts)))
                    parts = []
            elif isinstance(event, wsproto.events.Ping):
                result.append(("ping", bytes(event.payload)))
            elif isinstance(event, wsproto.events.Pong):
                result.append(("pong", bytes(event.payload)))
            elif isinstance(event, wsproto.events.CloseConnection):
                result.append(("close", int(event.code), event.reason or ""))
    return result


@given(st.sampled_from(OTHERS_MODES), MESSAGES, st.booleans(), st.integers(0, 2**32))
def test_wsproto_reads_what_we_send(mode, messages, client, seed):
    ours = Protocol(client=client, compression=mode)
    theirs = wsproto_connection(not client, mode)
    wire = b"".join(ours.send(message) for message in messages) + ours.close(1001, "ä")
    assert wsproto_messages(theirs, cut(wire, seed)) == [*expected(messages), ("close", 1001, "ä")]


@given(st.sampled_from(OTHERS_MODES), MESSAGES, st.booleans(), st.integers(0, 2**32))
def test_we_read_what_wsproto_sends(mode, messages, client, seed):
    theirs = wsproto_connection(client, mode)
    ours = Protocol(client=not client, compression=mode)
    wire = b""
    for message in messages:
        kind = wsproto.events.TextMessage if isinstance(message, str) else wsproto.events.BytesMessage
        wire += theirs.send(kind(data=message))
    wire += theirs.send(wsproto.events.CloseConnection(code=1001, reason="ä"))
    events = events_of(ours, cut(wire, seed))
    assert without_replies(events) == [*expected(messages), ("close", 1001, "ä")]


# ---- against websockets ----


def websockets_connection(client: bool, mode: tuple[bool, bool, int, int] | None, limit: int | None):
    side = websockets.protocol.CLIENT if client else websockets.protocol.SERVER
    protocol = websockets.protocol.Protocol(side, state=websockets.protocol.OPEN, max_size=limit)
    if mode is not None:
        ours, theirs = (0, 1) if client else (1, 0)  # whose context the remote and the local one is
        protocol.extensions = [
            websockets.extensions.permessage_deflate.PerMessageDeflate(
                mode[ours], mode[theirs], mode[2 + ours], mode[2 + theirs]
            )
        ]
    return protocol


def websockets_events(protocol, pieces: list[bytes]) -> list[tuple]:
    """Its frames as our events; how it ended, when it failed."""
    result: list[tuple] = []
    opcode, parts = None, []
    names = websockets.frames.Opcode
    for piece in pieces:
        protocol.receive_data(piece)
    for frame in protocol.events_received():
        if frame.opcode in (names.TEXT, names.BINARY, names.CONT):
            opcode = frame.opcode if frame.opcode is not names.CONT else opcode
            parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(parts)
                # It leaves the UTF-8 of messages to the layer above.
                result.append(("binary" if opcode is names.BINARY else "text", whole))
                parts = []
        elif frame.opcode in (names.PING, names.PONG):
            result.append((frame.opcode.name.lower(), bytes(frame.data)))
        elif frame.opcode is names.CLOSE:
            close = websockets.frames.Close.parse(frame.data)
            result.append(("close", int(close.code), close.reason))
    if protocol.close_sent is not None and protocol.parser_exc is not None:
        result.append(("failed", int(protocol.close_sent.code)))
    return result


def bytes_for_text(events: list[tuple]) -> list[tuple]:
    return [("text", event[1].encode()) if event[0] == "text" else event for event in events]


@given(st.sampled_from(OTHERS_MODES), MESSAGES, st.booleans(), st.integers(0, 2**32))
def test_websockets_reads_what_we_send(mode, messages, client, seed):
    ours = Protocol(client=client, compression=mode)
    theirs = websockets_connection(not client, mode, None)
    wire = b"".join(ours.send(message) for message in messages)
    assert websockets_events(theirs, cut(wire, seed)) == bytes_for_text(expected(messages))


@given(st.sampled_from(OTHERS_MODES), MESSAGES, st.booleans(), st.integers(0, 2**32))
def test_we_read_what_websockets_sends(mode, messages, client, seed):
    theirs = websockets_connection(client, mode, None)
    ours = Protocol(client=not client, compression=mode)
    for message in messages:
        if isinstance(message, str):
            theirs.send_text(message.encode())
        else:
            theirs.send_binary(message)
    theirs.send_close(1001, "ä")
    events = events_of(ours, cut(b"".join(theirs.data_to_send()), seed))
    assert without_replies(events) == [*expected(messages), ("close", 1001, "ä")]


FRAME = st.tuples(
    st.sampled_from((0, 1, 2, 8, 9, 10, 3, 11)),  # opcode
    st.sampled_from((True, True, True, False)),  # FIN
    st.sampled_from((0, 0, 0, 0x40, 0x20, 0x10)),  # reserved bits
    st.sampled_from((True, True, True, True, False)),  # masked as its role asks for
    st.one_of(
        st.binary(max_size=20), st.sampled_from((b"\x03\xe8", b"\x03\xed", b"x" * 126, b"x" * 300))
    ),
)


def raw_frame(opcode: int, final: bool, reserved: int, masked: bool, payload: bytes) -> bytes:
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    else:
        head += bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    key = b"\x05\x06\x07\x08"
    if masked:
        payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return head + (key if masked else b"") + payload


def is_cut_short(frames):
    """Does the first close frame come before the last fragment of a message?"""
    unfinished = False
    for opcode, final, *_ in frames:
        if opcode == 8:
            return unfinished
        if opcode < 8:
            unfinished = not final
    return False


@settings(max_examples=600)
@given(st.lists(FRAME, max_size=5), st.booleans(), st.integers(0, 2**32))
def test_random_frames_have_the_same_outcome_as_with_websockets(frames, client, seed):
    wire = b"".join(
        raw_frame(opcode, final, reserved, right is not client, payload)
        for opcode, final, reserved, right, payload in frames
    )
    pieces = cut(wire, seed)
    theirs = websockets_events(websockets_connection(client, None, None), pieces)
    ours = events_of(Protocol(client=client), pieces)
    mine: list[tuple] = []
    for event in without_replies(ours):
        if event[0] == "failed" and event[2] == "text is not valid UTF-8":
            # There it is the layer above that finds this; up to here both must agree.
            assert theirs[: len(mine)] == bytes_for_text(mine)
            return
        mine.append(event[:2] if event[0] == "failed" else event)
    if ours and ours[-1][2:3] == ("illegal close code",) and theirs[-1:] == [("failed", 1007)]:
        theirs[-1] = ("failed", 1002)  # its reason is not UTF-8 either: both are right
    if mine and mine[-1][0] == "close" and theirs[-1:] == [("failed", 1002)] and is_cut_short(frames):
        # They take no close frame between the fragments of a message; RFC 6455 section 5.4 does.
        theirs[-1] = mine[-1]
    assert theirs == bytes_for_text(mine)


# ---- the negotiation, against websockets ----


@given(
    st.tuples(st.booleans(), st.booleans(), st.integers(8, 15), st.integers(8, 15)),
    st.tuples(st.booleans(), st.booleans(), st.integers(8, 15), st.integers(8, 15)),
)
def test_two_ends_agree_or_the_client_would_refuse(client, server):
    answered = negotiate(offer(client), server)
    assert answered is not None
    header, agreed = answered
    assert confirm(header, client) == agreed
    assert agreed[2] <= min(client[2], server[2]) and agreed[3] <= min(client[3], server[3])


def test_websockets_offers_what_we_answer():
    theirs = websockets.extensions.permessage_deflate
    for parameters in ((False, False, None, None), (True, True, 9, 10), (False, True, None, True)):
        factory = theirs.ClientPerMessageDeflateFactory(*parameters)
        text = "permessage-deflate" + "".join(
            f"; {name}" + (f"={value}" if value is not None else "")
            for name, value in factory.get_request_params()
        )
        header, agreed = negotiate(text, (False, False, 15, 15))
        answer = [tuple([*item.split("="), None][:2]) for item in header.split("; ")[1:]]
        extension = factory.process_response_params(answer, [])
        assert extension.remote_no_context_takeover == agreed[0]
        assert extension.remote_max_window_bits == agreed[2]


@pytest.mark.parametrize("bad", ["permessage-deflate;", "a b", 'x; y="', "@"])
def test_a_malformed_list_is_an_error(bad):
    with pytest.raises(ValueError, match="not a list of extensions"):
        negotiate(bad, (True, True, 15, 15))
    with pytest.raises(ValueError, match="not offered"):
        confirm(bad, (True, True, 15, 15))


@pytest.mark.parametrize("bad", [(True, True, 7, 15), (True, True, 15, 16)])
def test_window_bits_out_of_range(bad):
    for call in (lambda: offer(bad), lambda: negotiate("x", bad), lambda: Protocol(compression=bad)):
        with pytest.raises(ValueError, match="window bits are 8 to 15"):
            call()


# ---- limits ----


def test_the_message_limit_holds_for_what_comes_out():
    mode = (True, True, 15, 15)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(bytes(10_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    (event,) = Protocol(client=True, compression=mode, max_message_size=1_000_000).receive(
        raw_frame(2, True, 0x40, False, bomb[:-4])
    )
    assert event[:3] == ("failed", 1009, "message too big after decompression")


def test_the_fragment_limit():
    receiver = Protocol(client=True, max_fragments=3)
    assert receiver.receive(raw_frame(1, False, 0, False, b"a")) == []
    assert receiver.receive(raw_frame(0, False, 0, False, b"b")) == []
    assert receiver.receive(raw_frame(0, True, 0, False, b"c")) == [("text", "abc")]
    events = receiver.receive(
        raw_frame(1, False, 0, False, b"") + raw_frame(0, False, 0, False, b"") * 3
    )
    assert events[0][:3] == ("failed", 1008, "message in too many fragments")
