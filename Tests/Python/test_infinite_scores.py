"""Scores of -inf, the masks of classes, documents and answers, in every loss, operator and activation: what comes out
is what scores tend to as they fall, and never a NaN that the mathematics does not have.

The limit is measured: where values or slopes at -1e9 and at -1e12 agree, or grow alike, they must be reached at -inf,
in every element of the result and of all gradients. A mask is written into the logits, so that its own slope may also
be 0.
"""

import numpy as np
import pytest

import samples
import temper

# What is a score: inputs by their names, and x of the operators that are no matrices or images.
SCORES = ("logits", "scores", "logps", "log_probabilities", "log_y")
ROWS = {
    "adaptive_temperature_softmax", "boltzmann_operator", "entmax", "entmax15", "gumbel_softmax",
    "gumbel_softmax_log_density", "log_softmax", "logit_clip", "online_softmax", "online_softmax_topk",
    "quantized_softmax", "self_adjust_softmax", "soft_topk", "softmax", "softpick", "sparse_noisy_softmax",
    "sparsegen", "sparsehourglass", "sparsemax", "stablemax", "two_pass_softmax",
}  # fmt: skip

# Where -inf is outside of what the formula takes, and why.
OUTSIDE = {
    "aaer_fast_adversarial_training": "distances between two arrays of logits",
    "auc_margin": "finite scores, says its record: their means are learnt",
    "hard_ash": "the mean and the deviation of the row",
}

# Where a masked class is not there at all, which is another thing than one of very low score: tested by leaving it out.
LEFT_OUT = {
    "active_passive_loss", "normalized_cross_entropy", "normalized_focal", "z_loss", "logit_clip",
    "quantized_softmax", "self_adjust_softmax", "softpick", "sparsegen", "sparsehourglass",
}  # fmt: skip

# Neither the one nor the other: numbers they are.
NO_LIMIT = {
    "ldr_kl_loss-adaptive=True": "the mean size of the scores, of those that are there, and the number of all classes",
    "ldr_kl_loss-normalize=True": "as before",
}

# Slopes that are not those of the limit, and why.
NO_SLOPE = {
    "ctc_loss": "a sample that no path can explain has no gradient, as in PyTorch with zero_infinity",
    "quantized_softmax": "the slope of what is rounded goes straight through",
}

# Infinite less infinite, where the target itself is masked: the result is not NaN-free, and has no one limit.
MASKED_TARGET = {
    "peer_loss": "a masked label costs, and gains among the peers, infinitely much",
    "influence_balanced-through_influence=True": "an infinite cost times the slope of what divides it",
    "decoupled_softmax_and_soft_topk-form=soft_topk": "an infinite cost, whose slope by the others is lost",
    "decoupled_softmax_and_soft_topk-form=combined": "as before",
}


def method(record, settings):
    return (temper.loss if record["kind"] == "loss" else temper.op)(record["name"], **settings)


def stands_in(record, settings, names):
    return record["name"] in names or record["name"] + samples.shown(settings) in names


def is_score(record, name):
    if record["kind"] == "loss":
        return name.endswith(SCORES)
    return name.endswith(SCORES) or name == "x" and (record["kind"] == "activation" or record["name"] in ROWS)


def made(record, targets="first"):
    """The first form of every input, and optional numbers; of targets that may be numbers of 0 to 1 as asked: the first
    form, such numbers ("soft", "spared"), or nothing but 0 and 1 ("certain")."""
    forms = {entry["name"]: entry["forms"][0] for entry in record["inputs"]}
    if targets != "first":
        forms["targets"] = shares(record)
    variant = [(entry, forms[entry["name"]]) for entry in record["inputs"]
               if not entry["optional"] or entry["differentiable"] and entry["forms"][0]["shape"] == []
               or entry["name"] in samples.NEEDED.get(record["name"], ())]  # fmt: skip
    inputs = samples.inputs(np.random.default_rng(0), record, variant)
    if targets == "certain":
        y = inputs["targets"]
        is_row = y.ndim == 2 and np.allclose(y.sum(1), 1)
        inputs["targets"] = np.eye(y.shape[1])[y.argmax(1)] if is_row else np.round(y)
        if "visible" in inputs:
            inputs["visible"] |= inputs["targets"] > 0
    return variant, inputs


def shares(record):
    """The form of targets that are probabilities, or None."""
    targets = [entry for entry in record["inputs"] if entry["name"] == "targets"]
    for form in targets[0]["forms"] if targets and record["kind"] == "loss" else []:
        several = len(targets[0]["forms"]) > 1 or f"{record['name']}.targets" in samples.SHARES
        if form["dtype"] == "float" and (several or form["shape"][-1] == "C"):
            return form
    return None


def kinds_of_targets(record, settings):
    """Under every setting the first form, and probabilities that spare the masked class."""
    spared = [entry for entry in record["inputs"] if entry["name"] == "targets" and len(entry["forms"]) > 1]
    return ["first", *["spared"][: len(spared)], *(["soft", "certain"] if shares(record) and not settings else [])]


