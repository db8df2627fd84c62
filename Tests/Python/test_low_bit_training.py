"""Training for few bits: quantized optimizer state, movement pruning, sensitivity-aware finetuning, rounded attention."""

import json
import struct

import numpy as np
import pytest

import temper
from temper.study import digits

CONTEXT = temper.Context(threads=1)
(X, Y), (TEST_X, TEST_Y) = digits.load(digits.find())
X, Y = X[:600], Y[:600]


def accuracy(model):
    return (model.predict(TEST_X).argmax(axis=1) == TEST_Y).mean()


def trained(layers, epochs, seed=1, shape=(64,), **settings):
    model = temper.Model(layers, input=shape, seed=seed, context=CONTEXT)
    optimizer = CONTEXT.optimizer(settings.pop("optimizer", "adam"), learning_rate=0.005)
    trainer = temper.Trainer(model, loss=CONTEXT.loss("cross_entropy"), optimizer=optimizer, seed=seed, **settings)
    trainer.fit(X, Y, epochs=epochs)
    return model


# adam_8bit


def levels(decades):
    """Of codes 0 … 2^(decades + 1) - 1, as the docs of adam_8bit say."""
    found = []
    for j in range(decades + 1):
        found += [10.0 ** (j - decades) * (0.1 + 0.9 * (k + 0.5) / 2**j) for k in range(2**j)]
    return np.array([*found, 1.0])


