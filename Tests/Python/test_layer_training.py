"""What layers do to training: losses of pairs, heads and mixed samples, penalties, what stays and what is restored."""

import json
import pathlib
import tempfile

import numpy as np
import pytest

import temper


def train(model, x, y, loss="mse", rate=1e-300, epochs=1, batch=None):
    """The losses of the epochs; by default parameters stay where they are."""
    optimizer = temper.optimizer("sgd", learning_rate=rate)
    trainer = temper.Trainer(model, loss=loss, optimizer=optimizer, batch_size=batch or len(x), seed=5)
    return np.array(trainer.fit(x, y, epochs=epochs)["training_loss"])


def filled(layers, shape, rng):
    model = temper.Model(layers, input=shape, dtype="float64")
    for array in model.parameters().values():
        array[...] = rng.normal(0, 0.5, array.shape)
    return model, {name: array for name, array in model.parameters().items()}


def tensors(model):
    """Everything that a model's file holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.safetensors")
        model.save(path)
        data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = {n: e for n, e in json.loads(data[8:start]).items() if n != "__metadata__"}
    return {
        name: np.frombuffer(data[start + e["data_offsets"][0] : start + e["data_offsets"][1]]).reshape(e["shape"])
        for name, e in entries.items()
    }


@pytest.mark.parametrize("alpha", [0.3, 1, 4])
def test_mixup_mixes_the_losses(alpha):
    """Two samples x = y in {0, 1} and the identity: the loss of a step is l (1 - l), with unmixed targets (1 - l)^2."""
    model = temper.Model([{"mixup": alpha}, {"dense": {"size": 1, "bias": False}}], input=(1,), dtype="float64")
    model.parameters()["1.weight"][...] = 1
    x = np.array([[0.0], [1]])
    losses = train(model, x, x, epochs=4000)
    assert losses.max() <= 0.25
    assert abs(losses.mean() - alpha / (2 * (2 * alpha + 1))) < 5 * losses.std() / 4000**0.5
    np.testing.assert_array_equal(model.predict(x), x)


def test_mixup_of_class_ids(rng):
    """Class ids are mixed through their losses: shares of the two classes show in a constant prediction's loss."""
    model, p = filled([{"mixup": 1}, {"dense": 2}], (3,), rng)
    p["1.weight"][...], p["1.bias"][...] = 0, [2, 0]
    x, y = rng.normal(size=(2, 3)), np.array([0, 1])
    # Each of the two losses occurs with both shares, so their mean does not depend on the share.
    own = -np.log(np.exp([2, 0]) / np.exp([2, 0]).sum())
    np.testing.assert_allclose(train(model, x, y, "cross_entropy", epochs=20), own.mean(), rtol=1e-12)


def test_symmetric_noise_cancels_to_first_order(rng):
    """(w (x + e) - t)^2 and (w (x - e) - t)^2 have the mean (w x - t)^2 + (w e)^2; one sign alone is far off."""
    x = rng.normal(size=(1, 4, 3))
    for mode, cancels in (("double", True), ("alternate", False)):
        layers = [{"symnoise": {"alpha": 2, "pair_mode": mode}}, "flatten", {"dense": {"size": 1, "bias": False}}]
        model, p = filled(layers, (4, 3), rng)
        w = p["2.weight"].ravel()
        losses = train(model, x, np.array([[w @ x.ravel() - 1000]]), epochs=30)
        excess = losses - 1e6
        assert (((excess > -1e-6) & (excess <= 4 * (w @ w) + 1e-6)).all()) == cancels


def test_frozen_layers_stay(rng):
    model, p = filled([{"frozen": [{"dense": 4}, "tanh"]}, {"dense": 1}], (3,), rng)
    before = {name: array.copy() for name, array in p.items()}
    x = rng.normal(size=(20, 3))
    optimizer = temper.optimizer("adamw", learning_rate=0.01, weight_decay=0.1)
    temper.Trainer(model, loss="mse", optimizer=optimizer, batch_size=5).fit(x, x[:, :1], epochs=3)
    for name in p:
        assert (p[name] == before[name]).all() == name.startswith("0."), name


