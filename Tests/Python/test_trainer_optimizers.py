"""Optimizers inside a trainer: groups, searches, several gradients a step, averages, and going on after a stop."""

import json
import pathlib

import numpy as np
import pytest

import temper

DATA = pathlib.Path(__file__).resolve().parents[2] / "examples/data"
NETWORK = [{"dense": 6}, "tanh", {"dense": 3}]
OPTIMIZERS = [record["name"] for record in temper.catalog(kind="optimizer")]


def data(rng, count=48):
    x = rng.normal(size=(count, 5))
    return x, rng.integers(0, 3, count)


def trainer(optimizer, seed=0, layers=NETWORK, **options):
    model = temper.Model(layers, input=(5,), seed=seed, dtype="float64")
    return model, temper.Trainer(model, loss="cross_entropy", optimizer=optimizer, batch_size=16, **options)


def values(model):
    return {name: array.copy() for name, array in model.parameters().items()}


def test_groups_have_rates_and_schedules_of_their_own(rng):
    x, y = data(rng)
    names = list(trainer("sgd")[0].parameters())
    model, fit = trainer(temper.optimizer("adam", lr=0.1).group([0], lr=0.0).group([3], temper.schedule("constant", lr=0.0)))
    before = values(model)
    fit.fit(x, y, epochs=2)
    after = model.parameters()
    assert [np.array_equal(before[n], after[n]) for n in names] == [True, False, False, True]


def test_a_momentum_follows_its_schedule_and_goes_on_after_a_stop(rng, tmp_path):
    """A trainer's steps are those of a loop by hand, with the momentum down while the learning rate rises."""
    x, y = data(rng, 16)
    rate = temper.schedule("one_cycle", lr=0.3, total_steps=12)
    cycle = {"learning_rate": 0.85, "div_factor": 0.85 / 0.95, "final_div_factor": 1.0, "total_steps": 12}
    momentum = temper.schedule("one_cycle", **cycle)

    def made():
        optimizer = temper.optimizer("sgd").schedule("momentum", momentum)
        return trainer(optimizer, schedule=rate)

    model, fit = made()
    by_hand = values(model)
    fit.fit(x, y, epochs=12)
    loop = temper.Model(NETWORK, input=(5,), dtype="float64")
    for name, array in loop.parameters().items():
        array[...] = by_hand[name]
    names, weights = list(loop.parameters()), list(loop.parameters().values())
    velocities = [np.zeros_like(w) for w in weights]
    for step in range(12):
        dy = temper.loss("cross_entropy").value_and_grad(loop.predict(x), y)[1]["logits"]
        slopes = loop.vjp(x, dy, wrt=names)
        for w, v, name in zip(weights, velocities, names):
            v[...] = (momentum(step) if step else 0) * v + slopes[name]
            w -= rate(step) * v
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, loop.parameters()[name], rtol=1e-9, atol=1e-12)
    first = made()[1]
    first.fit(x, y, epochs=5)
    first.save(tmp_path / "state")
    resumed, fit = made()
    fit.resume(tmp_path / "state")
    fit.fit(x, y, epochs=12)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, resumed.parameters()[name])


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon", "lamb"])
def test_groups_of_equal_settings_change_nothing(rng, name):
    x, y = data(rng)
    plain, fit = trainer(temper.optimizer(name, lr=0.05))
    fit.fit(x, y, epochs=2)
    grouped, fit = trainer(temper.optimizer(name, lr=0.05).group([1, 2], lr=0.05))
    fit.fit(x, y, epochs=2)
    for a, b in zip(plain.parameters().values(), grouped.parameters().values()):
        np.testing.assert_array_equal(a, b)


def test_groups_beyond_the_model_are_refused():
    with pytest.raises(temper.Error, match="parameter 9"):
        trainer(temper.optimizer("adam").group([9], lr=0.1))


def test_lbfgs_reaches_the_optimum_of_logistic_regression():
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    table = np.loadtxt(DATA / "breast_cancer.csv", delimiter=",")
    x, y = table[:, :-1], table[:, -1].astype(int)
    x = ((x - x.mean(0)) / x.std(0))[:, :8]

    def evaluate(w):
        z = x @ w[:16].reshape(2, 8).T + w[16:]
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(1, keepdims=True)
        d = (p - np.eye(2)[y]) / len(x)
        return -np.log(p[np.arange(len(x)), y]).mean(), np.r_[(d.T @ x).ravel(), d.sum(0)]

    best = optimize.minimize(evaluate, np.zeros(18), jac=True, method="BFGS", options={"gtol": 1e-9}).fun
    model = temper.Model([{"dense": 2}], input=(8,), seed=0, dtype="float64")
    fit = temper.Trainer(model, loss="cross_entropy", optimizer="lbfgs", batch_size=len(x))
    fit.fit(x, y, epochs=12)
    assert fit.evaluate(x, y)["loss"] == pytest.approx(best, abs=1e-7)


def test_searches_take_no_clipped_gradients():
    with pytest.raises(temper.Error, match="clipped"):
        trainer("lbfgs", clip_norm=1.0)


@pytest.mark.parametrize("name, average", [("ema", "average"), ("swa", "average"), ("lookahead", "slow")])
def test_validation_looks_at_the_average(rng, name, average, tmp_path):
    x, y = data(rng)
    model, fit = trainer(temper.optimizer(name, base="sgd", lr=0.5))
    fit.fit(x, y, epochs=3, validation=(x, y))
    raw = values(model)
    fit.save(tmp_path / "state")
    state = fit.evaluate(x, y)
    # The model itself keeps what is being trained.
    assert all(np.array_equal(raw[n], a) for n, a in model.parameters().items())
    seen = fit.history["validation_loss"][-1]
    assert state["loss"] == pytest.approx(seen, rel=1e-12)
    plain = temper.Trainer(model, loss="cross_entropy", optimizer="sgd", batch_size=16).evaluate(x, y)["loss"]
    assert abs(plain - seen) > 1e-6
    # What was seen is the loss at the average, run by hand.
    with open(tmp_path / "state", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        body = file.read()
    begin, end = header[f"optimizer0.{name}.{average}"]["data_offsets"]
    flat = np.frombuffer(body[begin:end])
    start, end = header["network0.parameters"]["data_offsets"]
    own = np.frombuffer(body[start:end])
    for array in model.parameters().values():
        # Parameters lie in the vector at places that begin with whole lines of 64 bytes.
        place = next(i for i in range(0, len(own), 8) if np.array_equal(own[i : i + array.size], array.ravel()))
        array[...] = flat[place : place + array.size].reshape(array.shape)
    assert temper.Trainer(model, loss="cross_entropy", optimizer="sgd", batch_size=16).evaluate(x, y)[
        "loss"
    ] == pytest.approx(seen, rel=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_has_the_same_bits(rng, name, tmp_path):
    """Every optimizer, with a group where it has a weight decay."""
    x, y = data(rng)

    def make():
        optimizer = temper.optimizer(name)
        if any(parameter["name"] == "weight_decay" for parameter in optimizer.record["parameters"]):
            optimizer.group([1], weight_decay=0.0)
        return trainer(optimizer, seed=3)

    whole, fit = make()
    fit.fit(x, y, epochs=4)
    first, stopped = make()
    stopped.fit(x, y, epochs=2)
    stopped.save(tmp_path / "state")
    second, resumed = make()
    resumed.resume(tmp_path / "state")
    resumed.fit(x, y, epochs=4)
    for a, b in zip(whole.parameters().values(), second.parameters().values()):
        np.testing.assert_array_equal(a, b)