def kept(optimizer, path):
    optimizer.save(path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    return {
        name.split(".")[-1]: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"
    }  # fmt: skip


def decoded(state, name, count, is_signed):
    words, scales = state[name + "_codes"].astype(np.int64), state[name + "_scales"]
    codes = np.stack([words & 255, words >> 8 & 255, words >> 16], axis=-1).reshape(len(words), -1)
    table = levels(6 if is_signed else 7)
    if is_signed:
        table[0] = 0
        values = table[codes & 127] * np.where(codes & 128, -1, 1)
    else:
        values = table[codes]
    block = -(-count // len(words))
    return (values[:, :block] * scales).ravel()[:count]


def test_states_of_eight_bits_are_near_those_of_adam(tmp_path):
    """After some steps each kept average is one of the two codes next to Adam's, up to what earlier roundings left."""
    rng, count = np.random.default_rng(0), 1000
    gradients = [(rng.normal(size=count) * np.exp(2 * rng.normal(size=count))).astype(np.float32) for _ in range(3)]
    optimizer, w = CONTEXT.optimizer("adam_8bit", min_size=1, block_size=100, learning_rate=0.01), np.zeros(count, np.float32)
    plain, exact = CONTEXT.optimizer("adam", learning_rate=0.01), np.zeros(count, np.float32)
    for gradient in gradients:
        optimizer.step([w], [gradient])
        plain.step([exact], [gradient])
    state = kept(optimizer, tmp_path / "state.safetensors")
    assert state["first_moment_codes"].shape == (10, 34)  # three codes in a number
    m, v = 0, 0
    for gradient in gradients:
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    for name, value, is_signed in [("first_moment", m, True), ("second_moment", v, False)]:
        ours = decoded(state, name, count, is_signed)
        large = np.abs(value) > np.repeat(np.abs(value.reshape(10, 100)).max(1), 100) * 0.1
        # Steps of 0.9 / 2^6, or 2^7, of the block's largest, three times rounded.
        step = 3 * (0.9 / 64 if is_signed else 0.9 / 128) * np.repeat(np.abs(value.reshape(10, 100)).max(1), 100)
        assert (np.abs(ours - value)[large] < step[large]).all()
    assert np.abs(w - exact).max() < 0.02 and np.corrcoef(w, exact)[0, 1] > 0.99


def test_eight_bits_converge_as_adam_does():
    layers = [{"dense": 96}, "relu", {"dense": 10}]
    whole, coded = (np.mean([accuracy(trained(layers, 6, seed, optimizer=name)) for seed in (1, 2, 3)])
                    for name in ("adam", "adam_8bit"))  # fmt: skip
    assert whole > 0.85 and coded > whole - 0.015


def test_small_arrays_keep_whole_averages():
    a, b = np.ones(100, np.float32), np.ones(100, np.float32)
    first, second = CONTEXT.optimizer("adam_8bit"), CONTEXT.optimizer("adam")
    for step in range(5):
        gradient = np.linspace(-1, 1, 100, dtype=np.float32) * (step - 2)
        first.step([a], [gradient])
        second.step([b], [gradient])
    np.testing.assert_array_equal(a, b)


# movement_pruning


def test_movement_pruning_keeps_the_largest_scores():
    layers = [{"movement_pruning": {"layers": [{"dense": {"units": 6, "bias": False}}], "sparsity": 0.75}}]
    model = temper.Model(layers, input=(4,), seed=2)
    values = model.parameters()
    w, scores = values["0.0.weight"], values["0.0.weight_scores"].ravel()
    np.testing.assert_allclose(scores, 0.01 * np.abs(w).ravel(), rtol=1e-6)
    mask = np.zeros(24)
    mask[np.argsort(scores)[18:]] = 1
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), x @ (w * mask.reshape(w.shape)).T, rtol=1e-5, atol=1e-6)
    dy = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    slopes = model.vjp(x, dy, wrt=["0.0.weight", "0.0.weight_scores"])
    whole = dy.T @ x
    np.testing.assert_allclose(slopes["0.0.weight"], whole * mask.reshape(w.shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slopes["0.0.weight_scores"].reshape(w.shape), whole * w, rtol=1e-4, atol=1e-5)


def test_movement_pruning_learns_which_weights_go():
    def layers(sparsity, warmup):
        inner = [{"dense": 32}, "relu", {"dense": 10}]
        return [{"movement_pruning": {"layers": inner, "sparsity": sparsity, "warmup": warmup}}]

    model = trained(layers(0.8, 100), 25)
    fixed = CONTEXT.quantizer("magnitude_pruning", sparsity=0.8).quantize_model(trained([{"dense": 32}, "relu", {"dense": 10}], 25))
    assert accuracy(model) > 0.85 and accuracy(model) > accuracy(fixed)


# sensitivity_aware_finetune

DEEP = [layer for _ in range(5) for layer in ({"dense": 32}, "relu")] + [{"dense": 10}]


def rounded(x, bits):
    step = max(np.abs(x).max() / (2 ** (bits - 1) - 1), 1e-30)
    return step * np.round(x / step)


def noisy_accuracy(model, bits):
    """With inputs, weights and outputs of every layer rounded."""
    values, x = model.parameters(), TEST_X
    for layer in range(0, 11, 2):
        y = rounded(rounded(x, bits) @ rounded(values[f"{layer}.weight"], bits).T + values[f"{layer}.bias"], bits)
        x = np.maximum(y, 0)
    return (y.argmax(axis=1) == TEST_Y).mean()


@pytest.mark.parametrize("mode", ["per_layer", "cumulative"])
def test_only_sensitive_layers_are_trained(mode):
    model = trained(DEEP, 5)
    before = {name: value.copy() for name, value in model.parameters().items()}
    procedure = CONTEXT.procedure("sensitivity_aware_finetune", bits=4, mode=mode)
    trainer = temper.Trainer(
        model, loss=CONTEXT.loss("cross_entropy"), procedure=procedure, seed=3,
        optimizer=CONTEXT.optimizer("adamw", learning_rate=0.001, weight_decay=0.1),
    )  # fmt: skip
    trainer.fit(X, Y, epochs=2)
    moved = {int(name.split(".")[0]) for name, value in model.parameters().items() if (value != before[name]).any()}
    # The scores by hand: noise in a layer alone, on the first 256 samples.
    x, scores = X[:256], {}
    for layer in range(0, 11, 2):
        w, b = before[f"{layer}.weight"], before[f"{layer}.bias"]
        clean = x @ w.T + b
        scores[layer] = (rounded(rounded(x, 4) @ rounded(w, 4).T + b, 4) - clean).std() / clean.std()
        x = np.maximum(clean, 0)
    if mode == "per_layer":
        order, expected, total = sorted(scores, key=scores.get, reverse=True), [], sum(scores.values())
        for layer in order:
            if sum(scores[i] for i in expected) < 0.5 * total and len(expected) < 3:
                expected.append(layer)
        assert moved == set(expected)
    assert 1 <= len(moved) <= 3
    for name, value in before.items():
        if int(name.split(".")[0]) not in moved:
            np.testing.assert_array_equal(model.parameters()[name], value)


def test_without_noise_and_choice_it_is_plain_training():
    def fitted(procedure):
        model = temper.Model([{"dense": 6}, "tanh", {"dense": 10}], input=(64,), seed=3, dtype="float64", context=CONTEXT)
        temper.Trainer(model, optimizer="adam", procedure=procedure, seed=4).fit(X.astype(float), Y, epochs=2)
        return model.parameters()

    settings = {"bits": None, "noise": 1e-14, "score_mass": 1, "max_layer_share": 1}
    ours = fitted(CONTEXT.procedure("sensitivity_aware_finetune", **settings))
    for name, value in fitted(None).items():
        np.testing.assert_allclose(ours[name], value, atol=1e-9)


def test_finetuning_resumes(tmp_path):
    def trainer():
        model = temper.Model(DEEP, input=(64,), seed=3, context=CONTEXT)
        procedure = CONTEXT.procedure("sensitivity_aware_finetune", noise=0.1)
        return temper.Trainer(model, procedure=procedure, seed=4)

    whole, first = trainer(), trainer()
    whole.fit(X, Y, epochs=3)
    first.fit(X, Y, epochs=1)
    first.save(tmp_path / "run")
    second = trainer()
    second.resume(tmp_path / "run")
    second.fit(X, Y, epochs=3)
    for name, value in whole.model.parameters().items():
        np.testing.assert_array_equal(second.model.parameters()[name], value)


def test_finetuning_recovers_accuracy():
    """3 bits everywhere, half of the layers trained: most of what training all of them on noise brings back."""
    lost, some, every = [], [], []
    for seed in (1, 2, 3):
        for found, settings in ((some, {}), (every, {"score_mass": 1, "max_layer_share": 1})):
            model = trained(DEEP, 12, seed)
            if found is some:
                lost.append(noisy_accuracy(model, 4))
            trainer = temper.Trainer(
                model, loss=CONTEXT.loss("cross_entropy"), optimizer=CONTEXT.optimizer("adam", learning_rate=0.001),
                procedure=CONTEXT.procedure("sensitivity_aware_finetune", bits=4, **settings), seed=seed,
            )  # fmt: skip
            trainer.fit(X, Y, epochs=8)
            found.append(noisy_accuracy(model, 4))
    assert np.mean(some) > np.mean(lost)
    assert np.mean(some) - np.mean(lost) > 0.6 * (np.mean(every) - np.mean(lost))


# quantized_softmax


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_quantized_softmax_and_its_corrections(rng):
    z = rng.normal(size=(20, 64))
    z[:, 50:] = -np.inf
    p, step = softmax(z), 1 / 15
    plain = np.minimum(np.round(p / step), 15) * step
    np.testing.assert_allclose(temper.op("quantized_softmax", bits=4)(z), plain, atol=1e-12)
    row = temper.op("quantized_softmax", bits=4, correction="row")(z)
    np.testing.assert_allclose(row.sum(-1), 1, atol=1e-12)
    assert (row[:, 50:] == 0).all()
    # With the mean of what is missed, as softmax_bias_correction finds it, the rest misses less.
    calibrator = temper.calibrator("softmax_bias_correction", bits=4, granularity="per_tensor", range="unit")
    calibrator.fit(probabilities=p, visible=(z > -np.inf))
    expected = calibrator.transform(probabilities=p, visible=(z > -np.inf))
    beta = (p - plain)[:, :50].mean()
    corrected = temper.op("quantized_softmax", bits=4, correction=beta)(z)
    np.testing.assert_allclose(corrected, expected, atol=1e-9)
    missed = [np.square(q - p)[:, :50].mean() for q in (plain, corrected)]
    np.testing.assert_allclose(missed[1], missed[0] - beta**2, rtol=1e-9)
    dy = rng.normal(size=z.shape)
    np.testing.assert_allclose(
        temper.op("quantized_softmax", bits=4).vjp(z, dy), temper.op("softmax").vjp(z, dy), atol=1e-12)


def test_attention_with_few_bits_is_corrected():
    """64 pixels as tokens: rounded attention misses the layer's outputs; corrected rows miss less."""
    def layers(normaliser):
        return [{"dense": 16}, {"multi_head_attention": {"heads": 2, "normaliser": normaliser}}]

    x = np.random.default_rng(3).normal(size=(8, 64, 4)).astype(np.float32)
    exact = temper.Model(layers("softmax"), input=(64, 4), seed=1, context=CONTEXT)
    outputs = {}
    for correction in ("off", "row"):
        model = temper.Model(layers({"quantized_softmax": {"bits": 5, "correction": correction}}), input=(64, 4), seed=1, context=CONTEXT)
        outputs[correction] = np.square(model.predict(x) - exact.predict(x)).mean()
    assert 0 < outputs["row"] < outputs["off"]
