"""Every loss of the catalogue as a part: in weighted sums, under schedules on each of its numbers, behind an operator,
and with the probabilities that class ids stand for."""

import json

import numpy as np
import pytest

import samples
import temper

LOSSES = temper.catalog("loss")


def names(records):
    return [record["name"] for record in records]


def made(record):
    variant = [(entry, entry["forms"][0]) for entry in record["inputs"] if not entry["optional"]
               or entry["name"] in samples.NEEDED.get(record["name"], ())]  # fmt: skip
    return variant, samples.inputs(np.random.default_rng(0), record, variant)


def call(loss, inputs, wrt):
    value, gradients = loss.value_and_grad(**inputs, wrt=wrt)
    return [np.asarray(value), *gradients.values()]


@pytest.mark.parametrize("record", LOSSES, ids=names(LOSSES))
def test_every_loss_can_be_added(record):
    variant, inputs = made(record)
    wrt = samples.differentiable(variant)[:1]
    plain = temper.loss(record["name"])
    total = temper.weighted_sum({"a": (0.7, plain), "b": (-0.2, plain)})
    stateful = {entry["name"] for entry in record["state"]}
    assert {entry["name"] for entry in total.record["state"]} >= stateful
    np.testing.assert_allclose(total(**inputs), 0.5 * plain(**inputs), rtol=1e-9, atol=1e-12)
    for result, part in zip(call(total, inputs, wrt), call(plain, inputs, wrt)):
        np.testing.assert_allclose(result, 0.5 * part, rtol=1e-9, atol=1e-12)


def numbers(record):
    """All its numbers, with two values that lie in the domain."""
    for entry in record["parameters"]:
        if entry["type"] not in ("real", "integer"):
            continue
        first, is_whole = entry["default"], entry["type"] == "integer"
        if not isinstance(first, (int, float)) or not np.isfinite(first):  # none, a word, or a mask of -inf
            first = 0.4
        for moved in [first + 1] if is_whole else [first * 0.9 + 0.01, first * 1.1]:
            try:
                temper.loss(record["name"], **{entry["name"]: moved})
                break
            except temper.Error:
                pass
        yield entry["name"], first, moved


def moving(first, moved):
    """From one to the other in two steps; what is below 0 as the multiple of what is above."""
    if moved < 0:
        part = {"linear_lr": {"learning_rate": 1, "total_steps": 2, "start_factor": first / moved, "end_factor": 1.0}}
        return temper.schedule("product", learning_rate=moved, schedules=json.dumps([part]))
    return temper.schedule("linear_lr", total_steps=2, learning_rate=moved, start_factor=first / moved, end_factor=1.0)


SCHEDULED = [(record, *parameter) for record in LOSSES for parameter in numbers(record)]


@pytest.mark.parametrize("record, name, first, moved", SCHEDULED, ids=[f"{r['name']}-{n}" for r, n, *_ in SCHEDULED])
def test_every_number_can_follow_a_schedule(record, name, first, moved):
    """From its default to another value in two steps: what it is at each of them is what it is when set."""
    variant, inputs = made(record)
    wrt = samples.differentiable(variant)[:1]
    schedule = moving(first, moved)
    loss = temper.loss(record["name"], **{name: first}).scheduled(name, schedule)
    for step in (0, 2):
        value = round(schedule(step)) if isinstance(first, int) else float(schedule(step))
        expected = call(temper.loss(record["name"], **{name: value}), inputs, wrt)
        for result, other in zip(call(loss.at(step), inputs, wrt), expected):
            np.testing.assert_allclose(result, other, rtol=1e-12, atol=1e-14)


def test_a_whole_number_goes_from_one_to_the_next_half_way():
    loss = temper.loss("taylor_cross_entropy", order=2).scheduled("order", moving(2, 5))
    for step, order in enumerate((2, 4, 5)):  # 3.5 between them
        for logits in ([[0.3, 1.0]], [[-2.0, 1.0]]):
            assert loss.at(step)(logits, [0]) == temper.loss("taylor_cross_entropy", order=order)(logits, [0])


ON_LOGITS = [record for record in LOSSES if any(
    entry["name"] == "logits" and entry["forms"][0]["shape"] == ["N", "C"] for entry in record["inputs"])]  # fmt: skip


@pytest.mark.parametrize("record", ON_LOGITS, ids=names(ON_LOGITS))
def test_logits_can_be_clipped_before_every_loss(record):
    _, inputs = made(record)
    clip, plain = temper.op("logit_clip", tau=0.8), temper.loss(record["name"])
    clipped = clip(inputs["logits"])
    behind = plain.through(clip)
    value, slope = call(behind, inputs, ["logits"])
    expected, inner = call(plain, {**inputs, "logits": clipped}, ["logits"])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(slope, clip.vjp(inputs["logits"], inner), rtol=1e-9, atol=1e-14)


# Losses whose formula asks what a sample's class is, and has no other answer for a distribution over classes.
CLASS_ONLY = {
    "adaptive_softmax": "the cluster of the class", "arcface": "the margin of the class",
    "circle": "pairs of one class",
    "cosface": "the margin of the class", "ctc_loss": "a sequence of labels",
    "cut_cross_entropy": "there is no array of tokens by words",
    "decoupled_kd": "the class against the others", "equalization": "whether the class is rare",
    "forward_forward_loss": "one true label", "hinge": "one right class", "label_relaxation": "the set around a class",
    "ldam": "the margin of the class", "ldr_kl_loss": "the margin of the class",
    "lovasz_softmax": "the pixels of a class", "masked_softmax_ce": "the class must be visible",
    "mixup_cross_entropy": "two labels and their share: a distribution",
    "mmce": "whether the prediction is right", "multi_margin": "one right class", "n_pairs": "pairs of one class",
    "noise_contrastive_estimation": "the row of the class", "normface": "the row of the class",
    "partial_fc": "the row of the class", "presto_ordinal": "ordered classes", "proxy_anchor": "the proxy of the class",
    "sampled_softmax": "the row of the class", "squared_hinge": "one right class", "supcon": "pairs of one class",
    "uncertainty_weighted_reward_loss": "a token for each pixel",
}  # fmt: skip


def targets(record):
    return next((entry for entry in record["inputs"] if entry["name"] == "targets"), None)


OF_CLASSES = [record for record in LOSSES if targets(record) and targets(record)["forms"][0]["dtype"] == "int"]


@pytest.mark.parametrize("record", OF_CLASSES, ids=names(OF_CLASSES))
def test_probabilities_are_taken_wherever_the_formula_has_a_meaning_for_them(record):
    soft = [form for form in targets(record)["forms"] if form["dtype"] == "float"]
    if record["name"] in CLASS_ONLY:
        assert not soft
        return
    assert soft
    variant, inputs = made(record)
    wrt = samples.differentiable(variant)[:1]
    whole = {**inputs, "targets": np.eye(samples.SIZES["C"])[inputs["targets"]]}
    loss = temper.loss(record["name"])
    for result, expected in zip(call(loss, whole, wrt), call(loss, inputs, wrt)):
        np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
    mixed = {**inputs, "targets": np.full_like(whole["targets"], 1 / whole["targets"].shape[-1])}
    assert all(np.isfinite(result).all() for result in call(loss, mixed, wrt))
