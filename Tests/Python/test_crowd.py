"""Soft labels of crowds, against the seven methods in NumPy and what is known of simulated workers."""

import numpy as np
import pytest

import temper

METHODS = ["standard", "softmax", "ds", "glad", "mace", "wawa", "zbs"]


def soft(votes, classes, method, **parameters):
    weights = {"weights": parameters.pop("weights")} if "weights" in parameters else {}
    return temper.op("soft_label_ensemble", method=method, **parameters)(votes=votes, num_classes=classes, **weights)


def simulated(rng, items=60, classes=4, skills=(0.9, 0.8, 0.7, 0.6, 0.5), share=0.8):
    """Votes of workers who are right as often as their skill, each item seen by a share of them."""
    truth = rng.integers(0, classes, items)
    wrong = (truth[:, None] + rng.integers(1, classes, (items, len(skills)))) % classes
    votes = np.where(rng.random(wrong.shape) < np.array(skills), truth[:, None], wrong)
    votes[rng.random(votes.shape) > share] = -1
    return votes, truth


def indicators(votes, classes):
    return (votes[..., None] == np.arange(classes)).astype(float)


def normalized(table):
    sums = table.sum(-1, keepdims=True)
    return np.where(sums > 0, table / np.where(sums > 0, sums, 1), 1 / table.shape[-1])


def dawid_skene(votes, classes, iterations=100, smoothing=0.01):
    one_hot = indicators(votes, classes)
    q = normalized(one_hot.sum(1))
    likelihoods = []
    for _ in range(iterations):
        prior = normalized((q.sum(0) + smoothing)[None])[0]
        confusion = normalized(np.einsum("ik,iwl->wkl", q, one_hot) + smoothing)
        logs = np.log(prior) + np.einsum("iwl,wkl->ik", one_hot, np.log(confusion))
        likelihoods.append(np.logaddexp.reduce(logs, -1).sum())
        new = np.exp(logs - np.logaddexp.reduce(logs, -1)[:, None])
        change, q = np.abs(new - q).max(), new
        if change < 1e-5:
            break
    return q, likelihoods


def weighted(one_hot, skills):
    return np.einsum("iwl,w->il", one_hot, skills)


def wawa(votes, classes):
    one_hot = indicators(votes, classes)
    agreement = (votes == one_hot.sum(1).argmax(-1)[:, None]).sum(0) / np.maximum((votes >= 0).sum(0), 1)
    return normalized(weighted(one_hot, agreement))


def zero_based_skill(votes, classes, rate=1.0, every=20, factor=0.5):
    one_hot = indicators(votes, classes)
    skills = np.full(votes.shape[1], 1 / classes)
    for start in range(0, 100, every):
        for _ in range(min(every, 100 - start)):
            winners = weighted(one_hot, skills).argmax(-1)
            hits = (votes == winners[:, None]).sum(0) / np.maximum((votes >= 0).sum(0), 1)
            skills = skills + rate * (hits - skills)
        rate *= factor
    return normalized(weighted(one_hot, skills))


def test_closed_forms(rng):
    for _ in range(5):
        votes, _ = simulated(rng)
        votes[3] = -1  # nobody saw it
        counts = indicators(votes, 4).sum(1)
        np.testing.assert_allclose(soft(votes, 4, "standard"), normalized(counts), rtol=1e-14)
        np.testing.assert_allclose(soft(votes, 4, "softmax"), normalized(np.exp(counts)), rtol=1e-13)
        np.testing.assert_allclose(soft(votes, 4, "wawa"), wawa(votes, 4), rtol=1e-12)
        np.testing.assert_allclose(soft(votes, 4, "zbs"), zero_based_skill(votes, 4), rtol=1e-12)
        np.testing.assert_allclose(soft(votes, 4, "ds"), dawid_skene(votes, 4)[0], atol=1e-10)


def test_skills_are_learned_at_a_rate_that_falls(rng):
    votes, _ = simulated(rng)
    for rate, every, factor in ((0.3, 7, 0.9), (0.05, 50, 0.5), (0.2, 30, 0.1)):
        found = soft(votes, 4, "zbs", zbs_lr=rate, zbs_reduce_every=every, zbs_factor=factor)
        np.testing.assert_allclose(found, zero_based_skill(votes, 4, rate, every, factor), rtol=1e-10)


