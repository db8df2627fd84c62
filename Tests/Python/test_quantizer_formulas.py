"""Quantizers against plain NumPy: the papers' steps, written out."""

import numpy as np
import pytest

import temper

RNG = np.random.default_rng(66)
W = RNG.normal(size=(6, 16)).astype(np.float32)
HIDDEN = RNG.normal(size=(120, 5))
X = (HIDDEN @ RNG.normal(size=(5, 16)) * 2.0 ** (np.arange(16) / 4) + 0.2 * RNG.normal(size=(120, 16))).astype(np.float32)


def asymmetric(row, bits):
    """Scale and zero point of a row."""
    low, high = min(row.min(), 0), max(row.max(), 0)
    scale = np.float32((float(high) - float(low)) / (2**bits - 1))
    return scale, round(-float(low) / float(scale))


def level(value, scale, zero, bits):
    return scale * (np.clip(np.rint(value / scale), -zero, 2**bits - 1 - zero))


def damped(x, share=0.01):
    h = x.T.astype(float) @ x
    return h + share * np.mean(np.diag(h)) * np.eye(len(h))


@pytest.mark.parametrize("bits", [2, 3])
def test_optimal_brain_quantization(bits):
    found = temper.quantizer("obq", bits=bits).quantize(W, calibration=X).dequantize()
    for row, result in zip(W, found):
        scale, zero = asymmetric(row, bits)
        w, inverse, left, q = row.astype(float).copy(), np.linalg.inv(damped(X)), list(range(16)), np.zeros(16)
        while left:
            cost = [(w[j] - level(w[j], scale, zero, bits)) ** 2 / inverse[j, j] for j in left]
            p = left[int(np.argmin(cost))]
            q[p] = level(w[p], scale, zero, bits)
            factor = (w[p] - q[p]) / inverse[p, p]
            w -= factor * inverse[p]
            inverse = inverse - np.outer(inverse[p], inverse[p]) / inverse[p, p]
            left.remove(p)
        nearest = level(row.astype(float), scale, zero, bits)
        if np.square(X @ (nearest - row)).sum() < np.square(X @ (q - row)).sum():
            q = nearest  # what damping and greed lose against it is not taken
        np.testing.assert_allclose(result, q, atol=1e-5)


