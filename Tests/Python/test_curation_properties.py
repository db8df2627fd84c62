"""What the pages say exactly of procedures that curate labels and data, and their claims on small data over five seeds."""

import numpy as np
import pytest

import curation_steps as curation
import procedures as reference
import temper
from procedures import Random, make
from temper.experiments import curation_behaviour as claims
from temper.study import digits

X, Y, TRUTH = reference.data()
CONTEXT = temper.Context(threads=1)


def state_after(procedure, x=X, y=Y, epochs=1, loss="cross_entropy", **inputs):
    trainer = make(procedure, loss=loss)
    trainer.fit(x, y, epochs=epochs, **inputs)
    return trainer.state


@pytest.mark.parametrize("s", [2.0, 1e6])
def test_cuts_follow_their_distribution(s):
    """nested_co_teaching: P(k) ~ exp(-(k / s)^2), and all lengths alike as s grows."""
    weights = np.exp(-((np.arange(1, 7) / s) ** 2))
    drawn = [Random(3).stream("cut").stream(step).draws(1, weights)[0] for step in range(3000)]
    counts, expected = np.bincount(drawn, minlength=6), 3000 * weights / weights.sum()
    assert ((counts - expected) ** 2 / expected).sum() < 20.5  # chi-square with 5 degrees of freedom, p = 0.001


def test_nothing_is_left_out_without_a_share():
    """nested_co_teaching: with tau = 0, whole batches and a prefix of all features each network learns from all."""
    every = {"forget_rate": 0, "split_batch": False, "stage1_epochs": 0, "s": 1e-3}
    trainer = make(temper.procedure("nested_co_teaching", **every))
    networks = [reference.Network(model) for model in trainer.networks]
    trainer.fit(X, Y, epochs=1)
    first = np.arange(6) < 1  # s near 0: one feature is always left
    step = curation.NestedCoTeaching((X, Y))
    for network, model in zip(networks, trainer.networks):
        slope = reference.slopes(step.logits(network, X, first), Y)
        moved = network.moved(step.gradients(network, X, slope, first))
        for name, value in zip(reference.NAMES, moved.values):
            np.testing.assert_allclose(model.parameters()[name], value, atol=1e-12)


def test_confidence_drops_half_or_nothing():
    """confidence_filter_and_rectify: gamma = 0 and eta > 1 leave the data as they are; the median keeps half."""
    for count in (24, 23):
        x, y = X[:count], Y[:count]
        short = {"folds": 3, "fold_epochs": 2, "k": 2, "eta": 2}
        left = state_after(temper.procedure("confidence_filter_and_rectify", gamma=0, **short), x, y, 6)
        assert left["kept"].all() and (left["label"].argmax(1) == y).all()
        assert (left["choices"].sum(1) == 2).all() and np.allclose(left["beliefs"].sum(1), 2)
        confidence = left["confidence"][:, 0]
        assert (confidence >= 0).all() and (confidence <= 1).all()
        own = np.arange(count), y
        expected = (0.7 * left["choices"][own] + 0.3 * left["beliefs"][own]) / 2
        np.testing.assert_allclose(confidence, expected, rtol=1e-12)
        half = state_after(temper.procedure("confidence_filter_and_rectify", beta=0, **short), x, y, 6)
        assert half["kept"].sum() == (count + 1) // 2
        # beta = 0 asks for probabilities alone, 1 for choices alone.
        np.testing.assert_allclose(half["confidence"][:, 0], half["beliefs"][own] / 2, rtol=1e-12)


def test_a_plane_parts_what_losses_found():
    """linear_separation_alternating: by losses alone as a mixture says, and by the plane as logistic regression says."""
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, _ = reference.data(300, seed=9)
    short = {"warmup_epochs": 20, "noise": 0, "gmm_threshold": 0.5}
    kept = {
        which: state_after(temper.procedure("linear_separation_alternating", order=which, **short), x, y, 20)
        for which in ("loss", "linear")
    }
    trainer = make(None)
    trainer.fit(x, y, epochs=20)
    losses = reference.cross_entropy(trainer.model.predict(x), y)
    by_loss, by_plane = (kept[which]["noisy.0"][:, 0] == 1 for which in ("loss", "linear"))
    assert losses[by_loss].min() > losses[~by_loss].max() and 10 < by_loss.sum() < 200
    features = (x - x.mean(0)) / x.std(0)
    oracle = linear.LogisticRegression(C=1e4, class_weight="balanced", max_iter=1000).fit(features, by_loss)
    assert (oracle.predict(features) == by_plane).mean() > 0.99
    for which, noisy in (("loss", by_loss), ("linear", by_plane)):
        target, weight = kept[which]["target.0"], kept[which]["weight.0"][:, 0]
        np.testing.assert_array_equal(target[~noisy], reference.one_hot(y)[~noisy])
        assert (weight[~noisy] == 1).all() and ((weight >= 0) & (weight <= 1)).all()
        guess = reference.softmax(trainer.model.predict(x)) ** 2
        np.testing.assert_allclose(target[noisy], (guess / guess.sum(1, keepdims=True))[noisy], atol=1e-9)


