"""Every training procedure of the catalogue: its steps beside a computation of their own in NumPy, resuming, refusals."""

import numpy as np
import procedures as reference
import pytest
from procedures import cross_entropy, follow, make, slopes

import temper

X, Y, TRUTH = reference.data()


def smallest(values, kept):
    return np.argsort(values, kind="stable")[:kept]


def kept_count(rate, ramp, epoch):
    return max(1, int(len(X) * (1 - rate * min(epoch / ramp, 1)) + 1e-4))


def on(index):
    """Weights of a mean over some samples."""
    weights = np.zeros(len(X))
    weights[index] = 1 / len(index)
    return weights


def co_teaching(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    kept = kept_count(0.4, 3, epoch)
    chosen = smallest(cross_entropy(b, y), kept), smallest(cross_entropy(a, y), kept)
    for network, logits, index in zip(networks, (a, b), chosen):
        network.move(x, slopes(logits, y, on(index)))


def small_loss(networks, x, y, epoch):
    logits = networks[0].logits(x)
    networks[0].move(x, slopes(logits, y, on(smallest(cross_entropy(logits, y), kept_count(0.4, 3, epoch)))))


# Name: parameters for small data, what fit takes beside x and y, and the step in NumPy.
CASES = {
    "co_teaching": ({"forget_rate": 0.4, "ramp": 3}, {}, co_teaching),
    "small_loss": ({"forget_rate": 0.4, "ramp": 3}, {}, small_loss),
}


def case(name):
    parameters, inputs, step = CASES[name]
    return temper.procedure(name, **parameters), inputs, step


def test_every_procedure_is_here():
    assert {record["name"] for record in temper.catalog("procedure")} == set(CASES)
    assert set(dir(temper.procedures)) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_steps(name):
    """Parameters of all networks after each of six steps on all samples."""
    procedure, inputs, step = case(name)
    trainer = make(procedure)
    start = np.array(trainer.model.parameters()["0.weight"])
    assert follow(trainer, step, X, Y, 6, **inputs) < 1e-9
    assert np.abs(trainer.model.parameters()["0.weight"] - start).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_resuming(name, tmp_path):
    """Batches of 10; stopped after two epochs, taken over by another trainer, and with two threads: the same bits."""
    procedure, inputs, _ = case(name)

    def trainer(threads=1):
        model = temper.Model(reference.LAYERS, input=(4,), seed=3)
        return temper.Trainer(model, procedure=procedure, batch_size=10, seed=4, threads=threads)

    whole, first, second = trainer(), trainer(), trainer(threads=2)
    history = whole.fit(X, Y, epochs=5, **inputs)
    first.fit(X, Y, epochs=2, **inputs)
    first.save(tmp_path / "run")
    second.resume(tmp_path / "run")
    resumed = second.fit(X, Y, epochs=5, **inputs)
    assert np.isfinite(history["training_loss"]).all()
    assert np.array_equal(history["training_loss"], resumed["training_loss"])
    for a, b in zip(whole.networks, second.networks):
        for key, value in a.parameters().items():
            assert np.array_equal(value, b.parameters()[key]), key


def test_networks_differ():
    """Each network begins from a seed of its own, and those given are trained."""
    trainer = make("co_teaching")
    a, b = trainer.networks
    assert a is trainer.model and not np.array_equal(a.parameters()["0.weight"], b.parameters()["0.weight"])
    peer = temper.Model(reference.LAYERS, input=(4,), seed=9, dtype="float64")
    before = np.array(peer.parameters()["0.weight"])
    given = make("co_teaching", peers=[peer])
    given.fit(X, Y, epochs=1)
    assert not np.array_equal(peer.parameters()["0.weight"], before)
    assert np.array_equal(given.networks[1].parameters()["0.weight"], peer.parameters()["0.weight"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: temper.procedure("co_teeching"), "co_teaching"),
        (lambda: temper.procedure("adam"), "optimizer, not procedure"),
        (lambda: temper.procedure("co_teaching", forget_rate=1.5), "forget_rate"),
        (lambda: make("co_teaching", loss="dmi"), "one value for the whole batch"),
        (lambda: make(["co_teaching", "small_loss"]), "objective"),
        (lambda: make(["co_teaching", "co_teaching"]), "twice"),
        (lambda: make("small_loss", peers=[temper.Model(["relu"], input=(4,))]), "1 networks; 2 models"),
        (lambda: make([]), "no procedure"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(temper.Error, match=words):
        call()
