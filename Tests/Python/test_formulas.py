"""Methods against what their pages say, for every parameter: see formulas.py."""

import pytest

import formulas
import formulas_of_comparisons  # noqa: F401  (registers)
import formulas_of_generative_losses  # noqa: F401
import formulas_of_losses  # noqa: F401
import formulas_of_operators  # noqa: F401
import formulas_of_pairs  # noqa: F401
import formulas_of_robust_losses  # noqa: F401
import formulas_of_scores  # noqa: F401


@pytest.mark.parametrize("record, variant", formulas.cases(["loss"]))
def test_losses_are_what_their_pages_say(rng, record, variant):
    formulas.check(record, variant, rng)


@pytest.mark.parametrize("record, variant", formulas.cases(["op", "activation"]))
def test_operators_are_what_their_pages_say(rng, record, variant):
    formulas.check(record, variant, rng)


@pytest.mark.parametrize("record, variant", formulas.cases(["loss", "op", "activation"]))
def test_formulas_hold_where_numbers_meet(rng, record, variant):
    formulas.check_ties(record, variant, rng)