def test_moments_of_large_classes_are_their_own():
    """rcal_representation_calibration: without outliers left out and with g = 1 the plain means and covariances."""
    short = {"contrastive_epochs": 0, "head_epochs": 1, "contamination": 0, "g": 1, "ridge": 0}
    state = state_after(temper.procedure("rcal_representation_calibration", **short))
    z = state["features"]
    for k in range(3):
        own = z[Y == k]
        np.testing.assert_allclose(state["means"][k], own.mean(0), atol=1e-12)
        factor = state["factors"][k]
        np.testing.assert_allclose(factor @ factor.T, np.cov(own.T, bias=True), atol=1e-6)
    drawn = state["drawn class"][state["drawn class"] >= 0].astype(int)
    np.testing.assert_array_equal(np.bincount(drawn, minlength=3) + np.bincount(Y), np.bincount(Y).max())


def test_rates_of_one_class_and_of_many():
    """erase: all nodes alike in one class have R = R_c, a loss of 0; parted classes have a larger R."""
    x = np.ones((24, 4))
    edges = np.array([[0, 1]])
    one = make(temper.procedure("erase"))
    # All nodes of one class: labelled 0, and alike.
    loss = one.fit(x, np.zeros(24, int), epochs=1, edges=edges)["training_loss"][0]
    assert abs(loss) < 1e-9 and (one.state["class"] == 0).all()
    parted = make(temper.procedure("erase", T=0, beta=1))
    assert parted.fit(3 * np.eye(4)[Y], Y, epochs=1, edges=edges)["training_loss"][0] < -0.1
    np.testing.assert_array_equal(parted.state["class"][:, 0], Y)


def test_rates_of_fewer_nodes_than_features():
    """erase: log det(I + a Z'Z) is taken as log det(I + a ZZ') where that is smaller; the steps are the same."""
    x, y, edges = X[:5], Y[:5], np.array([[0, 1], [2, 4]])
    erase = temper.procedure("erase", eps=0.5, gam1=0.8, gam2=1.5, beta=0.7, T=2, representation_epochs=8)
    assert reference.follow(make(erase), curation.GraphCodingRate(edges), x, y, 6, edges=edges) < 1e-9


