"""The automatic mode: what it finds in spoilt data, and scikit-learn's conventions."""

import json
import pickle
import signal
import threading
import xml.etree.ElementTree

import numpy as np
import pytest

import temper
from temper.study import digits, runs, sets

SMALL = {"epochs": 20, "folds": 2, "hidden": 32}
(TRAIN_X, TRAIN_Y), (TEST_X, TEST_Y) = digits.load(digits.find())


def spoilt(rate, seed=1):
    return digits.with_noise(TRAIN_Y, digits.symmetric(rate), np.random.default_rng(seed))


def plain(y):
    model = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), seed=0)
    temper.Trainer(model, optimizer=temper.optimizer("adam", learning_rate=0.003)).fit(TRAIN_X, y, epochs=60)
    return np.mean(model.predict(TEST_X).argmax(axis=1) == TEST_Y)


@pytest.fixture(scope="module")
def found():
    y = spoilt(0.4)
    return y, temper.RobustClassifier(epochs=60).fit(TRAIN_X, y)


def test_wrong_labels_are_found_and_not_learnt(found):
    y, classifier = found
    report, wrong = classifier.report_, y != TRAIN_Y
    assert classifier.score(TEST_X, TEST_Y) > plain(y) + 0.03
    assert abs(report.noise_rate - wrong.mean()) < 0.05
    assert wrong[report.suspected].mean() > 0.95 and len(report.suspected) > 0.9 * wrong.sum()
    assert np.mean(report.believed == TRAIN_Y) > 0.93
    true = np.array([[np.mean(y[TRAIN_Y == i] == j) for j in range(10)] for i in range(10)])
    assert abs(report.transition_matrix - true).max() < 0.12
    assert report.transition_matrix.sum(axis=1) == pytest.approx(1)
    assert report.score > report.plain_score and report.approach in report.trials
    weights, means, deviations = report.loss_mixture
    assert weights.sum() == pytest.approx(1) and means[0] < means[1] and (deviations > 0).all()
    assert abs(weights[1] - wrong.mean()) < 0.15
    assert "suspected" in str(report) and report.approach in str(report)


def test_labels_mixed_up_in_pairs_are_told_apart():
    y = digits.with_noise(TRAIN_Y, digits.pairs(0.4), np.random.default_rng(2))
    classifier = temper.RobustClassifier(epochs=60).fit(TRAIN_X, y)
    report = classifier.report_
    assert classifier.score(TEST_X, TEST_Y) > plain(y) + 0.2
    assert report.approach.startswith("forward_correction") and report.approach in str(report)
    assert {"cross_entropy", "early_learning_regularization", "forward_correction"} <= set(report.trials)
    assert np.diagonal(report.transition_matrix, 1) == pytest.approx(0.4, abs=0.15)
    assert np.mean(report.believed == TRAIN_Y) > 0.85


def test_few_samples_with_many_wrong_labels():
    (x, y), (test_x, test_y) = sets.load("breast_cancer")
    scores, base = [], []
    for seed in range(3):
        given = sets.noisy(y[:150], "symmetric", 0.3, x, np.random.default_rng(seed))
        classifier = temper.RobustClassifier(random_state=seed).fit(x[:150], given)
        # So many labels look wrong that plain training is no choice.
        assert classifier.report_.noise_rate > 0.2 and classifier.report_.approach != "cross_entropy"
        scores.append(classifier.score(test_x, test_y))
        model = temper.Model([{"dense": 128}, "relu", {"dense": 2}], input=(30,), seed=seed)
        temper.Trainer(model, optimizer=temper.optimizer("adam", learning_rate=0.003)).fit(x[:150], given, epochs=100)
        base.append(np.mean(model.predict(test_x).argmax(axis=1) == test_y))
    assert np.mean(scores) > np.mean(base) + 0.1 and all(a > b for a, b in zip(scores, base))


def test_what_was_tried_stands_in_the_report(found):
    """The chosen approach first; a transition is not looked through where wrong labels are of all classes alike."""
    y, classifier = found
    trials = classifier.report_.trials
    assert set(trials) == {"cross_entropy", "early_learning_regularization"}
    assert next(iter(trials)) == classifier.report_.approach
    assert all(0 < epochs <= 60 and 0 <= score <= 1 for epochs, score in trials.values())


