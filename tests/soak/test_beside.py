"""Who waits for whom: beside 200 websockets whose callbacks compute, all at once, an echo waits for few
of them (bench/beside.py has the figures)."""

from __future__ import annotations

import pathlib

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
CROWD = 200


@pytest.mark.timeout(120)
def test_an_echo_does_not_wait_for_a_crowd(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import beside

    computing = [step for step in beside.STEPS if step.message.startswith("compute")]
    assert len(computing) >= 4
    results = beside.run(1, CROWD, computing)
    waited = {title: longest / took for title, [(longest, took)] in results.items()}
    print({title: f"{share:.3f}" for title, share in waited.items()})
    assert max(waited.values()) < 1 / 4, waited