def test_rewards_are_recovered_and_items_chosen():
    """reward_model_data_filter: rankings by a hidden utility give its order back; one candidate of each item stays."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=4)
    candidates = rng.normal(size=(700, 3, 4))
    noisy = candidates @ hidden + rng.gumbel(size=(700, 3))
    ranked = np.take_along_axis(candidates, (-noisy).argsort(1)[..., None], 1)
    x = rng.normal(size=(300, 4))
    utility = x @ hidden
    items = np.arange(300) // 3

    def kept(**parameters):
        state = state_after(
            temper.procedure("reward_model_data_filter", **parameters),
            x,
            np.arange(300) % 3,
            ranked=ranked,
            items=items,
        )
        return state["reward"][:, 0], state["kept"][:, 0] == 1

    reward, chosen = kept(keep_fraction=0.2, clusters=0)
    order = np.corrcoef(reward.argsort().argsort(), utility.argsort().argsort())[0, 1]
    assert order > 0.95 and abs(reward.mean()) < 1e-9 and reward.std() == pytest.approx(1)
    assert chosen.sum() == 20 and len(set(items[chosen])) == 20
    best = np.array([reward[items == item].max() for item in range(100)])
    assert reward[chosen].min() >= np.sort(best)[-20]
    # With quotas no kind has more than its share; without any room the rest is filled by rank.
    assert kept(keep_fraction=0.2, clusters=5, cluster_quota=1.5)[1].sum() == 20
    np.testing.assert_array_equal(kept(keep_fraction=0.2, clusters=5, cluster_quota=0)[1], chosen)
    reward, chosen = kept(rule="threshold")
    chosen_items = np.isin(np.arange(100), items[chosen])
    assert 0 < chosen.sum() < 100 and best[chosen_items].min() > best[~chosen_items].max()
    known = state_after(
        temper.procedure("reward_model_data_filter", keep_fraction=0.1, clusters=0),
        x,
        np.arange(300) % 3,
        rewards=utility,
    )["kept"][:, 0]
    np.testing.assert_array_equal(np.flatnonzero(known), np.sort(np.argsort(-utility)[:30]))


def test_labels_stay_where_neighbours_do_not_count():
    """bag_of_multilabel_descriptors: lam = 0 leaves all labels; those of samples that rank right stay in any case."""
    y = (np.random.default_rng(8).random((24, 3)) < 0.5).astype(float)
    y[y.sum(1) == 0, 0] = 1
    short = {"embed": 5, "K": 4, "descriptor_epochs": 2, "descriptor_lr": 0.05}
    loss = "binary_cross_entropy_with_logits"
    kept = state_after(temper.procedure("bag_of_multilabel_descriptors", lam=0, **short), X, y, 2, loss)
    np.testing.assert_allclose(kept["target"], y, atol=1e-12)
    mended = state_after(temper.procedure("bag_of_multilabel_descriptors", **short), X, y, 2, loss)["target"]
    assert (mended >= 0).all() and (mended <= 1 + 1e-12).all() and not np.array_equal(mended, y)
    assert (mended[y > 0] >= 0.55 - 1e-12).all()  # 1 - lam + lam g, at least


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make("reward_model_data_filter").fit(X, Y), "ranked"),
        (lambda: make("reward_model_data_filter").fit(X, Y, ranked=np.ones((3, 2, 5))), "features"),
        (lambda: make("erase").fit(X, Y), "edges"),
        (lambda: make("erase").fit(X, Y, edges=[[0, 99]]), "edges"),
        (lambda: make("bag_of_multilabel_descriptors"), "binary_cross_entropy_with_logits"),
        (lambda: make("nested_co_teaching", layers=[{"dense": 3}, "tanh"]), "last layer is dense"),
        (lambda: make("linear_separation_alternating", loss="focal"), "cross-entropy of its own"),
        (lambda: make("bilateral_branch", layers=[{"reshape": [2, 2]}]), "classifier"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(temper.Error, match=words):
        call()


def runs(procedure, x, y, epochs, seed, layers=({"dense": 64}, "relu", {"dense": 10}), rate=2e-3, **inputs):
    model = temper.Model(list(layers), input=(64,), seed=seed, context=CONTEXT)
    optimizer = temper.optimizer("adam", learning_rate=rate)
    trainer = temper.Trainer(model, optimizer=optimizer, procedure=procedure, batch_size=64, seed=seed)
    trainer.fit(x, y, epochs=epochs, **inputs)
    return trainer


def interval(differences):
    """The lower end of the mean's 95% interval over five runs (t = 2.78)."""
    return np.mean(differences) - 2.776 * np.std(differences, ddof=1) / len(differences) ** 0.5


@pytest.mark.parametrize(("measure", "epochs"), [("_candidates", 60), ("_unlabelled", 40)])
def test_claims_on_digits(measure, epochs):
    """The first beats the second over five runs: alim candidates alone, guesses of labels the labels alone. (What tram
    does takes longer: the experiment measures it.)"""
    ours, other = list(getattr(claims, measure)(5, epochs).values())[:2]
    assert interval(np.subtract(ours, other)) > 0


def test_labels_that_are_left_out_are_wrong():
    """confidence_filter_and_rectify on digits, 30% wrong labels, logistic regression: more than 80% of what it left out
    was wrong, and what is learned from the rest is better than from all."""
    (x, truth), (queries, answers) = digits.load(digits.find())
    shares, gains = [], []
    for seed in range(5):
        y = digits.with_noise(truth, digits.symmetric(0.3), np.random.default_rng(seed))
        short = {"folds": 4, "fold_epochs": 6, "gamma": 0.3, "eta": 2}
        linear = {"layers": [{"dense": 10}], "rate": 1e-2}
        trainer = runs(temper.procedure("confidence_filter_and_rectify", **short), x, y, 54, seed, **linear)
        plain = runs(None, x, y, 30, seed, **linear)
        shares.append((y != truth)[trainer.state["kept"][:, 0] == 0].mean())
        right = [(t.model.predict(queries).argmax(1) == answers).mean() for t in (trainer, plain)]
        gains.append(right[0] - right[1])
    assert interval(shares) > 0.8 and np.mean(gains) > 0


