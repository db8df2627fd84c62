"""Blocks that learn alone: Forward-Forward and Cascaded-Forward beside Mono-Forward, against NumPy and on digits."""

import math

import numpy as np
import pytest
from digits import accuracy, digits

import temper
from procedures import one_hot, slopes

RATE = 0.3


def named(model):
    return {name: np.array(value) for name, value in model.parameters().items()}


def train(model, x, y, loss="cross_entropy", procedure=None, epochs=1, optimizer=None, batch_size=1000, seed=0):
    optimizer = optimizer or temper.optimizer("sgd", lr=RATE)
    trainer = temper.Trainer(
        model, loss=loss, optimizer=optimizer, procedure=procedure, batch_size=batch_size, seed=seed, threads=1
    )
    trainer.fit(x, y, epochs=epochs)
    return trainer


# MARK: Forward-Forward


def goodness_of_blocks(p, x, classes, blocks, mean=True):
    """(blocks, N, classes), with what each block took and gave for every label."""
    found, seen = [], []
    for label in range(classes):
        h = x.copy()
        h[:, :classes] = np.eye(classes)[label]
        for block in range(blocks):
            h = h / (np.linalg.norm(h, axis=1, keepdims=True) + 1e-8)
            a = h
            h = np.maximum(h @ p[f"0.block{block}.0.weight"].T + p[f"0.block{block}.0.bias"], 0)
            seen.append((a, h))
            found.append((h**2).mean(1) if mean else (h**2).sum(1))
    return np.array(found).reshape(classes, blocks, len(x)).transpose(1, 2, 0), seen


def forward_forward(sizes, classes, inputs, seed=0, dtype="float64", **options):
    blocks = [[{"dense": size}, "relu"] for size in sizes]
    return temper.Model(
        [{"forward_forward": {"blocks": blocks, "size": classes, **options}}], input=(inputs,), seed=seed, dtype=dtype
    )


@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("sizes", [[5], [5, 4], [6, 5, 4]])
def test_the_scores_are_the_goodness_of_all_blocks_but_the_first(rng, sizes, kind):
    model = forward_forward(sizes, 3, 7, goodness=kind)
    x = rng.normal(size=(6, 7))
    goodness, _ = goodness_of_blocks(named(model), x, 3, len(sizes), kind == "mean")
    np.testing.assert_allclose(model.predict(x), goodness[1:].sum(0) if len(sizes) > 1 else goodness[0], rtol=1e-12)


def test_the_loss_is_two_ln_two_at_the_threshold(rng):
    loss = temper.loss("forward_forward_loss", theta=1.5)
    np.testing.assert_allclose(loss(np.full((4, 3), 1.5), np.arange(4) % 3), 2 * math.log(2), rtol=1e-12)
    g, y = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    others = np.log1p(np.exp(g - 1.5))
    others[np.arange(6), y] = 0
    np.testing.assert_allclose(loss(g, y), np.log1p(np.exp(1.5 - g[np.arange(6), y])) + others.sum(1) / 3, rtol=1e-12)


def test_each_block_moves_by_its_own_goodness_alone(rng):
    """A step of gradient descent in NumPy: the mean of the blocks' losses, and nothing comes back through a block."""
    classes, theta = 3, 0.1
    model = forward_forward([5, 4], classes, 7)
    x, y = rng.normal(size=(8, 7)), rng.integers(0, classes, 8)
    p = named(model)
    goodness, seen = goodness_of_blocks(p, x, classes, 2)
    train(model, x, y, loss=temper.loss("forward_forward_loss", theta=theta))
    for block in range(2):
        is_true = one_hot(y, classes)
        sign = 1 / (1 + np.exp(-(goodness[block] - theta)))
        slope = np.where(is_true == 1, sign - 1, sign / (classes - 1)) / len(x) / 2  # of the mean over two blocks
        weight, bias = np.zeros_like(p[f"0.block{block}.0.weight"]), np.zeros_like(p[f"0.block{block}.0.bias"])
        for label in range(classes):
            a, h = seen[2 * label + block]
            back = slope[:, label : label + 1] * 2 * h / h.shape[1]
            weight += back.T @ a
            bias += back.sum(0)
        after = model.parameters()
        np.testing.assert_allclose(
            after[f"0.block{block}.0.weight"], p[f"0.block{block}.0.weight"] - RATE * weight, rtol=1e-9
        )
        np.testing.assert_allclose(
            after[f"0.block{block}.0.bias"], p[f"0.block{block}.0.bias"] - RATE * bias, rtol=1e-9
        )


def test_labels_need_room():
    with pytest.raises(temper.Error, match="no room"):
        forward_forward([5], 8, 7)
    with pytest.raises(temper.Error, match="at least one block"):
        forward_forward([], 3, 7)


# MARK: Cascaded-Forward


