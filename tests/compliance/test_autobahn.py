"""RFC 6455 by the Autobahn fuzzing client, strict: sections 1 to 7 and 10."""

from __future__ import annotations

import autobahn
import pytest

PYTHON2 = autobahn.python2()

#: What the suite has in these sections; fewer would mean that it stopped early.
CASES = 247


@pytest.mark.timeout(900)
@pytest.mark.skipif(PYTHON2 is None, reason="needs a Python 2.7 with pip: pyenv install 2.7.18")
def test_no_case_fails(tmp_path):
    autobahn.install(PYTHON2)
    results = autobahn.run(PYTHON2, tmp_path / "report", autobahn.SECTIONS)
    assert autobahn.bad_cases(results) == {}
    assert len(results) == CASES
