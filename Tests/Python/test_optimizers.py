"""Optimizers and schedules: calls, state, bad input. test_torch_optimizers.py holds their numbers to PyTorch's."""

import gc
import math
import weakref

import numpy as np
import pytest

import temper

OPTIMIZERS = [record["name"] for record in temper.catalog(kind="optimizer")]


def steps(optimizer, parameters, count, start=0):
    """Steps on a bowl with noise that is a function of the step."""
    for step in range(start, start + count):
        noise = [np.random.default_rng([step, i]).normal(size=p.shape) for i, p in enumerate(parameters)]

        def closure():
            loss = sum(0.5 * (p.astype(float) ** 2).sum() + (n * p).sum() for p, n in zip(parameters, noise))
            return loss, [(p + n).astype(p.dtype) for p, n in zip(parameters, noise)]

        if optimizer.needs_closure:
            optimizer.step(parameters, closure)
        else:
            optimizer.step(parameters, closure()[1])


@pytest.mark.parametrize("way", ["dictionary", "file", "in between"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_with_the_same_bits(name, dtype, way, tmp_path):
    settings = {"momentum": 0.9} if name == "sgd" else {}
    start = [np.linspace(-1, 1, 12).reshape(3, 4).astype(dtype), np.ones(5, dtype), np.zeros((0, 2), dtype)]
    whole, parameters = temper.optimizer(name, **settings), [p.copy() for p in start]
    steps(whole, parameters, 7)
    first, resumed = temper.optimizer(name, **settings), [p.copy() for p in start]
    steps(first, resumed, 3)
    state = first.state_dict()
    assert int(state["step"]) == 3
    second = temper.optimizer(name, **settings)
    if way == "file":
        first.save(tmp_path / "state.safetensors")
        second.load(tmp_path / "state.safetensors")
    else:
        if way == "in between":  # into an optimizer that has gone elsewhere
            steps(second, [2 * p for p in start], 2)
        second.load_state_dict(state)
    steps(second, resumed, 4, start=3)
    for parameter, other in zip(parameters, resumed):
        np.testing.assert_array_equal(parameter, other)
    assert all(np.array_equal(value, second.state_dict()[key]) for key, value in whole.state_dict().items())


def test_files_of_other_methods_are_refused(tmp_path):
    adam, parameters = temper.optimizer("adam"), [np.ones(3)]
    steps(adam, parameters, 2)
    adam.save(tmp_path / "adam")
    with pytest.raises(temper.Error, match="adam"):
        temper.optimizer("lion").load(tmp_path / "adam")
    (tmp_path / "broken").write_bytes((tmp_path / "adam").read_bytes()[:40])
    with pytest.raises(temper.Error):
        temper.optimizer("adam").load(tmp_path / "broken")


@pytest.mark.parametrize("name", [record["name"] for record in temper.catalog(kind="schedule")])
def test_schedules_go_on_with_the_same_values(name):
    def observe(schedule, step):
        if "adaptive" in schedule.record["properties"]:
            schedule.observe(metric=float(np.sin(step)))

    whole, first, second = (temper.schedule(name) for _ in range(3))
    for step in range(20):
        observe(whole, step)
        observe(first, step)
    second.load_state_dict(first.state_dict())
    for step in range(20, 40):
        observe(whole, step)
        observe(second, step)
        assert second(step) == whole(step)
    np.testing.assert_array_equal(second.state_dict()["state"], whole.state_dict()["state"])


def test_accuracy_gradient_follows_its_worked_trace():
    schedule = temper.schedule("accuracy_gradient_lr", lr=1e-3, window=5, quiet=5, factor=0.8)
    drops, last = [], schedule(0)
    for epoch in range(1, 31):
        schedule.observe(accuracy=0.5)
        if schedule(epoch) != last:
            drops.append(epoch)
        last = schedule(epoch)
    assert drops == [7, 12, 17, 22, 27] and last == pytest.approx(1e-3 * 0.8**5)
    rising = temper.schedule("accuracy_gradient_lr", lr=1e-3)
    for epoch in range(50):
        rising.observe(accuracy=0.01 * epoch)
    assert rising(0) == 1e-3
    low = temper.schedule("accuracy_gradient_lr", lr=1e-3, lr_min=9e-4)
    for _ in range(50):
        low.observe(accuracy=0.5)
    assert low(0) == 9e-4


def test_what_schedules_observe():
    with pytest.raises(temper.Error):
        temper.schedule("cosine").observe(loss=1.0)
    with pytest.raises(temper.Error, match="loss"):
        temper.schedule("plateau").observe(accuracy=1.0)
    with pytest.raises(temper.Error):
        temper.schedule("plateau").observe(loss=math.nan)
    with pytest.raises(temper.Error):
        temper.schedule("plateau").load_state_dict({"state": np.zeros(2)})


@pytest.mark.parametrize(
    "name, parts",
    [
        ("sequence", "[]"), ("sequence", "cosine"), ("sequence", '["cosine", "cosine"]'), ("product", '["adam"]'),
        ("sequence", '[{"cosine": {"total_steps": 5}, "steps": 3}]'), ("product", '[{"cosine": {"nothing": 5}}]'),
        ("product", '["plateau"]'), ("multistep", None),
    ],
)  # fmt: skip
def test_compositions_that_are_none(name, parts):
    with pytest.raises(temper.Error):
        temper.schedule(name, **({"schedules": parts} if parts else {"milestones": "[1, \"two\"]"}))


def test_methods_around_methods():
    # Clipping around lookahead around sgd, by hand.
    optimizer = temper.optimizer(
        "clip_by_value", bound=0.5, base="lookahead", k=2, alpha=0.25, **{"base.base": "sgd"}, learning_rate=0.1
    )
    x = np.array([1.0, -1.0])
    optimizer.step([x], [np.array([2.0, -0.1])])
    np.testing.assert_allclose(x, [0.95, -0.99], rtol=1e-15)
    optimizer.step([x], [np.array([-3.0, 0.2])])
    np.testing.assert_allclose(x, [1.0, -1 + 0.25 * -0.01], rtol=1e-15)
    assert optimizer.record["name"] == "clip_by_value"
    with pytest.raises(temper.Error):
        temper.optimizer("lookahead", base="cosine")
    with pytest.raises(temper.Error):
        temper.optimizer("lookahead", base="lookahead")
    with pytest.raises(temper.Error, match="nothing"):
        temper.optimizer("lookahead", nothing=1)


def test_groups_that_cannot_be():
    with pytest.raises(temper.Error):
        temper.optimizer("adam").group([0], lr=-1)
    with pytest.raises(temper.Error):
        temper.optimizer("adam").group([0], lr=1).group([0, 1], lr=2)
    optimizer = temper.optimizer("adam").group([2], lr=1)
    with pytest.raises(temper.Error, match="2"):
        optimizer.step([np.zeros(2)], [np.ones(2)])
    optimizer = temper.optimizer("adam")
    optimizer.step([np.zeros(2)], [np.ones(2)])
    with pytest.raises(temper.Error):
        optimizer.group([0], lr=1)


def falling(start=0.9, gamma=0.8):
    return temper.schedule("exponential", learning_rate=start, gamma=gamma)


@pytest.mark.parametrize("name, parameter", [
    ("sgd", "momentum"), ("rmsprop", "alpha"), ("adam", "beta2"), ("lion", "beta1"), ("adabelief", "beta2"),
    ("yogi", "beta1"), ("lamb", "weight_decay"), ("adamw", "weight_decay"), ("asgd", "weight_decay"),
    ("lookahead", "beta1"), ("clip_by_global_norm", "momentum"),
])  # fmt: skip
def test_a_parameter_follows_a_schedule_and_goes_on_with_the_same_bits(rng, tmp_path, name, parameter):
    """At every step as an optimizer made with that value and the state so far; and from a file in the middle."""
    schedule, start = falling(), rng.normal(size=(3, 2))
    gradients = rng.normal(size=(9, 3, 2))

    def made():
        return temper.optimizer(name, lr=0.1).schedule(parameter, schedule)

    whole, step_by_step, resumed = start.copy(), start.copy(), start.copy()
    optimizer, first = made(), made()
    state = None
    for step, gradient in enumerate(gradients):
        optimizer.step([whole], [gradient])
        alone = temper.optimizer(name, lr=0.1, **{parameter: schedule(step)})
        if state is not None:
            alone.load_state_dict(state)
        alone.step([step_by_step], [gradient])
        state = alone.state_dict()
        if step == 4:
            first.save(tmp_path / "state")
            first = made()
            first.load(tmp_path / "state")
        first.step([resumed], [gradient])
    np.testing.assert_allclose(whole, step_by_step, rtol=1e-13)
    np.testing.assert_array_equal(whole, resumed)
    constant = start.copy()
    other = temper.optimizer(name, lr=0.1, **{parameter: 0.9})
    for gradient in gradients:
        other.step([constant], [gradient])
    assert np.abs(constant - whole).max() > 1e-3


def test_groups_follow_the_schedule_of_the_whole_or_their_own_value():
    optimizer = temper.optimizer("sgd", lr=1).schedule("momentum", falling(0.5, 0.5)).group([1], momentum=0.5)
    optimizer.group([2], lr=2)
    w, one = [np.zeros(1) for _ in range(3)], [np.ones(1)] * 3
    for _ in range(3):
        optimizer.step(w, one)
    np.testing.assert_allclose(np.ravel(w), [-(1 + 1.25 + 1.15625), -(1 + 1.5 + 1.75), -2 * (1 + 1.25 + 1.15625)])


def test_schedules_that_a_parameter_cannot_follow():
    optimizer = temper.optimizer("sgd", momentum=0.9)
    for parameter, schedule, error in (
        ("momentum", falling(1.0), "takes"), ("beta1", falling(), "no parameter"),
        ("dampening", falling(), "once"), ("nesterov", falling(), "real parameter"), ("learning_rate", falling(), "trainer"),
        ("momentum", temper.schedule("plateau"), "step alone"),
    ):  # fmt: skip
        with pytest.raises(temper.Error, match=error):
            optimizer.schedule(parameter, schedule)
    with pytest.raises(temper.Error, match="real parameter"):
        temper.optimizer("lbfgs").schedule("tolerance_grad", falling(1e-3))
    w, one = np.ones(2), np.ones(2)
    rising = temper.optimizer("sgd").schedule("momentum", falling(0.6, 1.5))
    rising.step([w], [one])
    rising.step([w], [one])  # 0.9
    before = w.copy()
    with pytest.raises(temper.Error, match="momentum"):
        rising.step([w], [one])
    np.testing.assert_array_equal(w, before)
    with pytest.raises(temper.errors.WrongState):
        rising.schedule("momentum", falling())


def test_a_closure_that_fails_changes_nothing():
    optimizer, x = temper.optimizer("u_dog"), np.array([1.0, 2.0])
    optimizer.step([x], lambda: (0.0, [x.copy()]))
    before, calls = x.copy(), []

    def closure():
        calls.append(x.copy())
        if len(calls) == 3:
            raise KeyError("mine")
        return 0.0, [x.copy()]

    state = optimizer.state_dict()
    with pytest.raises(KeyError, match="mine"):
        optimizer.step([x], closure)
    np.testing.assert_array_equal(x, before)
    assert all(np.array_equal(value, state[name]) for name, value in optimizer.state_dict().items())
    with pytest.raises(temper.Error, match="closure"):
        optimizer.step([x], [x.copy()])
    with pytest.raises(temper.Error, match="middle"):
        optimizer.step([x], lambda: optimizer.step([x.copy()], lambda: (0.0, [x.copy()])))
    for wrong in (None, [], [x, x], (0.0, [np.zeros(3)])):
        with pytest.raises((temper.Error, ValueError)):
            optimizer.step([x], lambda wrong=wrong: wrong)
    np.testing.assert_array_equal(x, before)


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


def test_the_same_arrays_again_and_others_in_between():
    optimizer = temper.optimizer("sgd", lr=1.0)
    x, y, g = np.zeros(3), np.zeros(3), np.ones(3)
    optimizer.step([x], [g])
    g[:] = 2
    optimizer.step([x], [g])
    np.testing.assert_array_equal(x, -3)
    optimizer.step([y], [g])
    optimizer.step([x], [[1.0, 1.0, 1.0]])
    optimizer.step([x], [np.ones(3, np.float16)])
    np.testing.assert_array_equal(x, -5)
    np.testing.assert_array_equal(y, -2)
    whole = np.ones(6, np.float16)  # converted at every step, not remembered
    for expected in (-6, -8):
        optimizer.step([x], [whole[::2]])
        np.testing.assert_array_equal(x, expected)
        whole[:] = 2
    x.flags.writeable = False
    with pytest.raises(temper.Error):
        optimizer.step([x], [np.ones(3)])


def test_arrays_are_let_go_with_the_optimizer():
    optimizer, x = temper.optimizer("sgd"), np.zeros(3)
    kept = weakref.ref(x)
    optimizer.step([x], [np.ones(3)])
    optimizer.step([x], [np.ones(3)])
    del x, optimizer
    gc.collect()
    assert kept() is None
