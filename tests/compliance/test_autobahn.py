"""RFC 6455 and RFC 7692 by the Autobahn test suite, strict, in both roles: some of every section.
`make compliance` runs all cases."""

from __future__ import annotations

import autobahn
import pytest

PYTHON2 = autobahn.python2()

#: All of the quick sections, and some of each kind of those that send megabytes for minutes.
SERVER = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.1", "9.3.1", "9.5.1", "9.7.1")
CLIENT = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.1.*", "6.2.*", "6.4.*", "7.*", "10.*", "9.1.1")
COMPRESSED = ("12.1.1", "12.2.3", "12.4.10", "13.1.1", "13.3.2", "13.5.1", "13.7.3")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(PYTHON2 is None, reason="needs a Python 2.7 with pip: pyenv install 2.7.18"),
]


def check(role, cases, count, tmp_path, progress):
    autobahn.install(PYTHON2)
    results = autobahn.ROLES[role](PYTHON2, tmp_path / "report", cases, progress)
    print(autobahn.summary(role, results))
    assert autobahn.bad_cases(results) == {}
    assert len(results) == count  # fewer would mean that it stopped early


def test_our_server(tmp_path, progress):
    check("server", SERVER + COMPRESSED, 258, tmp_path, progress)


def test_our_client(tmp_path, progress):
    check("client", CLIENT + COMPRESSED, 121, tmp_path, progress)
