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


def test_clipping_shortens_the_tail_of_adagrads_error():
    """|x|^2 / 2 under Student-t noise of 1.5 degrees of freedom, 100 runs: the 95% quantile of the last value is
    less than half of that without clipping, and the median is not larger."""
    ends = {1.0: [], 1e9: []}
    for clip in ends:
        for seed in range(100):
            noise = np.random.default_rng(seed).standard_t(1.5, size=(50, 5))
            optimizer, x = temper.optimizer("clip_radagrad_delayed", lr=0.5, clip=clip), np.ones(5)
            for n in noise:
                optimizer.step([x], [x + n])
            ends[clip].append(0.5 * x @ x)
    assert np.quantile(ends[1.0], 0.95) < 0.5 * np.quantile(ends[1e9], 0.95)
    assert np.median(ends[1.0]) < 1.1 * np.median(ends[1e9])


def test_adagrad_norm_and_its_delayed_form():
    """Without a clip, not delayed: AdaGrad by the norm. Delayed, the first step is gamma / b0 long for every
    gradient."""
    x, y, b, random = np.ones(3), np.ones(3), 1.0, np.random.default_rng(0)
    optimizer = temper.optimizer("clip_radagrad_delayed", lr=0.1, clip=1e30, delayed=False)
    for _ in range(10):
        g = random.normal(size=3)
        b = np.hypot(b, np.linalg.norm(g))
        y -= 0.1 / b * g
        optimizer.step([x], [g])
    np.testing.assert_allclose(x, y, rtol=1e-12)
    x = np.zeros(3)
    temper.optimizer("clip_radagrad_delayed", lr=0.1, clip=1e30, b0=2.0).step([x], [g])
    np.testing.assert_allclose(x, -0.1 / 2 * g, rtol=1e-12)


def test_parameter_free_methods_need_the_calls_that_the_page_counts():
    """A bowl with eigenvalues from 1 to 1e-3: gradients until the average is within 1% of the start's value."""
    curvature = np.logspace(0, -3, 10)
    needed = {}
    for name, settings in (("dog", {}), ("a_dog", {"form": "a_dog"}), ("u_dog", {})):
        optimizer, x, calls = temper.optimizer(name.replace("a_dog", "u_dog"), **settings), np.ones(10), [0]
        average, weight, start = np.zeros(10), 0.0, 0.5 * curvature.sum()

        def closure():
            calls[0] += 1
            return 0.0, [curvature * x]

        while calls[0] < 1200:
            if name == "dog":  # the average of its iterates, weighted by the longest distance so far
                calls[0] += 1
                optimizer.step([x], [curvature * x])
                distance = max(1e-6, np.linalg.norm(x - 1))
                weight = weight + distance
                average += distance / weight * (x - average)
                point = average
            else:
                optimizer.step([x], closure)
                point = optimizer.evaluation_point([x])[0]
            if 0.5 * (curvature * point**2).sum() < 0.01 * start:
                break
        needed[name] = calls[0]
    assert needed["u_dog"] < needed["a_dog"] < needed["dog"] < 1200, needed


def test_tracking_the_median_holds_under_cauchy_noise():
    """Cauchy noise, which has no mean: the median lands far below momentum's end, in the median of 10 seeds by a factor
    of 10."""
    ends = {"median_gradient_descent": [], "sgd": []}
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_cauchy((200, 5))
        for name, settings in (("median_gradient_descent", {"tau": 0.2}), ("sgd", {"momentum": 0.9})):
            optimizer, x = temper.optimizer(name, lr=0.05, **settings), np.full(5, 2.0)
            for n in noise:
                optimizer.step([x], [x + n])
            ends[name].append(x @ x)
    assert np.median(ends["median_gradient_descent"]) < 0.1 * np.median(ends["sgd"])


