"""TLS for the servers that are asked for it: $CERTIFICATE is the folder of a certificate and key."""

from __future__ import annotations

import os
import pathlib
import ssl


def context() -> ssl.SSLContext | None:
    folder = os.environ.get("CERTIFICATE")
    if folder is None:
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pathlib.Path(folder) / "server.pem", pathlib.Path(folder) / "server.key")
    return tls
