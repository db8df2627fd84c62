"""Quantizers: matrices and models."""

import numpy as np
import pytest

import temper

RNG = np.random.default_rng(6)
W = RNG.normal(size=(24, 64)).astype(np.float32)


@pytest.mark.parametrize("bits, step", [(8, 255), (4, 15)])
def test_round_to_nearest_is_within_half_a_step(bits, step):
    packed = temper.quantizer("round_to_nearest", bits=bits).quantize(W)
    assert (packed.shape, packed.bits) == (W.shape, bits)
    assert packed.nbytes < W.nbytes * (bits + 4) / 32
    span = np.abs(W).max() * 2 / (step - 1)
    assert np.abs(packed.dequantize() - W).max() <= span * 0.51


def test_products_come_from_the_packed_weights():
    packed = temper.quantizer("round_to_nearest", bits=4).quantize(W)
    x = RNG.normal(size=(7, 64)).astype(np.float32)
    np.testing.assert_allclose(packed.matmul(x), x @ packed.dequantize().T, rtol=1e-4, atol=1e-4)
    out = np.empty((7, 24), np.float32)
    assert packed.matmul(x, out=out) is out
    np.testing.assert_array_equal(out, packed.matmul(x))
    dense = np.empty(W.shape, np.float32)
    assert packed.dequantize(out=dense) is dense


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("bits, group", [(8, 0), (4, 32), (3, 20)])
def test_products_in_integers(rows, bits, group):
    packed = temper.quantizer("round_to_nearest", bits=bits, group_size=group, symmetric=False).quantize(W)
    x = RNG.normal(size=(rows, 64)).astype(np.float32)
    scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    rounded = np.rint(x / scales).astype(np.float64) * scales
    y = packed.matmul(x, activations="int8")
    np.testing.assert_allclose(y, rounded @ packed.dequantize().T.astype(np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(packed.matmul(x.astype(np.float64), activations="int8"), y, rtol=1e-6, atol=1e-6)
    one = temper.Context(threads=1).quantizer("round_to_nearest", bits=bits, group_size=group, symmetric=False)
    np.testing.assert_array_equal(one.quantize(W).matmul(x, activations="int8"), y)


def test_rows_that_are_not_finite_do_not_spoil_others():
    packed = temper.quantizer("round_to_nearest", bits=8).quantize(W)
    x = RNG.normal(size=(4, 64)).astype(np.float32)
    x[0, 3], x[1, 5], x[2] = np.nan, np.inf, 0
    y = packed.matmul(x, activations="int8")
    assert np.isnan(y[:2]).all() and (y[2] == 0).all()
    np.testing.assert_array_equal(y[3:], packed.matmul(x[3:], activations="int8"))


@pytest.mark.parametrize("m, k, n", [(1, 70, 33), (4, 200, 65), (9, 4, 7), (70, 130, 45), (3, 0, 2), (0, 3, 2)])
def test_int8_matrices(m, k, n):
    a = RNG.integers(-128, 128, (m, k)).astype(np.int8)
    b = RNG.integers(-128, 128, (k, n)).astype(np.int8)
    expected = a.astype(np.int32) @ b.astype(np.int32)
    for left in (a, np.repeat(a, 2, axis=1)[:, ::2], a[::-1][::-1], np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b), np.repeat(b, 3, axis=1)[:, ::3]):
            y = temper.matmul_int8(left, right)
            assert y.dtype == np.int32
            np.testing.assert_array_equal(y, expected)
    out = np.empty((n, m), np.int32)
    temper.matmul_int8(a, b, out=out.T)
    np.testing.assert_array_equal(out.T, expected)


@pytest.mark.parametrize("name, largest", [("fp8_e4m3", 448.0), ("fp8_e5m2", 57344.0)])
def test_small_floats_are_those_of_torch(name, largest):
    torch = pytest.importorskip("torch")
    # With the largest number among them the scale is 1. Ties, subnormal numbers and underflow are among them too.
    grid = np.ldexp(1.0 + np.arange(64) / 64, np.arange(-20, 8)[:, None]).ravel()
    row = np.concatenate([grid, -grid, [0.0, largest]]).astype(np.float32)
    kind = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[name]
    expected = torch.from_numpy(row).to(kind).to(torch.float32).numpy()
    np.testing.assert_array_equal(temper.quantizer(name).quantize(row[None]).dequantize()[0], expected)


def test_calibration_lowers_the_error_of_what_the_layer_gives():
    hidden, mixing = RNG.normal(size=(300, 8)), RNG.normal(size=(8, 64))
    x = (hidden @ mixing + 0.3 * RNG.normal(size=(300, 64))).astype(np.float32)

    def error(name, **calibration):
        quantizer = temper.quantizer(name, bits=3, symmetric=False)
        return np.linalg.norm(x @ (quantizer.quantize(W, **calibration).dequantize() - W).T)

    assert error("gptq", calibration=x) < 0.5 * error("round_to_nearest")
    model = temper.Model([{"dense": 32}, "relu", {"dense": 10}], input=(64,), seed=1)
    before = model.predict(x)

    def model_error(name):
        quantizer = temper.quantizer(name, bits=3, symmetric=False)
        return np.linalg.norm(quantizer.quantize_model(model, calibration=x).predict(x) - before)

    assert model_error("gptq") < 0.7 * model_error("round_to_nearest")


def test_a_quantized_model_is_saved_and_loaded(tmp_path):
    model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=1)
    x = RNG.normal(size=(9, 64)).astype(np.float32)
    before = model.predict(x)
    quantized = temper.quantizer("round_to_nearest", bits=8).quantize_model(model)
    assert quantized.is_quantized and not model.is_quantized
    assert quantized.nbytes < 0.4 * model.nbytes
    np.testing.assert_array_equal(model.predict(x), before)
    np.testing.assert_allclose(quantized.predict(x), before, atol=0.1)
    quantized.save(tmp_path / "model.safetensors")
    loaded = temper.load(tmp_path / "model.safetensors")
    assert loaded.is_quantized and loaded.nbytes == quantized.nbytes
    np.testing.assert_array_equal(loaded.predict(x), quantized.predict(x))


