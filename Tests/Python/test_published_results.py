"""What papers and reference programs print, against what this library gives."""

import numpy as np
import pytest

import temper

CONTEXT = temper.Context(threads=2)


def error(weight, name, **settings):
    """Mean squared error over the mean square."""
    return CONTEXT.quantizer(name, **settings).quantize(weight).report["relative_error"]


def normal(seed=0, count=1 << 18):
    return np.random.default_rng(seed).standard_normal((1, count)).astype(np.float32)


# Max, "Quantizing for minimum distortion", 1960, table I: levels and mean squared error for the normal distribution.
MAX_1960 = {
    1: (0.3634, [0.7980]), 2: (0.1175, [0.4528, 1.510]), 3: (0.03454, [0.2451, 0.7560, 1.344, 2.152]),
    4: (0.009497, [0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733]), 5: (0.002499, None),
}  # fmt: skip
# Paez and Glisson, "Minimum mean-squared-error quantization in speech PCM and DPCM systems", 1972, table II: Laplace.
PAEZ_GLISSON_1972 = {1: 0.5, 2: 0.1765, 3: 0.0548, 4: 0.0154}


@pytest.mark.parametrize("bits", MAX_1960)
def test_tables_of_levels_are_those_of_lloyd_and_max(bits):
    weight = normal()
    packed = CONTEXT.quantizer("kmeans", bits=bits, granularity="tensor", iterations=1000).quantize(weight)
    distortion, levels = MAX_1960[bits]
    assert packed.report["relative_error"] == pytest.approx(distortion, rel=0.015)
    if levels:
        found = np.unique(packed.dequantize())
        np.testing.assert_allclose(found, np.r_[np.negative(levels[::-1]), levels], atol=0.03 * levels[-1])


@pytest.mark.parametrize("bits", PAEZ_GLISSON_1972)
def test_errors_for_laplace_are_those_of_paez_and_glisson(bits):
    weight = np.random.default_rng(1).laplace(size=(1, 1 << 18)).astype(np.float32)
    assert error(weight, "kmeans", bits=bits, granularity="tensor", iterations=1000) == pytest.approx(PAEZ_GLISSON_1972[bits], rel=0.03)


# Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2018 (ACIQ), section
# 3: the best clipping of the normal distribution in standard deviations, and of Laplace's in its parameter b.
@pytest.mark.parametrize("draw, clips", [
    (lambda rng, n: rng.standard_normal(n), {2: 1.71, 3: 2.15, 4: 2.55}), (lambda rng, n: rng.laplace(size=n), {2: 2.83, 3: 3.89, 4: 5.03}),
], ids=["normal", "laplace"])  # fmt: skip
def test_clipping_is_that_of_aciq(draw, clips):
    weight = draw(np.random.default_rng(2), 1 << 18).astype(np.float32)[None]
    for bits, clip in clips.items():
        packed = CONTEXT.quantizer("round_to_nearest", bits=bits, range="aciq").quantize(weight)
        assert np.abs(packed.dequantize()).max() == pytest.approx(clip, rel=0.02), bits


def test_levels_of_nf4_are_those_of_qlora():
    """Dettmers et al., "QLoRA", 2023, appendix E."""
    published = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
        0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]  # fmt: skip
    weight = np.linspace(-1, 1, 4001, dtype=np.float32)[None]
    levels = np.unique(CONTEXT.quantizer("nf4").quantize(weight).dequantize())
    np.testing.assert_array_equal(levels, np.float32(published))


# llama.cpp, tests/test-quantize-fns.cpp: the largest error of each type on its data, √(Σ d²) / n.
LARGEST = {"Q2_K": 0.0075, "Q3_K": 0.0040, "TQ1_0": 0.01, "TQ2_0": 0.01, "NVFP4": 0.0030}
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", *LARGEST]


@pytest.mark.parametrize("name", TYPES)
def test_blocks_stay_below_the_errors_that_llama_cpp_allows(name, tmp_path):
    n = 32 * 128
    data = (0.1 + 2 * np.cos(np.arange(n))).astype(np.float32)[None]
    temper.save_file({"w": data}, tmp_path / "w.gguf", types={"w": name}, context=CONTEXT)
    difference = (temper.open_file(tmp_path / "w.gguf", CONTEXT)["w"] - data).astype(np.float64)
    assert np.sqrt(np.square(difference).sum()) / n < LARGEST.get(name, 0.002)


def gptq(w, x, bits, percdamp, act_order):
    """Frantar et al., "GPTQ", 2022, algorithm 1, column by column, with the asymmetric grid of each row that its
    program takes: scale = (max - min) / (2^b - 1) with 0 inside, zero = round(-min / scale)."""
    w = w.astype(np.float64).copy()
    low, high = np.minimum(w.min(axis=1), 0), np.maximum(w.max(axis=1), 0)
    scale = ((high - low) / (2**bits - 1)).astype(np.float32).astype(np.float64)
    zero = np.rint(-low / scale)
    h = 2 * x.T.astype(np.float64) @ x / len(x)
    order = np.argsort(-np.diag(h), kind="stable") if act_order else np.arange(len(h))
    w, h = w[:, order], h[np.ix_(order, order)]
    h += percdamp * np.diag(h).mean() * np.eye(len(h))
    u = np.linalg.cholesky(np.linalg.inv(h)).T  # upper: H^-1 = U^T U
    q = np.zeros_like(w)
    for i in range(w.shape[1]):
        code = np.clip(np.rint(w[:, i] / scale) + zero, 0, 2**bits - 1)
        q[:, i] = scale * (code - zero)
        w[:, i:] -= np.outer((w[:, i] - q[:, i]) / u[i, i], u[i, i:])
    return q[:, np.argsort(order)]


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codes_of_gptq_are_those_of_its_algorithm(bits, act_order):
    rng = np.random.default_rng(bits)
    w = rng.standard_normal((24, 64)).astype(np.float32)
    x = (rng.standard_normal((300, 64)) @ (rng.standard_normal((64, 64)) * np.exp(rng.standard_normal(64)))).astype(np.float32)
    expected = gptq(w, x, bits, 0.01, act_order)
    found = CONTEXT.quantizer("gptq", bits=bits, percdamp=0.01, act_order=act_order).quantize(w, calibration=x).dequantize()
    # A tie, or nearly one, may fall the other way and moves what comes after it in its row.
    same = np.isclose(found, expected, atol=1e-5).all(axis=1)
    assert same.mean() >= 0.9
    lost = [np.square(x @ (each - w).T.astype(np.float64)).sum() for each in (found, expected)]
    assert lost[0] == pytest.approx(lost[1], rel=0.02)
