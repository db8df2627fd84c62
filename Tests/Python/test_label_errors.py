"""Detectors of wrong labels, against cleanlab, their formulas in NumPy, and labels that were flipped on purpose."""

import functools

import numpy as np
import pytest

import temper

sklearn = pytest.importorskip(
    "sklearn", reason="scikit-learn, which trains the models of these tests, is not installed"
)
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import average_precision_score  # noqa: E402
from sklearn.model_selection import cross_val_predict  # noqa: E402


@functools.cache
def noisy_digits(seed=1, rate=0.2, strength=0.01):
    """Labels, which of them are wrong, and out-of-fold probabilities."""
    x, y = load_digits(return_X_y=True)
    made = temper.generator("symmetric_noise", rate=rate)(y, seed=seed)
    model = LogisticRegression(C=strength, max_iter=200)
    p = cross_val_predict(model, x / 16, made["y"], cv=3, method="predict_proba")
    return made["y"], made["is_noisy"], p, y


def confident_joint(y, p):
    classes = p.shape[1]
    thresholds = np.array([p[y == j, j].mean() for j in range(classes)])
    passes = p >= thresholds - 1e-6
    confident = np.where(passes.any(1), np.where(passes, p, -1).argmax(1), -1)
    joint = np.zeros((classes, classes))
    for label, true in zip(y, confident):
        if true >= 0:
            joint[label, true] += 1
    return thresholds, joint, confident


def test_the_joint_of_confident_learning():
    y, _, p, true = noisy_digits()
    thresholds, joint, _ = confident_joint(y, p)
    detector = temper.detector("confident_learning").fit(y, p)
    np.testing.assert_allclose(detector.state["thresholds"], thresholds)
    np.testing.assert_array_equal(detector.state["confident_joint"], joint)
    calibrated = joint / joint.sum(1, keepdims=True) * np.bincount(y)[:, None] / len(y)
    np.testing.assert_allclose(detector.state["joint"], calibrated)
    assert float(detector.state["noise_rate"]) == pytest.approx(1 - np.trace(calibrated))
    assert abs(float(detector.state["noise_rate"]) - 0.2) < 0.05
    count = pytest.importorskip("cleanlab.count", reason="cleanlab is not installed")
    theirs = count.compute_confident_joint(y, p, calibrate=False)
    off = ~np.eye(10, dtype=bool)
    np.testing.assert_array_equal(theirs[off], joint[off])


@pytest.mark.parametrize("rule", ["by_class", "by_noise_rate", "both", "confident_joint"])
def test_pruning_by_confident_learning(rule):
    y, wrong, p, _ = noisy_digits()
    detector = temper.detector("confident_learning", prune=rule).fit(y, p)
    scores = detector.score(y, p)
    found = detector.details["is_error"]
    np.testing.assert_allclose(scores, 1 - p[np.arange(len(y)), y])
    np.testing.assert_array_equal(detector.details["suggested"], p.argmax(1))
    assert (found & wrong).sum() / found.sum() > 0.75 and (found & wrong).sum() / wrong.sum() > 0.7
    joint, expected = detector.state["joint"], {}
    by_class, by_rate = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for i in range(10):
        members = np.flatnonzero(y == i)
        share = joint[i] / joint[i].sum()
        by_class[members[np.argsort(p[members, i], kind="stable")[: round(len(members) * (1 - share[i]))]]] = True
        for j in set(range(10)) - {i}:
            order = np.argsort(p[members, i] - p[members, j], kind="stable")
            by_rate[members[order[: round(len(members) * share[j])]]] = True
    confident = confident_joint(y, p)[2]
    expected = {
        "by_class": by_class, "by_noise_rate": by_rate, "both": by_class & by_rate,
        "confident_joint": (confident >= 0) & (confident != y),
    }  # fmt: skip
    assert (found != expected[rule]).sum() <= 2  # halves are rounded away from zero here, to even in Python
    find = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed").find_label_issues
    names = {
        "by_class": "prune_by_class",
        "by_noise_rate": "prune_by_noise_rate",
        "confident_joint": "confident_learning",
    }
    theirs = find(y, p, filter_by=names.get(rule, rule), n_jobs=1)
    assert (found & theirs).sum() / theirs.sum() > 0.9


