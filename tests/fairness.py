"""What the tests of fairness count."""

from __future__ import annotations

#: FWS_SLICE_MESSAGES in core/tuning.h.
BUDGET = 1024


def longest_run(marks):
    """How many of the same follow each other."""
    longest = run = 0
    previous = object()
    for mark in marks:
        run = run + 1 if mark == previous else 1
        previous = mark
        longest = max(longest, run)
    return longest
