"""Every training procedure of the catalogue: its steps beside a computation of their own in NumPy, resuming, refusals."""

import numpy as np
import procedures as reference
import pytest
from procedures import Random, SideNetwork, cross_entropy, follow, log_softmax, make, slopes, softmax

import temper

X, Y, TRUTH = reference.data()


def smallest(values, kept):
    return np.argsort(values, kind="stable")[:kept]


def kept_count(rate, ramp, epoch):
    return max(1, int(len(X) * (1 - rate * min(epoch / ramp, 1)) + 1e-4))


def on(index):
    """Weights of a mean over some samples."""
    weights = np.zeros(len(X))
    weights[index] = 1 / max(len(index), 1)
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


class AdaptiveK:
    m = v = 0.0

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        losses, weights = cross_entropy(logits, y), None
        if epoch > 2:
            self.m = 0.7 * self.m + 0.3 * losses.mean()
            self.v = 0.9 * self.v + 0.1 * losses.mean() ** 2
            weights = on(np.flatnonzero(losses <= self.m / (np.sqrt(self.v) + 1e-8)))
        networks[0].move(x, slopes(logits, y, weights))


def decoupling(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    differs = np.flatnonzero(a.argmax(1) != b.argmax(1)) if epoch > 1 else np.arange(len(x))
    for network, logits in zip(networks, (a, b)):
        if len(differs):
            network.move(x, slopes(logits, y, on(differs)))


def co_teaching_plus(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    among = np.flatnonzero(a.argmax(1) != b.argmax(1)) if epoch > 2 else np.arange(len(x))
    kept = max(1, int(len(among) * (1 - 0.4 * min(epoch / 3, 1)) + 1e-4))
    for network, own, other in ((networks[0], a, b), (networks[1], b, a)):
        if len(among):
            network.move(x, slopes(own, y, on(among[smallest(cross_entropy(other, y)[among], kept)])))


def jocor(networks, x, y, epoch):
    a, b = (network.logits(x) for network in networks)
    p, q = log_softmax(a), log_softmax(b)
    values = 0.7 * (cross_entropy(a, y) + cross_entropy(b, y)) + 0.3 * ((np.exp(p) - np.exp(q)) * (p - q)).sum(1)
    weights = on(smallest(values, kept_count(0.4, 3, epoch)))
    for network, own, p, q in ((networks[0], a, p, q), (networks[1], b, q, p)):
        # d/dz of sum (P - Q) (p - q) by its own log-probabilities g_c = P_c (p_c - q_c) + P_c - Q_c, through log-softmax.
        g = np.exp(p) * (p - q) + np.exp(p) - np.exp(q)
        agree = g - np.exp(p) * g.sum(1, keepdims=True)
        network.move(x, 0.7 * slopes(own, y, weights) + 0.3 * weights[:, None] * agree)


class MentorWeights:
    bound = 0.0

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        losses = cross_entropy(logits, y)
        percentile = np.sort(losses)[int(0.6 * len(x))]
        self.bound = percentile if epoch == 1 else 0.5 * self.bound + 0.5 * percentile
        weights = np.clip(1 - (losses - self.bound) / 0.3, 0, 1) if epoch > 1 else np.ones(len(x))
        networks[0].move(x, slopes(logits, y, weights / len(x)))


class OverParametrization:
    def __init__(self):
        random = Random(3).stream("sop")
        u, v = random.stream("u"), random.stream("v")
        self.u = np.array([0.3 * u.normal() for _ in X])[:, None]
        self.v = np.array([0.3 * v.normal() for _ in range(3 * len(X))]).reshape(-1, 3)

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        p, y, count = softmax(logits), reference.one_hot(y), len(x)
        up, down = np.clip(self.u**2 * y, 0, 1), np.clip(self.v**2 * (1 - y), 0, 1)
        shifted = p + up - down
        raised = np.maximum(shifted, 1e-4)
        total = raised.sum(1, keepdims=True)
        explained = raised / total
        # d(-sum y log e)/d raised = -y / e / total + sum(y) / total, where nothing was raised.
        slope = -y / np.maximum(explained, 1e-4) * (explained > 1e-4)
        slope = (slope - (slope * explained).sum(1, keepdims=True)) / total * (shifted > 1e-4) / count
        residual = 2 * (reference.one_hot(logits.argmax(1)) + up - down - y) / count
        self.u = self.u - 0.5 * ((slope + residual) * y * 2 * self.u).sum(1, keepdims=True)
        self.v = self.v - 0.3 * (-residual * (1 - y) * 2 * self.v)
        networks[0].move(x, p * (slope - (slope * p).sum(1, keepdims=True)))


def learning_to_reweight(networks, x, y, epoch):
    network = networks[0]
    logits, trusted = network.logits(x), network.logits(TRUSTED["trusted_x"])
    each = network.sample_gradients(x, slopes(logits, y, np.ones(len(x))))
    towards = network.sample_gradients(TRUSTED["trusted_x"], slopes(trusted, TRUSTED["trusted_y"])).sum(0)
    weights = np.maximum(each @ towards, 0)
    network.move(x, slopes(logits, y, weights / max(weights.sum(), 1e-12)))


class MetaWeightNet:
    def __init__(self):
        self.side = SideNetwork(3, "weights", [1, 5, 1])

    def __call__(self, networks, x, y, epoch):
        network, count = networks[0], len(x)
        logits = network.logits(x)
        losses = cross_entropy(logits, y)[:, None]
        scores, inputs = self.side.run(losses)
        weights = 1 / (1 + np.exp(-scores))
        each = network.sample_gradients(x, slopes(logits, y, np.ones(count)))
        tried = network.moved(network.gradients(x, slopes(logits, y, weights[:, 0] / count)))
        trusted = slopes(tried.logits(TRUSTED["trusted_x"]), TRUSTED["trusted_y"])
        towards = tried.sample_gradients(TRUSTED["trusted_x"], trusted).sum(0)
        # d J / d w_i = -(rate / n) <grad J at the tried step, grad l_i>
        slope = -reference.RATE / count * (each @ towards)[:, None] * weights * (1 - weights)
        self.side.move(self.side.gradients(inputs, slope), 0.05)
        weights = 1 / (1 + np.exp(-self.side.run(losses)[0]))
        network.move(x, slopes(logits, y, weights[:, 0] / count))


TRUSTED = {"trusted_x": X[:9] + 0.1, "trusted_y": TRUTH[:9]}
SHARE = {"forget_rate": 0.4, "ramp": 3}
# Name: parameters for small data, what fit takes beside x and y, and what makes the step in NumPy.
CASES = {
    "adaptive_k": ({"beta1": 0.7, "beta2": 0.9, "warmup_epochs": 2}, {}, AdaptiveK),
    "co_teaching": (SHARE, {}, lambda: co_teaching),
    "co_teaching_plus": ({**SHARE, "warmup_epochs": 2}, {}, lambda: co_teaching_plus),
    "decoupling": ({}, {}, lambda: decoupling),
    "jocor": ({**SHARE, "lam": 0.3}, {}, lambda: jocor),
    "learning_to_reweight": ({}, TRUSTED, lambda: learning_to_reweight),
    "mentor_weights": ({"percentile": 0.6, "width": 0.3, "warmup_epochs": 1}, {}, MentorWeights),
    "meta_weight_net": ({"hidden": 5, "meta_lr": 0.05}, TRUSTED, MetaWeightNet),
    "small_loss": (SHARE, {}, lambda: small_loss),
    "sop": ({"lr_u": 0.5, "lr_v": 0.3, "init": 0.3}, {}, OverParametrization),
}


def case(name):
    parameters, inputs, make_step = CASES[name]
    return temper.procedure(name, **parameters), inputs, make_step()


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


def test_state():
    trainer = make(temper.procedure("adaptive_k", warmup_epochs=0))
    assert trainer.state == {}
    loss = trainer.fit(X, Y, epochs=1)["training_loss"][0]
    assert np.isfinite(loss) and set(trainer.state) == {"m", "v"}


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
