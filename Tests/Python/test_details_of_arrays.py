"""What samplers, generators and detectors give beside their main results, and what each of their parameters does."""

import re

import numpy as np
import pytest

import temper
from procedures import softmax

Y = np.tile(np.arange(4), 200)
SKEWED = np.repeat([0, 1, 2], [50, 20, 8])


@pytest.fixture
def x(rng):
    """Features of very different spread, in which classes overlap."""
    return (rng.normal(size=(len(SKEWED), 3)) + SKEWED[:, None]) * [1, 30, 0.05]


@pytest.mark.parametrize(
    "name", ["symmetric_noise", "pair_noise", "asymmetric_noise", "instance_dependent_noise", "real_label_noise_benchmark"]
)
def test_noise_says_what_it_did(rng, name):
    features, transition = rng.normal(size=(len(Y), 5)) + 2 * np.eye(5)[Y], rng.dirichlet(np.ones(4), 4)
    given = {"asymmetric_noise": (Y, transition), "instance_dependent_noise": (features, Y)}
    made = temper.generator(name)(*given.get(name, (features, Y) if "benchmark" in name else (Y,)), seed=3)
    np.testing.assert_array_equal(made["true_y"], Y)
    np.testing.assert_array_equal(made["is_noisy"], made["y"] != Y)
    assert made["is_noisy"].any() and set(made["y"]) <= set(range(4))
    if name == "asymmetric_noise":
        np.testing.assert_array_equal(made["transition"], transition)
    if name in ("instance_dependent_noise", "real_label_noise_benchmark"):
        shares = [np.bincount(made["y"][Y == k], minlength=4) / (Y == k).sum() for k in range(4)]
        np.testing.assert_allclose(made["transition"], shares)
    if name == "real_label_noise_benchmark":
        assert set(made["simulated_y"]) <= set(range(4)) and (made["simulated_y"] != made["y"]).any()
    if name == "instance_dependent_noise":
        assert made["rates"].shape == Y.shape and ((made["rates"] >= 0) & (made["rates"] <= 1)).all()


def test_annotators_know_more_with_more(rng):
    """Of samples, of features and of each other."""
    x = 0.7 * rng.normal(size=(len(Y), 6)) + np.repeat(np.eye(4), [2, 2, 1, 1], axis=1)[Y]

    def wrong(**settings):
        make = temper.generator("real_label_noise_benchmark", **{"annotator_fraction": 0.03, **settings})
        return np.mean([make(x, Y, seed=seed)["is_noisy"].mean() for seed in range(1, 9)])

    assert wrong(annotator_fraction=0.3) < wrong() < wrong(feature_fraction=0.4)
    assert wrong(n_annotators=9) < wrong(n_annotators=1)


def test_detectors_say_what_they_measured(rng):
    z, y = rng.normal(size=(6, 40, 4)), rng.integers(0, 4, 40)
    aum = temper.detector("aum")
    np.testing.assert_array_equal(aum.score(z, y), -aum.details["aum"])
    maps = temper.detector("data_maps")
    np.testing.assert_allclose(maps.score(z, y), 1 - maps.details["confidence"])
    p = softmax(z[0] + 2 * np.eye(4)[y])
    for rank, expected in (("self_confidence", 1 - p[np.arange(40), y]), (
        "normalized_margin", (1 - p[np.arange(40), y] + np.where(np.eye(4)[y] == 1, 0, p).max(1)) / 2)):  # fmt: skip
        audit = temper.detector("confident_learning_test_audit", rank_by=rank).fit(y, p)
        np.testing.assert_allclose(audit.score(y, p), expected)
        np.testing.assert_array_equal(audit.details["suggested"], p.argmax(1))
        counts = audit.state["confident_joint"]
        joint = counts / counts.sum(1, keepdims=True) * np.bincount(y, minlength=4)[:, None] / 40
        np.testing.assert_allclose(audit.state["joint"], joint)
        assert float(audit.state["noise_rate"]) == pytest.approx(1 - np.trace(joint))
    losses = rng.random(50)
    np.testing.assert_array_equal(temper.detector("loss_mixture").fit(losses).state["range"], [losses.min(), losses.max()])
    x = rng.normal(size=(30, 4)) + 5
    np.testing.assert_allclose(temper.detector("principal_components", components=2).fit(x).state["mean"], x.mean(0))


@pytest.mark.parametrize("name", ["random_undersampler", "random_oversampler", "tomek_links", "edited_nearest_neighbours"])
def test_samples_that_are_taken_are_those_that_it_says(x, name):
    sampler = temper.sampler(name)
    new_x, new_y = sampler.resample(x, SKEWED, seed=1)
    chosen = sampler.details["indices"]
    np.testing.assert_array_equal(new_x, x[chosen])
    np.testing.assert_array_equal(new_y, SKEWED[chosen])


