"""Optimizers and schedules: calls, state, bad input. test_torch_optimizers.py holds their numbers to PyTorch's."""

import math

import numpy as np
import pytest

import temper

OPTIMIZERS = [record["name"] for record in temper.catalog(kind="optimizer")]


def steps(optimizer, parameters, count, start=0):
    for step in range(start, start + count):
        random = np.random.default_rng(step)
        optimizer.step(parameters, [random.normal(size=p.shape).astype(p.dtype) for p in parameters])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_with_the_same_bits(name, dtype):
    settings = {"momentum": 0.9} if name == "sgd" else {}
    start = [np.linspace(-1, 1, 12).reshape(3, 4).astype(dtype), np.ones(5, dtype)]
    whole, parameters = temper.optimizer(name, **settings), [p.copy() for p in start]
    steps(whole, parameters, 7)
    first, resumed = temper.optimizer(name, **settings), [p.copy() for p in start]
    steps(first, resumed, 3)
    state = first.state_dict()
    assert int(state["step"]) == 3
    second = temper.optimizer(name, **settings)
    second.load_state_dict(state)
    steps(second, resumed, 4, start=3)
    for parameter, other in zip(parameters, resumed):
        np.testing.assert_array_equal(parameter, other)
    assert all(np.array_equal(value, second.state_dict()[key]) for key, value in whole.state_dict().items())


def test_state_is_a_copy():
    optimizer, parameters = temper.optimizer("adam"), [np.ones(3)]
    assert optimizer.state_dict() == {}
    steps(optimizer, parameters, 1)
    state = optimizer.state_dict()
    kept = {name: value.copy() for name, value in state.items()}
    steps(optimizer, parameters, 1, start=1)
    assert all(np.array_equal(state[name], kept[name]) for name in kept)


def test_a_learning_rate_for_one_step():
    x = np.zeros(2)
    temper.optimizer("sgd", learning_rate=0.5).step([x], [np.ones(2)], learning_rate=0.25)
    np.testing.assert_array_equal(x, -0.25)


@pytest.mark.parametrize(
    "params, grads",
    [
        ([np.zeros(2)], []),
        ([np.zeros(2)], [np.zeros(3)]),
        ([np.zeros(2, int)], [np.zeros(2)]),
        ([[0.0, 0.0]], [np.zeros(2)]),
        ([np.broadcast_to(np.zeros(1), (2,))], [np.zeros(2)]),
        ([np.frombuffer(b"\0" * 16)], [np.zeros(2)]),
    ],
    ids=["none", "shape", "integers", "list", "shared elements", "read-only"],
)
def test_what_cannot_be_stepped(params, grads):
    with pytest.raises(temper.Error):
        temper.optimizer("sgd").step(params, grads)


def test_overlapping_parameters_are_refused():
    x = np.zeros(4)
    with pytest.raises(temper.Error, match="overlap"):
        temper.optimizer("sgd").step([x[:3], x[1:]], [np.ones(3), np.ones(3)])
    with pytest.raises(temper.Error, match="overlap"):
        temper.optimizer("sgd").step([x], [x])
    np.testing.assert_array_equal(x, 0)


def test_the_first_step_fixes_the_shapes():
    optimizer = temper.optimizer("adam")
    optimizer.step([np.zeros(2)], [np.ones(2)])
    with pytest.raises(temper.Error):
        optimizer.step([np.zeros(3)], [np.ones(3)])


@pytest.mark.parametrize("state", [{}, {"step": np.array(1.5)}, {"step": np.array(3), "0.nothing": np.zeros(2)}])
def test_states_that_do_not_fit(state):
    optimizer = temper.optimizer("adam")
    with pytest.raises(temper.Error):
        optimizer.load_state_dict(state)
        optimizer.step([np.zeros(2)], [np.ones(2)])


@pytest.mark.parametrize(
    "name, settings, expected",
    [
        ("constant", {"learning_rate": 0.3}, lambda t: 0.3),
        ("step", {"learning_rate": 0.1, "step_size": 5, "gamma": 0.5}, lambda t: 0.1 * 0.5 ** (t // 5)),
        ("exponential", {"learning_rate": 0.1, "gamma": 0.9}, lambda t: 0.1 * 0.9**t),
        (
            "cosine",
            {"learning_rate": 0.1, "total_steps": 20, "minimum": 0.01},
            lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * min(t, 20) / 20)) / 2,
        ),
        (
            "linear_warmup",
            {"learning_rate": 0.1, "warmup_steps": 8, "start_factor": 0.2},
            lambda t: 0.1 * (0.2 + 0.8 * min(t, 8) / 8),
        ),
    ],
)
def test_schedules(name, settings, expected):
    schedule = temper.schedule(name, **settings)
    for step in (0, 1, 4, 5, 7, 8, 19, 20, 35):
        assert schedule(step) == pytest.approx(expected(step), rel=1e-14)


@pytest.mark.parametrize("step", [-1, math.nan, math.inf])
def test_steps_that_are_none(step):
    with pytest.raises(temper.Error):
        temper.schedule("cosine")(step)
