"""Losses of any kind at the edges of what they take: scores of ten thousand, one sample, -inf, and samples left out."""

import numpy as np
import pytest

import samples
import temper

LOSSES = [record for record in temper.catalog() if record["kind"] == "loss"]


def first_scores(record):
    """The first input that has a gradient and is an array of floats by sample."""
    for entry in record["inputs"]:
        form = entry["forms"][0]
        if entry["differentiable"] and not entry["optional"] and form["dtype"] == "float" and form["shape"][:1] == ["N"]:
            return entry["name"]
    return None


SUBJECTS = [record for record in LOSSES if first_scores(record)]
BY_SAMPLE = [record for record in SUBJECTS if "batch" not in record["properties"]]


def made(record, dtype=np.float64, **sizes):
    before = dict(samples.SIZES)
    samples.SIZES.update(sizes)
    try:
        variant = [(entry, entry["forms"][0]) for entry in record["inputs"] if not entry["optional"]
                   or entry["name"] in samples.NEEDED.get(record["name"], ())]  # fmt: skip
        return samples.inputs(np.random.default_rng(0), record, variant, dtype)
    finally:
        samples.SIZES.clear()
        samples.SIZES.update(before)


def depends_on_its_row_alone(record, inputs):
    """Whether no value depends on another sample's scores: measured."""
    name = first_scores(record)
    changed = {**inputs, name: inputs[name].copy()}
    changed[name][1] += np.linspace(0.01, 0.03, changed[name][1].size).reshape(changed[name][1].shape)
    before, after = (values(record, given) for given in (inputs, changed))
    return np.array_equal(np.delete(before, 1), np.delete(after, 1))


def call(record, inputs, **options):
    """Value and gradient; None and what the error says where the formula has none."""
    name = first_scores(record)
    try:
        value, gradients = temper.loss(record["name"]).value_and_grad(**inputs, wrt=(name,), **options)
    except temper.Error as error:
        return None, str(error)
    return np.asarray(value), gradients[name]


def values(record, inputs):
    return np.atleast_1d(temper.loss(record["name"])(**inputs))


def names(records):
    return [record["name"] for record in records]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("record", SUBJECTS, ids=names(SUBJECTS))
def test_scores_of_ten_thousand(record, dtype):
    inputs = made(record, dtype)
    name = first_scores(record)
    signs = np.resize(np.array([1.0, -1, 0, 1, 1, -1, -1, 0.5]), inputs[name].shape)
    inputs[name] = (1e4 * (np.abs(signs) if inputs[name].min() > 0 else signs)).astype(dtype)
    value, gradient = call(record, inputs, reduction="sum")
    if value is None:
        assert any(word in gradient for word in ("must", "between", "above", "below", "lie")), gradient
        return
    assert not np.isnan(value).any() and not np.isnan(gradient).any(), (value, gradient)


@pytest.mark.parametrize("record", SUBJECTS, ids=names(SUBJECTS))
def test_one_sample(record):
    value, gradient = call(record, made(record, N=1), reduction="sum")
    if value is None:
        assert any(word in gradient for word in ("two", "least", "more than one", "needs", "must")), gradient
    else:
        assert np.isfinite(value).all() and np.isfinite(gradient).all(), (value, gradient)


@pytest.mark.parametrize("record", BY_SAMPLE, ids=names(BY_SAMPLE))
def test_samples_left_out(record):
    """A mask leaves a sample out of value, gradient and mean, and weights are factors, after the loss and in any form."""
    inputs = made(record)
    whole = values(record, inputs)
    keep = np.ones(len(whole), bool)
    keep[1] = False
    full, slope = call(record, {**inputs, "sample_mask": keep}, reduction="sum")
    assert full == pytest.approx(whole[keep].sum(), rel=1e-12, abs=1e-12)
    if depends_on_its_row_alone(record, inputs):
        assert not slope[1].any()
    weights = np.linspace(0.5, 2, len(keep))
    if "sample_weights" not in inputs:
        weighted = values(record, {**inputs, "sample_weights": weights})
        assert weighted == pytest.approx(whole * weights, rel=1e-12, abs=1e-12)
        mean, _ = call(record, {**inputs, "sample_weights": weights, "sample_mask": keep}, reduction="mean")
        assert mean == pytest.approx((whole * weights)[keep].sum() / keep.sum(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("columns", [10, 100, 3000])
def test_masks_of_any_type_are_the_same(columns):
    """Bytes are read as they are; they give the bits that numbers give."""
    rng = np.random.default_rng(0)
    visible, targets = rng.random((50, columns)) < 0.7, rng.integers(0, columns, 50)
    visible[np.arange(50), targets] = True
    logits, loss = rng.normal(size=(50, columns)).astype(np.float32), temper.loss("masked_softmax_ce")
    value, gradients = loss.value_and_grad(logits, targets, visible=visible)
    other = temper.loss("masked_softmax_ce")  # its plan is made for floats, and made again for bytes
    for kind in (np.float32, np.uint8, np.int64, bool):
        again, others = other.value_and_grad(logits, targets, visible=visible.astype(kind))
        assert again == value and np.array_equal(others["logits"], gradients["logits"])
    assert not gradients["logits"][~visible].any()
    hidden = visible.copy()
    hidden[7, targets[7]] = False
    with pytest.raises(temper.Error, match="sample 7"):
        loss(logits, targets, visible=hidden)
    with pytest.raises(temper.Error, match="mask of 0 and 1"):
        loss(logits, targets, visible=visible.astype(np.uint8) * 2)
