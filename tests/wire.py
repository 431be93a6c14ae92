"""A WebSocket client that sends exactly the bytes that a test asks for."""

from __future__ import annotations

import socket
import ssl
import zlib

REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def request(port: int, path: str, more: str = "") -> bytes:
    """A handshake; `more`: further header lines."""
    return REQUEST.format(port=port, path=path, more=more).encode()


def read_head(connection: socket.socket) -> str:
    """The head of the HTTP answer, and no byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError(f"the answer ended: {head!r}")
        head += byte
    return head.decode("latin-1")


def connect(port: int, path: str, more: str = "", timeout: float = 20) -> socket.socket:
    """A connection whose handshake is done."""
    return connect_with(port, path, b"", more, timeout)


def connect_tls(port: int, path: str, timeout: float | None = 20) -> ssl.SSLSocket:
    """The same over TLS, whoever the server is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain)
    shake_hands(connection, request(port, path))
    return connection


def connect_with(
    port: int, path: str, frames: bytes, more: str = "", timeout: float = 20
) -> socket.socket:
    """The same, with frames that come together with the request."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shake_hands(connection, request(port, path, more) + frames)
    return connection


def shake_hands(connection: socket.socket, data: bytes) -> None:
    """Send a request, and read the 101; closes the connection when there is none."""
    try:
        connection.sendall(data)
        head = read_head(connection)
        assert head.startswith("HTTP/1.1 101"), head
    except BaseException:
        connection.close()
        raise


def head(opcode: int, length: int, final: bool = True, compressed: bool = False) -> bytes:
    """The header of a frame with the masking key 0, so that the payload follows as it is."""
    first = (0x80 if final else 0) | (0x40 if compressed else 0) | opcode
    if length < 126:
        return bytes([first, 0x80 | length]) + bytes(4)
    if length < 65536:
        return bytes([first, 0xFE]) + length.to_bytes(2, "big") + bytes(4)
    return bytes([first, 0xFF]) + length.to_bytes(8, "big") + bytes(4)


def frame(opcode: int, payload: bytes, final: bool = True, compressed: bool = False) -> bytes:
    return head(opcode, len(payload), final, compressed) + payload


def compressed(data: bytes, level: int = 6) -> bytes:
    """The payload of a compressed message."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = connection.recv(min(size - len(data), 1 << 20))
        if not more:
            raise ConnectionError(f"{len(data)} of {size} bytes came")
        data += more
    return bytes(data)


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """The first byte of a frame (FIN, RSV, opcode) and its payload."""
    first, length = read_exactly(connection, 2)
    if length == 126:
        length = int.from_bytes(read_exactly(connection, 2), "big")
    elif length == 127:
        length = int.from_bytes(read_exactly(connection, 8), "big")
    return first, read_exactly(connection, length)


def read_close(connection: socket.socket) -> tuple[int, str]:
    """The code and reason of the close frame that comes next."""
    first, payload = read_frame(connection)
    assert first == 0x88, (first, payload)
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()
