"""What the papers say that layers do, on small data, over several seeds and with stated margins."""

import math
import pathlib

import numpy as np
import pytest

import temper

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "examples/data/digits.bin"


def load_digits():
    records = np.fromfile(DIGITS, np.uint8).reshape(-1, 65)
    return records[:, :64].astype(np.float32) / 16, records[:, 64].astype(np.int64)


def trainer(model, loss="cross_entropy", rate=0.003, batch=64, seed=0, optimizer="adam"):
    return temper.Trainer(
        model, loss=loss, optimizer=temper.optimizer(optimizer, learning_rate=rate), batch_size=batch, seed=seed
    )


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits()
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


def accuracy(model, x, y):
    return (model.predict(x).argmax(1) == y).mean()


def test_nested_dropout_orders_features_like_pca(rng):
    """A linear autoencoder under nested dropout: decoder columns are the principal directions in their order."""
    q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = rng.normal(size=(4000, 6)) * np.array([3, 2.2, 1.6, 1.1, 0.7, 0.4]) @ q.T
    plain = {"size": 6, "bias": False}
    model = temper.Model(
        [{"dense": plain}, {"nested_dropout": {"distribution": "uniform"}}, {"dense": plain}], input=(6,), seed=1
    )
    for rate in (0.01, 0.001):
        trainer(model, "mse", rate, batch=100).fit(x, x, epochs=25)
    columns = model.parameters()["2.weight"]
    # The span of the first k columns is that of the first k directions.
    for k in range(1, 6):
        basis = np.linalg.qr(columns[:, :k])[0]
        assert np.linalg.svd(basis.T @ q[:, :k], compute_uv=False).min() > 0.95