@pytest.mark.parametrize("name", ["tomek_links", "edited_nearest_neighbours", "adasyn", "smote", "borderline_smote"])
def test_distances_are_those_of_standardized_features(x, name):
    """The same samples as from features that were given variance 1 before; and not those of the raw ones."""
    found = []
    for given, standardize in ((x, True), (x / x.std(0), False), (x, False)):
        sampler = temper.sampler(name, standardize=standardize)
        sampler.resample(given, SKEWED, seed=1)
        found.append(sampler.details["indices" if "indices" in sampler.details else "neighbour"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_borders_are_told_by_m_and_lines_by_k(x):
    for k, m, ratio in ((1, 6, 1.0), (3, 14, 0.7)):
        sampler = temper.sampler("borderline_smote", k=k, m=m, ratio=ratio, standardize=False)
        new_x, new_y = sampler.resample(x, SKEWED, seed=2)
        apart = np.linalg.norm(x[:, None] - x, axis=-1)
        np.fill_diagonal(apart, np.inf)
        others = (SKEWED[apart.argsort(1, kind="stable")[:, :m]] != SKEWED[:, None]).sum(1)
        base, neighbour = sampler.details["base"], sampler.details["neighbour"]
        danger = np.flatnonzero((2 * others >= m) & (others < m) & (SKEWED > 0))
        assert set(base) <= set(danger) and len(set(base)) > 0.5 * len(danger)
        for b, n in zip(base, neighbour):
            own = np.flatnonzero(SKEWED == SKEWED[b])
            assert n in own[apart[b, own].argsort(kind="stable")[:k]]
        counts = np.bincount(new_y)
        assert all(counts[c] in (int(50 * ratio), (SKEWED == c).sum()) for c in (1, 2)) and len(new_x) == counts.sum()
        np.testing.assert_array_equal(new_y[len(SKEWED):], SKEWED[base])


def test_as_many_are_drawn_as_are_asked_for():
    for name, more in (("class_balanced_sampler", {}), ("progressively_balanced_sampler", {"progress": 0.5})):
        for count in (7, 100):
            drawn = temper.sampler(name, count=count).indices(SKEWED, seed=1, **more)
            assert len(drawn) == count and drawn.min() >= 0 and drawn.max() < len(SKEWED)
    counts = {"traced_integer_noise_generator": "texts", "distractor_word_problems": "clean", "random_ksat_text_generator": "texts"}
    for name, key in counts.items():
        assert len(temper.generator(name, count=6)()[key]) == 6
    assert temper.generator("simplicity_bias_slabs", n=17)()["x"].shape == (17, 50)


def test_settings_of_texts_and_slabs():
    for digits in (1, 2, 4):
        for sampling in ("magnitude", "length"):
            made = temper.generator("traced_integer_noise_generator", digits=digits, sampling=sampling, count=200)(seed=2)
            lengths = [len(n) for text in made["clean_texts"] for n in re.findall(r"\d+", text.partition("\n")[0])]
            shares = np.bincount(lengths, minlength=digits + 1)[1:] / len(lengths)
            # Uniform numbers have all digits nine times in ten; lengths are alike.
            assert len(shares) == digits
            assert digits == 1 or (shares[-1] > 0.8 if sampling == "magnitude" else shares.max() < 0.8 / digits + 0.2)
    for low, high in ((1.0, 1.5), (4.0, 6.0)):
        made = temper.generator("random_ksat_text_generator", n_low=6, n_high=9, r_low=low, r_high=high, balanced=False)(seed=1)
        rates = made["clause_counts"] / made["variables"]
        assert made["variables"].min() == 6 and made["variables"].max() == 9
        assert low - 0.1 <= rates.min() and rates.max() <= high + 0.1 and np.ptp(rates) > 0.5 * (high - low)
        assert all(np.abs(c[:m]).max() <= n for c, m, n in zip(made["clauses"], made["clause_counts"], made["variables"]))
        # A single guess decides nothing of what propagation alone decides.
        assert (made["branchings"] >= 0).all() and made["branchings"].max() < 64
    for margin in (0.1, 0.4):
        first = np.abs(temper.generator("simplicity_bias_slabs", n=4000, d=3, margin=margin)(seed=1)["x"][:, 0])
        assert margin <= first.min() < margin + 0.01


def test_settings_of_pages_and_problems(rng):
    sizes = rng.uniform(0.06, 0.4, (30, 2))
    for most in (1, 3):
        assert len(temper.generator("mesh_candidate_bestfit", max_boxes=most)(sizes, seed=1)["boxes"]) == most
    few = [len(temper.generator("mesh_candidate_bestfit", candidates=n)(sizes / 4, seed=1)["boxes"]) for n in (2, 5)]
    assert few == [2, 5]
    # All are small below a side of 0.9: five are placed, or as many as are allowed.
    for more, most in (({"small_side": 0.9}, 5), ({"small_side": 0.9, "max_small": 2}, 2), ({"small_side": 0.0}, 30)):
        made = temper.generator("mesh_candidate_bestfit", candidates=60, **more)(sizes, seed=1)
        assert len(made["boxes"]) == most if most < 30 else len(made["boxes"]) > 5
    mixed = np.concatenate([np.full((20, 2), 0.02), np.full((20, 2), 0.2)])
    for share in (0.0, 1.0):
        elements = temper.generator("mesh_candidate_bestfit", large_share=share)(mixed, seed=2)["elements"]
        assert (elements[1:] >= 20).mean() == share
    for low, high in ((0, 0), (2, 4)):
        made = temper.generator("distractor_word_problems", n_low=low, n_high=high, count=60)(seed=1)
        assert set(made["distractors"]) == set(range(low, high + 1))
        assert (np.array(made["clean"]) == np.array(made["adversarial"])).all() == (high == 0)


def test_lines_of_support_vectors_go_to_their_k_nearest(rng):
    x = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(25, 2)) + [1.8, 0]])
    y = np.repeat([0, 1], [60, 25])
    own = np.flatnonzero(y == 1)
    apart = np.linalg.norm(x[own][:, None] - x[own], axis=-1)
    np.fill_diagonal(apart, np.inf)
    bases = []
    for k, weight in ((1, 1.0), (3, 0.01)):
        sampler = temper.sampler("svm_smote", k=k, C=weight, standardize=False)
        sampler.resample(x, y, seed=2)
        base, neighbour = sampler.details["base"], sampler.details["neighbour"]
        near = own[apart.argsort(1, kind="stable")[:, :k]]
        assert all(n in near[own.tolist().index(b)] for b, n in zip(base, neighbour))
        bases.append(len(set(base)))
    assert bases[1] > bases[0]  # a softer margin is held by more
