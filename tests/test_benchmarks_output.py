"""Nothing that leaves Trueloop runs elsewhere; and the drill would notice if it did."""

from benchmarks.drills_output import ESCAPES, FORMULAS, output_drill


def test_no_cell_is_a_formula_and_no_output_steers_a_terminal():
    found = output_drill(20, seed=3)
    assert found.cells > 1000 and found.shown > 10
    assert (found.formulas, found.escapes) == (0, 0)
    assert found.planted == (sum(not text.startswith("'") for text in FORMULAS), len(ESCAPES))
    assert found.caught, "what is planted must be found"
