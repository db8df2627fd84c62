"""What the pages say exactly of procedures, beside the steps that test_procedures.py follows."""

import pathlib

import numpy as np
import pytest

import procedures as reference
import temper
from procedures import RATE, make, one_hot, slopes, softmax
from test_procedures import CASES, FURTHER

X, Y, TRUTH = reference.data()


def parameters(trainer, network=0):
    return {name: np.array(value) for name, value in trainer.networks[network].parameters().items()}


def fitted(procedure, y=Y, epochs=4, **inputs):
    options = {"loss": inputs.pop("loss")} if "loss" in inputs else {}
    trainer = make(procedure, **options)
    trainer.fit(inputs.pop("x", X), y, epochs=epochs, **inputs)
    return parameters(trainer)


def same(a, b, tolerance=1e-12):
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=tolerance)


def test_candidates_that_say_nothing_or_all():
    """alim: sets of one label are plain training; of sets of all labels the belief is what the model says: no step."""
    same(fitted(temper.procedure("alim", lam=0), one_hot(Y)), fitted(None))
    everything = np.ones((len(X), 3))
    same(fitted(temper.procedure("alim", e0=0, lam=0.4), everything), parameters(make(None)))


def test_the_switch_of_a_candidate():
    """alim: S = (1, 0, 0) and P = (.2, .7, .1) keep the candidate up to lam = .2 / .7, and then believe the other."""
    p = np.array([0.2, 0.7, 0.1])
    for lam, believed in ((0.2 / 0.7 - 1e-6, 0), (0.2 / 0.7 + 1e-6, 1)):
        trainer = make(temper.procedure("alim", e0=0, lam=lam, norm="onehot"), layers=[{"dense": 3}])
        values = trainer.model.parameters()
        values["0.weight"][...] = 0
        values["0.bias"][...] = np.log(p)
        trainer.fit(np.ones((1, 4)), np.array([[1.0, 0, 0]]), epochs=1)
        np.testing.assert_allclose(values["0.bias"], np.log(p) - RATE * (p - np.eye(3)[believed]), atol=1e-12)


def test_nothing_is_dropped_where_all_may_stay():
    """late_stopping: with keep_rate = 1 a round ends when every label is learned, and none is left out."""
    short = {"keep_rate": 1.0, "rounds_each": 1, "largest_k": 1, "warmup_epochs": 1, "max_epochs": 100}
    x, y, _ = reference.data(30, seed=1)
    easy = x + 6 * np.eye(4)[y]
    trainer = make(temper.procedure("late_stopping", **short))
    plain = make(None)
    for network in (trainer, plain):
        network.fit(easy, y, epochs=20)
    kept = trainer.state
    rounds = next(int(np.ravel(value)[0]) for name, value in kept.items() if "round" in name)
    members = next(value for name, value in kept.items() if "kept" in name)
    assert rounds >= 1 and members.all()
    # After the round all begins anew: fewer epochs than plain training has had.
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(parameters(trainer).values(), parameters(plain).values()))


def test_the_trunk_learns_from_the_privileged_head_alone():
    """tram_privileged: another classifier on the trunk changes nothing of how the trunk learns."""
    given = np.stack([np.arange(len(X)) % 2, Y != TRUTH], axis=1).astype(float)
    trunks = []
    for scale in (1, -7):
        trainer = make(temper.procedure("tram_privileged", random_pi_dim=2, pi_head_width=5, pi_lr=0.01))
        trainer.model.parameters()["2.weight"][...] *= scale
        before = parameters(trainer)
        trainer.fit(X, Y, epochs=3, privileged=given)
        trunks.append(parameters(trainer))
        assert np.abs(before["2.weight"] - trunks[-1]["2.weight"]).max() > 1e-3
    for name in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(trunks[0][name], trunks[1][name])
    assert np.abs(before["0.weight"] - trunks[1]["0.weight"]).max() > 1e-3


