"""Gradient statistics against NumPy programs of their definitions, and on gradients of known distribution."""

import numpy as np
import pytest

import temper


def close(a, b, tolerance=1e-11):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_noise_scale_of_samples(rng):
    g = rng.normal(0.3, 1, size=(9, 5))
    h = rng.normal(size=(5, 5))
    h = h @ h.T
    variance = g.var(0, ddof=1)
    signal = (g.mean(0) ** 2).sum() - variance.sum() / 9
    close(temper.metric("gradient_noise_scale")(g), variance.sum() / signal)
    close(temper.metric("gradient_noise_scale", value="variance")(g), variance.sum())
    close(temper.metric("gradient_noise_scale", value="squared_norm")(g), signal)
    covariance = np.cov(g.T)
    curved = g.mean(0) @ h @ g.mean(0) - np.trace(h @ covariance) / 9
    close(temper.metric("gradient_noise_scale")(gradients=g, hessian=h), np.trace(h @ covariance) / curved)
    assert isinstance(temper.metric("gradient_noise_scale")(g), float)


@pytest.mark.parametrize("ema", [0, 0.9, 0.99])
def test_noise_scale_of_norms(rng, ema):
    small, big = rng.uniform(2, 3, 30), rng.uniform(1, 2, 30)
    s, g = (small - big) / (1 / 4 - 1 / 32), (32 * big - 4 * small) / (32 - 4)
    averages = [0.0, 0.0]
    for pair in zip(s, g):
        averages = [ema * a + (1 - ema) * v for a, v in zip(averages, pair)]
    metric = temper.metric("gradient_noise_scale", ema=ema, small_batch=4, big_batch=32)
    close(metric(small_norms=small, big_norms=big), averages[0] / averages[1])


def test_noise_scale_estimators_have_no_bias(rng):
    """N(mu, C): the means of S and G over many draws are tr C and |mu|^2, from samples and from two batch sizes."""
    mu, deviations, trials = np.array([1.0, -0.5, 0.2]), np.array([1.0, 2, 0.5]), 4000
    trace, signal = (deviations**2).sum(), (mu**2).sum()
    draws = mu + deviations * rng.normal(size=(trials, 8, 3))
    for value, expected in (("variance", trace), ("squared_norm", signal)):
        metric = temper.metric("gradient_noise_scale", value=value)
        each = np.array([metric(g) for g in draws])
        assert abs(each.mean() - expected) < 4 * each.std() / trials**0.5
        norms = (draws[:, :2].mean(1) ** 2).sum(1), (draws.mean(1) ** 2).sum(1)
        pairs = temper.metric("gradient_noise_scale", value=value, ema=0, small_batch=2, big_batch=8)
        each = np.array([pairs(small_norms=a[None], big_norms=b[None]) for a, b in zip(*norms)])
        assert abs(each.mean() - expected) < 4 * each.std() / trials**0.5
    large = mu + deviations * rng.normal(size=(200_000, 3))
    assert abs(temper.metric("gradient_noise_scale")(large) / (trace / signal) - 1) < 0.03


def test_noise_scale_errors(rng):
    metric = temper.metric("gradient_noise_scale")
    for inputs in ({}, {"small_norms": [1.0]}, {"gradients": [[1.0, 2]], "small_norms": [1.0], "big_norms": [1.0]}):
        with pytest.raises(temper.Error, match="both small_norms and big_norms"):
            metric(**inputs)
    with pytest.raises(temper.Error, match="at least 2"):
        metric([[1.0, 2]])
    with pytest.raises(temper.Error, match="more than small_batch"):
        temper.metric("gradient_noise_scale", small_batch=4, big_batch=4)(small_norms=[1.0], big_norms=[1.0])


def test_tradeoff_of_an_exact_hyperbola():
    s_min, e_min = 300.0, 40_000.0
    steps = s_min * np.array([1.1, 1.5, 2, 4, 10])
    examples = e_min * (1 + 1 / (steps / s_min - 1))
    close(temper.metric("gradient_noise_scale_fit_tradeoff")(steps, examples), [s_min, e_min, e_min / s_min], 1e-8)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_medians(rng, count):
    g = rng.normal(size=(count, 6))
    close(temper.op("coordinate_median")(g), np.median(g, 0))
    m = temper.op("geometric_median", iterations=500)(g)
    units = (g - m) / np.maximum(np.linalg.norm(g - m, axis=1, keepdims=True), 1e-12)
    if count > 2:  # the sum of unit vectors to all points is 0 at the median, or at most 1 at a point of the set
        away = np.linalg.norm(g - m, axis=1) > 1e-6
        assert np.linalg.norm(units[away].sum(0)) < 1e-3 + (not away.all())
    if count == 1:  # the gradient itself, with its slope
        for name in ("coordinate_median", "geometric_median"):
            close(temper.op(name).vjp(g, dy=np.ones(6)), np.ones((1, 6)))
    # Twenty percent of workers that send ten times the opposite move the mean and hardly the medians.
    true = np.ones(50)
    sent = true + 0.1 * rng.normal(size=(20, 50))
    sent[:4] *= -10
    for name in ("coordinate_median", "geometric_median"):
        assert np.linalg.norm(temper.op(name)(sent) - true) < 0.1 * np.linalg.norm(true)
    assert np.linalg.norm(sent.mean(0) - true) > 1.5 * np.linalg.norm(true)