def stored(classifier, name, tmp_path):
    """An array of the model's file."""
    path = tmp_path / "model.safetensors"
    classifier.model_.save(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    a, b = json.loads(content[8:end])[name]["data_offsets"]
    return np.frombuffer(content[end + a : end + b], np.float32)


def test_features_of_one_unit_have_no_small_scale(tmp_path):
    """Pixels that hardly vary, all from 0 on: no scale is below the spread of all together; else each has its own."""
    rng = np.random.default_rng(5)
    x = rng.random((200, 6)) * (rng.random((200, 6)) < [0.8, 0.8, 0.8, 0.8, 0.8, 0.02])
    x[0] = 0
    y = (x[:, 0] > 0.4).astype(int)

    def scales(x):
        return stored(temper.RobustClassifier(**SMALL | {"epochs": 2}).fit(x, y), "0.scale", tmp_path)

    together = np.sqrt(x.var(axis=0).mean())
    np.testing.assert_allclose(scales(x), np.maximum(x.std(axis=0), together), rtol=1e-5)
    np.testing.assert_allclose(scales(x - np.arange(6)), x.std(axis=0), rtol=1e-5)


def test_clean_labels_cost_nothing():
    """Not even the time to try what is made for wrong labels."""
    classifier = temper.RobustClassifier(epochs=60).fit(TRAIN_X, TRAIN_Y)
    assert set(classifier.report_.trials) == {"cross_entropy"}
    assert classifier.score(TEST_X, TEST_Y) > plain(TRAIN_Y) - 0.01
    assert classifier.report_.noise_rate < 0.01 and len(classifier.report_.suspected) < 10


def test_probabilities_mean_what_they_say(found):
    _, classifier = found
    probabilities = classifier.predict_proba(TEST_X)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    right = classifier.predict(TEST_X) == TEST_Y
    assert abs(probabilities.max(axis=1).mean() - right.mean()) < 0.08
    assert np.array_equal(classifier.classes_[probabilities.argmax(axis=1)], classifier.predict(TEST_X))


def test_rare_classes_count_alike():
    x, y, classes = digits.with_tail(TRAIN_X, TRAIN_Y, 50, np.random.default_rng(3))
    classifier = temper.RobustClassifier(epochs=60).fit(x, y)
    rare = np.isin(TEST_Y, classes[-3:])
    model = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), seed=0)
    temper.Trainer(model, optimizer=temper.optimizer("adam", learning_rate=0.003), batch_size=64).fit(x, y, epochs=60)
    alone = np.mean(model.predict(TEST_X[rare]).argmax(axis=1) == TEST_Y[rare])
    assert classifier.score(TEST_X[rare], TEST_Y[rare]) >= alone
    report = classifier.report_
    assert report.class_weights @ report.class_counts == pytest.approx(len(y))
    assert temper.RobustClassifier(balanced=False, **SMALL).fit(x, y).report_.class_weights is None


def test_hardly_any_samples_of_a_class():
    """Three of 164 samples: held-out scores say nothing of them, and nothing is chosen by scores. The one way taken is
    far above plain training, over five tails (their plain training is that of the study)."""
    (x, y), (test_x, test_y) = sets.load("breast_cancer")
    gains = []
    for seed in range(100, 105):
        few_x, few_y, _ = digits.with_tail(x, y, 50, np.random.default_rng(seed))
        classifier = temper.RobustClassifier(random_state=seed).fit(few_x, few_y)
        base = runs.Plain(epochs=100, seed=seed).fit(few_x, few_y)
        right = [model.predict(test_x) == test_y for model in (classifier, base)]
        balanced = [np.mean([r[test_y == k].mean() for k in (0, 1)]) for r in right]
        gains.append(balanced[0] - balanced[1])
        report = classifier.report_
        assert set(report.trials) == {"logit_adjusted"} and np.isnan(report.plain_score)
        assert "too few samples" in str(report) and "nan" not in str(report).lower()
    assert np.mean(gains) > 0.05 and min(gains) > 0