def test_a_learned_reward_finds_the_right_pairs():
    """reward_model_data_filter on pairs of digit and label, 60% of them mismatched, with 150 ranked examples: what is
    learned from the best 40% knows more than from all pairs, and than from as many drawn ones."""
    (x, truth), (queries, answers) = digits.load(digits.find())

    def pairs(images, labels):
        return (images[:, :, None] * np.eye(10, dtype=np.float32)[labels][:, None]).reshape(len(labels), -1)

    above_all, above_drawn = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = digits.with_noise(truth, digits.symmetric(0.6), rng)
        known = rng.permutation(len(x))[:150]
        other = (truth[known] + rng.integers(1, 10, 150)) % 10
        ranked = np.stack([pairs(x[known], labels) for labels in (truth[known], other)], axis=1)
        best = temper.procedure("reward_model_data_filter", keep_fraction=0.4, clusters=0)
        chosen = runs(best, x, y, 100, seed, ranked=ranked, described=pairs(x, y))
        drawn = rng.permutation(len(x))[: int(chosen.state["kept"].sum())]
        trainers = chosen, runs(None, x, y, 100, seed), runs(None, x[drawn], y[drawn], 100, seed)
        right = [(t.model.predict(queries).argmax(1) == answers).mean() for t in trainers]
        above_all.append(right[0] - right[1])
        above_drawn.append(right[0] - right[2])
    assert interval(above_all) > 0 and interval(above_drawn) > 0


def test_two_branches_know_rare_classes_better():
    """bilateral_branch on digits with a tail of 50:1: balanced accuracy above plain training, over five tails."""
    (x, truth), (queries, answers) = digits.load(digits.find())
    gains = []
    for seed in range(5):
        tail_x, tail_y, _ = digits.with_tail(x, truth, 50, np.random.default_rng(seed))
        both = runs(temper.procedure("bilateral_branch", epochs=40), tail_x, tail_y, 40, seed)
        plain = runs(None, tail_x, tail_y, 40, seed)
        right = [
            sum(network.predict(queries) for network in trainer.networks).argmax(1) == answers
            for trainer in (both, plain)
        ]
        balanced = [np.mean([r[answers == k].mean() for k in range(10)]) for r in right]
        gains.append(balanced[0] - balanced[1])
    assert interval(gains) > 0


def test_mended_labels_are_nearer_the_truth():
    """bag_of_multilabel_descriptors, 30% of all label bits flipped: rounded targets have fewer wrong bits than the labels,
    and what is learned from them ranks better than what is learned from the labels."""
    datasets, metrics = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.metrics")
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, y = datasets.make_multilabel_classification(
            900, 20, n_classes=6, n_labels=2, allow_unlabeled=False, random_state=seed
        )
        x, train, test = (x - x.mean(0)) / x.std(0), slice(600), slice(600, None)
        noisy = np.where(rng.random(y[train].shape) < 0.3, 1 - y[train], y[train])
        scores = []
        for procedure in (
            temper.procedure("bag_of_multilabel_descriptors", embed=32, descriptor_epochs=20, descriptor_lr=2e-3),
            None,
        ):
            model = temper.Model([{"dense": 64}, "relu", {"dense": 6}], input=(20,), seed=seed, context=CONTEXT)
            optimizer = temper.optimizer("adam", learning_rate=2e-3)
            loss = "binary_cross_entropy_with_logits"
            trainer = temper.Trainer(
                model, loss=loss, optimizer=optimizer, procedure=procedure, batch_size=64, seed=seed
            )
            trainer.fit(x[train], noisy.astype(float), epochs=70 if procedure else 50)
            scores.append(metrics.average_precision_score(y[test], model.predict(x[test])))
            if procedure:
                used, target = noisy.sum(1) > 0, trainer.state["target"]
                assert ((target > 0.5) != y[train])[used].mean() < (noisy != y[train])[used].mean()
        gains.append(scores[0] - scores[1])
    assert interval(gains) > 0
