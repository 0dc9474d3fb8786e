"""The drill of bad inputs finds nothing, and would find what is planted."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


def test_no_bad_input_ends_in_a_traceback_or_is_taken_in_silence():
    pytest.importorskip("torch", reason="the drill checks model folders too")
    from benchmarks.bad_input import bad_input_drill

    found = bad_input_drill(340, seed=3)
    assert found["tries"] == 340
    assert found["parsers"] >= 12
    assert (found["tracebacks"], found["hangs"], found["silently_accepted"]) == (0, 0, 0), found["examples"]
    assert found["caught"], "the planted defects must be found, otherwise the zeros say nothing"