def test_frozen_layers_run_as_in_inference(rng):
    """No dropout, and running statistics neither moved nor left: the loss is that of the predictions."""
    model, _ = filled([{"frozen": ["batch_norm", {"dropout": 0.5}]}, {"dense": 1}], (3,), rng)
    x, y = 3 + rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    expected = ((model.predict(x) - y) ** 2).mean()
    np.testing.assert_allclose(train(model, x, y, epochs=3), expected, rtol=1e-12)
    assert (tensors(model)["0.0.running_mean"] == 0).all()


def test_lora_trains_only_the_update(rng):
    model = temper.Model(
        [{"lora": {"layers": [{"dense": 4}, "tanh", {"dense": 1}], "rank": 2}}], input=(3,), dtype="float64"
    )
    p = model.parameters()
    before = {name: array.copy() for name, array in p.items()}
    x = rng.normal(size=(64, 3))
    losses = train(model, x, np.sin(x[:, :1]), rate=0.05, epochs=60, batch=16)
    assert losses[-1] < 0.7 * losses[0]
    for name in p:
        assert (p[name] == before[name]).all() != ("lora" in name), name


def test_load_balance(rng):
    """Training adds E sum_i f_i P_i times the weight; inference does not."""
    model, p = filled(
        [{"topk_softmax_gate": {"experts": 4, "K": 2, "layers": [{"dense": 1}], "load_balance": 0.3}}], (3,), rng
    )
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 1))
    u = x @ p["0.gate.weight"].T + p["0.gate.bias"]
    probabilities = np.exp(u) / np.exp(u).sum(1, keepdims=True)
    share = np.bincount(u.argmax(1), minlength=4) / 50
    balance = 4 * (share * probabilities.mean(0)).sum()
    plain = ((model.predict(x) - y) ** 2).mean()
    np.testing.assert_allclose(train(model, x, y), plain + 0.3 * balance, rtol=1e-10)
    p["0.gate.weight"][...] = 0
    p["0.gate.bias"][...] = 0  # even probabilities: 1 whatever the choice
    plain = ((model.predict(x) - y) ** 2).mean()
    np.testing.assert_allclose(train(model, x, y), plain + 0.3, rtol=1e-10)


def test_fourier_penalty(rng):
    model, p = filled([{"fourier_head": {"bins": 6, "num_frequencies": 3, "gamma": 0.01}}], (4,), rng)
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 6, 20)
    numbers = x @ p["0.linear.weight"].T + p["0.linear.bias"]
    a = numbers[:, :4] + 1j * numbers[:, 4:]
    penalty = sum(
        2 * 2 * np.pi**2 * k**2 * abs((np.conj(a[:, : 4 - k]) * a[:, k:]).sum(1)) ** 2 for k in range(1, 4)
    ).mean()
    logits = model.predict(x)
    plain = (np.log(np.exp(logits).sum(1)) - logits[np.arange(20), y]).mean()
    np.testing.assert_allclose(train(model, x, y, "cross_entropy"), plain + 0.01 * penalty, rtol=1e-10)


def test_label_regularization(rng):
    model, p = filled(
        [{"label_attention_pooling": {"labels": 3, "hidden": 5, "dropout": 0, "label_reg": 0.7}}], (4, 6), rng
    )
    x, y = rng.normal(size=(10, 4, 6)), rng.integers(0, 3, 10)

    def entropy(logits, y):
        return (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]).mean()

    hidden = np.maximum(p["0.labels"] @ p["0.hidden.weight"].T + p["0.hidden.bias"], 0)
    own = entropy(hidden @ p["0.classifier.weight"].T + p["0.classifier.bias"], np.arange(3))
    np.testing.assert_allclose(
        train(model, x, y, "cross_entropy"), entropy(model.predict(x), y) + 0.7 * own, rtol=1e-10
    )


