"""Every classification loss of the catalogue at the edges of its inputs: no NaN that the mathematics does not have."""

import numpy as np
import pytest

import samples
import temper

# Where logits (N, C) and targets decide alone or with what samples.py makes.
LOSSES = [
    record
    for record in temper.catalog()
    if record["kind"] == "loss" and {"logits", "targets"} <= {entry["name"] for entry in record["inputs"]}
    and next(e for e in record["inputs"] if e["name"] == "logits")["forms"][0]["shape"] == ["N", "C"]
]  # fmt: skip
NAMES = [record["name"] for record in LOSSES]

# Masks of -inf have no meaning where scores are added up or averaged over the classes, or are divided by their size.
NO_MASK = {
    "z_loss": "the mean and the deviation of all scores",
}


def call(record, change, dtype=np.float64, **sizes):
    """Value and gradient after `change` was applied to the inputs; None where it is an error that says why."""
    before = dict(samples.SIZES)
    samples.SIZES.update(sizes)
    try:
        variant = [(entry, entry["forms"][0]) for entry in record["inputs"] if not entry["optional"]
                   or entry["name"] in samples.NEEDED.get(record["name"], ())]  # fmt: skip
        inputs = samples.inputs(np.random.default_rng(0), record, variant, dtype)
    finally:
        samples.SIZES.clear()
        samples.SIZES.update(before)
    change(inputs)
    try:
        value, gradients = temper.loss(record["name"]).value_and_grad(**inputs, reduction="sum", wrt=("logits",))
    except temper.Error as error:
        return None, str(error), inputs
    return np.asarray(value), gradients["logits"], inputs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("record", LOSSES, ids=NAMES)
def test_scores_of_ten_thousand(record, dtype):
    def change(inputs):
        signs = np.array([1.0, -1, 0, 1, 1, -1, -1, 0.5])
        inputs["logits"] = (1e4 * np.resize(signs, inputs["logits"].shape)).astype(dtype)

    value, gradient, _ = call(record, change, dtype)
    assert value is not None, gradient
    assert not np.isnan(value).any() and not np.isnan(gradient).any(), (value, gradient)


@pytest.mark.parametrize("sizes", [{"N": 1}, {"C": 1}, {"N": 1, "C": 1}], ids=["one sample", "one class", "one of each"])
@pytest.mark.parametrize("record", LOSSES, ids=NAMES)
def test_one_sample_and_one_class(record, sizes):
    value, gradient, _ = call(record, lambda inputs: None, **sizes)
    if value is None:
        assert any(word in gradient for word in ("two", "least", "more than one", "needs", "must")), gradient
    else:
        assert np.isfinite(value).all() and np.isfinite(gradient).all(), (value, gradient)


@pytest.mark.parametrize("record", LOSSES, ids=NAMES)
def test_masked_classes(record):
    """A logit of -inf at a class that is no target: the class is not there."""

    def change(inputs):
        y = inputs["targets"]
        for n in range(len(inputs["logits"])):
            at = (int(y[n]) + 1) % 5 if y.ndim == 1 else 0
            if y.ndim == 2:
                y[n, at] = 0
                if record["name"] not in ("binary_cross_entropy_with_logits",):
                    y[n] /= max(y[n].sum(), 1e-30)
            inputs["logits"][n, at] = -np.inf

    if record["name"] in NO_MASK:
        pytest.skip(NO_MASK[record["name"]])
    value, gradient, inputs = call(record, change)
    if value is None:
        return
    assert not np.isnan(value).any(), value
    masked = np.isneginf(inputs["logits"])
    assert not np.isnan(gradient[~masked]).any() and not np.isnan(gradient[masked]).any(), gradient


@pytest.mark.parametrize("record", LOSSES, ids=NAMES)
def test_certain_targets(record):
    """Targets as probabilities 0 and 1, where they may be probabilities."""
    forms = next(entry for entry in record["inputs"] if entry["name"] == "targets")["forms"]
    soft = [form for form in forms if form["shape"] == ["N", "C"] and form["dtype"] == "float"]
    if not soft:
        pytest.skip("class ids only")

    def change(inputs):
        inputs["targets"] = np.eye(5)[np.arange(6) % 5]
        if "visible" in inputs:
            inputs["visible"][:] = True

    value, gradient, _ = call(record, change)
    assert value is not None and np.isfinite(value).all() and np.isfinite(gradient).all(), (value, gradient)


def test_ten_million_classes():
    logits = np.zeros((1, 10_000_000), np.float32)
    logits[0, 7] = 3
    value, gradients = temper.loss("cross_entropy").value_and_grad(logits, np.array([9_999_999]))
    assert value == pytest.approx(np.log(1e7 - 1 + np.exp(3)), rel=1e-6)
    assert gradients["logits"][0, 9_999_999] == pytest.approx(-1, abs=1e-6)
    assert gradients["logits"].sum(dtype=np.float64) == pytest.approx(0, abs=1e-3)
