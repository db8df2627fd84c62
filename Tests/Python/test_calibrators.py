"""Calibrators: optimal temperatures, shares of classes, transition matrices recovered from what they made."""

import numpy as np
import pytest

import temper

T = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]])
P = np.array([0.5, 0.3, 0.2])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_temperature_is_the_likeliest(rng):
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    z = rng.normal(size=(400, 5)) * 3
    y = np.array([rng.choice(5, p=row) for row in softmax(z / 2.5)])
    for targets in (y, 0.9 * np.eye(5)[y] + 0.02):
        calibrator = temper.calibrator("temperature_scaling").fit(z, targets)
        p = np.eye(5)[y] if targets is y else targets
        loss = lambda t: -(p * np.log(softmax(z / t))).sum()  # noqa: E731
        best = optimize.minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-10}).x
        assert float(calibrator.state["temperature"]) == pytest.approx(best, rel=1e-5)
        np.testing.assert_allclose(calibrator.transform(z), z / float(calibrator.state["temperature"]))
    assert calibrator.transform(z.astype(np.float32)).dtype == np.float32
    with pytest.raises(temper.Error, match="element 0 is nan"):
        calibrator.fit(z * np.nan, y)
    with pytest.raises(temper.Error, match="0 to 4"):
        calibrator.fit(z, y + 5)


def test_priors(rng):
    """Gaussian classes: posterior by prior is the likelihood, whose argmax does not know the priors."""
    y = np.repeat([0, 1, 2], [700, 200, 100])
    centres = np.array([-1.0, 0, 1.5])
    x = centres[y] + rng.normal(size=1000)
    likelihood = -0.5 * (x[:, None] - centres) ** 2
    logits = likelihood + np.log([0.7, 0.2, 0.1])
    calibrator = temper.calibrator("prior_correction").fit(logits, y)
    np.testing.assert_allclose(softmax(calibrator.transform(logits)), softmax(likelihood))
    moved = calibrator.transform(logits, target_priors=[0.2, 0.2, 0.6])
    np.testing.assert_allclose(softmax(moved), softmax(likelihood + np.log([0.2, 0.2, 0.6])))
    uniform = temper.calibrator("thresholding").fit(np.zeros((6, 3)), [0, 1, 2] * 2).transform(logits[:6])
    np.testing.assert_allclose(softmax(uniform), softmax(logits[:6]))
    with pytest.raises(temper.Error, match="Class 2"):
        calibrator.fit(np.zeros((2, 3)), [0, 1])


def test_anchors_and_two_steps(rng):
    clean = np.r_[np.eye(3), rng.dirichlet(np.ones(3), 3000)]
    noisy = clean @ T
    anchors = temper.calibrator("anchor_point_transition").fit(np.log(noisy))
    np.testing.assert_allclose(anchors.state["transition"], T, atol=1e-12)
    # What the model should have said.
    np.testing.assert_allclose(softmax(anchors.transform(np.log(noisy[:200]))), clean[:200], atol=1e-3)
    given = np.array([rng.choice(3, p=row) for row in noisy])
    dual = temper.calibrator("dual_t_transition").fit(np.log(noisy), given)
    p = noisy
    said = p.argmax(1)
    second = np.array([np.bincount(given[said == k], minlength=3) / (said == k).sum() for k in range(3)])
    np.testing.assert_allclose(dual.state["transition"], T @ second, atol=1e-9)


def population(t, p):
    return np.einsum("y,ya,yb,yc->abc", p, t, t, t)


def test_three_labels_identify_the_matrix(rng):
    exact = temper.calibrator("transition_matrix_from_three_labels", em_iters=0).fit(tensor=population(T, P))
    np.testing.assert_allclose(exact.state["transition"], T, atol=1e-8)
    np.testing.assert_allclose(exact.state["class_priors"], P, atol=1e-8)
    assert float(exact.state["smallest_singular_value"]) == pytest.approx(np.linalg.svd(T)[1].min())
    truth = rng.choice(3, 20_000, p=P)
    labels = np.array([[rng.choice(3, p=T[y]) for _ in range(3)] for y in truth])
    fit = temper.calibrator("transition_matrix_from_three_labels").fit(labels=labels)
    assert np.abs(fit.state["transition"] - T).max() < 0.03 and np.abs(fit.state["class_priors"] - P).max() < 0.03
    assert np.all(np.diff(fit.state["log_likelihood"]) > -1e-12)
    clean = temper.calibrator("transition_matrix_from_three_labels").fit(np.repeat(truth[:500, None], 3, 1))
    np.testing.assert_allclose(clean.state["transition"], np.eye(3), atol=1e-3)
    larger = np.eye(6) * 0.5 + rng.dirichlet(np.ones(6), 6) * 0.5
    shares = rng.dirichlet(np.full(6, 5.0))
    found = temper.calibrator("transition_matrix_from_three_labels", em_iters=0).fit(tensor=population(larger, shares))
    np.testing.assert_allclose(found.state["transition"], larger, atol=1e-6)