@pytest.mark.parametrize("alpha", [1.2, 2.0, 3.0])
@pytest.mark.parametrize("method, tolerance", [("hill", 0.1), ("moment", 0.25), ("pickands", 0.5)])
def test_tail_index_of_pareto(rng, alpha, method, tolerance):
    x = (1 / rng.uniform(size=200_000)) ** (1 / alpha) * rng.choice([-1, 1], 200_000)
    estimate = temper.metric("heavy_tail_index", method=method)(x)
    assert abs(estimate / alpha - 1) < tolerance


def test_tail_index_definitions(rng):
    x = rng.standard_t(1.5, 1000)
    a = np.sort(abs(x))[::-1]
    close(temper.metric("heavy_tail_index", fraction=0.1)(x), 1 / np.log(a[:100] / a[100]).mean())
    blocks = x[:990].reshape(30, 33).sum(1)
    stable = np.log(33) / (np.log(abs(blocks)).mean() - np.log(abs(x[:990])).mean())
    close(temper.metric("heavy_tail_index", method="stable", block=33)(x), stable)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_tail_index_of_stable_laws(rng, alpha):
    x = rng.standard_cauchy(100_000) if alpha == 1 else rng.normal(size=100_000)
    assert abs(temper.metric("heavy_tail_index", method="stable")(x) - alpha) < 0.15


@pytest.mark.parametrize("steps", [None, 3, 30])
def test_per_sample_norms_of_a_linear_layer(rng, steps):
    """Few steps go by products of samples, many by the gradients themselves: the same numbers."""
    lead = (4,) if steps is None else (4, steps)
    a, g = rng.normal(size=(*lead, 6)), rng.normal(size=(*lead, 5))
    a3, g3 = a.reshape(4, -1, 6), g.reshape(4, -1, 5)
    weight, bias = np.einsum("nto,nti->noi", g3, a3), g3.sum(1)
    plain = (weight**2).sum((1, 2))
    close(temper.metric("per_sample_gradient_norms_linear", bias=False)(a, g), plain**0.5)
    close(temper.metric("per_sample_gradient_norms")(a, g), (plain + (bias**2).sum(1)) ** 0.5)


def test_per_sample_norms_of_an_embedding_and_a_normalization(rng):
    ids, g = rng.integers(0, 4, (5, 6)), rng.normal(size=(5, 6, 3))
    tables = np.zeros((5, 4, 3))
    for n in range(5):
        np.add.at(tables[n], ids[n], g[n])
    close(temper.metric("per_sample_gradient_norms_embedding")(ids, g), (tables**2).sum((1, 2)) ** 0.5)
    x = rng.normal(size=(5, 6, 3))
    squares = ((x * g).sum(1) ** 2).sum(1) + (g.sum(1) ** 2).sum(1)
    close(temper.metric("per_sample_gradient_norms_normalization")(x, g), squares**0.5)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"groups": 2}, {"groups": 2, "dilation": 2, "kernel_width": 1}],
    ids=str,
)
def test_per_sample_norms_of_a_convolution(rng, options):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle of this test, is not installed")
    kernel = (3, options.get("kernel_width", 3))
    settings = {k: v for k, v in options.items() if k != "kernel_width"}
    module = torch.nn.Conv2d(4, 6, kernel, **settings).double()
    x = torch.from_numpy(rng.normal(size=(3, 4, 9, 8)))
    y = module(x)
    g = rng.normal(size=y.shape)
    expected = []
    for n in range(3):
        module.zero_grad()
        module(x[n : n + 1]).backward(torch.from_numpy(g[n : n + 1]))
        expected.append(float(sum((p.grad**2).sum() for p in module.parameters()) ** 0.5))
    close(temper.metric("per_sample_gradient_norms_convolution", **options)(x.numpy(), g), expected)


def test_gradient_norms_of_a_model(rng):
    layers = [
        {"embedding": {"entries": 9, "size": 4}},
        {"multi_head_attention": 2},
        "layer_norm",
        {"gru": 5},
        {"dense": 3},
    ]
    model = temper.Model(layers, input=(6,), dtype="float64")
    x, y = rng.integers(0, 9, (7, 6)), rng.integers(0, 3, 7)
    loss = temper.loss("cross_entropy")
    _, gradients = loss.value_and_grad(model.predict(x), y, reduction="sum")
    dy = gradients["logits"]
    norms = model.gradient_norms(x, dy)
    assert list(norms) == list(model.parameters())
    for n in range(7):
        each = model.vjp(x[n : n + 1], dy[n : n + 1], wrt=list(norms))
        for name, gradient in each.items():
            close(norms[name][n], np.linalg.norm(gradient), 1e-9)
    assert list(model.gradient_norms(x, dy, wrt="2.weight")) == ["2.weight"]
    with pytest.raises(temper.Error, match="no gradient for"):
        model.gradient_norms(x, dy, wrt="nothing")


def test_noise_scale_grows_while_training(rng):
    """The paper's observation, from each sample's gradients: far above its first value when the loss is low."""
    grown = []
    for seed in range(3):
        x = rng.normal(size=(256, 10))
        y = (x @ rng.normal(size=10) + 0.5 * rng.normal(size=256) > 0).astype(np.int64)
        model = temper.Model([{"dense": 2}], input=(10,), dtype="float64", seed=seed)

        def scale():
            logits = model.predict(x)
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            p[np.arange(256), y] -= 1
            return temper.metric("gradient_noise_scale")((p[:, :, None] * x[:, None]).reshape(256, -1))

        before = scale()
        optimizer = temper.optimizer("sgd", learning_rate=0.5)
        temper.Trainer(model, loss="cross_entropy", optimizer=optimizer, batch_size=64, seed=seed).fit(x, y, epochs=5)
        grown.append(scale() / before)
    assert min(map(abs, grown)) > 3
