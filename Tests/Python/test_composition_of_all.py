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


TARGETS = ("targets", "other_targets", "peer_targets", "noisy_labels")
# Every input that holds classes, or yes and no, where it says what a sample is.
OF_CLASSES = [
    pytest.param(record, entry, id=f"{record['name']}-{entry['name']}")
    for record in LOSSES
    for entry in record["inputs"]
    if entry["name"] in TARGETS and entry["forms"][0]["dtype"] != "float"
]
# Where a distribution over classes is more than the mean over its classes: a margin by share, a square, a logarithm.
BY_SHARE = {
    "aaer_fast_adversarial_training", "active_passive_loss", "arcface", "bi_tempered_logistic", "brier", "cosface",
    "entmax_loss", "influence_balanced", "jensen_shannon", "joint_optimization", "ldam", "ldr_kl_loss",
    "reverse_cross_entropy", "sparsemax_loss", "symmetric_cross_entropy",
}  # fmt: skip
# Here of one kind, elsewhere of the other: as rare classes, a class that nobody has, or right predictions are there.
BY_DATA = {"determinant_mutual_information", "equalization", "mmce"}


def softened(record, entry):
    """A call with class ids, and the same loss of probabilities at this input."""
    variant = [
        (e, e["forms"][0]) for e in record["inputs"]
        if not e["optional"] or e["name"] in samples.NEEDED.get(record["name"], ()) or entry["optional"]
    ]  # fmt: skip
    inputs = samples.inputs(np.random.default_rng(0), record, variant)
    wrt, loss = samples.differentiable(variant)[:1], temper.loss(record["name"])
    sizes = {**samples.SIZES, **samples.SIZES_OF.get(record["name"], {})}
    if entry["forms"][0]["dtype"] == "bool":
        certain = inputs[entry["name"]].astype(float)
    else:
        certain = np.eye(sizes["C"])[inputs[entry["name"]]]
    if "visible" in inputs:
        inputs["visible"][:] = True
    return loss, inputs, wrt, certain


@pytest.mark.parametrize("record, entry", OF_CLASSES)
def test_probabilities_are_taken_or_the_record_says_why_not(record, entry):
    if not any(form["dtype"] == "float" for form in entry["forms"]):
        assert "no probabilities: " in entry["doc"]
        return
    assert "no probabilities" not in entry["doc"]
    loss, inputs, wrt, certain = softened(record, entry)
    expected = call(loss, inputs, wrt)
    for result, other in zip(call(loss, {**inputs, entry["name"]: certain}, wrt), expected):
        np.testing.assert_allclose(result, other, rtol=1e-9, atol=1e-12)
    moved = 0.7 * certain + 0.3 * np.roll(certain, 1, -1)
    assert all(np.isfinite(result).all() for result in call(loss, {**inputs, entry["name"]: moved}, wrt))


@pytest.mark.parametrize("record, entry", [
    case for case in OF_CLASSES
    if len(case.values[1]["forms"]) > 1 and case.values[1]["forms"][0]["shape"] == ["N"]
    and case.values[0]["name"] not in BY_DATA
])  # fmt: skip
def test_a_distribution_is_the_mean_over_its_classes(record, entry):
    """Or the loss is one of those that see it whole."""
    loss, inputs, wrt, certain = softened(record, entry)
    ids = inputs[entry["name"]]
    others = (ids + 1) % certain.shape[1]
    mixed = 0.7 * certain + 0.3 * np.eye(certain.shape[1])[others]
    parts = [call(loss, {**inputs, entry["name"]: y}, wrt) for y in (ids, others)]
    found = call(loss, {**inputs, entry["name"]: mixed}, wrt)
    is_mean = all(np.allclose(f, 0.7 * a + 0.3 * b, rtol=1e-9, atol=1e-12) for f, a, b in zip(found, *parts))
    assert is_mean == (record["name"] not in BY_SHARE)


YES_OR_NO = [
    record for record in LOSSES for entry in record["inputs"] if entry["name"] == "targets" and "a probability, 0 to 1"
    in entry["doc"] and entry["forms"][0]["shape"] == ["N"]]  # fmt: skip


@pytest.mark.parametrize("record", YES_OR_NO, ids=names(YES_OR_NO))
def test_a_probability_of_yes_is_the_mean_of_yes_and_no(record):
    variant, inputs = made(record)
    wrt, settings = samples.differentiable(variant)[:1], {}
    if record["name"] == "auc_margin":  # else the share of positives, and means, are more that the targets say
        settings = {"positive_share": 0.3}
        inputs |= {"a": np.array(0.7), "b": np.array(0.2), "alpha": np.array(0.6)}
    loss = temper.loss(record["name"], **settings)
    yes, no, some = (call(loss, {**inputs, "targets": np.full(6, t)}, wrt) for t in (1.0, 0.0, 0.3))
    for found, a, b in zip(some, yes, no):
        less = 0.3 * 0.7 if record["name"] == "tokenized_brier" and found.ndim == 0 else 0  # of the square
        np.testing.assert_allclose(found, 0.3 * a + 0.7 * b - less, rtol=1e-9, atol=1e-12)