def test_nested_dropout_resists_label_noise(digits):
    """Digits with 40% symmetric label noise: the last epoch's accuracy beats plain training, mean of 5 seeds."""
    x, y = digits
    train, test = slice(0, 1000), slice(1000, None)
    scores = {"plain": [], "nested": []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        noisy = np.where(rng.random(1000) < 0.4, rng.integers(0, 10, 1000), y[train])
        for name, middle in (("plain", []), ("nested", [{"nested_dropout": 10}])):
            layers = [{"dense": 256}, "relu", *middle, {"dense": {"size": 10, "bias": False}}]
            model = temper.Model(layers, input=(64,), seed=seed)
            trainer(model, rate=0.01, seed=seed).fit(x[train], noisy, epochs=60)
            scores[name].append(accuracy(model, x[test], y[test]))
        # The best prefix is shorter than all features.
        first, last = (model.parameters()[name] for name in ("0.weight", "3.weight"))
        hidden = np.maximum(x[test] @ first.T + model.parameters()["0.bias"], 0)
        assert temper.metric("nested_dropout_prefix")(hidden, last, y[test]) < 256
    assert np.mean(scores["nested"]) > np.mean(scores["plain"]) + 0.05


def test_randomized_features_mislead_comparisons(rng):
    """Linear: the sign of a difference of two queries is wrong with probability Phi(-|mu g u| / (sqrt(2) nu |g|))."""
    nu, model = 0.3, None
    model = temper.Model(
        [{"randomized_feature_defense": nu}, {"dense": {"size": 1, "bias": False}}], input=(8,), dtype="float64"
    )
    w = model.parameters()["1.weight"].ravel()
    step = 0.5 * w / np.linalg.norm(w)
    points = np.zeros((40_000, 8))
    flips = (model.predict(points + step) < model.predict(points)).mean()
    z = abs(step @ w) / (math.sqrt(2) * nu * np.linalg.norm(w))
    assert abs(flips - 0.5 * math.erfc(z / math.sqrt(2))) < 0.01


def test_key_value_bottleneck_forgets_little(digits):
    """Five tasks of two digits, one after the other, without task ids: far above a plain head, 3 seeds."""
    x, y = digits
    train, test = slice(0, 1200), slice(1200, None)
    mean = x[train].mean(0)
    basis = np.linalg.svd(x[train] - mean, full_matrices=False)[2][:24].T
    features = (x - mean) @ basis
    features /= features[train].std()
    gaps = []
    for seed in range(3):
        bottleneck = {"size": 10, "codebooks": 32, "keys_per_codebook": 256, "d_key": 8, "value_init": "zeros"}
        keyed = temper.Model(
            [{"discrete_key_value_bottleneck": {**bottleneck, "key_init_steps": 40}}], input=(24,), seed=seed
        )
        # Keys first, from all inputs; the labels have no effect.
        trainer(keyed, rate=1, batch=300, optimizer="sgd").fit(features[train], y[train], epochs=10)
        assert (keyed.parameters()["0.values"] == 0).all()
        plain = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(24,), seed=seed)
        for model, rate in ((keyed, 100), (plain, 0.1)):
            for task in range(5):
                chosen = np.flatnonzero(y[train] // 2 == task)
                trainer(model, rate=rate, batch=32, seed=seed, optimizer="sgd").fit(
                    features[chosen], y[chosen], epochs=5
                )
        gaps.append(accuracy(keyed, features[test], y[test]) - accuracy(plain, features[test], y[test]))
    assert min(gaps) > 0.2


def test_bounded_condition_resists_attacks(digits):
    """At 80% compression and under FGSM the bounded network is above the unbounded one, mean of 3 seeds."""
    x, y = digits
    train, test = slice(0, 1200), slice(1200, None)
    robust = {1.1: [], 1e6: []}
    clean = {1.1: [], 1e6: []}
    for seed in range(3):
        for tau in robust:
            layer = {"compression": 0.8, "tau": tau}
            layers = [
                {"condlr_linear": {"size": 100, **layer}},
                "relu",
                {"condlr_linear": {"size": 100, **layer}},
                "relu",
                {"dense": 10},
            ]
            model = temper.Model(layers, input=(64,), seed=seed)
            trainer(model, rate=0.1, batch=64, seed=seed, optimizer="sgd").fit(x[train], y[train], epochs=12)
            p = np.exp(model.predict(x[test]))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(p)), y[test]] -= 1
            attacked = x[test] + 0.1 * np.sign(model.vjp(x[test], p.astype(np.float32))["x"])
            clean[tau].append(accuracy(model, x[test], y[test]))
            robust[tau].append(accuracy(model, attacked.astype(np.float32), y[test]))
    assert np.mean(clean[1.1]) > np.mean(clean[1e6]) - 0.03
    assert np.mean(robust[1.1]) > np.mean(robust[1e6])


def test_fourier_head_is_nearer_to_smooth_densities():
    """A mixture of Gaussians in 50 bins, from 2000 samples: a smaller divergence than a linear head, 3 seeds."""
    bins = 50
    z = -1 + (2 * np.arange(bins) + 1) / bins
    better = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (3000, 2)).astype(np.float32)
        density = np.exp(-0.5 * ((z - 0.6 * x[:, :1]) / 0.15) ** 2) + np.exp(-0.5 * ((z + 0.5 * x[:, 1:]) / 0.25) ** 2)
        density /= density.sum(1, keepdims=True)
        y = np.array([rng.choice(bins, p=row) for row in density])
        divergence = {}
        for name, head in (("fourier", {"fourier_head": {"bins": bins}}), ("linear", {"dense": bins})):
            model = temper.Model([{"dense": 64}, "relu", {"dense": 64}, "relu", head], input=(2,), seed=seed)
            trainer(model, rate=0.003, batch=100, seed=seed).fit(x[:2000], y[:2000], epochs=40)
            logits = model.predict(x[2000:]).astype(float)
            log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            divergence[name] = (density[2000:] * (np.log(density[2000:] + 1e-12) - log_p)).sum(1).mean()
        better.append(divergence["fourier"] < 0.9 * divergence["linear"])
    assert all(better)
