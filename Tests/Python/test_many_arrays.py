"""Many small arrays: they are moved together, and yet each as if it were alone."""

import numpy as np
import pytest

import temper

# Lengths around vectors, tiles, blocks, and the longest that is moved together.
LENGTHS = [1, 2, 3, 15, 16, 17, 63, 64, 65, 1000, 1087, 1088, 1089, 2049, 4097, 16384, 16385]
METHODS = [
    ("sgd", {}), ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}), ("adam", {}), ("adamw", {}),
    ("amsgrad", {}), ("adamax", {}), ("nadam", {}), ("radam", {}), ("adabelief", {}), ("yogi", {}), ("adan", {}),
    ("ademamix", {}), ("lion", {}), ("rmsprop", {"centered": True, "momentum": 0.9}), ("adagrad", {}),
    ("adadelta", {}), ("rprop", {}), ("asgd", {}), ("lookahead", {"base": "adam", "k": 2}), ("ema", {"base": "adamw"}),
    ("clip_by_value", {"base": "adamw", "bound": 0.5}), ("schedule_free_adamw", {}),
]  # fmt: skip


def label(case):
    return case[0] + "".join(f" {name}={value}" for name, value in case[1].items())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", METHODS, ids=label)
def test_together_is_as_alone(rng, case, dtype, threads):
    name, settings = case
    context = temper.Context(threads=threads)
    start = [rng.normal(size=n).astype(dtype) for n in LENGTHS]
    together, alone = [w.copy() for w in start], [w.copy() for w in start]
    whole, single = context.optimizer(name, **settings), [context.optimizer(name, **settings) for _ in start]
    for _ in range(4):
        gradients = [rng.normal(size=n).astype(dtype) for n in LENGTHS]
        whole.step(together, gradients)
        for optimizer, w, g in zip(single, alone, gradients):
            optimizer.step([w], [g])
    for a, b in zip(together, alone):
        np.testing.assert_array_equal(a, b)
    states = whole.state_dict()
    for position, optimizer in enumerate(single):
        for key, value in optimizer.state_dict().items():
            if key.startswith("0."):
                np.testing.assert_array_equal(states[f"{position}.{key[2:]}"], value)


def test_other_memory_and_groups_in_between(rng):
    """Arrays that come at new addresses, and groups with rates of their own, keep their places."""
    shapes = [(5, 7), (64,), (3,), (40, 30), (128,)]
    optimizer = temper.optimizer("adamw", lr=0.1).group([1, 3], lr=0.01)
    expected = [temper.optimizer("adamw", lr=0.01 if i in (1, 3) else 0.1) for i in range(len(shapes))]
    weights = [rng.normal(size=s) for s in shapes]
    others = [w.copy() for w in weights]
    for step in range(6):
        if step in (2, 4):
            weights = [w.copy() for w in weights]
        gradients = [rng.normal(size=s) for s in shapes]
        optimizer.step(weights, gradients)
        for one, w, g in zip(expected, others, gradients):
            one.step([w], [g])
    for a, b in zip(weights, others):
        np.testing.assert_array_equal(a, b)


def test_a_closure_on_other_arrays_in_between(rng):
    """What was known of the last arrays is forgotten when a closure moves others."""
    optimizer, expected = temper.optimizer("adam"), temper.optimizer("adam")
    first, second = [rng.normal(size=4)], [rng.normal(size=4)]
    copies = [first[0].copy()], [second[0].copy()]
    gradient = [np.ones(4)]
    for weights, (copy,) in ((first, copies[0:1]), (second, copies[1:2]), (first, copies[0:1])):
        if weights is second:
            optimizer.step(weights, lambda: (0.0, gradient))
        else:
            optimizer.step(weights, gradient)
        expected.step(copy, [np.ones(4)])
    np.testing.assert_array_equal(first[0], copies[0][0])
    np.testing.assert_array_equal(second[0], copies[1][0])
