"""Operators and losses of single pages against their formulas in NumPy."""

import itertools

import numpy as np
import pytest

import temper


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("replace", ["keys_and_values", "keys", "values"])
def test_kv_token_infusion(rng, replace):
    q, k0, k1 = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    v0, v1 = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    infuse = temper.op("kv_token_infusion", replace=replace)

    def attention(rows):
        rows = np.asarray(rows, bool)[:, None]
        k = np.where(rows & ("keys" in replace), k1, k0)
        v = np.where(rows & ("values" in replace), v1, v0)
        return softmax(q @ k.T / np.sqrt(3)) @ v

    for rows in ([0, 1, 1, 0, 0, 0], [0] * 6, [1] * 6):
        result = infuse(q, k0, v0, k1, v1, np.array(rows, bool))
        np.testing.assert_allclose(result, attention(rows), rtol=1e-13)
    # No rows: the base model bit for bit; all: the customised one.
    base, custom = infuse(q, k0, v0, k0, v0, np.zeros(6, bool)), infuse(q, k1, v1, k1, v1, np.zeros(6, bool))
    np.testing.assert_array_equal(infuse(q, k0, v0, k1, v1, np.zeros(6, bool)), base)
    if replace == "keys_and_values":
        np.testing.assert_array_equal(infuse(q, k0, v0, k1, v1, np.ones(6, bool)), custom)


def test_nbest_noise_embedding(rng):
    sentences, tokens = rng.normal(size=(5, 3)), rng.normal(size=(5, 4, 3))
    expected = [sum(sentences[i] - sentences[j] for j in range(i)) for i in range(1, 5)]
    embed = temper.op("nbest_noise_embedding")
    np.testing.assert_allclose(embed(sentences), expected, rtol=1e-13)
    expected += [sum((tokens[i] - tokens[j]).sum(0) for j in range(i)) for i in range(1, 5)]
    np.testing.assert_allclose(embed(sentences, tokens), expected, rtol=1e-12)
    np.testing.assert_array_equal(
        temper.op("nbest_noise_embedding", negate=True)(sentences, tokens), -embed(sentences, tokens)
    )
    assert not embed(np.tile(sentences[:1], (5, 1))).any()
    np.testing.assert_array_equal(embed(sentences[[1, 0]]), -embed(sentences[:2]))
    # The norm grows with the noise.
    norms = [np.linalg.norm(embed(sentences[:1] + scale * rng.normal(size=(5, 3)))) for scale in (0.01, 0.1, 1, 10)]
    assert norms == sorted(norms)


def test_the_bound_of_mutual_information(rng):
    """At the best statistic, the log-ratio of densities, the bound is the information: -log(1 - rho^2) / 2."""
    rho = 0.5
    x, z = rng.normal(size=(2, 200_000))
    y = rho * x + np.sqrt(1 - rho**2) * z

    def statistic(x, y):
        return (2 * rho * x * y - rho**2 * (x**2 + y**2)) / (2 * (1 - rho**2)) - np.log(1 - rho**2) / 2

    mine = temper.op("nbest_noise_embedding/mine")
    joint, marginal = statistic(x, y), statistic(x, rng.permutation(y))
    bound = mine(joint, marginal)
    assert bound.shape == (1,)
    np.testing.assert_allclose(bound[0], joint.mean() - np.log(np.exp(marginal).mean()), rtol=1e-10)
    assert bound[0] == pytest.approx(0.1438, abs=0.01)
    assert mine(joint + 1e4, marginal + 1e4)[0] == pytest.approx(bound[0], abs=1e-9)


def test_word_error_rates():
    rate = temper.op("nbest_noise_embedding/word_error_rate")
    words = {word: index for index, word in enumerate("the cat sat on mat a dog".split())}
    said = [words[w] for w in "the cat sat on the mat".split()]
    heard = ["the cat sat on the mat", "the cat sat mat", "a dog sat on the the mat", ""]
    table = np.full((4, 8), -1)
    for row, text in zip(table, heard):
        row[: len(text.split())] = [words[w] for w in text.split()]
    np.testing.assert_allclose(rate(table, said), [0, 2 / 6, 3 / 6, 1])


def test_bandlimited_targets(rng):
    q, rewards, logp = rng.normal(size=(2, 5, 9)), rng.normal(size=5), rng.normal(size=5)
    binomial = np.array([0.25, 0.5, 0.25])
    smooth = q @ np.outer(binomial, binomial).ravel()
    target = temper.op("bandlimited_target", gamma=0.9, alpha=0.2)
    np.testing.assert_allclose(target(q[0]), smooth[0], rtol=1e-13)
    np.testing.assert_allclose(target(q), smooth.min(0), rtol=1e-13)
    np.testing.assert_allclose(
        target(values=q, rewards=rewards, log_probs=logp), rewards + 0.9 * (smooth.min(0) - 0.2 * logp), rtol=1e-12
    )
    weights = rng.random(4)
    np.testing.assert_allclose(target(q[0, :, :4], weights), q[0, :, :4] @ weights, rtol=1e-13)
    with pytest.raises(temper.Error, match="3, 9, 27"):
        target(q[0, :, :4])


def test_bandlimited_points(rng):
    actions = rng.uniform(-1, 1, (5, 2))
    points = temper.op("bandlimited_target/points", delta=0.3)(actions)
    offsets = 0.3 * np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    np.testing.assert_allclose(points, np.clip(actions[:, None] + offsets, -1, 1), atol=1e-15)
    noise = rng.normal(size=(4, 2))
    points = temper.op("bandlimited_target/points", delta=0.1, low=-9, high=9)(actions, noise)
    np.testing.assert_allclose(points, actions[:, None] + 0.1 * np.concatenate([noise, -noise]), atol=1e-15)