def cascade(frozen=True, seed=1):
    blocks = [[{"dense": 6}, "tanh"], [{"dense": 5}, "tanh"]]
    layer = {"cascaded_forward": {"blocks": blocks, "size": 3, "frozen": frozen}}
    return temper.Model([layer], input=(4,), seed=seed, dtype="float64")


def features_of_blocks(p, x):
    found, h = [], x
    for block in range(2):
        h = np.tanh(h @ p[f"0.block{block}.0.weight"].T + p[f"0.block{block}.0.bias"])
        found.append(h)
    return found


@pytest.mark.parametrize("frozen", [True, False])
def test_predictors_learn_without_each_other_and_are_added(rng, frozen):
    model = cascade(frozen)
    x, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    p = named(model)
    features = features_of_blocks(p, x)
    parts = [h @ p[f"0.predictor{i}.weight"].T + p[f"0.predictor{i}.bias"] for i, h in enumerate(features)]
    np.testing.assert_allclose(model.predict(x), sum(parts), rtol=1e-12)
    train(model, x, y)
    after = model.parameters()
    for i, (seen, h, logits) in enumerate(zip([x, features[0]], features, parts)):
        slope = slopes(logits, y) / 2
        expected = {f"0.predictor{i}.weight": slope.T @ h, f"0.predictor{i}.bias": slope.sum(0)}
        back = (slope @ p[f"0.predictor{i}.weight"]) * (1 - h**2)
        expected |= {f"0.block{i}.0.weight": back.T @ seen, f"0.block{i}.0.bias": back.sum(0)}
        for name, gradient in expected.items():
            moved = p[name] if frozen and "block" in name else p[name] - RATE * gradient
            np.testing.assert_allclose(after[name], moved, rtol=1e-9, atol=1e-12, err_msg=name)


def test_ridge_solves_the_normal_equations(rng):
    model = cascade()
    x, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    features = features_of_blocks(named(model), x)
    train(model, x, y, procedure=temper.procedure("mono_forward", rule="ridge", cafo_ridge=0.05), batch_size=7)
    for i, h in enumerate(features):
        a = np.c_[h, np.ones(40)]
        w = np.linalg.solve(a.T @ a + 0.05 * np.diag([1.0] * h.shape[1] + [0]), a.T @ one_hot(y))
        np.testing.assert_allclose(model.parameters()[f"0.predictor{i}.weight"], w[:-1].T, rtol=1e-8)
        np.testing.assert_allclose(model.parameters()[f"0.predictor{i}.bias"], w[-1], rtol=1e-8)


def test_ridge_fits_what_it_is_made_for(rng):
    ridge = temper.procedure("mono_forward", rule="ridge", cafo_ridge=0.0)
    for model in (cascade(frozen=False), temper.Model([{"dense": 3}], input=(4,))):
        with pytest.raises(temper.Error, match="cascaded_forward"):
            train(model, np.zeros((5, 4)), np.zeros(5, int), procedure=ridge)
    with pytest.raises(temper.Error, match="cafo_ridge"):  # three samples for six features
        train(cascade(), rng.normal(size=(3, 4)), np.zeros(3, int), procedure=ridge)


# MARK: on digits


def test_local_learning_on_digits():
    """Mono-Forward is within 1.5 points of backpropagation and above Forward-Forward, the mean of 5 seeds."""
    scores = {name: [] for name in ("backpropagation", "mono_forward", "forward_forward", "cascaded", "ridge")}
    blocks = [[{"dense": 128}, "relu"], [{"dense": 128}, "relu"]]
    for seed in range(5):
        x, y = digits(seed)
        train_x, train_y, test = x[:1000], y[:1000], (x[1000:], y[1000:])

        def run(name, layers, **options):
            model = temper.Model(layers, input=(64,), seed=seed)
            rate = options.pop("rate", 0.001)
            train(
                model,
                train_x,
                train_y,
                optimizer=temper.optimizer("adam", lr=rate),
                batch_size=50,
                seed=seed,
                **options,
            )
            scores[name].append(accuracy(model, *test))

        plain = [*blocks[0], *blocks[1], {"dense": 10}]
        run("backpropagation", plain, epochs=12)
        run("mono_forward", plain, epochs=12, procedure="mono_forward")
        forward = {"forward_forward": {"blocks": blocks, "size": 10, "goodness": "sum"}}
        run("forward_forward", [forward], epochs=12, loss="forward_forward_loss", rate=0.01)
        cascaded = {"cascaded_forward": {"blocks": blocks, "size": 10}}
        run("cascaded", [cascaded], epochs=12)
        run("ridge", [cascaded], procedure=temper.procedure("mono_forward", rule="ridge"))
    means = {name: np.mean(values) for name, values in scores.items()}
    assert means["mono_forward"] > means["backpropagation"] - 0.015, means
    assert means["mono_forward"] > means["forward_forward"], means
    assert means["forward_forward"] > 0.8 and means["ridge"] > 0.9 and means["cascaded"] > 0.75, means