def test_levi_losses(rng):
    """The mean of the heads' losses, or the loss of their mean, which Jensen's inequality puts below it."""
    options = {"backbone": [{"dense": 6}, "tanh", {"dense": 4}], "task": [{"dense": 3}], "size": 2}
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    model, p = filled([{"levi_layerwise_ensemble": options}], (5,), rng)
    h = [x @ p["0.backbone.0.weight"].T + p["0.backbone.0.bias"]]
    h.append(np.tanh(h[0]))
    h.append(h[1] @ p["0.backbone.2.weight"].T + p["0.backbone.2.bias"])
    s = x @ p["0.task.0.weight"].T + p["0.task.0.bias"]
    heads = []
    for i, view in enumerate(h):
        inner = np.concatenate([view, s], 1) @ p[f"0.head{i}.0.weight"].T + p[f"0.head{i}.0.bias"]
        heads.append(np.maximum(inner, 0) @ p[f"0.head{i}.1.weight"].T + p[f"0.head{i}.1.bias"])
    apart = np.mean([((o - y) ** 2).mean() for o in heads])
    together = ((np.mean(heads, 0) - y) ** 2).mean()
    np.testing.assert_allclose(train(model, x, y), apart, rtol=1e-10)
    joint = temper.Model([{"levi_layerwise_ensemble": {**options, "loss": "of_mean"}}], input=(5,), dtype="float64")
    for name, array in joint.parameters().items():
        array[...] = p[name]
    np.testing.assert_allclose(train(joint, x, y), together, rtol=1e-10)
    assert together <= apart


@pytest.mark.parametrize("mode, tau", [("approx_orth", 1.1), ("approx_orth", 1.5), ("mean", 1.0)])
def test_condlr_keeps_its_condition(rng, mode, tau):
    """After every step factors are orthonormal and the condition is at most tau; plain low rank leaves both."""
    layer = {"condlr_linear": {"size": 12, "compression": 0.5, "mode": mode, "tau": max(tau, 1.1)}}
    model = temper.Model([layer, "tanh", {"dense": 1}], input=(10,), dtype="float64")
    p = model.parameters()
    x = rng.normal(size=(64, 10))
    for _ in range(4):
        train(model, x, np.sin(x[:, :1] * x[:, 1:2]), rate=0.5, epochs=3, batch=16)
        for name in ("0.u", "0.v"):
            np.testing.assert_allclose(p[name].T @ p[name], np.eye(5), atol=1e-9)
        values = np.linalg.svd(p["0.s"], compute_uv=False)
        assert values[0] / values[-1] <= tau * (1 + 1e-6) + 1e-12
    assert values[0] / values[-1] > (1 + tau) / 2 - 1e-6  # it works against the training


def test_condlr_clip(rng):
    """Clipped to sb (1 +- (tau - 1) / (tau + 1)), sb the mean; a feasible S stays bit for bit."""
    model = temper.Model([{"condlr_linear": {"size": 6, "compression": 0, "tau": 1.5}}], input=(6,), dtype="float64")
    p = model.parameters()
    q, r = (np.linalg.qr(rng.normal(size=(6, 6)))[0] for _ in range(2))
    x, y = rng.normal(size=(8, 6)), np.zeros((8, 6))
    before = np.array([5.0, 2, 1.1, 1, 0.5, 0.1])
    p["0.s"][...] = q @ np.diag(before) @ r.T
    train(model, x, y)
    middle = before.mean()
    clipped = np.clip(before, middle * (1 - 0.2), middle * (1 + 0.2))
    np.testing.assert_allclose(p["0.s"], q @ np.diag(clipped) @ r.T, rtol=1e-9, atol=1e-11)
    kept = p["0.s"].copy()
    train(model, x, y)
    np.testing.assert_allclose(p["0.s"], kept, rtol=1e-12, atol=1e-13)