def test_one_encoder_is_logit_adjustment():
    """multi_encoder_backdoor_adjustment: M = 1 is the loss logit_adjusted; with tau = 0, or classes alike, plain."""
    one = {"M": 1}
    counts = np.bincount(Y)
    adjusted = fitted(None, loss=temper.loss("logit_adjusted", tau=0.8), class_priors=counts / counts.sum())
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", tau=0.8, **one)), adjusted, 1e-9)  # 1e-9 is added to shares
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", tau=0, **one)), fitted(None))
    assert len(set(np.bincount(TRUTH))) == 1
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", **one), TRUTH), fitted(None, TRUTH))


def test_guesses_without_weight_are_no_guesses():
    """imbalanced_semi_self: w = 0 is plain training on what is labelled, begun anew after the base."""
    labels = np.where(np.arange(len(X)) % 3 == 1, -100, Y)
    rest = fitted(None, Y[labels >= 0], 4, x=X[labels >= 0])
    same(fitted(temper.procedure("imbalanced_semi_self", w=0, base_epochs=3), labels, 7), rest)
    same(fitted(temper.procedure("imbalanced_semi_self", w=5, base_epochs=10), labels, 4), rest)


def test_the_slope_of_a_step_by_its_labels():
    """enhanced_meta_label_correction: the trusted loss after a step has by its soft labels q the slope rate / n times the
    derivative of log softmax along the trusted gradient, which test_procedures.py follows: here by differences."""
    student = reference.Network(make(None).model)
    trusted, truth, q, count = X[:9] + 0.1, TRUTH[:9], softmax(np.cos(np.arange(len(X) * 3.0)).reshape(-1, 3)), len(X)

    def after(q):
        moved = student.moved(student.gradients(X, slopes(student.logits(X), q)))
        return reference.cross_entropy(moved.logits(trusted), truth).mean(), moved

    tried = after(q)[1]
    w1, b1, w2, b2 = tried.gradients(trusted, slopes(tried.logits(trusted), truth))
    hidden = student.hidden(X)
    along = hidden @ w2.T + b2 + ((1 - hidden**2) * (X @ w1.T + b1)) @ student.values[2].T
    slope = RATE / count * (along - (softmax(student.logits(X)) * along).sum(1, keepdims=True))
    for place in ((0, 0), (5, 1), (17, 2)):
        # Along a change that keeps the sum: what the gradient of cross-entropy by logits assumes.
        change = np.zeros_like(q)
        change[place] = 1e-5
        change[place[0], (place[1] + 1) % 3] = -1e-5
        difference = (after(q + change)[0] - after(q - change)[0]) / 2e-5
        assert abs(difference - (slope[place] - slope[place[0], (place[1] + 1) % 3])) < 1e-9


# Parameters that move nothing in the steps that test_procedures.py follows, or what the trace takes from the library, and
# where else they are held.
HELD_ELSEWHERE = {
    ("bag_of_multilabel_descriptors", "clean_topk_max"): "test_labels_count_as_clean_up_to_so_many",
    ("bilateral_branch", "branch_layers"): "test_branches_part_where_they_are_told",
    ("late_stopping", "max_epochs"): "test_rounds_end_in_time",
    ("linear_separation_alternating", "gamma"): "test_guesses_are_sharpened",
    ("linear_separation_alternating", "gmm_threshold"): "test_a_plane_parts_what_losses_found",
    ("linear_separation_alternating", "order"): "test_a_plane_parts_what_losses_found",
    ("linear_separation_alternating", "projection"): "rcal_representation_calibration has the same stage",
    ("linear_separation_alternating", "projection_lr"): "rcal_representation_calibration has the same stage",
    ("nested_co_teaching", "freeze_bn"): "test_frozen_normalization",
    ("pairwise_match_then_community", "blocking_k"): "test_graph_groups.py",
    ("pairwise_match_then_community", "grouping"): "test_graph_groups.py",
    ("pairwise_match_then_community", "threshold"): "test_graph_groups.py",
    ("rcal_representation_calibration", "q"): "test_moments_of_rare_classes_borrow_from_the_nearest",
    ("reward_model_data_filter", "cluster_quota"): "test_rewards_are_recovered_and_items_chosen",
    ("reward_model_data_filter", "clusters"): "test_rewards_are_recovered_and_items_chosen",
    ("reward_model_data_filter", "ridge"): "test_rewards_shrink_with_the_ridge",
    ("reward_model_data_filter", "rule"): "test_rewards_are_recovered_and_items_chosen",
}


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_moves_a_step_or_is_held_elsewhere(name):
    """With another value of a parameter twelve steps of the library end elsewhere, in one of the settings that are
    followed in NumPy: the trace would tell a wrong value."""

    def end(parameters, inputs):
        given = {"y": Y, **inputs}
        trainer = make(temper.procedure(name, **parameters), loss=given.pop("loss", "cross_entropy"))
        trainer.fit(X, given.pop("y"), epochs=12, **given)
        return np.concatenate([v.ravel() for network in trainer.networks for v in network.parameters().values()])

    settings = [CASES[name][:2], *(entry[1:3] for entry in FURTHER.values() if entry[0] == name)]
    usual = [end(*setting) for setting in settings]
    for entry in temper.procedure(name).record["parameters"]:
        moved = False
        for (parameters, inputs), before in zip(settings, usual):
            others = {key: v for key, v in parameters.items() if key not in [entry["name"], *entry["aliases"]]}
            value = next((v for key, v in parameters.items() if key not in others), entry["default"])
            for other in others_than(entry, value):
                try:
                    after = end({**others, entry["name"]: other}, inputs)
                except temper.Error:
                    continue
                moved = moved or after.shape != before.shape or np.abs(after - before).max() > 1e-9
        assert moved or (name, entry["name"]) in HELD_ELSEWHERE, entry["name"]


