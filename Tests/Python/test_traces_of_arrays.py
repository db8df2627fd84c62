"""Crowds, detectors, samplers and prefixes, step by step in NumPy from their formulas."""

import numpy as np
import pytest
from scipy.special import logsumexp, psi

import temper
from procedures import Random, softmax


def votes_of(rng, items=40, classes=4, workers=5, share=0.8):
    """Of workers who know more and less; -1 is no vote."""
    truth = rng.integers(0, classes, items)
    told = np.where(rng.random((items, workers)) < np.linspace(0.9, 0.4, workers), truth[:, None],
                    rng.integers(0, classes, (items, workers)))  # fmt: skip
    told[rng.random(told.shape) > share] = -1
    return told




@pytest.mark.parametrize("iterations", [1, 7])
def test_glad_step_by_step(rng, iterations):
    """P(vote right) = sigmoid(alpha beta): posteriors, then 25 ascents of alpha and log beta by bounds of curvature."""
    votes, classes = votes_of(rng), 4
    items, workers = np.nonzero(votes >= 0)
    labels = votes[items, workers]
    alpha, log_beta = np.ones(votes.shape[1]), np.ones(len(votes))

    def posterior():
        s = 1 / (1 + np.exp(-alpha[workers] * np.exp(log_beta[items])))
        logs = np.zeros((len(votes), classes))
        np.add.at(logs, items, np.where(np.arange(classes) == labels[:, None], np.log(s)[:, None],
                                        np.log((1 - s) / (classes - 1))[:, None]))  # fmt: skip
        return softmax(logs)

    q = posterior()
    for _ in range(iterations):
        for _ in range(25):
            beta = np.exp(log_beta[items])
            z = alpha[workers] * beta
            miss = q[items, labels] - 1 / (1 + np.exp(-z))
            slopes, bends = [1 - alpha, 1 - log_beta], [np.ones(len(alpha)), np.ones(len(log_beta))]
            for at, places, slope, bend in ((0, workers, miss * beta, beta**2 / 2),
                                            (1, items, miss * z, np.abs(z) + z**2 / 2)):  # fmt: skip
                np.add.at(slopes[at], places, slope)
                np.add.at(bends[at], places, bend)
            alpha, log_beta = alpha + slopes[0] / bends[0], log_beta + slopes[1] / bends[1]
        before, q = q, posterior()
        if np.abs(q - before).max() < 1e-5:
            break
    found = temper.op("glad", em_iters=iterations)(votes=votes, num_classes=classes)
    np.testing.assert_allclose(found, q, atol=1e-9)


@pytest.mark.parametrize("restarts", [1, 3])
def test_mace_step_by_step(rng, restarts):
    """Workers copy the truth or answer by habit; variational EM from each start, the likeliest of which counts."""
    votes, classes, iterations = votes_of(rng), 4, 6
    items, workers = np.nonzero(votes >= 0)
    labels, count = votes[items, workers], votes.shape[1]
    best = -np.inf
    for restart in range(restarts):
        random = Random(key=Random._mix(9, "mace")).stream(restart)
        knows = np.array([[1 + random.uniform() for _ in range(2)] for _ in range(count)])
        habit = np.array([[1 + random.uniform() for _ in range(classes)] for _ in range(count)])
        knows, habit = (a / a.sum(1, keepdims=True) for a in (knows, habit))
        for _ in range(iterations):
            spam = knows[workers, 1] * habit[workers, labels]
            logs = np.full((len(votes), classes), -np.log(classes))
            np.add.at(logs, items, np.log(spam[:, None] + knows[workers, :1] * np.eye(classes)[labels]))
            likelihood, q = logsumexp(logs, axis=1).sum(), softmax(logs)
            known = q[items, labels] * knows[workers, 0] / (knows[workers, 0] + spam)
            a, b = np.full((count, 2), 0.5), np.full((count, classes), 10.0)
            np.add.at(a, workers, np.stack([known, 1 - known], axis=1))
            np.add.at(b, (workers, labels), 1 - known)
            knows, habit = (np.exp(psi(c) - psi(c.sum(1, keepdims=True))) for c in (a, b))
        if likelihood > best:
            best, expected = likelihood, q
    found = temper.op("mace", mace_iters=iterations, mace_restarts=restarts, seed=9)(votes=votes, num_classes=classes)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("refines", [False, True])
