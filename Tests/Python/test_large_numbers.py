"""Whole numbers without an upper bound, at the largest there is, and numbers of a file that count: nothing overflows."""

import json
import struct

import numpy as np
import pytest

import temper
from procedures import LAYERS, data
from test_procedures import CASES

LARGEST = 2**63 - 1
X, Y, _ = data()


def unbounded(kind):
    return [
        (record["name"], parameter["name"])
        for record in temper.catalog(kind)
        for parameter in record["parameters"]
        if parameter["type"] == "integer" and parameter.get("maximum") is None
    ]


def trainer(procedure, loss="cross_entropy"):
    model = temper.Model(LAYERS, input=(4,), seed=3)
    return temper.Trainer(model, loss=loss, procedure=procedure, batch_size=10, seed=4, threads=1)


@pytest.mark.parametrize("name, parameter", [case for case in unbounded("procedure") if case[0] in CASES])
def test_procedures(name, parameter):
    parameters, inputs, _ = CASES[name]
    inputs = {"y": Y, **inputs}
    loss = inputs.pop("loss", "cross_entropy")
    procedure = temper.procedure(name, **{**parameters, parameter: LARGEST})
    history = trainer(procedure, loss).fit(X, epochs=3, **inputs)
    assert not np.isnan(history["training_loss"]).any()


@pytest.mark.parametrize("name, parameter", unbounded("schedule"))
def test_schedules(name, parameter):
    schedule = temper.schedule(name, **{parameter: LARGEST})
    for step in [0, 1, 1000, LARGEST]:
        assert not np.isnan(schedule(step))


@pytest.mark.parametrize("name, parameter", unbounded("optimizer"))
def test_optimizers(name, parameter):
    weights, gradient = np.ones((3, 4)), np.ones((3, 4))
    optimizer = temper.optimizer(name, **{parameter: LARGEST})
    for _ in range(3):
        optimizer.step([weights], [gradient], closure=lambda: weights.sum())
    assert np.isfinite(weights).all()


def test_mixtures_of_any_strength():
    """Beta(a, a) of an infinite a is a half."""
    for alpha in [1e-300, 1e300, np.inf]:
        trainer(temper.procedure("elr_plus", mixup_alpha=alpha)).fit(X, Y, epochs=1)


@pytest.mark.parametrize("count", [np.nan, np.inf, 1e30, -1.0])
@pytest.mark.parametrize("name", ["kept.round", "kept.epochs"])
def test_counts_of_a_checkpoint(tmp_path, name, count):
    """What a file says may be any number."""
    path = tmp_path / "run"
    first, second = trainer("late_stopping"), trainer("late_stopping")
    first.fit(X, Y, epochs=1)
    first.save(path)
    content = bytearray(path.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    begin, end = json.loads(content[8 : 8 + length])[name]["data_offsets"]
    content[8 + length + begin : 8 + length + end] = np.array(count, {4: "<f4", 8: "<f8"}[end - begin]).tobytes()
    path.write_bytes(content)
    second.resume(path)
    second.fit(X, Y, epochs=3)