def test_activation_aware_scaling():
    bits, w, x = 3, W.astype(float), X.astype(float)
    size = np.abs(x).mean(axis=0)
    errors = []
    for step in range(21):
        s = size ** (step / 20)
        s = (s / np.sqrt(s.max() * s.min())).astype(np.float32)
        larger = W * s
        rounded = np.array([level(row, *asymmetric(row, bits), bits) for row in larger])
        errors.append(np.sum(((rounded / s - w) @ x.T) ** 2))
    found = temper.quantizer("awq", bits=bits).quantize(W, calibration=X).report["output_error"]
    np.testing.assert_allclose(found, min(errors) / np.sum((w @ x.T) ** 2), rtol=1e-3)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_wanda(pattern):
    found = temper.quantizer("wanda", sparsity=0.5, pattern=pattern).quantize(W, calibration=X).dequantize()
    score = np.abs(W) * np.linalg.norm(X, axis=0)
    expected = W.copy()
    for row in range(6):
        parts = [np.arange(16)] if pattern == "unstructured" else np.arange(16).reshape(4, 4)
        for part in parts:
            expected[row, part[np.argsort(score[row, part])[: len(part) // 2]]] = 0
    np.testing.assert_array_equal(found, expected)


def test_sparsegpt():
    found = temper.quantizer("sparsegpt", sparsity=0.5, block_size=8).quantize(W, calibration=X).dequantize()
    u = np.linalg.cholesky(np.linalg.inv(damped(X))).T  # upper, H^-1 = U^T U
    for row, result in zip(W, found):
        w = row.astype(float).copy()
        for start in range(0, 16, 8):
            block = np.arange(start, start + 8)
            pruned = block[np.argsort((w[block] / np.diag(u)[block]) ** 2)[:4]]
            for j in block:
                q = 0 if j in pruned else w[j]
                w[j + 1 :] -= (w[j] - q) / u[j, j] * u[j, j + 1 :]
                w[j] = q
        np.testing.assert_allclose(result, w, rtol=1e-3, atol=1e-4)


def test_half_quadratic_zero_points():
    bits, beta, kappa, p = 2, 10.0, 1.01, 0.7
    found = temper.quantizer("hqq", bits=bits).quantize(W).dequantize()
    for row, result in zip(W.astype(float), found):
        scale = (row.max() - row.min()) / (2**bits - 1)
        zero, b = -row.min() / scale, beta / scale
        best, least = None, np.inf
        for _ in range(21):
            q = np.clip(np.rint(row / scale + zero), 0, 2**bits - 1)
            back = scale * (q - zero)
            if np.abs(row - back).sum() < least:
                best, least = back, np.abs(row - back).sum()
            e = row - back
            with np.errstate(divide="ignore"):
                e = np.where(e == 0, 0, np.sign(e) * np.maximum(np.abs(e) - np.abs(e) ** (p - 1) / b, 0))
            zero, b = np.mean(q - (row - e) / scale), b * kappa
        # Several zero points may miss the same.
        np.testing.assert_allclose(np.abs(row - result).sum(), np.abs(row - best).sum(), rtol=1e-5)


def test_noise_shaping_and_condensed_features():
    rng = np.random.default_rng(3)
    d, m, count = 5, 2048, 40
    points = rng.normal(size=(count, d)) * 0.5
    z = np.cos(points @ rng.normal(size=(d, m)) + rng.uniform(0, 2 * np.pi, m)).astype(np.float32)
    kernel = np.exp(-0.5 * np.sum((points[:, None] - points[None]) ** 2, axis=-1))
    for settings in [{"r": 1, "K": 1, "t": 8}, {"r": 2, "K": 1, "t": 8}, {"r": 2, "K": 2, "t": 8}, {"scheme": "beta", "t": 8}]:
        q = temper.quantizer("sigma_delta_rff", **settings).quantize(z).dequantize()
        mu = 0.5 if settings.get("r") == 2 and settings["K"] == 1 else 1
        condense = temper.metric("sigma_delta_rff_condense", **settings)
        shaped, plain = condense(q), condense(mu * z)
        assert len(np.unique(q)) <= 2 * settings.get("K", 1)

        def error(features):
            return np.sqrt(np.mean((features @ features.T - kernel) ** 2))

        assert error(shaped) < 1.35 * error(plain) + 0.01
        if settings.get("scheme") != "beta" and mu == 1:
            # What is carried on is the r-th running sum of the error, and stays within a step.
            u = (z - q).astype(float)
            for _ in range(settings["r"]):
                u = np.cumsum(u, axis=1)
            assert np.abs(u).max() <= 1 / (2 * settings["K"] - 2 ** settings["r"] + 1) + 1e-2
    with pytest.raises(temper.Error):
        temper.quantizer("sigma_delta_rff").quantize(2 * np.ones((2, 8), np.float32))
    with pytest.raises(temper.Error):
        temper.quantizer("sigma_delta_rff", r=3, K=2)


def test_propagation_of_errors():
    metric = temper.metric("abc_error_propagation")
    f, g, h = RNG.normal(size=(4, 7)), RNG.normal(size=(4, 7)) * 0.1, RNG.normal(size=(30, 7))
    hq = h + 0.05 * RNG.normal(size=h.shape)
    y, yq, wy, wq = h @ f.T, hq @ f.T, h @ (f + g).T, hq @ (f + g).T
    r, a, b, c = np.ravel(metric(f_h=y, f_hq=yq, fq_h=wy, fq_hq=wq))
    size = np.sum(y**2, axis=1)
    inherited, new = 0.5 * (wq - wy + yq - y), 0.5 * (wq - yq + wy - y)
    np.testing.assert_allclose(inherited + new, wq - y, atol=1e-12)
    for found, expected in [(r, (wq - y) ** 2), (a, inherited**2), (b, new**2), (c, 2 * inherited * new)]:
        np.testing.assert_allclose(found, np.mean(expected.sum(axis=1) / size), rtol=1e-10)
    np.testing.assert_allclose(r, a + b + c, rtol=1e-10)
    r, a, b, c = np.ravel(metric(f_h=y, f_hq=y, fq_h=wy, fq_hq=wy))  # clean inputs: nothing is inherited
    assert a == 0 and c == 0 and r == b > 0
    assert not np.any(metric(f_h=y, f_hq=y, fq_h=y, fq_hq=y))
    np.testing.assert_allclose(temper.metric("max_to_mean_ratio")(np.full((2, 9), -3.0)), 1)
    np.testing.assert_allclose(temper.metric("kurtosis")(RNG.normal(size=(1, 200000))), 3, atol=0.1)


def test_corrected_softmax():
    rng = np.random.default_rng(5)
    scores = 2 * rng.normal(size=(6, 3, 16, 64))
    visible = np.broadcast_to(np.arange(64)[None, None, None] <= 4 * np.arange(16)[None, None, :, None] + 3, scores.shape)
    p = np.exp(np.where(visible, scores, -np.inf))
    p /= p.sum(axis=-1, keepdims=True)
    for settings in [{"bits": 4}, {"bits": 6, "granularity": "per_tensor"}, {"bits": 4, "range": "mse"}]:
        calibrator = temper.calibrator("softmax_bias_correction", **settings)
        calibrator.fit(probabilities=p, visible=visible)
        corrected = calibrator.transform(probabilities=p, visible=visible)
        plain = rounded(p, visible, **settings)
        assert np.all(corrected[~visible] == 0) and np.all(plain[~visible] == 0)
        groups = [0] if settings.get("granularity") == "per_tensor" else range(3)
        for head in groups:
            own = (slice(None), slice(None) if len(groups) == 1 else head)
            seen = visible[own]
            e, c = (p - plain)[own][seen], (p - corrected)[own][seen]
            assert abs(c.mean()) < 1e-12
            np.testing.assert_allclose(np.mean(c**2), np.mean(e**2) - e.mean() ** 2, rtol=1e-9)
    even = np.full((1, 1024), 1 / 1024)
    calibrator = temper.calibrator("softmax_bias_correction", range="unit").fit(probabilities=even)
    corrected, plain = calibrator.transform(probabilities=even), rounded(even, range="unit")
    assert plain.sum() == 0 and abs(corrected.sum() - 1) < 1e-12
    row = temper.calibrator("softmax_bias_correction", bits=3, correction="row").fit(probabilities=p, visible=visible)
    corrected = row.transform(probabilities=p, visible=visible)
    np.testing.assert_allclose(corrected.sum(axis=-1), 1, rtol=1e-12)


def rounded(p, visible=None, **settings):
    """Without a correction."""
    plain = temper.calibrator("softmax_bias_correction", correction="none", **settings)
    return plain.fit(probabilities=p, visible=visible).transform(probabilities=p, visible=visible)


def test_layers_that_train_with_few_bits():
    layers = {
        "fake_quantized": {"bits": 4},
        "lsq": {"bits": 4},
        "dorefa": {"bits": 4},
        "binary_connect": {},
    }
    x = RNG.normal(size=(64, 16)).astype(np.float32)
    for name, options in layers.items():
        model = temper.Model([{name: {"layers": [{"dense": 8}], **options}}, {"pact": 4}], input=(16,), seed=2)
        parameters = {key: np.array(value) for key, value in model.parameters().items()}
        w = parameters["0.0.weight"].astype(float)
        if name == "fake_quantized":
            s = np.abs(w).max(axis=1, keepdims=True) / 7
            q = s * np.rint(w / s)
        elif name == "lsq":
            s = parameters["0.0.weight_step"].ravel()[0]
            np.testing.assert_allclose(s, 2 * np.abs(w).mean() / np.sqrt(7), rtol=1e-5)
            q = s * np.rint(np.clip(w / s, -8, 7))
        elif name == "dorefa":
            t = np.tanh(w)
            q = 2 * np.rint(15 * (t / (2 * np.abs(t).max()) + 0.5)) / 15 - 1
        else:
            q = np.where(w >= 0, 1, -1) * np.abs(w).mean(axis=1, keepdims=True)
        y = np.clip(x @ q.T + parameters["0.0.bias"], 0, 10)
        expected = np.rint(y * 15 / 10) * 10 / 15
        found = model.predict(x)
        assert np.mean(np.abs(found - expected) > 1e-3) < 0.02, name  # a tie may go either way
        # The gradient of what is rounded: that of x W^T, where nothing is cut off.
        dy = np.where((x @ q.T + parameters["0.0.bias"] > 0) & (x @ q.T + parameters["0.0.bias"] < 10), 1.0, 0.0)
        grads = model.vjp(x, dy=np.ones_like(found), wrt=["0.0.weight"])
        expected = dy.T @ x
        if name == "lsq":
            expected *= (w / s > -8) & (w / s < 7)
        if name == "dorefa":
            expected = expected * (1 - t**2) / np.abs(t).max()
        np.testing.assert_allclose(grads["0.0.weight"], expected, rtol=2e-2, atol=0.3)


def test_tuning_of_words_and_codes():
    rng = np.random.default_rng(8)
    x, target = rng.normal(size=(200, 16)), rng.normal(size=(12, 16))

    def run(start, steps, **settings):
        optimizer = temper.optimizer("pv_tuning", codebook_bits=2, lr=0.01, code_lr=0.05, **settings)
        w = [start.copy()]
        codes, changed = None, 0
        for _ in range(steps):
            missed = x @ (w[0] - target).T
            optimizer.step(w, [2 * missed.T @ x / len(x)])
            words, now = np.unique(w[0], return_inverse=True)
            assert len(words) <= 4
            if codes is not None:
                changed = max(changed, np.mean(now.ravel() != codes))
            codes = now.ravel()
        return np.mean((x @ (w[0] - target).T) ** 2), changed

    near = target + 0.3 * rng.normal(size=target.shape)
    assert run(near, 60, max_code_change_per_step=0.0)[1] == 0
    assert run(near, 60, code_trust_ratio=0.0)[1] == 0
    assert 0 < run(near, 60, max_code_change_per_step=0.02, code_trust_ratio=1.0)[1] <= 0.02
    # From far away words alone cannot follow.
    far = rng.normal(size=target.shape)
    words_only, _ = run(far, 200, max_code_change_per_step=0.0)
    assert run(far, 200, max_code_change_per_step=0.1, code_trust_ratio=1.0)[0] < 0.6 * words_only
    # Vectors take Adam's steps.
    bias, other, gradient = [np.ones(5)], [np.ones(5)], [np.arange(5.0)]
    temper.optimizer("pv_tuning", lr=0.01).step(bias, gradient)
    temper.optimizer("adam", lr=0.01, beta2=0.95).step(other, gradient)
    np.testing.assert_allclose(bias[0], other[0], rtol=1e-12)