@pytest.mark.parametrize("grid", [0, 51, 20])
def test_two_answers_step_by_step(rng, refines, grid):
    """Singular vectors of the K - 1 matrices of signs by NumPy; then the likeliest pair and split."""
    k, votes = 5, votes_of(rng, items=60, classes=5, workers=8)
    seen = votes >= 0
    share = seen.mean()
    matrices = [np.where(seen, np.where(votes < cut, -1, 1), 0).T - share * (k - 2 * cut) / k for cut in range(1, k)]
    leading = [np.linalg.svd(a)[0][:, 0] for a in matrices]
    u = np.clip(np.mean([v * np.sign(v.sum()) for v in leading], axis=0), 0, 1)
    w = np.array([0 * votes[:, 0], *(a.T @ u / (2 * share) for a in matrices), 0 * votes[:, 0]])
    depth = np.diff(w, axis=0).T
    order = depth.argsort(1, kind="stable")
    best, second = order[:, 0], order[:, 1]
    hit = seen & ((votes == best[:, None]) | (votes == second[:, None]))
    p = np.clip((hit.sum(0) / seen.sum(0) - 2 / k) / (1 - 2 / k), 0.001, 0.999)
    q = np.clip(1 / k - depth.min(1) / np.linalg.norm(p), 0.501, 0.999)
    options = {"stage2": refines, "q_grid": grid}
    np.testing.assert_allclose(
        temper.op("toptwo_crowdsourcing_reliability", **options)(votes=votes, num_classes=k), p, atol=1e-9)
    expected = np.zeros((len(votes), k))
    for i in range(len(votes)):
        own, who = votes[i][seen[i]], p[seen[i]]
        if refines and len(own):
            odds = k * who / (1 - who)
            pairs = {(a, b): np.log(odds * q[i] + 1)[own == a].sum() + np.log(odds * (1 - q[i]) + 1)[own == b].sum()
                     for a in range(k) for b in range(k) if a != b}  # fmt: skip
            best[i], second[i] = max(pairs, key=pairs.get)
            if grid:
                trials = np.linspace(0.501, 0.999, grid)
                right = np.where(own == best[i], trials[:, None], np.where(own == second[i], 1 - trials[:, None], 0))
                q[i] = trials[np.log(who * right + (1 - who) / k).sum(1).argmax()]
        expected[i, best[i]], expected[i, second[i]] = q[i], 1 - q[i]
    found = temper.op("toptwo_crowdsourcing", **options)(votes=votes, num_classes=k)
    # Where all agree, any other answer may be the second: which one is rounding's.
    sure = np.diff(np.sort(depth)[:, 1:3])[:, 0] > 1e-9
    assert sure.mean() > 0.8
    np.testing.assert_allclose(found[sure], expected[sure], atol=1e-9)