CASES = [
    (record, settings, name, targets)
    for kind in ("loss", "op", "activation") for record in temper.catalog(kind)
    for name in samples.differentiable(made(record)[0])
    if is_score(record, name) and record["name"] not in OUTSIDE
    for settings in samples.settings(record) for targets in kinds_of_targets(record, settings)
]  # fmt: skip


def identifier(record, settings, name, targets):
    return f"{record['name']}-{name}{samples.shown(settings)}-{targets}"


def call(record, inputs, names, settings={}):
    function = method(record, settings)
    values = np.asarray(function(**inputs))
    if record["kind"] == "loss":
        return [values, *function.value_and_grad(**inputs, wrt=names, reduction="sum")[1].values()]
    gradients = function.vjp(**inputs, dy=np.linspace(0.5, 1.5, values.size).reshape(values.shape), wrt=names)
    return [values, *(gradients.values() if isinstance(gradients, dict) else [gradients])]


def call_vjp(operator, x, dy):
    slopes = operator.vjp(x=x, dy=dy)
    return slopes["x"] if isinstance(slopes, dict) else slopes


def limit(near, far):
    """What is tended to; NaN where the two do not tell."""
    limits = np.full(far.shape, np.nan)
    same = np.abs(near - far) <= 1e-6 * np.abs(far) + 1e-12
    limits[same] = far[same]
    limits[(np.abs(far) < 1e-5) & (np.abs(far) <= np.abs(near))] = 0
    grows = (np.abs(far) > 10 * np.abs(near)) & (np.abs(far) > 1e5)
    limits[grows] = np.sign(far[grows]) * np.inf
    return limits


def agrees(result, limits):
    """1e30 is as good as infinite."""
    far = np.isinf(limits) & (np.abs(result) > 1e25) & (np.sign(result) == np.sign(limits))
    return np.isnan(limits) | far | (np.abs(result - np.where(far, 0, limits)) <= 1e-5 * (1 + np.abs(limits)))


def with_score(inputs, name, at, value):
    changed = {key: np.array(array) for key, array in inputs.items()}
    changed[name].reshape(-1)[at] = value
    return changed


def is_target(record, inputs, name, at):
    """Whether the score is that of a sample's label, or of a class with a share of its target."""
    targets, scores = inputs.get("targets"), inputs[name]
    if targets is None or record["kind"] != "loss":
        return False
    if targets.shape == scores.shape and (scores.ndim == 2 or targets.dtype == bool):
        return targets.reshape(-1)[at] > 0
    if targets.ndim != 1 or scores.ndim != 2 or not np.issubdtype(targets.dtype, np.integer):
        return False
    row, column = divmod(at, scores.shape[1])
    return targets[row] == column


def without(targets, at):
    """Probabilities that give nothing to one class of one sample."""
    spared = targets.copy()
    spared.reshape(-1)[at] = 0
    return spared / spared.sum(-1, keepdims=True)


