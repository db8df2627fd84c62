"""Quantizers that learn block after block, pd_quant and metaaug_ptq, and inputs of few bits before convolutions."""

import numpy as np
import pytest

import temper
from temper.study import digits

CONTEXT = temper.Context(threads=1)
(X, Y), (TEST_X, TEST_Y) = digits.load(digits.find())
MLP = [{"dense": 24}, "relu", {"dense": 24}, "relu", {"dense": 24}, "relu", {"dense": 10}]
CONV = [
    {"conv2d": {"channels": 6}}, "batch_norm", "relu", {"conv2d": {"channels": 6}}, "batch_norm", "relu", {"max_pool": 2},
    "flatten", {"dense": 10},
]  # fmt: skip


def trained(layers, shape, seed, epochs):
    model = temper.Model(layers, input=shape, seed=seed, context=CONTEXT)
    optimizer = CONTEXT.optimizer("adam", learning_rate=0.005)
    temper.Trainer(model, loss=CONTEXT.loss("cross_entropy"), optimizer=optimizer, seed=seed).fit(
        X[:600].reshape(-1, *shape), Y[:600], epochs=epochs)
    return model


@pytest.fixture(scope="module")
def mlp():
    return trained(MLP, (64,), 1, 10)


@pytest.fixture(scope="module")
def conv():
    return trained(CONV, (1, 8, 8), 1, 2)


def packed(model, name, shape=(64,), **settings):
    return CONTEXT.quantizer(name, **settings).quantize_model(model, X[:64].reshape(-1, *shape))


def same(a, b):
    assert all(np.array_equal(value, b.parameters()[name]) for name, value in a.parameters().items())


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_blocks(kind, request):
    model, shape = request.getfixturevalue(kind), {"mlp": (64,), "conv": (1, 8, 8)}[kind]
    result = packed(model, "pd_quant", shape, bits=3, bits_a=6, iters=20, correction_iters=5)
    bits = [entry["bits"] for entry in result.quantization.values()]
    assert bits == [8, *[3] * (len(bits) - 2), 8]
    rounded = packed(model, "pd_quant", shape, bits=3, bits_a=None, iters=0, end_bits=3, correction_iters=0)
    nearest = CONTEXT.quantizer("round_to_nearest", bits=3, symmetric=False, range="mse").quantize_model(model)
    for name, weight in nearest.parameters().items():
        np.testing.assert_allclose(rounded.parameters()[name], weight, atol=1e-6)
    # A weight that counts nothing, and none.
    settings = dict(bits=3, bits_a=4, iters=15, correction_iters=3)
    none = packed(model, "pd_quant", shape, lam_r=None, **settings)
    same(packed(model, "pd_quant", shape, lam_r=1e30, **settings), none)
    same(packed(model, "metaaug_ptq", shape, lr_T=0, alternating_iters=2, bits=3, bits_a=4, iters=15),
         packed(model, "pd_quant", shape, lam_r=None, bits=3, bits_a=4, iters=15, correction_iters=0))  # fmt: skip


def test_learned_rounding_keeps_predictions(mlp):
    """2 bits of weights, 4 of inputs, 64 images."""
    def divergence(model):
        p, q = (np.log(np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
                for z in (mlp.predict(TEST_X), model.predict(TEST_X)))  # fmt: skip
        return (np.exp(p) * (p - q)).sum(1).mean()

    settings = dict(bits=2, bits_a=4, iters=200, lr_round=0.03)
    nearest = divergence(packed(mlp, "pd_quant", bits=2, bits_a=4, iters=0))
    local = divergence(packed(mlp, "pd_quant", lam_r=None, **settings))
    ours = divergence(packed(mlp, "pd_quant", **settings))
    changed = divergence(packed(mlp, "metaaug_ptq", alternating_iters=20, lr_T=0.01, **settings))
    assert local < 0.7 * nearest and ours < 0.7 * nearest and changed < 0.7 * nearest


@pytest.mark.parametrize("order", [True, False])
def test_the_change_of_inputs_is_learned(conv, order):
    settings = dict(shape=(1, 8, 8), bits=2, bits_a=4, iters=10, lr_round=0.5, alternating_iters=3, second_order=order)
    still, moved = (packed(conv, "metaaug_ptq", lr_T=rate, **settings) for rate in (0, 0.05))
    assert any((value != moved.parameters()[name]).any() for name, value in still.parameters().items())


def test_a_run_is_cancelled_between_blocks_and_goes_on(mlp):
    settings = dict(bits=3, bits_a=4, iters=10, correction_iters=0)
    whole = packed(mlp, "pd_quant", **settings)
    quantizer, told = CONTEXT.quantizer("pd_quant", **settings), []
    with pytest.raises(temper.errors.Cancelled):
        quantizer.quantize_model(mlp, X[:64], callback=lambda step: told.append(step) or len(told) == 2)
    same(quantizer.quantize_model(mlp, X[:64]), whole)


def test_inputs_of_convolutions_are_rounded(conv):
    x = X[:16].reshape(-1, 1, 8, 8)
    result = CONTEXT.quantizer("pd_quant", bits=8, bits_a=2, end_bits=2, iters=0).quantize_model(conv, x)
    exact = CONTEXT.quantizer("pd_quant", bits=8, bits_a=None, end_bits=2, iters=0).quantize_model(conv, x)
    coarse, fine = (np.square(model.predict(x) - conv.predict(x)).mean() for model in (result, exact))
    assert coarse > 4 * fine  # two bits of inputs are seen


def test_outputs_of_convolutions_are_corrected(conv):
    """The mean of each channel is that of the float layer: only the first layer is packed, and nothing follows it."""
    first = temper.Model(CONV[:1] + ["flatten"], input=(1, 8, 8), seed=4, context=CONTEXT)
    x = X[:256].reshape(-1, 1, 8, 8)
    plain = CONTEXT.quantizer("round_to_nearest", bits=2).quantize_model(first)
    corrected = CONTEXT.quantizer("bias_correction", bits=2).quantize_model(first, x)
    means = [np.abs((model.predict(x) - first.predict(x)).reshape(256, 6, -1).mean((0, 2))).max() for model in (plain, corrected)]
    assert means[1] < 1e-3 * means[0] or means[1] < 1e-5


@pytest.mark.parametrize("settings, error", [
    ({"bits": 9}, "bits"), ({"drop_prob": 2}, "drop_prob"), ({"lam_r": 0}, "lam_r"),
])  # fmt: skip
def test_what_cannot_be(mlp, settings, error):
    with pytest.raises(temper.Error, match=error):
        packed(mlp, "pd_quant", **settings)


def test_inputs_that_cannot_be_changed():
    words = temper.Model([{"embedding": {"entries": 5, "size": 4}}, "flatten", {"dense": 3}], input=(6,), context=CONTEXT)
    ids = np.random.default_rng(0).integers(0, 5, (32, 6))
    with pytest.raises(temper.Error, match="indices"):
        CONTEXT.quantizer("metaaug_ptq", iters=2).quantize_model(words, ids)
    assert CONTEXT.quantizer("pd_quant", iters=2, bits=4).quantize_model(words, ids).is_quantized
    with pytest.raises(temper.Error, match="calibration"):
        CONTEXT.quantizer("pd_quant").quantize_model(words)
