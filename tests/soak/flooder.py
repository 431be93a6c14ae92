"""A client that sends as fast as it can, a process of its own until it is killed: PORT PATH SIZE [tls].

It reads what comes, and sends nothing to a path that ends in /pour, whose view sends by itself.
"""

import sys
import threading
import time

import wire

port, path, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = (wire.connect_tls if sys.argv[4:] else wire.connect)(port, path, timeout=None)


def read():
    while connection.recv(1 << 20):
        pass


threading.Thread(target=read, daemon=True).start()
one = wire.frame(1, b'["' + b"a" * (size - 4) + b'"]')
block = one * max(1, 65536 // len(one))
while path.endswith("/pour"):
    time.sleep(1)
while True:
    try:
        connection.sendall(block)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        break