# Every quantizer, with 8 and 4 bits where it can be told.
SETTINGS = [
    (record["name"], settings)
    for record in temper.catalog(kind="quantizer")
    if record["name"] != "sigma_delta_rff"  # its weights are features in [-1, 1]
    for settings in ([{"bits": 8}, {"bits": 4}] if "bits" in [p["name"] for p in record["parameters"]] else [{}])
]
SHORT = {
    "adaround": {"iterations": 100},
    "adaquant": {"iters": 50},
    "saliency_regularized_quantization": {"iterations": 50, "rank": 4},
    "evopress": {"generations": 4, "offspring": 8, "survivors": "2,1", "tokens": "64,200"},
    "multi_codebook_vq": {"K": 16, "iterations": 5},
    "additive_codebooks": {"codebook_bits": 6, "iterations": 5},
    "mixed_precision": {"criterion": "divergence"},
    "pd_quant": {"iters": 20},
    "metaaug_ptq": {"iters": 20, "alternating_iters": 2},
}
# What outputs may miss, by the bits of a weight; two bits behind the point count as fewer.
TOLERANCES = {16: 0.01, 8: 0.06, 6: 0.08, 5: 0.15, 4: 0.25, 3: 0.5, 2: 0.8, 1: 0.95}
OTHERS = dict.fromkeys(["magnitude_pruning", "wanda", "sparsegpt"], 0.6) | dict.fromkeys(
    ["fp8_e5m2", "fp6_e3m2", "mxfp8_e5m2", "mxfp6_e3m2"], 0.12
)
OTHERS |= {"mxfp6_e2m3": 0.1, "mxfp8_e4m3": 0.1, "smoothquant": 0.5, "evopress": 0.5, "mixed_precision": 0.5}
INPUTS_ROUNDED_OR_SHIFTED = {"smoothquant", "adaquant", "bias_correction"}  # of matrices


