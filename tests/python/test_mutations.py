"""`make mutations` takes back what keeps each promise; here only that it still finds where."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "core"))

import mutations


@pytest.mark.parametrize("name", mutations.MUTATIONS)
def test_a_mutation_applies(name):
    mutation = mutations.MUTATIONS[name]
    source = (ROOT / mutation.file).read_text()
    assert source.count(mutation.old) == 1
    assert mutation.new != mutation.old
    assert (ROOT / "tests" / "core" / f"test_{mutation.test}.c").exists()


def test_the_invariants_that_have_one():
    promised = {mutation.promise[0] for mutation in mutations.MUTATIONS.values()}
    assert promised >= set("12356")
