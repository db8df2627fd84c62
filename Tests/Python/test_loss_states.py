"""State that losses keep by sample: every record that has any, in a trainer. It belongs to the sample and not to its
place in a batch, takes the memory that the record says, and is saved and loaded with everything else, to the bit."""

import numpy as np
import pytest

import temper

RECORDS = [record for record in temper.catalog("loss") if record["state"]]
SAMPLES, CLASSES = 23, 3


def data(record, rng):
    """Inputs of the network, targets or none, and what else the loss takes, by sample."""
    x, found = rng.normal(size=(SAMPLES, 4)).astype(np.float32), {}
    for entry in record["inputs"][1:]:
        shape = [{"N": SAMPLES, "C": CLASSES, "D": CLASSES}[size] for size in entry["forms"][0]["shape"]]
        if entry["optional"]:
            continue
        if entry["forms"][0]["dtype"] == "int":
            found[entry["name"]] = rng.integers(0, CLASSES, shape)
        else:
            found[entry["name"]] = rng.uniform(0.5, 2, shape).astype(np.float32)
    return x, found


def settings(record):
    """Whatever may adapt does."""
    return {entry["name"]: True for entry in record["parameters"] if entry["name"] == "adaptive"}


def trainer(record, rate=0.1, batch_size=8):
    model = temper.Model([{"dense": CLASSES}], input=(4,), seed=0)
    loss = temper.loss(record["name"], **settings(record))
    return temper.Trainer(
        model, loss=loss, optimizer=temper.optimizer("sgd", learning_rate=rate), batch_size=batch_size, seed=1
    )


def fit(fitted, x, more, epochs):
    more = dict(more)
    fitted.fit(x, *([more.pop("targets")] if "targets" in more else []), epochs=epochs, **more)
    return {name.removeprefix("loss."): np.array(array) for name, array in fitted.state.items()
            if name.startswith("loss.")}  # fmt: skip


def continued(fitted, record, path):
    """A new trainer that goes on from where this one is."""
    fitted.save(path / "checkpoint")
    resumed = trainer(record)
    resumed.resume(path / "checkpoint")
    return resumed


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_state_belongs_to_the_sample(rng, record):
    x, more = data(record, rng)
    kept = fit(trainer(record, rate=0.0, batch_size=SAMPLES), x, more, 2)
    order = rng.permutation(SAMPLES)
    moved = {name: array[order] for name, array in more.items()}
    other = fit(trainer(record, rate=0.0, batch_size=SAMPLES), x[order], moved, 2)
    for name, array in kept.items():
        assert len(np.unique(array.reshape(SAMPLES, -1), axis=0)) == SAMPLES
        # The slope by a temperature is a difference of numbers near 1.
        rounding = 2e-6 if name == "slope.0" and record["name"] == "isogclr_loss" else 0
        np.testing.assert_allclose(other[name], array[order], rtol=1e-5, atol=rounding)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_state_takes_the_memory_that_the_record_says(rng, record):
    x, more = data(record, rng)
    kept = fit(trainer(record), x, more, 1)
    expected = {entry["name"]: SAMPLES * CLASSES ** len(entry["shape"]) for entry in record["state"]}
    assert {name.rsplit(".", 1)[0]: array.size for name, array in kept.items()} == expected
    assert all(array.dtype == np.float32 for array in kept.values())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_state_is_saved_and_loaded_with_the_trainer(rng, record, tmp_path):
    x, more = data(record, rng)
    whole = trainer(record)
    fit(whole, x, more, 2)
    resumed = continued(whole, record, tmp_path)
    expected = fit(whole, x, more, 4)
    found = fit(resumed, x, more, 4)
    assert found.keys() == expected.keys() and expected
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name].view(np.uint32), array.view(np.uint32))
    for a, b in zip(whole.model.parameters().values(), resumed.model.parameters().values()):
        np.testing.assert_array_equal(np.array(a), np.array(b))
    fresh = fit(trainer(record), x, more, 2)
    assert all(not np.array_equal(fresh[name], array) for name, array in expected.items())


def test_temperatures_follow_the_mean_of_their_slopes(rng):
    """v <- (1 - beta) v + beta G, tau <- clip(tau - eta v), G the slope of each value by its own temperature."""
    record = next(record for record in RECORDS if record["name"] == "isogclr_loss")
    x, more = data(record, rng)
    settings = {"eta": 0.02, "beta": 0.6, "gamma": 0.7, "tau_init": 0.4, "tau_min": 0.38, "tau_max": 0.41}
    loss, model = temper.loss("isogclr_loss", **settings), temper.Model([{"dense": CLASSES}], input=(4,), seed=0)
    frozen = temper.optimizer("sgd", learning_rate=0.0)
    fitted = temper.Trainer(model, loss=loss, optimizer=frozen, batch_size=SAMPLES, seed=1)
    views = {"features_a": np.asarray(model.predict(x), float), "features_b": more["features_b"].astype(float)}
    tau, slope, u = np.full(SAMPLES, 0.4), np.zeros(SAMPLES), np.zeros(SAMPLES)
    for epoch in (1, 2, 3):
        now = {**views, "temperatures": tau, "u": u}
        slope = 0.4 * slope + 0.6 * loss.value_and_grad(**now, wrt="temperatures", reduction="sum")[1]["temperatures"]
        tau = np.clip(tau - 0.02 * slope, 0.38, 0.41)
        kept = {name: array[:, 0] for name, array in fit(fitted, x, more, epoch).items()}
        u = kept["u.0"].astype(float)
        np.testing.assert_allclose(kept["slope.0"], slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(kept["tau.0"], tau, rtol=1e-5)
    assert len(np.unique(tau)) > 3 and tau.max() == 0.41


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_samples_of_another_count_are_refused(rng, record, tmp_path):
    x, more = data(record, rng)
    fitted = trainer(record)
    fit(fitted, x, more, 1)
    resumed = continued(fitted, record, tmp_path)
    with pytest.raises(temper.Error, match="go on with the same samples"):
        fit(resumed, x[:-1], {name: array[:-1] for name, array in more.items()}, 1)