def test_dawid_skene_climbs(rng):
    votes, truth = simulated(rng)
    for iterations in (1, 3, 10):
        expected, likelihoods = dawid_skene(votes, 4, iterations, 1e-9)
        np.testing.assert_allclose(soft(votes, 4, "ds", em_iters=iterations, smoothing=1e-9), expected, atol=1e-9)
        assert np.all(np.diff(likelihoods) > -1e-9)


@pytest.mark.parametrize("method", METHODS + ["average"])
def test_rows_are_distributions_that_follow_the_workers(rng, method):
    votes, truth = simulated(rng, items=300)
    table = soft(votes, 4, method)
    np.testing.assert_allclose(table.sum(-1), 1, atol=1e-12)
    assert table.min() >= 0
    seen = (votes >= 0).any(1)
    majority = indicators(votes, 4).sum(1).argmax(-1)
    right = (table.argmax(-1) == truth)[seen].mean()
    assert right >= (majority == truth)[seen].mean() - 0.03
    one_voice = np.tile(rng.integers(0, 4, 20)[:, None], (1, 5))
    np.testing.assert_array_equal(soft(one_voice, 4, method).argmax(-1), one_voice[:, 0])


@pytest.mark.parametrize("method", ["ds", "glad", "mace"])
def test_models_of_workers_tell_good_ones_from_bad(rng, method):
    """Two good workers against three who answer at random: the majority is often wrong, the model seldom."""
    votes, truth = simulated(rng, items=400, skills=(0.95, 0.95, 0.25, 0.25, 0.25), share=1.1)
    majority = indicators(votes, 4).sum(1).argmax(-1)
    right = (soft(votes, 4, method).argmax(-1) == truth).mean()
    assert right > (majority == truth).mean() + 0.02 and right > 0.9


def test_the_average_is_the_weighted_mean(rng):
    votes, _ = simulated(rng, items=20)
    tables = np.array([soft(votes, 4, method) for method in METHODS])
    np.testing.assert_allclose(soft(votes, 4, "average"), tables.mean(0), rtol=1e-12)
    weights = np.array([3.0, 0, 1, 0, 2, 0, 1])
    np.testing.assert_allclose(
        soft(votes, 4, "average", weights=weights), np.einsum("m,mik->ik", weights / 7, tables), rtol=1e-12
    )


def test_mace_depends_on_its_seed_alone(rng):
    votes, _ = simulated(rng, items=30, share=0.4)
    few = {"mace_restarts": 1, "mace_iters": 2}
    np.testing.assert_array_equal(soft(votes, 4, "mace", seed=3, **few), soft(votes, 4, "mace", seed=3, **few))
    assert np.any(soft(votes, 4, "mace", seed=3, **few) != soft(votes, 4, "mace", seed=4, **few))


def test_the_number_of_classes_is_the_width():
    for classes in (3, 5, 3):
        table = soft([[0, 2, -1]], classes, "standard")
        assert table.shape == (1, classes) and table.dtype == np.float64
    with pytest.raises(temper.Error, match="3 classes"):
        soft([[0, 3]], 3, "standard")
    with pytest.raises(temper.Error, match="-1"):
        soft([[0, -2]], 3, "standard")
    with pytest.raises(temper.Error, match="num_classes"):
        soft([[0]], 0, "standard")


def test_each_model_of_workers_has_an_entry(rng):
    votes, _ = simulated(rng)
    for name, method, options in (
        ("majority_vote", "standard", {}),
        ("dawid_skene", "ds", {"em_iters": 7, "smoothing": 0.1}),
        ("glad", "glad", {"em_iters": 5}),
        ("mace", "mace", {"mace_iters": 10, "mace_restarts": 2, "seed": 3}),
    ):
        table = temper.op(name, **options)(votes=votes, num_classes=4)
        np.testing.assert_array_equal(table, soft(votes, 4, method, **options))
    with pytest.raises(temper.Error, match="4 classes"):
        temper.op("dawid_skene")(votes=[[4]], num_classes=4)


def top_two_votes(rng, tasks=500, workers=30, classes=5, share=0.5):
    """Best and second answers, how votes split between them, and who guesses how often (the model of the paper)."""
    best = rng.integers(0, classes, tasks)
    second = (best + rng.integers(1, classes, tasks)) % classes
    split, skill = rng.uniform(0.55, 0.95, tasks), rng.uniform(0.2, 1, workers)
    told = np.where(rng.random((tasks, workers)) < split[:, None], best[:, None], second[:, None])
    votes = np.where(rng.random(told.shape) < skill, told, rng.integers(0, classes, told.shape))
    votes[rng.random(votes.shape) > share] = -1
    return votes, best, second, split, skill