def others_than(entry, value):
    """Other values of a parameter."""
    if entry.get("choices"):
        return [choice for choice in entry["choices"] if choice != value]
    if entry["type"] == "boolean":
        return [not value]
    if not isinstance(value, (int, float)):
        return [1]
    return [value + 1, value - 1] if entry["type"] == "integer" else [1.3 * value, 0.7 * value, value + 0.3]


def test_what_is_held_elsewhere_is_there():
    for (name, parameter), place in HELD_ELSEWHERE.items():
        assert parameter in {entry["name"] for entry in temper.procedure(name).record["parameters"]}
        if place.startswith("test_") and not place.endswith(".py"):
            files = pathlib.Path(__file__).parent.glob("test_*.py")
            assert any(f"\ndef {place}(" in file.read_text() for file in files), place


def test_branches_part_where_they_are_told():
    """bilateral_branch: layers before the branches are one; with all layers their own the networks part at the first."""
    for count, is_one in ((1, True), (3, False)):
        trainer = make(temper.procedure("bilateral_branch", epochs=4, branch_layers=count))
        trainer.fit(X, Y, epochs=3)
        a, b = parameters(trainer), parameters(trainer, 1)
        assert np.array_equal(a["0.weight"], b["0.weight"]) == is_one
        assert not np.array_equal(a["2.weight"], b["2.weight"])


def test_labels_count_as_clean_up_to_so_many():
    """bag_of_multilabel_descriptors: where one label is the most, no sample of several keeps its labels for clean."""
    y = (np.random.default_rng(8).random((24, 3)) < 0.5).astype(float)
    y[y.sum(1) == 0, 0] = 1
    kept = []
    for most in (6, 1):
        trainer = make(
            temper.procedure("bag_of_multilabel_descriptors", embed=5, K=4, descriptor_epochs=30, descriptor_lr=0.05,
                             clean_topk_max=most), loss="binary_cross_entropy_with_logits")  # fmt: skip
        trainer.fit(X, y, epochs=30)
        same_as_given = np.abs(trainer.state["target"] - y).max(1) < 1e-12
        kept.append((same_as_given & (y.sum(1) > 1)).sum())
    assert kept[0] > kept[1]


def test_rounds_end_in_time():
    """late_stopping: labels that nobody can learn end a round after max_epochs, one after the other."""
    x = np.repeat(X[:4], 6, axis=0)
    for most in (2, 3):
        short = {"keep_rate": 1.0, "rounds_each": 9, "largest_k": 1, "warmup_epochs": 1, "max_epochs": most}
        trainer = make(temper.procedure("late_stopping", **short))
        trainer.fit(x, np.tile(np.arange(3), 8), epochs=most)
        first = parameters(trainer)
        trainer.fit(x, np.tile(np.arange(3), 8), epochs=most + 1)
        start = parameters(make(None))
        # The round is over: what learned for one epoch less is where training begins.
        same(first, start)
        assert np.abs(parameters(trainer)["0.weight"] - start["0.weight"]).max() > 1e-6