def test_newton_with_approximate_hessians_needs_the_steps_of_its_page(rng):
    """Logistic regression with 30 correlated features, l2 1e-4: to a gradient of 1e-8 in fewer than 40 steps with the
    Hessian, fewer than 200 with the secants of past steps, and the loss never rises."""
    mix = rng.normal(size=(30, 30))
    x = rng.normal(size=(400, 30)) @ (np.eye(30) + 0.5 * mix / np.sqrt(30))
    sign = np.where(x @ rng.normal(size=30) + rng.normal(size=400) > 0, 1.0, -1.0)

    def evaluate(w):
        margin = sign * (x @ w)
        return np.logaddexp(0, -margin).mean() + 5e-5 * w @ w, -(x.T @ (sign / (1 + np.exp(margin)))) / 400 + 1e-4 * w

    for hessian, most in (("difference", 40), ("secant", 200)):
        optimizer, w, last = temper.optimizer("gradient_normalized_newton", hessian=hessian), np.zeros(30), np.inf
        for _ in range(most):
            loss, g = evaluate(w)
            assert loss <= last + 1e-12
            last = loss
            if np.linalg.norm(g) < 1e-8:
                break
            optimizer.step([w], lambda: (lambda value, slope: (value, [slope]))(*evaluate(w)))
        assert np.linalg.norm(g) < 1e-8, hessian


def test_increments_of_online_learning_tell_the_change_of_the_loss():
    """The integral of <gradient, increment> along an increment is the change of f: on a quadratic exact at the middle,
    which is where the gradient is asked for."""
    random = np.random.default_rng(0)
    h = random.normal(size=(4, 4))
    h = h @ h.T
    optimizer, x = temper.optimizer("online_to_nonconvex", D=0.1, eta=0.02, T=10, scaling="half"), np.ones(4)
    moved = 0
    for _ in range(20):
        optimizer.step([x], [h @ x])
        state = optimizer.state_dict()
        start, increment = state["0.anchor"], state["0.increment"]
        end = start + increment
        assert np.linalg.norm(increment) <= 0.1 + 1e-12
        change = 0.5 * (end @ h @ end - start @ h @ start)
        assert (h @ x) @ increment == pytest.approx(change, rel=1e-9, abs=1e-12)
        moved += change < 0
    assert moved >= 15


def test_gradients_around_what_online_learning_finds_fall_by_the_cube_root():
    """|x1| + |x2 - x1^2| under Gaussian noise, 3 seeds: the norm of the mean gradient over an epoch, all of whose points
    lie within delta = 0.1 of each other, falls as N^(-1/3), the slope to 0.05; over the ball around the epochs' means it
    is less than half of that around descent with a constant rate of 0.1, which falls by less than a fifth."""

    def slopes(points):
        side = np.sign(points[:, 1] - points[:, 0] ** 2)
        return np.stack([np.sign(points[:, 0]) - 2 * points[:, 0] * side, side], 1)

    def visited(optimizer, count, noise):
        x, points = np.array([1.0, 1.5]), np.empty((count, 2))
        for n in range(count):
            points[n] = x
            optimizer.step([x], [slopes(x[None])[0] + noise[n]])
        return points

    random = np.random.default_rng(0)
    ball = random.normal(size=(2000, 2))
    ball *= 0.1 * np.sqrt(random.random((2000, 1))) / np.linalg.norm(ball, axis=1, keepdims=True)

    def around(points):
        return np.mean([np.linalg.norm(slopes(p + ball).mean(0)) for p in points[:: len(points) // 20 + 1]])

    counts, along = (250, 1000, 4000), []
    online, plain = [], {count: [] for count in counts}
    for count in counts:
        length = round((0.1 * count) ** (2 / 3) / 2)
        norms = []
        for seed in range(3):
            noise = np.random.default_rng(seed).normal(size=(count, 2))
            settings = {"T": length, "D": 0.1 / length, "eta": 0.05 / length**1.5, "seed": seed}
            points = visited(temper.optimizer("online_to_nonconvex", **settings), count, noise)
            epochs = points[: count // length * length].reshape(-1, length, 2)
            norms.append(np.mean([np.linalg.norm(slopes(epoch).mean(0)) for epoch in epochs]))
            if count == counts[-1]:
                online.append(around(epochs.mean(1)))
            plain[count].append(around(visited(temper.optimizer("sgd", lr=0.1), count, noise)))
        along.append(np.mean(norms))
    slope = np.polyfit(np.log(counts), np.log(along), 1)[0]
    assert abs(slope + 1 / 3) < 0.05, (slope, along)
    assert np.mean(online) < 0.5 * np.mean(plain[4000]) and np.mean(plain[4000]) > 0.8 * np.mean(plain[250])
