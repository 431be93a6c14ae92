"""Install the system packages that the tests need, where that is allowed; else name the line."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys

#: A program that comes with the package, and the package, in Debian.
PACKAGES = {
    "caddy": "caddy",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "pkg-config": "pkg-config",
    "cc": "gcc",
}
HEADERS = {
    "/usr/include/cmocka.h": "libcmocka-dev",
    "/usr/include/openssl/ssl.h": "libssl-dev",  # for the load generator of the benchmark
}
#: What uWebSockets needs, a peer of the benchmark.
LIBRARIES = {"uv": "libuv1"}


def missing() -> list[str]:
    packages = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    packages += [package for header, package in HEADERS.items() if not os.path.exists(header)]
    return packages + [
        package for name, package in LIBRARIES.items() if ctypes.util.find_library(name) is None
    ]


def main() -> int:
    packages = missing()
    if not packages:
        return 0
    line = "apt-get install -y " + " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Some tests will be skipped. To run them all, type:\n\n    sudo {line}\n")
        return 0
    print(f"installing {' '.join(packages)} ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update", line):
        done = subprocess.run(command.split(), env=environment, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            print(f"'{command}' failed; what needs {' '.join(missing())} will be skipped")
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
