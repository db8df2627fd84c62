"""Methods against what their pages say, for every parameter: see formulas.py."""

import formulas
import formulas_of_losses  # noqa: F401  (registers)
import formulas_of_operators  # noqa: F401
import pytest


@pytest.mark.parametrize("record, variant", formulas.cases(["loss"]))
def test_losses_are_what_their_pages_say(rng, record, variant):
    formulas.check(record, variant, rng)


@pytest.mark.parametrize("record, variant", formulas.cases(["op", "activation"]))
def test_operators_are_what_their_pages_say(rng, record, variant):
    formulas.check(record, variant, rng)