@pytest.mark.parametrize("name, settings", SETTINGS, ids=str)
def test_every_quantizer_packs_matrices_and_models(name, settings, tmp_path):
    quantizer = temper.quantizer(name, **settings, **SHORT.get(name, {}))
    x = RNG.normal(size=(200, 64)).astype(np.float32)
    packed = quantizer.quantize(W, calibration=x)
    tolerance = OTHERS.get(name, TOLERANCES.get(packed.bits, 1))
    report = packed.report
    assert packed.nbytes == report["byte_count"] and report["bits"] <= report["effective_bits"]
    assert packed.bits == int(np.ceil(report["bits"]))
    np.testing.assert_allclose(report["mean_squared_error"], np.mean((packed.dequantize() - W) ** 2), rtol=1e-4)
    exact = x @ W.T
    assert np.linalg.norm(packed.matmul(x) - exact) / np.linalg.norm(exact) < tolerance
    if name not in INPUTS_ROUNDED_OR_SHIFTED:
        missed = packed.matmul(x) - exact
        np.testing.assert_allclose(packed.matmul(x), x @ packed.dequantize().T, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(report["output_error"], np.sum(missed**2) / np.sum(exact**2), rtol=1e-2, atol=1e-9)

    model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=1)
    quantized = quantizer.quantize_model(model, calibration=x)
    before = model.predict(x)
    assert np.linalg.norm(quantized.predict(x) - before) / np.linalg.norm(before) < tolerance
    assert list(quantized.quantization) == ["0.weight", "2.weight"] and not model.quantization
    assert sum(w["byte_count"] for w in quantized.quantization.values()) < quantized.nbytes
    quantized.save(tmp_path / "model.safetensors")
    loaded = temper.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(x), quantized.predict(x))
    assert loaded.nbytes == quantized.nbytes and not loaded.quantization


def test_calibration_may_come_in_parts():
    x = RNG.normal(size=(300, 64)).astype(np.float32)
    quantizer = temper.quantizer("gptq", bits=3)
    whole = quantizer.quantize(W, calibration=x).dequantize()
    np.testing.assert_array_equal(quantizer.quantize(W, calibration=(x[i : i + 64] for i in range(0, 300, 64))).dequantize(), whole)
    quantizer.observe(x)
    np.testing.assert_array_equal(quantizer.quantize(W).dequantize(), whole)
    with pytest.raises(temper.Error):  # what was observed served once
        quantizer.quantize(W)
    model = temper.Model([{"dense": 32}, "relu", {"dense": 10}], input=(64,), seed=1)
    first = quantizer.quantize_model(model, calibration=x).predict(x)
    parts = quantizer.quantize_model(model, calibration=(x[i : i + 128] for i in range(0, 300, 128)))
    np.testing.assert_array_equal(parts.predict(x), first)


def test_a_run_is_cancelled_and_goes_on():
    x = RNG.normal(size=(100, 64)).astype(np.float32)
    model = temper.Model([{"dense": 32}, "relu", {"dense": 32}, "relu", {"dense": 10}], input=(64,), seed=1)
    quantizer = temper.quantizer("gptq", bits=3)
    whole = quantizer.quantize_model(model, calibration=x)
    seen = []

    def stop_after_the_first(told):
        seen.append(told["what"])
        return len(seen) == 1

    with pytest.raises(temper.errors.Cancelled):
        quantizer.quantize_model(model, calibration=x, callback=stop_after_the_first)
    resumed = quantizer.quantize_model(model, calibration=x, callback=stop_after_the_first)
    assert seen == ["0.weight", "2.weight", "4.weight"]
    np.testing.assert_array_equal(resumed.predict(x), whole.predict(x))
    skipping = quantizer.quantize_model(model, calibration=x, skip=["4"])
    assert list(skipping.quantization) == ["0.weight", "2.weight"]
    with pytest.raises(ZeroDivisionError):
        quantizer.quantize_model(model, calibration=x, callback=lambda told: 1 / 0)