def test_bandlimited_transfer(rng):
    """What smoothing leaves of cos(w a) is C(w) cos(w a), C = cos^2(w delta / 2); noise leaves exp(-w^2 s^2 / 2)."""
    frequencies = np.linspace(0, 40, 81)
    factor = temper.op("bandlimited_target/transfer")(frequencies)
    np.testing.assert_allclose(factor, np.cos(frequencies * 0.05) ** 2, atol=1e-14)
    stencil = np.array([1, 4, 6, 4, 1]) / 16
    np.testing.assert_allclose(
        temper.op("bandlimited_target/transfer")(frequencies, stencil), np.cos(frequencies * 0.05) ** 4, atol=1e-14
    )
    actions = rng.uniform(-0.5, 0.5, (30, 1))
    points = temper.op("bandlimited_target/points")(actions)[..., 0]
    for w, c in zip(frequencies, factor):
        smoothed = temper.op("bandlimited_target")(np.cos(w * points))
        np.testing.assert_allclose(smoothed, c * np.cos(w * actions[:, 0]), atol=1e-13)
    noise = rng.normal(size=(100_000, 1))
    points = temper.op("bandlimited_target/points", delta=0.1)(np.zeros((1, 1)), noise)[..., 0]
    uniform = np.full(points.shape[1], 1 / points.shape[1])
    assert temper.op("bandlimited_target")(np.cos(8 * points), uniform)[0] == pytest.approx(np.exp(-0.32), abs=0.005)


def test_learning_with_bandlimited_targets_ends_where_the_theory_says():
    """Q = r + gamma Qf on one circle of actions: each frequency of the reward is divided by 1 - gamma C(w)."""
    gamma, frequencies, amplitudes = 0.9, np.array([1, 3, 8]), np.array([1.0, 0.5, 0.4])
    grid = 2 * np.pi * np.arange(64) / 64
    features = np.cos(np.outer(grid, frequencies))
    delta = 2 * np.pi / 64
    points = temper.op("bandlimited_target/points", delta=delta, low=-99, high=99)(grid[:, None])[..., 0]
    target = temper.op("bandlimited_target", gamma=gamma)
    reward, q = features @ amplitudes, np.zeros(3)
    for _ in range(400):
        values = np.cos(points[..., None] * frequencies) @ q
        q = np.linalg.lstsq(features, target(values=values, rewards=reward), rcond=None)[0]
    transfer = temper.op("bandlimited_target/transfer", delta=delta)(frequencies.astype(float))
    np.testing.assert_allclose(q, amplitudes / (1 - gamma * transfer), rtol=1e-6)


def test_physics_residual(rng):
    """The exact solution of the relaxation has no residual, and nothing else is added."""
    name = "physics_residual_multitask_loss"
    alpha, beta, s, start = 0.5, 1.2, 0.8, 2.0
    t = np.linspace(0, 5, 7)
    e = start * np.exp(-alpha * t) + beta * s / alpha * (1 - np.exp(-alpha * t))
    slope = (beta * s - alpha * start) * np.exp(-alpha * t)
    logits = np.tile(np.log([1 - s, s]), (7, 1))
    targets = np.arange(7) % 2
    law = temper.loss(name, alpha=alpha, beta=beta, w_residual=1e6, w_classification=0)
    inputs = dict(predictions=e, observations=e, logits=logits, targets=targets)
    np.testing.assert_allclose(law(**inputs, derivatives=slope), 0, atol=1e-8)

    e, observed, slope, logits = rng.normal(size=7), rng.normal(size=7), rng.normal(size=7), rng.normal(size=(7, 3))
    p = softmax(logits)
    cross_entropy = -np.log(p[np.arange(7), targets])
    inputs = dict(predictions=e, observations=observed, logits=logits, targets=targets)
    tasks = (e - observed) ** 2 + cross_entropy
    np.testing.assert_allclose(temper.loss(name)(**inputs), tasks, rtol=1e-13)
    r = slope + 0.1 * e - 0.1 * p[:, 1]
    np.testing.assert_allclose(temper.loss(name)(**inputs, derivatives=slope), tasks + 0.1 * r**2, rtol=1e-13)
    raw = np.array([0.3, -0.2, 0.1])
    decay, sensitivity, scale = np.log1p(np.exp(raw))
    r = scale * slope + decay * e - sensitivity * (p @ [0, 1, 2])
    mask = np.arange(7) % 3 == 0
    law = temper.loss(name, constants="softplus", w_regression=2, w_residual=0.7)
    extra = dict(derivatives=slope, intensities=np.array([0.0, 1, 2]), observed=mask)
    value, gradients = law.value_and_grad(
        **inputs, **extra, alpha=raw[0], beta=raw[1], gamma=raw[2], wrt=("alpha", "gamma", "derivatives")
    )
    expected = 2 * mask * (e - observed) ** 2 + cross_entropy + 0.7 * r**2
    assert value == pytest.approx(expected.mean(), rel=1e-13)
    sigmoid = 1 / (1 + np.exp(-raw))
    assert gradients["alpha"] == pytest.approx((1.4 * r * e).mean() * sigmoid[0], rel=1e-12)
    assert gradients["gamma"] == pytest.approx((1.4 * r * slope).mean() * sigmoid[2], rel=1e-12)
    np.testing.assert_allclose(gradients["derivatives"], 1.4 * r * scale / 7, rtol=1e-12)
    other = rng.normal(size=7)
    np.testing.assert_allclose(temper.loss(name)(**inputs, residuals=other), tasks + 0.1 * other**2, rtol=1e-13)
