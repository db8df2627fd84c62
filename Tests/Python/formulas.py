"""What the pages of methods say, in NumPy, with every parameter: an oracle that shares no code with what it judges.

A formula is a function of the parameters `p`, the inputs `x` and the inputs `held`, which are the same but constant for
gradients. Values and slopes (central differences of the formula) are compared for every way to call the method, every
choice of its parameters, and numbers drawn around their defaults.
"""

import itertools
import types

import numpy as np
import pytest

import samples
import temper

ALL = {}
DRAWN = object()


def formula(*names, **ranges):
    """Registers a function as the formula of these methods. ranges: where a parameter is drawn from, or a list of the
    values that it takes one after the other: those at which a formula takes another turn."""

    def add(function):
        for name in names:
            ALL[name] = (function, ranges)
        return function

    return add


class Inputs(types.SimpleNamespace):
    """Inputs by name; None for those that did not come."""

    def __getattr__(self, name):
        return None


def log_softmax(z, axis=-1):
    z = z - z.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def softmax(z, axis=-1):
    return np.exp(log_softmax(z, axis))


def logsumexp(z, axis=-1):
    top = z.max(axis)
    return top + np.log(np.exp(z - np.expand_dims(top, axis)).sum(axis))


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def sigmoid(z):
    return np.exp(-softplus(-z))


def log_sigmoid(z):
    return -softplus(-z)


def one_hot(targets, classes):
    return np.eye(classes)[targets] if targets.ndim == 1 else targets


def cross_entropy(z, targets):
    return -(one_hot(targets, z.shape[-1]) * log_softmax(z)).sum(-1)


def over_targets(x, classes, value):
    """The mean over the targets' classes of a value by sample that knows one class, value(y)."""
    if x.targets.ndim == 1:
        return value(x.targets)
    return sum(x.targets[:, c] * value(np.full(len(x.targets), c)) for c in range(classes))


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True))


def own(array, targets):
    """The entry of each row's class."""
    return np.take_along_axis(array, targets[:, None], 1)[:, 0]


def whole(value):
    """The value of a whole batch."""
    return np.array([value])


def over_elements(p, values):
    """(N, ...) put together by sample as the parameter `elements` says."""
    flat = values.reshape(len(values), -1)
    return flat.sum(1) if p.elements == "sum" else flat.mean(1)


def by_sample(numbers, like):
    """(N,) beside (N, ...)."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def squared(x):
    return (x.reshape(len(x), -1) ** 2).sum(1)


def _draw(rng, entry, ranges):
    """A number for a parameter: another than its default, where there is another."""
    for _ in range(20):
        value = _number(rng, entry, ranges)
        if value != entry["default"]:
            break
    return value


def _number(rng, entry, ranges):
    if entry["name"] in ranges:
        low, high = ranges[entry["name"]]
        value = rng.uniform(low, high)
    else:
        around = entry["default"] or 0.3
        low, high = entry.get("minimum", -np.inf), entry.get("maximum", np.inf)
        value = float(np.clip(rng.uniform(0.6, 1.6) * around, low, high))
    return round(value) if entry["type"] == "integer" else value


def settings(record, ranges, rng):
    """The defaults, then every combination of choices, with numbers drawn anew for each."""
    yield {}
    parts = []
    for entry in record["parameters"]:
        if entry["type"] == "choice":
            parts.append(entry["choices"])
        elif entry["type"] == "boolean":
            parts.append([False, True])
        elif isinstance(ranges.get(entry["name"]), list):
            parts.append(ranges[entry["name"]])
        else:
            parts.append([DRAWN, None] if entry["optional"] else [DRAWN])
    for chosen in itertools.product(*parts):
        yield {
            entry["name"]: _draw(rng, entry, ranges) if choice is DRAWN else choice
            for entry, choice in zip(record["parameters"], chosen)
            if choice is not DRAWN or ranges.get(entry["name"]) != ()
        }


def cases(kinds):
    """(record, variant) of every way to call every method that has a formula."""
    records = [record for kind in kinds for record in temper.catalog(kind) if record["name"] in ALL]
    return [pytest.param(record, variant, id=name) for record, variant, name in samples.cases(records)]


def _slope(function, arrays, name, direction, step=1e-6):
    low, high = ({**arrays, name: arrays[name] + sign * step * direction} for sign in (-1, 1))
    return (function(high) - function(low)) / (2 * step)


def check(record, variant, rng):
    function, ranges = ALL[record["name"]]
    make = temper.loss if record["kind"] == "loss" else temper.op
    defaults = {entry["name"]: entry["default"] for entry in record["parameters"]}
    compared = 0
    for chosen in settings(record, ranges, rng):
        arrays = samples.inputs(rng, record, variant)
        p, held = types.SimpleNamespace(**{**defaults, **chosen}), Inputs(**arrays)
        try:
            expected = function(p, held, held)
        except NotImplementedError:  # these parameters need other inputs
            continue
        compared += 1
        method = make(record["name"], **chosen)
        np.testing.assert_allclose(method(**arrays), expected, rtol=1e-8, atol=1e-10, err_msg=str(chosen))
        wrt = samples.differentiable(variant)
        if not wrt:
            continue
        weights = rng.normal(size=np.shape(expected)) if record["kind"] != "loss" else 1.0
        if record["kind"] == "loss":
            gradients = method.value_and_grad(**arrays, reduction="sum", wrt=wrt)[1]
        else:
            gradients = method.vjp(dy=weights, **arrays)
            gradients = gradients if isinstance(gradients, dict) else {wrt[0]: gradients}
        for name in wrt:
            direction = rng.normal(size=arrays[name].shape)
            slope = _slope(lambda moved: (function(p, Inputs(**moved), held) * weights).sum(), arrays, name, direction)
            found = (gradients[name] * direction).sum()
            assert found == pytest.approx(slope, rel=2e-5, abs=2e-6), (name, chosen)
    assert compared


def check_ties(record, variant, rng):
    """Values where numbers meet: every array of numbers in halves, so that thresholds are hit and scores are equal, and
    targets of which some classes have no share."""
    function, ranges = ALL[record["name"]]
    make = temper.loss if record["kind"] == "loss" else temper.op
    defaults = {entry["name"]: entry["default"] for entry in record["parameters"]}
    for chosen in settings(record, ranges, rng):
        arrays = _in_halves(samples.inputs(rng, record, variant), record, variant)
        p, x = types.SimpleNamespace(**{**defaults, **chosen}), Inputs(**arrays)
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # logarithms of what a condition leaves out
                expected = function(p, x, x)
        except NotImplementedError:
            continue
        found = make(record["name"], **chosen)(**arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9, err_msg=str(chosen))


def _in_halves(arrays, record, variant):
    for entry, form in variant:
        name = entry["name"]
        keys, array = {name, f"{record['name']}.{name}"}, arrays[name]
        is_row = keys & samples.SIMPLEX or form["shape"][-1:] == ["C"] and np.allclose(array.sum(-1), 1)
        if is_row and name.endswith("targets") and form["dtype"] == "float":
            kept = np.where(array >= np.median(array, -1, keepdims=True), array, 0)
            arrays[name] = kept / kept.sum(-1, keepdims=True)
        if form["dtype"] != "float" or not form["shape"] or is_row or name == "uniforms":
            continue
        halves = np.round(2 * array) / 2
        halves = np.clip(halves, 0, 1) if keys & samples.SHARES else halves
        arrays[name] = np.maximum(halves, 0.5) if (array > 0).all() and not keys & samples.SHARES else halves
    return arrays