@pytest.mark.parametrize("name", ["gptq", "saliency_regularized_quantization", "additive_codebooks", "smoothquant", "nf4"])
def test_a_cancelled_run_goes_on_in_another_program(name, tmp_path):
    """Weights of every form, with what a method puts around them, come back from the file as they were."""
    x = RNG.normal(size=(100, 64)).astype(np.float32)
    layers = [{"dense": 32}, "relu", {"dense": 32}, "relu", {"dense": 10}]
    model = temper.Model(layers, input=(64,), seed=1)
    made = lambda **more: temper.quantizer(name, **SHORT.get(name, {}), **more)  # noqa: E731
    whole, first, path = made().quantize_model(model, calibration=x), made(), tmp_path / "progress"
    with pytest.raises(temper.errors.WrongState):
        first.save_progress(path)
    with pytest.raises(temper.errors.Cancelled):
        first.quantize_model(model, calibration=x, callback=lambda told: told["done"] == 2)
    first.save_progress(path)
    second, told = made(), []
    second.load_progress(path, model)
    resumed = second.quantize_model(model, calibration=x, callback=lambda step: told.append(step["what"]))
    assert told == ["4.weight"] and resumed.quantization == whole.quantization
    np.testing.assert_array_equal(resumed.predict(x), whole.predict(x))
    # Another model, another quantizer, a damaged or a missing file.
    other, content = temper.Model(layers, input=(64,), seed=2), path.read_bytes()
    for quantizer, given in ((made(), other), (temper.quantizer("round_to_nearest", bits=3), model)):
        with pytest.raises(temper.errors.WrongState):
            quantizer.load_progress(path, given)
    model.save(tmp_path / "model.safetensors")
    for bad in (tmp_path / "missing", tmp_path / "model.safetensors"):
        with pytest.raises(temper.Error):
            made().load_progress(bad, model)
    for length in range(0, len(content), max(len(content) // 40, 1)):
        path.write_bytes(content[:length])
        with pytest.raises(temper.Error):
            made().load_progress(path, model)
    damaged = made()
    for place in range(8, 400, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            damaged.load_progress(path, model)
        except temper.Error:
            pass
    np.testing.assert_array_equal(damaged.quantize_model(model, calibration=x).predict(x).shape, (100, 10))


@pytest.mark.parametrize(
    "call",
    [
        lambda: temper.quantizer("round_to_nearest", bits=77),
        lambda: temper.quantizer("adam"),
        lambda: temper.quantizer("round_to_nearest").quantize(W[0]),
        lambda: temper.quantizer("gptq").quantize(W),
        lambda: temper.quantizer("gptq").quantize(W, calibration=W[:, :-1]),
        lambda: temper.quantizer("round_to_nearest").quantize(np.where(W > 2, np.nan, W)),
        lambda: temper.quantizer("round_to_nearest").quantize(W).matmul(W[:, :-1]),
        lambda: temper.quantizer("round_to_nearest").quantize(W).matmul(W, activations="int7"),
        lambda: temper.quantizer("nf4").quantize(W).matmul(W, activations="int8"),
        lambda: temper.matmul_int8(np.zeros((2, 2), np.int8), np.zeros((2, 2), np.uint8)),
        lambda: temper.matmul_int8(np.zeros((2, 2), np.int8), np.zeros((3, 2), np.int8)),
        lambda: temper.quantizer("round_to_nearest").quantize(W).dequantize(out=np.empty((64, 24), np.float32)),
    ],
)
def test_what_cannot_be_quantized(call):
    with pytest.raises(temper.Error):
        call()
