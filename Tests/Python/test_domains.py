"""Where a formula has a domain, numbers outside it are errors that say so; in a trainer, too."""

import numpy as np
import pytest

import temper

LOGPS = {"policy_chosen_logps": [-1.0, -2.0], "policy_rejected_logps": [-1.0, -0.5]}
LOGITS = {"logits": np.zeros((2, 3)), "targets": [0, 2]}
TAILS = {
    "features": np.zeros((2, 4)), "head": np.zeros((3, 4)), "projection_1": np.zeros((2, 4)), "tail_1": np.zeros((5, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name, inputs, wrong, words", [
    ("tweedie", {"predictions": [0.0, 1.0], "targets": [0.0, 2.0]}, {"targets": [0.0, -1.0]}, "0 or more"),
    ("gamma", {"predictions": [0.0, 1.0], "targets": [0.5, 2.0]}, {"targets": [0.0, 2.0]}, "above 0"),
    ("orpo", LOGPS, {"policy_rejected_logps": [-1.0, 0.0]}, "below 0"),
    ("temperature_scaled_cross_entropy", {**LOGITS, "temperature": 0.5}, {"temperature": 0.0}, "above 0"),
    ("entmax_loss", {**LOGITS, "alpha": 1.5}, {"alpha": 1.0}, "above 1"),
    ("class_balanced", {**LOGITS, "class_counts": [5.0, 2.0, 1.0]}, {"class_counts": [5.0, 0.0, 1.0]}, "above 0"),
    ("ldam", {**LOGITS, "class_counts": [5.0, 2.0, 1.0]}, {"class_counts": [5.0, 0.0, 1.0]}, "above 0"),
    ("vector_scaling", {**LOGITS, "class_counts": [5.0, 2.0, 1.0]}, {"class_counts": [5.0, -1.0, 1.0]}, "above 0"),
    ("natural_gaussian_nll", {"eta1": [0.0], "eta2": [-1.0], "targets": [0.0]}, {"eta2": [0.0]}, "below 0"),
    ("adaptive_softmax", {**TAILS, "targets": [0, 6]}, {"targets": [0, 7]}, "0 to 6"),
    ("adaptive_softmax", {**TAILS, "targets": [0, 6]}, {"head": np.zeros((1, 4))}, "head needs"),
    ("adaptive_softmax", {**TAILS, "targets": [0, 1]}, {"projection_2": np.zeros((1, 4))}, "its projection and its tail"),
    ("peer_loss", LOGITS, {"peer_targets": [0, 1]}, "come together"),
    ("kto", {"policy_logps": [0.0], "reference_logps": [0.0], "targets": [True]}, {"policy_kl_logps": [0.0]},
     "come together"),
])  # fmt: skip
def test_outside_of_its_domain_a_loss_says_so(name, inputs, wrong, words):
    loss = temper.loss(name)
    assert np.isfinite(loss(**inputs)).all()
    with pytest.raises(temper.Error, match=words):
        loss(**{**inputs, **wrong})


def test_normalised_and_decoupled_losses_need_classes():
    for name in ("normalized_cross_entropy", "decoupled_kd"):
        teacher = {"teacher_logits": np.zeros((2, 1))} if name == "decoupled_kd" else {}
        with pytest.raises(temper.Error, match="two classes"):
            temper.loss(name)(logits=np.zeros((2, 1)), targets=[0, 0], **teacher)


def test_trainers_check_domains_before_they_begin():
    x, y = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32), np.arange(8.0)
    trainer = temper.Trainer(temper.Model([{"dense": 1}], input=(2,), seed=0), loss="gamma", optimizer="sgd")
    with pytest.raises(temper.Error, match="above 0"):
        trainer.fit(x, y, epochs=1)
    trainer.fit(x, y + 1, epochs=1)