def test_two_labels_do_not():
    """Another matrix and other shares with the same pairs of labels, and with other triples."""
    root = np.diag(P) ** 0.5 @ T
    # Any rotation keeps M = root' root; one that keeps root's entries positive and its rows shares of a distribution.
    angle = 0.05
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    other = turn @ root
    sums = other.sum(1)
    t, p = other / sums[:, None], sums**2
    assert t.min() >= 0 and p.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.einsum("y,ya,yb->ab", p, t, t), np.einsum("y,ya,yb->ab", P, T, T), atol=1e-12)
    assert np.abs(population(t, p) - population(T, P)).max() > 1e-3 and np.abs(t - T).max() > 0.01


def test_bad_input_is_an_error():
    three = temper.calibrator("transition_matrix_from_three_labels")
    for given in (
        {},
        {"labels": [[0, 1, 1]], "tensor": population(T, P)},
        {"tensor": population(T, P) * 2},
        {"labels": [[0, 0, 0]]},
    ):
        with pytest.raises(temper.Error):
            three.fit(**given)
    with pytest.raises(temper.Error, match="num_classes"):
        temper.calibrator("transition_matrix_from_three_labels", num_classes=2).fit(labels=[[0, 1, 2]])
    for record in temper.catalog("calibrator"):
        with pytest.raises(temper.errors.WrongState, match="fitted"):
            temper.calibrator(record["name"]).transform(np.zeros((2, 3)))


def test_the_error_of_a_counted_matrix(rng):
    metric = temper.metric("noise_matrix_expected_error")
    m = np.full((3, 3), 0.15) + np.eye(3) * 0.55
    assert metric(transition=m, class_counts=[20, 20, 20]) == pytest.approx(0.06975)
    assert metric(transition=np.eye(3), class_counts=[20, 20, 20]) == 0
    assert metric(transition=m, class_counts=[40, 40, 40]) == pytest.approx(0.06975 / 2)
    draws = rng.multinomial(20, m, size=(10_000, 3)) / 20
    errors = ((draws - m) ** 2).sum((1, 2))
    assert abs(errors.mean() - 0.06975) < 3 * errors.std() / 100
    variable = temper.metric("noise_matrix_expected_error", sampling="variable")
    counts = rng.multinomial(12, P, 20_000)
    errors = np.zeros(20_000)
    for i in range(3):
        n = counts[:, i]
        rows = np.where(n[:, None] > 0, rng.multinomial(np.maximum(n, 1), m[i]) / np.maximum(n, 1)[:, None], 1 / 3)
        errors += ((rows - m[i]) ** 2).sum(1)
    value = variable(transition=m, class_priors=P, count=12.0)
    assert abs(errors.mean() - value) < 4 * errors.std() / 20_000**0.5
    with pytest.raises(temper.Error, match="class_counts"):
        metric(transition=m)
    with pytest.raises(temper.Error, match="count"):
        variable(transition=m, class_priors=P, count=0.0)


def test_relative_signal_strength(rng):
    clean = rng.dirichlet(np.ones(4), 30)
    metric = temper.metric("relative_signal_strength")
    for rate in (0.0, 0.3, 0.6, 0.75, 0.9):
        t = np.full((4, 4), rate / 3)
        np.fill_diagonal(t, 1 - rate)
        if rate < 0.75:
            np.testing.assert_allclose(metric(clean, clean @ t), 1 - rate * 4 / 3, atol=1e-9)
        else:
            assert np.all(metric(clean, clean @ t) <= 1e-12)
    assert np.all(metric(clean, clean[:, [1, 2, 3, 0]]) <= 0)
