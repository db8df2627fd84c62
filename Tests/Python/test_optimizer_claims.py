"""What the pages say of optimizers beyond their formulas: fits, penalties, behaviour over several seeds."""

import numpy as np
import pytest

import temper

MUON = (3.4445, -4.7750, 2.0315)


def brought(values, abc, steps=5):
    a, b, c = abc
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return values


def spectra(matrices):
    return np.concatenate([np.linalg.svd(m / np.linalg.norm(m), compute_uv=False) for m in matrices])


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (48, 8)])
def test_roots_polynomial_is_fitted_to_a_shape(rng, shape):
    """Half Gaussian, half clipped momenta: lower error on fresh matrices of the shape than Muon's coefficients."""

    def sample(count):
        gaussian = rng.normal(size=(count // 2, *shape))
        momenta = rng.normal(size=(count // 2, *shape)) @ np.diag(np.linspace(0.2, 2, shape[1]))
        bound = np.quantile(np.abs(momenta), 0.9, axis=(1, 2), keepdims=True)
        return np.concatenate([gaussian, np.clip(momenta, -bound, bound)])

    known = sample(64)
    abc = temper.metric("root_optimizer_fit_polynomial")(matrices=known)
    assert abc.shape == (3,)

    def error(values, abc):
        return ((brought(values, abc) - 1) ** 2).mean()

    fresh = spectra(sample(64))
    assert error(fresh, abc) < 0.8 * error(fresh, MUON)
    # It is a least value on what it was fitted to.
    values = spectra(known)
    for i in range(3):
        for change in (-1e-3, 1e-3):
            assert error(values, abc + change * np.eye(3)[i]) >= error(values, abc) - 1e-9


def omega(weight, errors, slopes):
    back = (errors @ weight) * slopes
    ratio = np.linalg.norm(back, axis=1) / np.linalg.norm(errors, axis=1)
    return ((ratio - 1) ** 2).sum()


def test_omega_and_its_immediate_gradient(rng):
    weight, errors = rng.normal(size=(5, 5)), rng.normal(size=(7, 5))
    slopes = rng.uniform(0.1, 1, size=(7, 5))
    penalty = temper.op("clip_by_global_norm_omega")
    inputs = {"weight": weight, "errors": errors, "slopes": slopes}
    assert penalty(**inputs) == pytest.approx(omega(**inputs), rel=1e-12)
    gradient = penalty.vjp(dy=np.ones(()), **inputs)
    back = (errors @ weight) * slopes
    r, d = np.linalg.norm(back, axis=1), np.linalg.norm(errors, axis=1)
    expected = sum(2 * (r[k] / d[k] - 1) / (r[k] * d[k]) * np.outer(errors[k], back[k] * slopes[k]) for k in range(7))
    np.testing.assert_allclose(gradient["weight"], expected, rtol=1e-10, atol=1e-12)
    for i, j in ((0, 0), (2, 4), (4, 1)):
        step = np.zeros((5, 5))
        step[i, j] = 1e-6
        numeric = (omega(weight + step, errors, slopes) - omega(weight - step, errors, slopes)) / 2e-6
        assert gradient["weight"][i, j] == pytest.approx(numeric, rel=1e-6)


def test_omega_of_orthogonal_weights_and_linear_units_is_zero(rng):
    weight = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    penalty = temper.op("vanishing_gradient_penalty")
    assert penalty(weight=weight, errors=rng.normal(size=(4, 6)), slopes=np.ones((4, 6))) == pytest.approx(0, abs=1e-24)
    # A step without an error signal says nothing, one that loses it all is 1.
    assert penalty(weight=weight, errors=np.zeros((1, 6)), slopes=np.ones((1, 6))) == 0
    lost = {"weight": weight, "errors": np.ones((1, 6)), "slopes": np.zeros((1, 6))}
    assert penalty(**lost) == 1
    assert np.isfinite(penalty.vjp(dy=np.ones(()), **lost)["weight"]).all()


def test_clipping_walks_past_a_cliff():
    """One recurrent unit x <- w s(x) + b, started near the edge behind which its gradient explodes."""

    def evaluate(point, steps=50, target=0.7):
        w, b = point
        states = [0.5]
        for _ in range(steps):
            states.append(w / (1 + np.exp(-states[-1])) + b)
        error = states[-1] - target
        down, gw, gb = 2 * error, 0.0, 0.0
        for x in states[-2::-1]:
            s = 1 / (1 + np.exp(-x))
            gw, gb = gw + down * s, gb + down
            down *= w * s * (1 - s)
        return error**2, np.array([gw, gb])

    def run(name, **settings):
        start = np.array([4.9, -2.55])
        point, farthest = start.copy(), 0.0
        optimizer = temper.optimizer(name, lr=0.05, **settings)
        for _ in range(600):
            optimizer.step([point], [evaluate(point)[1]])
            farthest = max(farthest, np.abs(point - start).max())
        return evaluate(point)[0], farthest

    plain, clipped = run("sgd"), run("clip_by_global_norm", base="sgd", max_norm=1.0)
    assert plain[1] > 30  # thrown far off by one step
    assert clipped[1] < 3 and clipped[0] < 0.02


def test_root_holds_where_gradient_entries_explode(rng):
    """Least squares by a matrix, 1% of the gradient's entries multiplied by 100: ROOT's last loss is below Muon's."""
    wins = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, truth = rng.normal(size=(256, 24)), rng.normal(size=(24, 12)) / 5
        y = x @ truth
        losses = []
        for name, settings in (
            ("root_optimizer", {"lr": 0.02}),
            ("muon", {"lr": 0.02, "scale": "match_rms_adamw", "momentum_form": "sum"}),
        ):
            noise = np.random.default_rng(100 + seed)
            w = np.zeros((24, 12))
            optimizer = temper.optimizer(name, weight_decay=0.0, **settings)
            for step in range(150):
                gradient = x.T @ (x @ w - y) / len(x)
                gradient[noise.random(gradient.shape) < 0.01] *= 100
                optimizer.step([w], [gradient], learning_rate=0.02 * (1 - step / 150))
            losses.append(((x @ w - y) ** 2).mean())
        wins.append(losses[0] < losses[1])
    assert sum(wins) >= 4, wins