def test_guesses_are_sharpened():
    """linear_separation_alternating: guesses are probabilities to the power gamma, of sum 1."""
    x, y, _ = reference.data(300, seed=9)
    short = {"warmup_epochs": 20, "noise": 0, "gmm_threshold": 0.5, "order": "loss"}
    trainer, plain = make(temper.procedure("linear_separation_alternating", gamma=3, **short)), make(None)
    for each in (trainer, plain):
        each.fit(x, y, epochs=20)
    noisy = trainer.state["noisy.0"][:, 0] == 1
    guess = softmax(plain.model.predict(x)) ** 3
    assert noisy.any()
    np.testing.assert_allclose(trainer.state["target.0"][noisy], (guess / guess.sum(1, keepdims=True))[noisy], atol=1e-9)


def test_frozen_normalization():
    """nested_co_teaching: in the second stage running statistics stay as they are, or go on."""
    layers = [{"dense": 6}, "batch_norm", "tanh", {"dense": 3}]
    for is_frozen in (True, False):
        trainer = make(temper.procedure("nested_co_teaching", s=3, stage1_epochs=2, freeze_bn=is_frozen), layers=layers)
        given = {"validation_x": X[:9], "validation_y": Y[:9]}
        trainer.fit(X, Y, epochs=2, **given)
        # A batch of large values moves statistics that are not frozen far.
        before = trainer.model.predict(X)
        kept = [np.array(v) for name, v in parameters(trainer).items() if name.startswith("1.")]
        trainer.fit(X, Y, epochs=8, **given)
        after = [np.array(v) for name, v in parameters(trainer).items() if name.startswith("1.")]
        assert all(np.array_equal(a, b) for a, b in zip(kept, after)) == is_frozen
        assert np.abs(trainer.model.predict(X) - before).max() > 1e-6


def test_moments_of_rare_classes_borrow_from_the_nearest():
    """rcal_representation_calibration: with g = 0 and q = 1 a rare class has the mean of the nearest large one."""
    y = np.repeat([0, 1, 2], [10, 10, 4])
    short = {"contrastive_epochs": 0, "head_epochs": 1, "contamination": 0, "g": 0, "ridge": 0}
    for q in (1, 2):
        trainer = make(temper.procedure("rcal_representation_calibration", q=q, **short))
        trainer.fit(X, y, epochs=1)
        z, means = trainer.state["features"], trainer.state["means"]
        own = np.array([z[y == k].mean(0) for k in range(3)])
        far = ((own[2] - own[:2]) ** 2).sum(1)
        assert np.allclose(means[2], own[far.argmin()], atol=1e-12) == (q == 1)
        np.testing.assert_allclose(means[:2], own[:2], atol=1e-12)


def test_rewards_shrink_with_the_ridge():
    """reward_model_data_filter: the optimum of the pairs' logistic loss with ridge |w|^2 / 2, by NumPy."""
    rng = np.random.default_rng(4)
    ranked = np.sort(rng.normal(size=(8, 3, 4)), axis=1)[:, ::-1].copy()
    pairs = np.array([item[i] - item[j] for item in ranked for i in range(3) for j in range(i + 1, 3)])
    for ridge in (0.3, 20.0):
        w = np.zeros(4)
        for _ in range(100):
            p = 1 / (1 + np.exp(-pairs @ w))
            hessian = ridge * np.eye(4) + pairs.T @ (pairs * (p * (1 - p))[:, None]) / 3
            w += np.linalg.solve(hessian, pairs.T @ (1 - p) / 3 - ridge * w)
        trainer = make(temper.procedure("reward_model_data_filter", keep_fraction=0.25, clusters=0, ridge=ridge))
        trainer.fit(X, Y, epochs=1, ranked=ranked)
        reward = X @ w
        np.testing.assert_allclose(trainer.state["reward"][:, 0], (reward - reward.mean()) / reward.std(), atol=1e-8)