def test_scales_are_of_all_classes_alike(tmp_path):
    """Where classes count alike they do in the features' means and scales, else they are those of most samples."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0, 1, (90, 2)), rng.normal(4, 1, (10, 2))]
    y = np.repeat([0, 1], [90, 10])

    def means(**parameters):
        return stored(temper.RobustClassifier(**SMALL | {"epochs": 1}, **parameters).fit(x, y), "0.mean", tmp_path)

    each = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
    np.testing.assert_allclose(means(), np.mean(each, axis=0), rtol=1e-5)
    np.testing.assert_allclose(means(balanced=False), x.mean(axis=0), rtol=1e-5)


def test_numbers_far_off_are_found():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 5))
    y = x @ [1.0, -2, 3, 0, 0.5] + 0.1 * rng.normal(size=400) + 1000
    given, wrong = y.copy(), rng.random(400) < 0.15
    given[wrong] += rng.choice([-1, 1], wrong.sum()) * rng.uniform(20, 60, wrong.sum())
    regressor = temper.RobustRegressor(epochs=100).fit(x[:300], given[:300])
    assert regressor.score(x[300:], y[300:]) > 0.95
    report = regressor.report_
    assert abs(report.noise_rate - wrong[:300].mean()) < 0.03
    assert set(report.suspected) == set(np.flatnonzero(wrong[:300]))
    assert report.transition_matrix is None and report.classes is None


def test_numbers_far_off_do_not_move_the_rest():
    """A share of the numbers is moved by 3 to 10 deviations: plain training loses all, and the automatic mode little."""
    (x, y), (test_x, test_y) = sets.load("diabetes")

    def r2(rate, seed):
        given = sets.with_outliers(y, rate, np.random.default_rng(seed))
        return temper.RobustRegressor(random_state=seed).fit(x, given).score(test_x, test_y)

    clean, moved = (np.mean([r2(rate, seed) for seed in range(2)]) for rate in (0, 0.2))
    assert clean > 0.48 and moved > clean - 0.08


def test_samples_far_from_all_others_are_found():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(200, 4))
    y = (x[:, 0] > 0).astype(int)
    x[[3, 50]] += 30
    report = temper.RobustClassifier(**SMALL).fit(x, y).report_
    assert set(report.outliers) == {3, 50} and "2 samples lie far from all others" in str(report)


def test_the_same_bits_with_any_number_of_threads(found):
    y = spoilt(0.2)[:200]
    first = temper.RobustClassifier(threads=2, **SMALL).fit(TRAIN_X[:200], y)
    again = temper.RobustClassifier(threads=1, **SMALL).fit(TRAIN_X[:200], y)
    for name, array in first.model_.parameters().items():
        assert np.array_equal(array, again.model_.parameters()[name]), name
    assert np.array_equal(first.report_.suspicion, again.report_.suspicion)
    other = temper.RobustClassifier(random_state=7, **SMALL).fit(TRAIN_X[:200], y)
    assert not np.array_equal(first.report_.suspicion, other.report_.suspicion)


def test_the_model_is_whole_without_the_estimator(found, tmp_path):
    _, classifier = found
    classifier.model_.save(tmp_path / "digits.safetensors")
    logits = temper.load(tmp_path / "digits.safetensors").predict(TEST_X)
    assert np.array_equal(logits, classifier.decision_function(TEST_X))
    back = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(back.predict_proba(TEST_X), classifier.predict_proba(TEST_X))
    assert str(back.report_) == str(classifier.report_)


def test_pictures(found, tmp_path):
    _, classifier = found
    names = [path.name for path in classifier.report_.save_pictures(tmp_path / "pictures")]
    assert names == ["losses.svg", "labels.svg"]
    for name in names:
        picture = xml.etree.ElementTree.parse(tmp_path / "pictures" / name).getroot()
        assert len(picture) > 40


def test_labels_are_of_any_kind():
    x = np.r_[np.zeros((30, 2)), np.ones((30, 2))] + 0.1 * np.random.default_rng(0).normal(size=(60, 2))
    for labels in (["spam", "ham"], [7, -3], [True, False]):
        y = np.repeat(labels, 30)
        classifier = temper.RobustClassifier(**SMALL).fit(x, y)
        assert classifier.score(x, y) == 1 and set(classifier.classes_) == set(labels)
        assert classifier.decision_function(x).shape == (60,)


def test_few_samples():
    x, y = np.array([[0.0], [1.0], [0.1]]), np.array([0, 1, 0])
    classifier = temper.RobustClassifier(**SMALL).fit(x, y)
    report = classifier.report_
    assert report.noise_rate == 0 and not len(report.suspected) and "nan" not in str(report).lower()
    assert report.approach == "cross_entropy" and np.isnan(report.score) and np.isnan(report.plain_score)
    assert classifier.predict(x).shape == (3,)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(3), [0, 1, 0], "2D array"),
        (np.ones((3, 1)), [0, 1], "as many"),
        (np.full((3, 1), np.nan), [0, 1, 0], "NaN"),
        (np.ones((3, 1)), [0, 0, 0], "two or more"),
        (np.ones((3, 1)), [0.5, 1.5, 0.5], "whole numbers"),
    ],
)
def test_bad_input(x, y, message):
    with pytest.raises(ValueError, match=message):
        temper.RobustClassifier().fit(x, y)


def test_bad_parameters():
    for name, value in (("folds", 1), ("hidden", -1), ("epochs", -2), ("batch_size", -1), ("threads", -1)):
        with pytest.raises(temper.errors.OutOfRange, match=name):
            temper.RobustClassifier(**{name: value}).fit(TRAIN_X[:50], TRAIN_Y[:50])
    with pytest.raises(temper.errors.InvalidArgument, match="hidden"):
        temper.RobustClassifier().set_params(unknown=1)
    with pytest.raises(Exception, match="fit first"):
        temper.RobustRegressor().predict(TRAIN_X)


def test_control_c_stops():
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        temper.RobustClassifier(epochs=10_000).fit(TRAIN_X, TRAIN_Y)
    timer.join()


@pytest.mark.parametrize("estimator", [temper.RobustClassifier(**SMALL), temper.RobustRegressor(**SMALL)], ids=repr)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator):
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="scikit-learn is not installed")
    results = checks.check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {r["check_name"]: str(r["exception"]) for r in results if r["status"] == "failed"}
    assert not failed and len(results) > 30