def test_top_two_answers(rng):
    both = {"counts": [], False: [], True: []}
    errors, correlations = {"counts": [], True: []}, []
    for _ in range(5):
        votes, best, second, split, skill = top_two_votes(rng)
        counts = indicators(votes, 5).sum(1)
        order = counts.argsort(1, kind="stable")
        both["counts"].append(((order[:, -1] == best) & (order[:, -2] == second)).mean())
        top = np.take_along_axis(counts, order[:, -2:], 1)
        errors["counts"].append(np.abs(top[:, 1] / np.maximum(top.sum(1), 1) - split).mean())
        for stage2 in (False, True):
            table = temper.op("toptwo_crowdsourcing", stage2=stage2)(votes=votes, num_classes=5)
            np.testing.assert_allclose(table.sum(1), 1)
            assert np.all((table > 0).sum(1) == 2) and table.max(1).min() > 0.5
            ranks = table.argsort(1)
            both[stage2].append(((ranks[:, -1] == best) & (ranks[:, -2] == second)).mean())
            if stage2:
                errors[True].append(np.abs(table.max(1) - split).mean())
        reliability = temper.op("toptwo_crowdsourcing_reliability")(votes=votes, num_classes=5)
        correlations.append(np.corrcoef(reliability, skill)[0, 1])
    assert np.mean(both[True]) > np.mean(both["counts"]) + 0.03 and np.mean(both[True]) > np.mean(both[False])
    assert np.mean(correlations) > 0.95 and np.mean(errors[True]) < np.mean(errors["counts"]) + 0.01
    with pytest.raises(temper.Error, match="3 to"):
        temper.op("toptwo_crowdsourcing")(votes=[[0, 1]], num_classes=2)


def test_sure_workers_tell_the_split(rng):
    votes, best, second, split, _ = top_two_votes(rng, tasks=40, workers=600, share=1.1)
    told = np.where(rng.random(votes.shape) < split[:, None], best[:, None], second[:, None])
    table = temper.op("toptwo_crowdsourcing")(votes=told, num_classes=5)
    shares = (told == best[:, None]).mean(1)
    np.testing.assert_allclose(table[np.arange(40), best], shares, atol=0.01)


def test_labels_spread_over_the_graph(rng):
    x = np.r_[rng.normal(size=(60, 2)) + [3, 9], rng.normal(size=(60, 2)) + [9, 3]]
    truth = np.repeat([0, 1], 60)
    labels = np.full(120, -1)
    labels[[3, 70]] = 0, 1
    for affinity, options in (("gaussian", {"sigma": 0.7}), ("cosine", {"gamma": 2.0})):
        table = temper.op("label_propagation", k=6, alpha=0.9, affinity=affinity, **options)(x, labels, num_classes=2)
        points = x if affinity == "gaussian" else x / np.linalg.norm(x, axis=1, keepdims=True)
        squares = ((points[:, None] - points) ** 2).sum(-1)
        np.fill_diagonal(squares, np.inf)
        near = squares.argsort(1, kind="stable")[:, :6]
        w = np.zeros((120, 120))
        rows = np.arange(120)[:, None]
        w[rows, near] = (
            np.exp(-squares[rows, near] / 0.98)
            if affinity == "gaussian"
            else (points[near] * points[:, None]).sum(-1) ** 2
        )
        w += w.T
        d = w.sum(1) ** -0.5
        z = np.maximum(
            np.linalg.solve(np.eye(120) - 0.9 * d[:, None] * w * d, (labels[:, None] == [0, 1]).astype(float)), 0
        )
        sums = z.sum(1, keepdims=True)
        expected = np.where(sums > 1e-12, z / np.maximum(sums, 1e-12), 0.5)
        np.testing.assert_allclose(table, expected, atol=1e-6)
        if affinity == "gaussian":
            assert (table.argmax(1) == truth).mean() > 0.95
    with pytest.raises(temper.Error, match="at least one label"):
        temper.op("label_propagation")(x, np.full(120, -1), num_classes=2)
