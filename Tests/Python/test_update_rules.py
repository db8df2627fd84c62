"""Update rules that PyTorch has not, against their formulas written out in NumPy: twelve steps, every option."""

import numpy as np
import pytest
from update_rules import Problem, Rule, rules

import temper

SHAPES = [(4, 3), (3,), (2, 2, 2)]


def run(name, settings, dtype, steps=12):
    problem = Problem(SHAPES)
    optimizer = temper.optimizer(name, **settings)
    parameters = [w.astype(dtype) for w in problem.start()]
    for t in range(1, steps + 1):

        def closure(t=t):
            return 0.0, [g.astype(dtype) for g in problem.gradient([p.astype(float) for p in parameters], t)]

        if optimizer.needs_closure:
            optimizer.step(parameters, closure)
        else:
            optimizer.step(parameters, closure()[1])
    return parameters, optimizer.evaluation_point(parameters)


@pytest.mark.parametrize("case", rules(), ids=lambda case: f"{case[0]} {case[1]}")
def test_twelve_steps(case):
    name, settings, function = case
    problem = Problem(SHAPES)
    state = Rule(problem.start())
    options = {"lr": None, **settings}
    for t in range(1, 13):
        state.step(function, problem, t, options)
    parameters, evaluation = run(name, settings, np.float64)
    for ours, theirs in zip(parameters, state.w):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(evaluation, state.result or state.w):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    single, _ = run(name, settings, np.float32)
    for ours, theirs in zip(single, state.w):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)