@pytest.mark.parametrize("record, settings, name, targets", CASES, ids=[identifier(*c) for c in CASES])
def test_the_limit_is_reached(record, settings, name, targets):
    variant, inputs = made(record, targets)
    names, drawn = samples.differentiable(variant), inputs.get("targets")
    size, is_left_out = inputs[name].size, stands_in(record, settings, LEFT_OUT | NO_LIMIT.keys())
    for at in range(0, size, max(1, size // 9)):
        if targets == "spared" and drawn.shape == inputs[name].shape:
            inputs["targets"] = without(drawn, at)
        elif stands_in(record, settings, MASKED_TARGET) and is_target(record, inputs, name, at):
            continue
        with np.errstate(all="ignore"):
            near, far, reached = (
                call(record, with_score(inputs, name, at, -v), names, settings) for v in (1e9, 1e12, np.inf)
            )
            limits = [limit(a, b) for a, b in zip(near, far)]
        for which, (result, expected) in enumerate(zip(reached, limits)):
            key = f"{'value' if which == 0 else names[which - 1]} at element {at}"
            assert not np.isnan(result).any(), key
            if is_left_out or which > 0 and record["name"] in NO_SLOPE:
                continue
            right = agrees(result, expected)
            if which > 0 and names[which - 1] == name:
                right.reshape(-1)[at] |= result.reshape(-1)[at] == 0
            assert right.all(), f"{key}: {result} for {expected}"


MASKED = [c for c in CASES if stands_in(c[0], c[1], LEFT_OUT) and c[3] == "first"]


@pytest.mark.parametrize("record, settings, name, targets", MASKED, ids=[identifier(*c) for c in MASKED])
def test_what_is_masked_is_not_there(record, settings, name, targets):
    _, inputs = made(record)
    if "targets" in inputs:
        inputs["targets"] %= 4
    inputs[name][:, -1] = -np.inf
    less = {**inputs, name: inputs[name][:, :-1].copy()}
    function, dy = method(record, settings), np.random.default_rng(1).normal(size=inputs[name].shape)
    if record["kind"] == "loss":
        masked, rest = (call(record, given, [name], settings) for given in (inputs, less))
        np.testing.assert_allclose(masked[0], rest[0], rtol=1e-12)
    else:
        masked, rest = ([function(x), function.vjp(x, g)]
                        for x, g in ((inputs[name], dy), (less[name], dy[:, :-1].copy())))  # fmt: skip
        np.testing.assert_allclose(masked[0][:, :-1], rest[0], rtol=1e-9, atol=1e-15)
        assert np.isin(masked[0][:, -1], [0, -np.inf]).all()
    np.testing.assert_allclose(masked[1][:, :-1], rest[1], rtol=1e-9, atol=1e-14)
    assert not masked[1][:, -1].any()


@pytest.mark.parametrize("name", [record["name"] for record in temper.catalog("activation")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_reach_their_limits_on_both_sides(name, dtype):
    if name in OUTSIDE:
        pytest.skip(OUTSIDE[name])
    function = temper.op(name)
    far = np.array([-1e12, 1e12], dtype)
    for x, y in zip(far, function(np.array([-np.inf, np.inf], dtype))):
        tends = function(np.array([x]))[0]
        grows = abs(tends) > 1e8 and abs(y) > 1e25 and np.sign(y) == np.sign(tends)
        assert grows or np.isclose(y, tends, rtol=1e-9), (x, y)
    ends, dy = np.array([-np.inf, np.inf], dtype), np.ones(2, dtype)
    slopes, tend = (call_vjp(function, x, dy) for x in (ends, far))
    np.testing.assert_allclose(slopes, tend, atol=1e-6)


@pytest.mark.parametrize("name", ["dpo", "ipo", "exo", "bco", "kto", "simpo", "apo_zero", "aot"])
def test_an_impossible_answer_costs_what_it_tends_to(name):
    """In float32, where squares of 1e30 are infinite."""
    record = next(record for record in temper.catalog("loss") if record["name"] == name)
    variant, inputs = made(record)
    inputs = {k: a.astype(np.float32) if a.dtype == np.float64 else a for k, a in inputs.items()}
    for key in [key for key in inputs if key.endswith("logps")]:
        results = call(record, with_score(inputs, key, 1, -np.inf), samples.differentiable(variant))
        assert not any(np.isnan(result).any() for result in results), key


# One sample of ten million classes: 40 MB an array, and half the classes masked.
MANY = 10_000_000


def many():
    logits = np.zeros((1, MANY), np.float32)
    logits[0, 7] = 3
    logits[0, 100:5_000_100] = -np.inf
    return logits


@pytest.mark.parametrize("name, expected", [
    ("cross_entropy", np.log(MANY / 2 - 1 + np.exp(3)) - 3), ("focal", None), ("generalized_cross_entropy", None),
    ("entmax_loss", None), ("sparsemax_loss", None), ("poly1", None), ("masked_softmax_ce", None),
])  # fmt: skip
def test_losses_of_ten_million_classes(name, expected):
    logits = many()
    more = {"visible": np.isfinite(logits)} if name == "masked_softmax_ce" else {}
    value, gradients = temper.loss(name).value_and_grad(logits, np.array([7]), **more)
    if expected is not None:
        assert value == pytest.approx(expected, rel=1e-6)
    slopes = gradients["logits"]
    assert np.isfinite(value) and np.isfinite(slopes).all() and not slopes[0, 100:5_000_100].any()
    assert slopes.sum(dtype=np.float64) == pytest.approx(0, abs=1e-3) and slopes[0, 7] <= 0


@pytest.mark.parametrize("name", ["softmax", "online_softmax", "two_pass_softmax", "sparsemax", "entmax15", "entmax"])
def test_operators_on_ten_million_classes(name):
    result = temper.op(name)(many())
    assert result.sum(dtype=np.float64) == pytest.approx(1, abs=1e-3)
    assert result.argmax() == 7 and not result[0, 100:5_000_100].any()


@pytest.mark.parametrize("correction", ["row", 0.02])
def test_what_rounding_takes_is_not_given_to_what_is_masked(correction):
    scores, there = np.array([[1.0, -np.inf, 0.3, 2.0]]), [0, 2, 3]
    soften = temper.op("quantized_softmax", bits=3, correction=correction)
    np.testing.assert_allclose(soften(scores)[:, there], soften(scores[:, there]), rtol=1e-12)
    assert soften(scores)[0, 1] == 0


@pytest.mark.parametrize("name", ["normalized_cross_entropy", "normalized_focal", "active_passive_loss"])
def test_masked_shares_outgrow_the_rest_alike(name):
    """Two classes that have a share fall together: of their losses over the sum of all each is a half."""
    loss, targets = temper.loss(name), np.array([[0.2, 0.3, 0.1, 0.4]])
    far, masked = (loss(np.array([[0.0, score, score, 1.0]]), targets) for score in (-1e12, -np.inf))
    np.testing.assert_allclose(masked, far, rtol=1e-9)


@pytest.mark.parametrize("targets", [[1], [[0.2, 0.3, 0.5]]])
def test_focal_has_slopes_where_twice_the_score_has_no_float32(targets):
    far, near = (temper.loss("focal").value_and_grad(np.array([[0, score, 1]], np.float32), np.array(targets))[1]
                 for score in (-2e38, -1e20))  # fmt: skip
    np.testing.assert_allclose(far["logits"], near["logits"], rtol=1e-6)