def test_key_value_bottleneck_phases(rng):
    """First keys follow the data and values stay; then values train and keys stay. With decay 0 and the whole batch a
    step of the first phase is one of Lloyd's."""
    options = {
        "size": 2,
        "codebooks": 3,
        "keys_per_codebook": 4,
        "d_key": 2,
        "key_init_steps": 1,
        "ema_decay": 0,
        "dead_key_threshold": 0,
    }
    model = temper.Model([{"discrete_key_value_bottleneck": options}], input=(5,), dtype="float64")
    x, y = rng.normal(size=(200, 5)), rng.normal(size=(200, 2))
    before = {name: array.copy() for name, array in tensors(model).items()}
    optimizer = temper.optimizer("sgd", learning_rate=0.5)
    trainer = temper.Trainer(model, loss="mse", optimizer=optimizer, batch_size=200)
    trainer.fit(x, y, epochs=1)
    first = tensors(model)
    assert (first["0.values"] == before["0.values"]).all()
    assert (first["0.projection"] == before["0.projection"]).all()
    for c in range(3):
        u = x @ before["0.projection"][c]
        nearest = ((u[:, None] - before["0.keys"][c]) ** 2).sum(-1).argmin(1)
        for key in range(4):
            if (nearest == key).any():
                np.testing.assert_allclose(first["0.keys"][c, key], u[nearest == key].mean(0), rtol=1e-9)
    trainer.fit(x, y, epochs=3)
    second = tensors(model)
    assert (second["0.keys"] == first["0.keys"]).all()
    assert (second["0.values"] != first["0.values"]).any()


def test_dead_keys_move_to_inputs(rng):
    options = {"size": 2, "codebooks": 1, "keys_per_codebook": 8, "d_key": 2, "key_init_steps": 50, "ema_decay": 0.5}
    model = temper.Model([{"discrete_key_value_bottleneck": options}], input=(2,), dtype="float64")
    x = rng.normal(size=(100, 2)) + 50  # far from every key: all but one are dead
    train(model, x, np.zeros((100, 2)), epochs=50)
    held = tensors(model)
    u = x @ held["0.projection"][0]
    nearest = ((u[:, None] - held["0.keys"][0]) ** 2).sum(-1).argmin(1)
    assert len(set(nearest)) == 8


@pytest.mark.parametrize(
    "layer, shape",
    [
        ({"mixup": 0.5}, (6,)),
        ({"symnoise": 1}, (3, 2)),
        ({"spectral_norm": [{"dense": 4}]}, (6,)),
        ({"condlr_linear": {"size": 5, "compression": 0.2}}, (6,)),
        ({"mixout": [{"dense": 4}]}, (6,)),
        ({"lora": {"layers": [{"dense": 4}], "rank": 2}}, (6,)),
    ],
    ids=str,
)
def test_resumed_training_gives_the_same_bits(rng, tmp_path, layer, shape):
    x, y = rng.normal(size=(40, *shape)), rng.normal(size=(40, 1))

    def fresh():
        model = temper.Model([layer, "flatten", {"dense": 1}], input=shape, dtype="float64", seed=3)
        optimizer = temper.optimizer("adam", learning_rate=0.01)
        return model, temper.Trainer(model, loss="mse", optimizer=optimizer, batch_size=16, seed=4)

    whole, trainer = fresh()
    trainer.fit(x, y, epochs=4)
    half, trainer = fresh()
    trainer.fit(x, y, epochs=2)
    trainer.save(tmp_path / "run.safetensors")
    again, trainer = fresh()
    trainer.resume(tmp_path / "run.safetensors")
    trainer.fit(x, y, epochs=4)
    for name, array in tensors(again).items():
        assert (array == tensors(whole)[name]).all(), name
