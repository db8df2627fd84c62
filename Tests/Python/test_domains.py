"""Where a formula has a domain, numbers outside it are errors that say so; in a trainer, too."""

import re

import numpy as np
import pytest

import samples
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


# What lies outside of each domain that a record may state, just so or far.
OUTSIDE = {
    "above 0": (0.0, -2.0), "0 or more": (-1e-6, -2.0), "below 0": (0.0, 2.0), "above 1": (1.0, 0.0),
    "in [0.0, 1.0]": (-1e-6, 1.5),
}  # fmt: skip
METHODS = [record for kind in ("loss", "op", "activation") for record in temper.catalog(kind)]
BOUNDED = [(record, entry) for record in METHODS for entry in record["inputs"] if "domain" in entry]


@pytest.mark.parametrize("record, entry", BOUNDED, ids=[f"{r['name']}-{e['name']}" for r, e in BOUNDED])
def test_elements_outside_of_the_domain_of_an_input_are_errors(record, entry):
    """Alone among elements that lie inside, and at any place."""
    wanted = samples.NEEDED.get(record["name"], set()) | {entry["name"]}
    variant = [(e, e["forms"][-1]) for e in record["inputs"] if not e["optional"] or e["name"] in wanted]
    inputs = samples.inputs(np.random.default_rng(0), record, variant)
    function = (temper.loss if record["kind"] == "loss" else temper.op)(record["name"])
    assert np.isfinite(function(**inputs)).all()
    for dtype in (np.float64, np.float32):
        for value in OUTSIDE[entry["domain"]]:
            for at in {0, inputs[entry["name"]].size - 1}:
                wrong = np.array(inputs[entry["name"]], dtype)
                wrong.reshape(-1)[at] = value
                words = f"{entry['name']} must be {entry['domain']}; element {at} is"
                with pytest.raises(temper.Error, match=re.escape(words)):
                    function(**{**inputs, entry["name"]: wrong})


# Domains in words that are no rule for single elements, or that another check knows.
OTHERWISE = {
    "auc_margin.alpha": "a dual variable, on its way", "label_weighted_flow_diffusion.adjacency": "its own check",
    "tokenized_brier.logits": "what the classes stand for",
}  # fmt: skip


def test_every_domain_in_words_is_one_that_is_checked():
    stated = re.compile(r"(?<!far )(above|below) \d|\d or more|\b0 to 1\b")
    for record in METHODS:
        for entry in record["inputs"]:
            if stated.search(entry["doc"]) and entry["forms"][0]["dtype"] == "float":
                assert "domain" in entry or f"{record['name']}.{entry['name']}" in OTHERWISE, (record["name"], entry)


def test_a_domain_is_that_of_what_a_loss_sees():
    """In a sum it is that of all parts; behind an operator, what goes into it may be anything."""
    both = temper.weighted_sum({"a": (1, "ldam"), "b": (1, "balanced_softmax")})
    with pytest.raises(temper.Error, match="above 0"):
        both(**LOGITS, class_counts=[5.0, 0.0, 1.0])
    behind = temper.loss("gaussian_nll").through(temper.op("softplus"), input="variances")
    assert np.isfinite(behind([0.0], [1.0], variances=[-3.0])).all()


def test_normalised_and_decoupled_losses_need_classes():
    for name in ("normalized_cross_entropy", "decoupled_kd"):
        teacher = {"teacher_logits": np.zeros((2, 1))} if name == "decoupled_kd" else {}
        with pytest.raises(temper.Error, match="two classes"):
            temper.loss(name)(logits=np.zeros((2, 1)), targets=[0, 0], **teacher)


def test_trainers_of_one_number_name_what_is_missing():
    """Not the shape (N, 1) of the model's output, which losses of (N,) take."""
    model = temper.Model([{"dense": 1}], input=(2,), seed=0)
    with pytest.raises(temper.Error, match="Input negative_scores is missing"):
        temper.Trainer(model, loss="bpr", optimizer="sgd").fit(np.zeros((8, 2), np.float32), epochs=1)


def test_trainers_check_domains_before_they_begin():
    x, y = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32), np.arange(8.0)
    trainer = temper.Trainer(temper.Model([{"dense": 1}], input=(2,), seed=0), loss="gamma", optimizer="sgd")
    with pytest.raises(temper.Error, match="above 0"):
        trainer.fit(x, y, epochs=1)
    trainer.fit(x, y + 1, epochs=1)
