"""core/tuning.h: every number that was chosen says why, and how it is measured again."""

from __future__ import annotations

import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "lint")]

import pairs  # noqa: E402
import run  # noqa: E402
import sizes  # noqa: E402
import tuning  # noqa: E402

TEXT = "".join(header.read_text() for header in tuning.HEADERS)
CONSTANTS = tuning.constants(TEXT)


def test_all_constants_are_found():
    listed = {text.split()[1] for text in sizes.tuning_constants(ROOT)}
    assert listed <= CONSTANTS.keys()
    assert {name for name in CONSTANTS if not name.startswith("FWS_USE_")} == listed


@pytest.mark.parametrize("comment", [c for c in tuning.COMMENT.findall(TEXT) if "Measure:" in c][1:])
def test_a_constant_says_what_happens_at_half_and_double(comment):
    assert re.search(r"\b(Half|Less by one|Less)\b", comment)
    assert re.search(r"[Dd]ouble|[Mm]ore by one", comment)


@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=lambda constant: constant.name)
def test_what_measures_a_constant_is_there(constant):
    assert constant.measure
    for path in re.findall(r"(?:tests|bench)/[\w./]+", constant.measure):
        assert (ROOT / path).exists()
    for names in re.findall(r"--workloads ([\w,]+)", constant.measure):
        assert set(names.split(",")) <= set(run.WORKLOADS)
    rest = re.sub(r"(?:tests|bench)/[\w./]+|--workloads \S+|for the \w+", "", constant.measure)
    assert set(re.findall(r"[\w-]+", rest)) <= pairs.WORKLOADS.keys()


def test_the_values_to_compare_with():
    assert CONSTANTS["FWS_BATCH"].others() == [("half", "(64/2)"), ("double", "(64*2)")]
    assert CONSTANTS["FWS_BATCH"].workloads() == ["class-50", "class-500", "pipelined", "fanout"]
    assert CONSTANTS["FWS_USE_CORK"].others() == [("off", "0")]
    assert CONSTANTS["FWS_THOROUGH_LEVEL"].others()[0][1] == "(6-1)"


def test_a_constant_elsewhere_is_wrong(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "tuning.h").write_text("#ifndef FWS_A\n#define FWS_A 2\n#endif\n")
    (tmp_path / "core" / "file.c").write_text("#define PATIENCE 40\n#define FWS_NS_PER_MS 1000000\n")
    (wrong,) = sizes.misplaced_constants(tmp_path)
    assert wrong.startswith("core/file.c: PATIENCE = 40: ")
