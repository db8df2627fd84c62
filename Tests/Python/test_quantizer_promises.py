"""What quantizers promise, and what they do with bad or odd input, over the whole catalogue."""

import numpy as np
import pytest

import temper

CONTEXT = temper.Context(threads=1)


def matrices():
    """(label, weight, calibration): usual, heavy tails, rows that are constant, zero, positive or mostly zero, one row."""
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        mixing = rng.normal(size=(32, 32)) * np.exp(rng.normal(size=32))
        x = (rng.normal(size=(200, 32)) @ mixing).astype(np.float32)
        yield "normal", rng.normal(size=(12, 32)).astype(np.float32), x
        yield "tails", rng.standard_t(2, size=(12, 32)).astype(np.float32), x
        odd = rng.normal(size=(12, 32)).astype(np.float32)
        odd[0], odd[1], odd[2], odd[3, 5:] = 0, 0.5, np.abs(odd[2]), 0
        yield "odd", odd, x
        yield "one row", rng.normal(size=(1, 32)).astype(np.float32), x


# Never above rounding to nearest on the same grid: in the outputs, or in the weights.
PROMISES = [
    ("adaround", {"iterations": 40}, "output_error"), ("adaquant", {"iters": 40, "bits_a": None}, "output_error"),
    ("awq", {}, "output_error"), ("gptq", {}, "output_error"), ("bias_correction", {}, "output_error"),
    ("round_to_nearest", {"range": "mse"}, "relative_error"),
    ("round_to_nearest", {"range": "mse", "symmetric": False, "group_size": 8}, "relative_error"),
]  # fmt: skip


@pytest.mark.parametrize("name, settings, measure", PROMISES, ids=str)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_errors_are_never_above_rounding_to_nearest(name, settings, measure, bits):
    record = next(r for r in temper.catalog("quantizer") if r["name"] == name)
    defaults = {p["name"]: p["default"] for p in record["parameters"]}
    base = {"bits": bits, "symmetric": settings.get("symmetric", defaults.get("symmetric", False)),
            "group_size": settings.get("group_size", 0)}  # fmt: skip
    for label, weight, x in matrices():
        ours = CONTEXT.quantizer(name, bits=bits, **settings).quantize(weight, calibration=x).report[measure]
        nearest = CONTEXT.quantizer("round_to_nearest", **base).quantize(weight, calibration=x).report[measure]
        assert ours <= nearest * (1 + 1e-5), label


SHORT = {
    "adaround": {"iterations": 5}, "adaquant": {"iters": 5}, "saliency_regularized_quantization": {"iterations": 5},
    "additive_codebooks": {"iterations": 2, "codebook_bits": 2}, "multi_codebook_vq": {"iterations": 2, "K": 4},
    "pd_quant": {"iters": 5}, "metaaug_ptq": {"iters": 5}, "sigma_delta_rff": {},
}  # fmt: skip
NAMES = [record["name"] for record in temper.catalog("quantizer")]


def made(name, **settings):
    return CONTEXT.quantizer(name, **SHORT.get(name, {}), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_bad_weights_and_bad_calibration_are_errors(name):
    rng = np.random.default_rng(1)
    weight, x = rng.uniform(-1, 1, (4, 16)).astype(np.float32), rng.normal(size=(20, 16)).astype(np.float32)
    for spoiled in (np.nan, np.inf, -np.inf):
        bad = weight.copy()
        bad[2, 3] = spoiled
        with pytest.raises(temper.Error):
            made(name).quantize(bad, calibration=x)
        with pytest.raises(temper.Error):
            made(name).quantize(weight, calibration=np.where(x == x[1, 1], np.float32(spoiled), x))
    for wrong in (x[:0], x[:, :-1], x[0]):
        with pytest.raises(temper.Error):
            made(name).quantize(weight, calibration=wrong)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 16), (5, 16), (3, 8)], ids=str)
def test_constant_and_zero_weights_stay_finite(name, shape):
    x = np.random.default_rng(1).normal(size=(20, shape[1])).astype(np.float32)
    for weight in (np.zeros(shape, np.float32), np.full(shape, 0.5, np.float32), np.full(shape, -1e-30, np.float32)):
        packed = made(name).quantize(weight, calibration=x)
        back = packed.dequantize()
        assert back.shape == shape and np.isfinite(back).all() and np.isfinite(packed.matmul(x)).all()
        if name != "sigma_delta_rff":  # its weights are features of size 1
            assert np.abs(back).max() <= 2 * np.abs(weight).max() + 1e-6
    # Calibration that says nothing: all inputs zero.
    weight = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    assert np.isfinite(made(name).quantize(weight, calibration=np.zeros_like(x)).dequantize()).all()


@pytest.mark.parametrize("name", [n for n in NAMES if any(
    p["name"] == "group_size" for r in temper.catalog("quantizer") if r["name"] == n for p in r["parameters"])])  # fmt: skip
@pytest.mark.parametrize("group", [3, 7, 16, 100])
def test_groups_that_do_not_divide(name, group):
    rng = np.random.default_rng(3)
    weight, x = rng.uniform(-1, 1, (4, 16)).astype(np.float32), rng.normal(size=(30, 16)).astype(np.float32)
    try:
        packed = made(name, group_size=group).quantize(weight, calibration=x)
    except temper.Error as error:
        assert "group" in str(error) or "parts" in str(error) or "columns" in str(error)
    else:
        assert np.isfinite(packed.dequantize()).all() and packed.dequantize().shape == weight.shape