class Mixture:
    """Two normal distributions: ten steps of EM from two clusters."""

    def __init__(self, values):
        v = np.sort(values)
        centres = np.array([v[len(v) // 4], v[3 * len(v) // 4]])
        for _ in range(100):
            of_second = np.abs(v - centres[1]) < np.abs(v - centres[0])
            new = np.array([v[~of_second].mean(), v[of_second].mean()])
            if np.array_equal(new, centres):
                break
            centres = new
        of_second = np.abs(values - centres[1]) < np.abs(values - centres[0])
        r, last = np.stack([~of_second, of_second], axis=1).astype(float), -np.inf
        for step in range(11):
            self.w, self.m = r.mean(0), (r * values[:, None]).sum(0) / r.sum(0)
            self.s = (r * (values[:, None] - self.m) ** 2).sum(0) / r.sum(0) + 5e-4
            logs = self.logs(values)
            whole = logsumexp(logs, axis=1)
            if step == 10 or abs(whole.mean() - last) < 1e-2:
                break
            r, last = np.exp(logs - whole[:, None]), whole.mean()

    def logs(self, values):
        x = np.asarray(values)[:, None]
        return np.log(self.w) - 0.5 * np.log(2 * np.pi * self.s) - (x - self.m) ** 2 / (2 * self.s)

    def high(self, values):
        return softmax(self.logs(values))[:, self.m.argmax()]


def tabasco(y, p, features, ratio, tolerance):
    """Scores, similarities and which classes go by features."""
    z = features - features.mean(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    classes, count = p.shape[1], len(y)
    means = np.array([p[y == k].mean(0) for k in range(classes)])
    own = p[np.arange(count), y]
    middle = (p + np.eye(classes)[y]) / 2
    js = 0.5 * (p * np.log(p / middle)).sum(1) - 0.5 * np.log(middle[np.arange(count), y])
    divergence = js * np.clip(p.max(1) / own, 1, np.maximum(means.max(1) / np.diag(means), 1)[y])
    anchors = []
    for k in range(classes):
        c = (means[k] / p.mean(0)).argmax()
        core = (y == k) & (p.argmax(1) == c) & (p[:, c] >= means[k, c])
        centre = z[core if core.any() else y == k].mean(0)
        anchors.append(centre / np.linalg.norm(centre))
    anchors = np.array(anchors)
    similarity = (z * anchors[y]).sum(1)
    scores, by_features = np.zeros(count), np.zeros(classes, bool)
    for k in range(classes):
        near, far = ((v[y == k] - v[y == k].min()) / np.ptp(v[y == k]) for v in (similarity, divergence))
        by_near, by_far = Mixture(near), Mixture(far)
        high = by_near.high(near) > 0.5
        ends = [far[~high], far[high]]
        agree = [len(e) == 0 or by_far.high([e.mean()])[0] > 0.5 for e in ends]
        if all(agree) or not all(map(len, ends)) or ends[1].std() / ends[0].std() < ratio:
            scores[y == k] = by_far.high(far)
            continue
        by_features[k] = True
        likeness = softmax(anchors @ anchors[k])
        others = np.delete(likeness[k] - likeness, k)
        takes_low = (~high).sum() > high.sum() and (others <= tolerance).any()
        scores[y == k] = by_near.high(near) if takes_low else 1 - by_near.high(near)
    return scores, similarity, by_features


def test_tabasco_step_by_step():
    """Both measures and both clusters are taken by some class of some data, and ratios and tolerances decide."""
    taken, decided = [], 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1, 2], [120, 60, 30])
        given = np.where(rng.random(len(y)) < (0.35 if seed % 2 else 0.6), rng.integers(0, 3, len(y)), y)
        features = np.eye(3)[y] * rng.uniform(0.5, 3) + rng.normal(size=(len(y), 3)) * 0.6
        p = softmax(np.eye(3)[y] * rng.uniform(0.5, 2) + np.eye(3)[given] + rng.normal(size=(len(y), 3)) * 0.5)
        both = []
        for ratio, tolerance in ((0.65, 0.0), (0.3, 0.0), (0.3, 0.9)):
            detector = temper.detector("tabasco", std_ratio=ratio, anchor_tol=tolerance, gmm_threshold=0.4)
            scores, similarity, by_features = tabasco(given, p, features, ratio, tolerance)
            np.testing.assert_allclose(detector.score(given, p, features), scores, atol=1e-9)
            np.testing.assert_allclose(detector.details["similarity"], similarity, atol=1e-12)
            np.testing.assert_array_equal(detector.details["by_features"], by_features)
            np.testing.assert_array_equal(detector.details["is_right"], 1 - scores > 0.4)
            taken.append(by_features)
            both.append(scores)
        decided += [np.abs(a - b).max() > 0.1 for a, b in zip(both, both[1:])] == [True, True]
    assert 3 < np.sum(taken) < np.size(taken) - 3 and decided > 0


@pytest.mark.parametrize("center", ["mean", "ema"])
def test_sparse_replay_step_by_step(rng, center):
    """sparse_uniform_replay: by likeness to the centre in pieces; of each the middle one and the one least like it."""
    x, groups = rng.normal(size=(64, 5)) + 1, np.repeat([0, 1], [40, 24])
    kept = temper.sampler("sparse_uniform_replay", budget=8, mode="sparse", center=center).indices(x, groups)
    expected = []
    for group in (0, 1):
        own = np.flatnonzero(groups == group)
        c = x[own].mean(0)
        if center == "ema":
            c = x[own[0]]
            for at in own[1:]:
                c = 0.9 * c + 0.1 * x[at]
        order = own[np.argsort(-(x[own] @ c), kind="stable")]
        size = len(own) // 4
        for piece in order[: 4 * size].reshape(4, size):
            first = piece[size // 2]
            z = x[piece] - c
            likeness = z @ (x[first] - c) / np.linalg.norm(z, axis=1)
            expected += [first, piece[likeness.argmin()]]
    assert set(kept) == set(expected)


def test_the_memory_follows_its_rule(rng):
    """noisy_test_debiasing_memory, one newcomer at a time: out goes the largest loss of a largest group by label."""
    y, losses = rng.integers(0, 4, 300), rng.random(300)
    sampler, kept = temper.sampler("noisy_test_debiasing_memory", memory_size=20), []
    for new in range(300):
        now = sampler.indices(y[new : new + 1], losses=losses[new : new + 1]).tolist()
        among = [*kept, new]
        gone = sorted(set(among) - set(now))
        assert len(now) == min(new + 1, 20) and set(now) <= set(among) and len(gone) == len(among) - len(now)
        for item in gone:
            counts = np.bincount(y[among], minlength=4)
            assert counts[y[item]] == counts.max()
            assert losses[item] == max(losses[other] for other in among if y[other] == y[item])
        assert sampler.details["entered"].tolist() == [new in now]
        kept = now
        state = sampler.state
        np.testing.assert_array_equal(np.sort(state["items"]), np.sort(now))
        np.testing.assert_array_equal(state["labels"], y[state["items"].astype(int)])
        np.testing.assert_array_equal(state["item_losses"], losses[state["items"].astype(int)])
        assert int(state["seen"]) == new + 1


def test_cuts_of_nested_dropout(rng):
    """nested_dropout: each step multiplies the features by a prefix of ones, whose length follows exp(-(k / s)^2)."""
    x, y, s = rng.normal(size=(8, 6)), rng.integers(0, 3, 8), 3.0
    network = temper.Model([{"nested_dropout": s}, {"dense": {"size": 3, "bias": False}}], input=(6,), dtype="float64", seed=1)
    trainer = temper.Trainer(network, optimizer=temper.optimizer("sgd", learning_rate=0.01), batch_size=8, seed=2)
    lengths, steps = [], 800
    w = network.parameters()["1.weight"].copy()
    for step in range(1, steps + 1):
        trainer.fit(x, y, epochs=step)
        new = network.parameters()["1.weight"].copy()
        length = int(np.flatnonzero((new != w).any(0)).max()) + 1
        if step < 60:
            masked = x * (np.arange(6) < length)
            slope = softmax(masked @ w.T) - np.eye(3)[y]
            np.testing.assert_allclose(new, w - 0.01 * slope.T @ masked / 8, atol=1e-12)
        lengths.append(length)
        w = new
    weights = np.exp(-((np.arange(1, 7) / s) ** 2))
    expected = steps * weights / weights.sum()
    found = np.bincount(lengths, minlength=7)[1:]
    assert ((found - expected) ** 2 / expected).sum() < 20.5  # chi-square with 5 degrees of freedom, p = 0.001
    np.testing.assert_allclose(network.predict(x), x @ w.T, atol=1e-12)