def test_detection_is_as_good_as_that_of_cleanlab():
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is not installed")
    for rate in (0.1, 0.3):
        y, wrong, p, _ = noisy_digits(2, rate)
        for ours, theirs in (("self_confidence", "self_confidence"), ("normalized_margin", "normalized_margin")):
            scores = temper.detector("confident_learning", rank_by=ours).fit(y, p).score(y, p)
            quality = rank.get_label_quality_scores(y, p, method=theirs)
            np.testing.assert_allclose(scores, 1 - quality, atol=1e-6)
            assert average_precision_score(wrong, scores) > 0.9


def test_audit_of_a_test_set():
    # Thresholds: 0.75 of class 0, 0.6 of class 1; the third sample is confidently 1 and labelled 0.
    y, p = [0, 0, 0, 1], np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    detector = temper.detector("confident_learning_test_audit").fit(y, p)
    np.testing.assert_allclose(detector.state["thresholds"], [0.7, 0.6])
    np.testing.assert_array_equal(detector.state["confident_joint"], [[2, 1], [0, 1]])
    scores = detector.score(y, p)
    np.testing.assert_allclose(scores, [0.1, 0.2, 0.6, 0.4])
    assert detector.details["candidates"].tolist() == [2]
    digits, wrong, p, _ = noisy_digits(3, 0.05, 0.1)
    detector = temper.detector("confident_learning_test_audit").fit(digits, p)
    detector.score(digits, p)
    top = detector.details["candidates"][: wrong.sum()]
    assert wrong[top].mean() > 0.8
    # Perfect probabilities recover the noise matrix.
    rng = np.random.default_rng(0)
    truth, noise = rng.integers(0, 3, 5000), np.array([[0.8, 0.15, 0.05], [0, 0.9, 0.1], [0.2, 0, 0.8]])
    given = temper.generator("asymmetric_noise")(truth, noise, seed=1)["y"]
    joint = temper.detector("confident_learning_test_audit").fit(given, np.eye(3)[truth]).state["joint"]
    np.testing.assert_allclose(joint.T / joint.sum(0)[:, None], noise, atol=0.02)


def test_courses_of_training(rng):
    z, y = rng.normal(size=(6, 40, 4)), rng.integers(0, 4, 40)
    own = np.take_along_axis(z, y[None, :, None], 2)[..., 0]
    others = np.where(np.arange(4) == y[:, None], -np.inf, z).max(-1)
    aum = (own - others).mean(0)
    detector = temper.detector("aum")
    np.testing.assert_allclose(detector.score(z, y), -aum)
    mask = np.arange(40) < 10
    detector.score(z, y, is_threshold=mask)
    limit = np.quantile(aum[mask], 0.99)
    np.testing.assert_array_equal(detector.details["is_error"], ~mask & (aum < limit))
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    chance = np.take_along_axis(p, y[None, :, None], 2)[..., 0]
    maps = temper.detector("data_maps")
    np.testing.assert_allclose(maps.score(z, y), 1 - chance.mean(0))
    np.testing.assert_allclose(maps.details["variability"], chance.std(0))
    right = z.argmax(-1) == y
    np.testing.assert_allclose(maps.details["correctness"], right.mean(0))
    forgets = temper.detector("forget_events")
    lost = (right[:-1] & ~right[1:]).sum(0)
    np.testing.assert_array_equal(forgets.score(z, y), np.where(right.any(0), lost, 6))
    np.testing.assert_array_equal(forgets.details["was_learned"], right.any(0))
    np.testing.assert_array_equal(forgets.details["is_unforgettable"], right.any(0) & (lost == 0))


def test_courses_find_wrong_digits():
    y, wrong, _, _ = noisy_digits()
    x, _ = load_digits(return_X_y=True)
    model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=1)
    adam = temper.optimizer("adam", learning_rate=0.01)
    trainer = temper.Trainer(model, loss="cross_entropy", optimizer=adam, seed=1, threads=1)
    course = []
    for _ in range(10):
        trainer.fit(x / 16, y, epochs=len(course) + 1)
        course.append(model.predict(x / 16))
    course = np.array(course)
    for name, floor in (("aum", 0.85), ("data_maps", 0.85), ("forget_events", 0.5)):
        assert average_precision_score(wrong, temper.detector(name).score(course, y)) > floor


def test_tabasco(rng):
    y = np.repeat([0, 1, 2], [200, 60, 30])
    given = y.copy()
    flips = rng.random(len(y)) < 0.3
    given[flips] = (y[flips] + rng.integers(1, 3, flips.sum())) % 3
    features = np.eye(3)[y] * 4 + rng.normal(size=(len(y), 3))
    z = np.eye(3)[y] * 2 + rng.normal(size=(len(y), 3)) * 0.5
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    detector = temper.detector("tabasco")
    scores = detector.score(given, p, features)
    assert average_precision_score(flips, scores) > 0.8
    np.testing.assert_array_equal(detector.details["is_right"], 1 - scores > 0.5)
    own = p[np.arange(len(y)), given]
    m = (p + np.eye(3)[given]) / 2
    js = 0.5 * (p * np.log(p / m)).sum(1) + 0.5 * np.log(1 / m[np.arange(len(y)), given])
    means = np.array([p[given == k].mean(0) for k in range(3)])
    most = np.maximum(means.max(1) / np.diag(means), 1)[given]
    np.testing.assert_allclose(detector.details["divergence"], js * np.clip(p.max(1) / own, 1, most), rtol=1e-9)
    assert np.abs(detector.details["similarity"]).max() <= 1 + 1e-12
    sure = temper.detector("tabasco")
    sure.score([0, 0, 1, 1], np.eye(2)[[0, 0, 1, 0]], rng.normal(size=(4, 2)))
    np.testing.assert_allclose(sure.details["divergence"][:3], 0, atol=1e-12)


def test_influence(rng):
    g, h, rates = rng.normal(size=(3, 20, 7)), rng.normal(size=(3, 5, 7)), np.array([0.1, 0.2, 0.4])
    detector = temper.detector("tracin")
    np.testing.assert_allclose(detector.score(g, rates), np.einsum("t,tnp,tnp->n", rates, g, g))
    influence = np.einsum("t,tnp,tmp->nm", rates, g, h)
    np.testing.assert_allclose(detector.score(g, rates, h), -influence.mean(1))
    np.testing.assert_allclose(detector.details["influence"], influence)
    np.testing.assert_allclose(detector.score(g.astype(np.float32)), (g**2).sum((0, 2)), rtol=1e-5)


def test_small_losses_find_wrong_digits():
    y, wrong, p, _ = noisy_digits()
    losses = -np.log(p[np.arange(len(y)), y])
    for form in ("gaussian", "beta"):
        detector = temper.detector("loss_mixture", form=form).fit(losses)
        found = detector.score(losses) > 0.5
        assert (found & wrong).sum() / wrong.sum() > 0.8 and (found & wrong).sum() / found.sum() > 0.7


def test_bad_input_is_an_error():
    y, p = [0, 1, 1], np.full((3, 2), 0.5)
    for name in ("confident_learning", "confident_learning_test_audit"):
        detector = temper.detector(name)
        with pytest.raises(temper.errors.WrongState):
            detector.score(y, p)
        for labels, given, match in [
            ([0, 1, 2], p, "0 to 1"),
            ([0, 1], p, "N=3|N=2"),
            (y, p * 2, "row 0 sums to 2"),
            (y, np.where(np.eye(3, 2) == 1, np.nan, p), "element 0 is nan"),
        ]:
            with pytest.raises(temper.Error, match=match):
                detector.fit(labels, given)
        detector.fit(y, p)
        with pytest.raises(temper.Error, match="C=2"):
            detector.score(y, np.full((3, 4), 0.25))
    with pytest.raises(temper.errors.Unsupported, match="fit"):
        temper.detector("aum").fit(y)
    with pytest.raises(temper.Error, match="two classes"):
        temper.detector("aum").score(np.zeros((2, 3, 1)), [0, 0, 0])
    with pytest.raises(temper.Error, match="2 components"):
        temper.detector("loss_mixture").fit([1.0])
    with pytest.raises(temper.Error, match="element 1"):
        temper.detector("loss_mixture").fit([1.0, np.inf, 2])
    same = temper.detector("loss_mixture").fit(np.full(9, 2.0)).score([2.0, 5.0])
    assert np.all(np.isfinite(same))
