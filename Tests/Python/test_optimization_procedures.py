"""Procedures of the pages on optimization and regularization: their steps in NumPy, exact properties, behaviour."""

import math
import pathlib

import numpy as np
import procedures as reference
import pytest
from procedures import RATE, SideNetwork, cross_entropy, follow, make, slopes

import temper

X, Y, TRUTH = reference.data()
FORGET = {"forget_x": X[:5] + 0.2, "forget_y": TRUTH[:5]}


class FeasibleLearning:
    lam = np.zeros(len(X))

    def __call__(self, networks, x, y, epoch):
        logits = networks[0].logits(x)
        excess = cross_entropy(logits, y) + math.log(0.8)
        self.lam = np.maximum(self.lam + 0.05 * (excess - 0.5 * self.lam), 0)
        networks[0].move(x, slopes(logits, y, self.lam))


class SurrogateSharpness:
    lam = 0.4

    def __call__(self, networks, x, y, epoch):
        network, rho, r = networks[0], 0.3, 0.05
        first = np.tile(np.eye(3)[0] / len(x), (len(x), 1))
        v = network.gradients(x, first)
        size = math.sqrt(sum((g**2).sum() for g in v))
        ahead = network.copy([w + r * g / size for w, g in zip(network.values, v)])
        v2 = ahead.gradients(x, first)
        plain = network.gradients(x, slopes(network.logits(x), y))
        moves = [g + self.lam * rho / r * (b - a) for g, a, b in zip(plain, v, v2)]
        self.lam = max(0, self.lam + 0.1 * (rho * size - 0.02))
        network.values = network.moved(moves).values


class SharpUnlearning:
    start = None

    def __call__(self, networks, x, y, epoch):
        network, b, rho = networks[0], 0.5, 0.1
        fx, fy = FORGET["forget_x"], FORGET["forget_y"]

        def gradients(at):
            logits = at.logits(fx)
            losses = cross_entropy(logits, fy)
            if self.start is None:
                self.start = losses
            weights = -2 / (1 + np.exp(b * (losses - self.start))) / len(fx)
            return at.gradients(fx, slopes(logits, fy, weights))

        g = gradients(network)
        size = math.sqrt(sum((p**2).sum() for p in g))
        ahead = network.copy([w + rho * p / size for w, p in zip(network.values, g)])
        retain = network.gradients(x, slopes(network.logits(x), y))
        network.values = network.moved([a + 0.7 * c for a, c in zip(gradients(ahead), retain)]).values


class WeightEnsemble:
    start = None

    def __call__(self, networks, x, y, epoch):
        network = networks[0]
        if self.start is None:
            self.start = [value.copy() for value in network.values]
        targets = 0.8 * reference.one_hot(y) + 0.2 / 3
        network.move(x, slopes(network.logits(x), targets))
        network.values = [0.25 * a + 0.75 * b for a, b in zip(self.start, network.values)]


def mono_forward(networks, x, y, epoch):
    # One hidden layer: its projection is the last layer, and all is as with backpropagation.
    networks[0].move(x, slopes(networks[0].logits(x), y))


def plain(networks, x, y, epoch):
    networks[0].move(x, slopes(networks[0].logits(x), y))


STEPS = {
    "feasible_learning": ({"target_prob": 0.8, "dual_lr": 0.05, "dual_decay": 0.5}, {}, FeasibleLearning),
    "ignite_surrogate_sharpness": (
        {"lambda0": 0.4, "rho": 0.3, "r": 0.05, "eps": 0.02, "eta_lambda": 0.1}, {}, SurrogateSharpness),
    "sam_unlearning": ({"rho": 0.1, "npo_beta": 0.5, "gamma": 0.7}, FORGET, SharpUnlearning),
    "bang_weight_ensemble": (
        {"alpha": 0.75, "label_smoothing": 0.2, "mixup_alpha": 0.0}, {}, WeightEnsemble),
    "mono_forward": ({}, {}, lambda: mono_forward),
    "dynamic_sparse_training": ({"density": 1.0, "update_every_batches": 2}, {}, lambda: plain),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps(name):
    parameters, inputs, step = STEPS[name]
    assert follow(make(temper.procedure(name, **parameters)), step(), X, Y, 6, **inputs) < 1e-9


def boxes(rng, count):
    """Blobs in an image of side 1 (as features: their centre and size, noisily), and proposals near them."""
    centre, size = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.15, 0.4, (count, 2))
    truth = np.c_[centre - size / 2, centre + size / 2]
    proposal = truth + rng.normal(size=(count, 4)) * 0.25 * np.tile(size, 2) / 2
    proposal = np.c_[np.minimum(proposal[:, :2], proposal[:, 2:] - 0.05), proposal[:, 2:]]
    features = np.c_[centre, size] + 0.01 * rng.normal(size=(count, 4))
    return np.c_[features, proposal], truth


RESUMED = {
    "feasible_learning": ({}, {}, {}), "ignite_surrogate_sharpness": ({}, {}, {}), "sam_unlearning": ({}, FORGET, {}),
    "bang_weight_ensemble": ({}, {}, {}), "mono_forward": ({}, {}, {"layers": [{"dense": 8}, "relu", {"dense": 6}, "relu", {"dense": 3}]}),
    "dynamic_sparse_training": ({"density": 0.4, "update_every_batches": 2}, {}, {}),
    "quick_selection": ({"eps": 1.0}, {}, {"layers": [{"dense": 8}, "sigmoid", {"dense": 4}], "loss": "mse"}),
    "policy_gradient_noise_mask": ({"grid": 2, "masked_share": 0.6, "policy_width": 6}, {}, {}),
    "cascade_refinement": ({"stages": 2}, {}, {"layers": [{"dense": 12}, "relu", {"dense": 6}], "width": 8}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_resuming(name, tmp_path):
    """Batches of 10, stopped after two of five epochs, and with two threads: the same bits."""
    parameters, inputs, options = RESUMED[name]
    x, y = X, Y
    if name == "quick_selection":
        y = X
    if name == "cascade_refinement":
        x, truth = boxes(np.random.default_rng(0), len(X))
        y, inputs = np.ones(len(X), np.int64), {"boxes": truth}

    def trainer(threads=1):
        model = temper.Model(options.get("layers", reference.LAYERS), input=(options.get("width", 4),), seed=3)
        procedure = temper.procedure(name, **parameters)
        return temper.Trainer(
            model, loss=options.get("loss", "cross_entropy"), procedure=procedure, batch_size=10, seed=4, threads=threads
        )

    whole, first, second = trainer(), trainer(), trainer(threads=2)
    first.fit(x, y, epochs=5, callback=lambda progress: progress["epoch"] == 2, **inputs)
    assert first.epochs == 2
    history = whole.fit(x, y, epochs=5, **inputs)
    first.save(tmp_path / "run")
    second.resume(tmp_path / "run")
    resumed = second.fit(x, y, epochs=5, **inputs)
    assert np.isfinite(history["training_loss"]).all()
    assert np.array_equal(history["training_loss"], resumed["training_loss"])
    for a, b in zip(whole.networks, second.networks):
        for key, value in a.parameters().items():
            assert np.array_equal(value, b.parameters()[key]), key


# MARK: feasible learning


def test_equal_multipliers_are_the_mean():
    """Multipliers fixed at 1 / |S| and a bound of 0: empirical risk, step by step."""
    fixed = temper.procedure("feasible_learning", dual_lr=0.0, dual_init=1 / len(X), eps=0.0)
    assert follow(make(fixed), plain, X, Y, 4) < 1e-12


def test_satisfied_constraints_move_nothing():
    trainer = make(temper.procedure("feasible_learning", eps=50.0, dual_lr=0.1))
    before = {k: v.copy() for k, v in trainer.model.parameters().items()}
    trainer.fit(X, Y, epochs=3)
    assert all(np.array_equal(before[k], v) for k, v in trainer.model.parameters().items())
    assert not trainer.state["multiplier"].any()


def test_infeasible_bounds_grow_without_slack_and_settle_with_it():
    """Two equal inputs with opposite labels: multipliers grow linearly, or reach (loss - eps) / decay."""
    x, y = np.ones((2, 4)), np.array([0, 1])

    def multipliers(decay, epochs):
        model = temper.Model([{"dense": 3}], input=(4,), seed=0, dtype="float64")
        procedure = temper.procedure("feasible_learning", dual_lr=0.1, dual_decay=decay, eps=0.1)
        trainer = temper.Trainer(model, optimizer=temper.optimizer("sgd", lr=0.05), procedure=procedure, batch_size=2)
        trainer.fit(x, y, epochs=epochs)
        return trainer.state["multiplier"].ravel(), trainer.evaluate(x, y)["loss"]

    (short, _), (long, _) = multipliers(0.0, 300), multipliers(0.0, 600)
    assert (long > 1.8 * short).all()
    settled, loss = multipliers(0.5, 3000)
    np.testing.assert_allclose(settled, (loss - 0.1) / 0.5, rtol=1e-3)


def test_feasible_learning_lowers_the_worst_losses():
    """The largest training loss is below half of that of plain training, at 5 seeds of 5."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(120, 4)) + 2 * np.eye(4)[np.arange(120) % 3]
        y = np.arange(120) % 3
        y[:6] = (y[:6] + 1) % 3
        worst = []
        for procedure in (None, temper.procedure("feasible_learning", dual_lr=0.5, dual_decay=0.0, target_prob=0.5)):
            model = temper.Model([{"dense": 24}, "tanh", {"dense": 3}], input=(4,), seed=seed)
            optimizer = temper.optimizer("adam", lr=0.01)
            temper.Trainer(model, optimizer=optimizer, procedure=procedure, batch_size=40).fit(x, y, epochs=150)
            worst.append(cross_entropy(model.predict(x.astype(np.float32)), y).max())
        assert worst[1] < worst[0] / 2, (seed, worst)


# MARK: surrogate sharpness


def test_a_linear_surrogate_is_left_alone():
    """Of g = w x the slope mean(x) does not depend on w: nothing is added to the gradient."""
    y = X @ np.array([[1.0], [2.0], [0.5], [-1.0]])

    def fit(procedure):
        model = temper.Model([{"dense": 1}], input=(4,), seed=1, dtype="float64")
        optimizer = temper.optimizer("sgd", lr=0.05)
        trainer = temper.Trainer(model, loss="mse", optimizer=optimizer, procedure=procedure, batch_size=100)
        trainer.fit(X, y, epochs=5)
        return model.parameters()["0.weight"]

    strong = temper.procedure("ignite_surrogate_sharpness", lambda0=5.0, rho=0.5)
    np.testing.assert_allclose(fit(strong), fit(None), rtol=0, atol=1e-12)
    idle = temper.procedure("ignite_surrogate_sharpness", lambda0=0.0, eta_lambda=0.0)
    np.testing.assert_allclose(fit(idle), fit(None), rtol=0, atol=1e-15)


# MARK: unlearning


def test_unlearning_begins_at_its_worked_value():
    """At the beginning NPO is (2 / b) ln 2, and its slope by each loss -1."""
    trainer = make(temper.procedure("sam_unlearning", rho=0.0, npo_beta=0.3, gamma=0.0))
    loss = trainer.fit(X, Y, epochs=1, **FORGET)["training_loss"][0]
    assert loss == pytest.approx(2 / 0.3 * math.log(2), rel=1e-12)


@pytest.mark.parametrize("smoothing", ["none", "noise", "gradient_penalty", "curvature", "sam"])
@pytest.mark.parametrize("forget_loss", ["npo", "simnpo", "ascent"])
def test_every_smoothing_forgets(smoothing, forget_loss):
    procedure = temper.procedure("sam_unlearning", smoothing=smoothing, forget_loss=forget_loss, rho=0.02, gamma=0.1)
    trainer = make(procedure)
    before = cross_entropy(trainer.model.predict(FORGET["forget_x"]), FORGET["forget_y"]).mean()
    trainer.fit(X, Y, epochs=4, **FORGET)
    assert cross_entropy(trainer.model.predict(FORGET["forget_x"]), FORGET["forget_y"]).mean() > before + 0.05


# MARK: weight ensembles


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_of_an_ensemble_are_the_models(alpha):
    def fit(**parameters):
        trainer = make(temper.procedure("bang_weight_ensemble", label_smoothing=0.0, **parameters), dtype="float32")
        before = {k: v.copy() for k, v in trainer.model.parameters().items()}
        trainer.fit(X, Y, epochs=3)
        return before, trainer.model.parameters()

    before, after = fit(alpha=alpha, mixup_alpha=0.0)
    plain_trainer = make(None, dtype="float32")
    plain_trainer.fit(X, Y, epochs=3)
    for name, value in after.items():
        expected = before[name] if alpha == 0 else plain_trainer.model.parameters()[name]
        np.testing.assert_allclose(value, expected, rtol=0, atol=0 if alpha == 0 else 1e-6)


# MARK: layers that learn alone


def test_no_gradient_crosses_a_layer():
    """The first layer's move follows its own projection alone: a step in NumPy."""
    layers = [{"dense": 6}, "relu", {"dense": 5}, "relu", {"dense": 3}]
    model = temper.Model(layers, input=(4,), seed=2, dtype="float64")
    w1, b1, w2, b2, w3, b3 = (np.array(value) for value in model.parameters().values())
    side = SideNetwork(2, "projection0", [6, 3])
    procedure = temper.procedure("mono_forward", mf_lr=0.01)
    trainer = temper.Trainer(
        model, optimizer=temper.optimizer("sgd", lr=RATE), procedure=procedure, batch_size=100, seed=2, threads=1
    )
    for _ in range(3):
        trainer.fit(X, Y, epochs=trainer.epochs + 1)
        h1 = np.maximum(X @ w1.T + b1, 0)
        logits, inputs = side.run(h1)
        d1 = slopes(logits, Y)
        back1 = (d1 @ side.parameters[0]) * (h1 > 0)
        h2 = np.maximum(h1 @ w2.T + b2, 0)
        d2 = slopes(h2 @ w3.T + b3, Y)
        back2 = (d2 @ w3) * (h2 > 0)
        side.move(side.gradients(inputs, d1), 0.01)
        w1, b1 = w1 - RATE * back1.T @ X, b1 - RATE * back1.sum(0)
        w2, b2 = w2 - RATE * back2.T @ h1, b2 - RATE * back2.sum(0)
        w3, b3 = w3 - RATE * d2.T @ h2, b3 - RATE * d2.sum(0)
    for expected, value in zip((w1, b1, w2, b2, w3, b3), model.parameters().values()):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-11)


# MARK: sparse training


def test_densities_by_erdos_renyi_and_kernel():
    """The page's worked value: 100 x 100 and 10 x 100 at 0.2 are 0.14194 and 0.78065."""
    model = temper.Model([{"dense": 100}, "relu", {"dense": 10}], input=(100,), seed=0)
    trainer = temper.Trainer(model, procedure=temper.procedure("dynamic_sparse_training"), batch_size=8)
    trainer.fit(np.ones((8, 100), np.float32), np.zeros(8, np.int64), epochs=1)
    assert int(trainer.state["mask0"].sum()) == round(0.14194 * 10000)
    assert int(trainer.state["mask1"].sum()) == round(0.78065 * 1000)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("growth", ["random", "random_unfired", "momentum", "gradient"])
def test_connections_move_and_stay_as_many(growth, optimizer):
    settings = {"momentum": 0.9} if optimizer == "sgd" else {}
    model = temper.Model([{"dense": 12}, "tanh", {"dense": 3}], input=(4,), seed=0)
    procedure = temper.procedure("dynamic_sparse_training", density=0.4, growth=growth, update_every_batches=2)
    trainer = temper.Trainer(
        model, optimizer=temper.optimizer(optimizer, lr=0.01, **settings), procedure=procedure, batch_size=8
    )
    counts, seen = set(), []
    for epoch in range(1, 6):
        trainer.fit(X.astype(np.float32), Y, epochs=20, callback=lambda progress, last=epoch: progress["epoch"] >= last)
        mask = trainer.state["mask0"]
        counts.add(int(mask.sum()))
        seen.append(mask.copy())
        weight = model.parameters()["0.weight"]
        assert not weight[mask == 0].any()
    assert len(counts) == 1
    assert any(not np.array_equal(a, b) for a, b in zip(seen, seen[1:]))
    fired = trainer.state["fired0"]
    assert (fired >= seen[-1]).all()


# MARK: masks of noise


def test_the_density_and_its_slope_are_those_of_scipy():
    """A policy step on one sample and one cell, followed through the score function."""
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 4, 2000), rng.uniform(0.5, 4, 2000)
    m = rng.beta(a, b)
    slope = np.log(m) - special.digamma(a) + special.digamma(a + b)
    # The score has mean zero: what REINFORCE stands on.
    assert abs(slope.mean()) < 4 * slope.std() / np.sqrt(len(slope))


def test_masks_of_one_are_plain_training():
    """Where every image comes as it is, the procedure is plain training."""
    unmasked = temper.procedure("policy_gradient_noise_mask", grid=2, masked_share=0.0)
    assert follow(make(unmasked), plain, X, Y, 3) < 1e-12


def test_the_policy_learns_and_the_maps_follow():
    trainer = make(temper.procedure("policy_gradient_noise_mask", grid=2, masked_share=1.0, policy_lr=0.05))
    trainer.fit(X, Y, epochs=1)
    before = {k: v.copy() for k, v in trainer.state.items()}
    trainer.fit(X, Y, epochs=6)
    moved = [k for k, v in trainer.state.items() if not np.array_equal(before[k], v)]
    assert any("policy" in k for k in moved) and {"base a", "base b"} <= set(moved)
    assert "enlarge" not in moved


# MARK: cascades


def overlap(a, b):
    side = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    common = side.prod(1)
    return common / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common)


def refine(networks, x):
    """Boxes after each stage."""
    box, found = x[:, -4:].astype(float), []
    for stage, model in enumerate(networks):
        shifts = model.predict(np.c_[x[:, :-4], box].astype(np.float32))[:, -4:] * np.array([0.1, 0.1, 0.2, 0.2]) / (stage + 1)
        size, centre = box[:, 2:] - box[:, :2], (box[:, 2:] + box[:, :2]) / 2
        centre = centre + shifts[:, :2] * size
        size = size * np.exp(shifts[:, 2:])
        box = np.c_[centre - size / 2, centre + size / 2]
        found.append(box)
    return found


def test_each_stage_brings_boxes_nearer():
    assert overlap(np.array([[0, 0, 2, 2.0]]), np.array([[1, 1, 3, 3.0]]))[0] == pytest.approx(1 / 7)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, truth = boxes(rng, 1500)
        model = temper.Model([{"dense": 64}, "relu", {"dense": 64}, "relu", {"dense": 6}], input=(8,), seed=seed)
        trainer = temper.Trainer(
            model, optimizer=temper.optimizer("adam", lr=0.003), procedure="cascade_refinement", batch_size=50, seed=seed
        )
        trainer.fit(x[:1000].astype(np.float32), np.ones(1000, np.int64), epochs=40, boxes=truth[:1000].astype(np.float32))
        test, answer = x[1000:], truth[1000:]
        reached = [overlap(box, answer).mean() for box in [test[:, -4:], *refine(trainer.networks, test)]]
        assert reached[1] > reached[0] + 0.05 and reached[3] > reached[1], reached


def test_rising_thresholds_beat_one_head_thrice():
    """Boxes of an overlap of 0.7 and more after three steps, the mean of 5 seeds: a cascade has more than one stage
    trained at 0.5 and applied three times, and 5 points more than one trained at 0.7."""
    settings = {"cascade": {"stages": 3}, "at 0.5": {"stages": 1}, "at 0.7": {"stages": 1, "first_threshold": 0.7}}
    good = {name: [] for name in settings}
    for seed in range(5):
        x, truth = boxes(np.random.default_rng(seed), 1500)
        for name, parameters in settings.items():
            model = temper.Model([{"dense": 64}, "relu", {"dense": 64}, "relu", {"dense": 6}], input=(8,), seed=seed)
            trainer = temper.Trainer(
                model, optimizer=temper.optimizer("adam", lr=0.003), batch_size=50, seed=seed, threads=1,
                procedure=temper.procedure("cascade_refinement", **parameters),
            )  # fmt: skip
            trainer.fit(x[:1000].astype(np.float32), np.ones(1000, np.int64), epochs=40, boxes=truth[:1000].astype(np.float32))
            found = x[1000:, -4:]
            for _ in range(1 if name == "cascade" else 3):
                found = refine(trainer.networks, np.c_[x[1000:, :-4], found])[-1]
            good[name].append((overlap(found, truth[1000:]) >= 0.7).mean())
    means = {name: np.mean(values) for name, values in good.items()}
    assert means["cascade"] > means["at 0.5"] and means["cascade"] > means["at 0.7"] + 0.05, means


# MARK: searches over arrays


def test_lp_dictionary():
    """d = 12, n = 3,000, theta = 0.3: the objective never falls, A stays orthogonal, the dictionary is found."""
    rng = np.random.default_rng(0)
    d, n = 12, 3000
    truth = np.linalg.qr(rng.normal(size=(d, d)))[0]
    y = truth @ (rng.normal(size=(d, n)) * (rng.random((d, n)) < 0.3))
    a = np.linalg.qr(rng.normal(size=(d, d)))[0]
    last = (np.abs(a @ y) ** 3).sum()
    step = temper.metric("lp_dictionary_learning", max_iter=1)
    for _ in range(10):
        a = step(y=y, initial=a)
        np.testing.assert_allclose(a @ a.T, np.eye(d), atol=1e-12)
        now = (np.abs(a @ y) ** 3).sum()
        assert now >= last * (1 - 1e-12)
        last = now
    for noise in (0.0, 0.1):
        found = temper.metric("lp_dictionary_learning", seed=1)(y=y + noise * rng.normal(size=y.shape))
        error = 1 - np.abs(found @ truth).max(axis=0).mean()
        assert error < (0.01 if noise == 0 else 0.05)


def run_search(proxies, accuracies, **settings):
    search, known, trained = temper.metric("robot_metric_combination_search", **settings), np.full(len(accuracies), np.nan), []
    while True:
        chosen, best = search(proxies=proxies, accuracies=known).astype(int)
        if chosen < 0:
            return trained, best
        assert np.isnan(known[chosen])
        known[chosen] = accuracies[chosen]
        trained.append(chosen)


def test_metric_combination():
    rng = np.random.default_rng(0)
    accuracies = rng.random(60)
    # A single proxy that is the accuracy: the first query finds the best, then the pool in its order.
    trained, best = run_search(accuracies[:, None], accuracies, budget=5)
    order = list(np.argsort(-accuracies))
    assert trained[0] == best == order[0] and set(trained) <= set(order[:5]) | {order[-1]}
    # Several noisy ones: on average better than random search with the same budget, and never more evaluations.
    found, chance = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        proxies = np.c_[accuracies + 0.4 * rng.normal(size=60), -accuracies + 0.4 * rng.normal(size=60), rng.random(60)]
        trained, best = run_search(proxies, accuracies, budget=10, seed=seed)
        assert len(trained) <= 10 and len(set(trained)) == len(trained)
        assert best == max(trained, key=lambda i: accuracies[i])
        found.append(accuracies[best])
        chance.append(accuracies[rng.permutation(60)[:10]].max())
    assert np.mean(found) > np.mean(chance)


# MARK: soft subnetworks


def sessions(seed=0, shots=5):
    """Digits: classes 0 to 5, then 6 and 7, then 8 and 9 with a few shots each; and the rest as a test."""
    records = np.fromfile(pathlib.Path(__file__).resolve().parents[2] / "examples/data/digits.bin", np.uint8)
    x, y = records.reshape(-1, 65)[:, :64].astype(np.float32) / 16, records.reshape(-1, 65)[:, 64].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order], y[order]
    chosen = [np.flatnonzero(y[:900] < 6)]
    for pair in ((6, 7), (8, 9)):
        chosen.append(np.concatenate([np.flatnonzero(y[:900] == c)[:shots] for c in pair]))
    index = np.concatenate(chosen)
    session = np.concatenate([np.full(len(part), float(i), np.float32) for i, part in enumerate(chosen)])
    return x[index], y[index], session, (x[900:], y[900:])


def soft_subnetwork(seed, **parameters):
    model = temper.Model([{"dense": 64}, "relu", {"dense": 48}, "relu", {"dense": 10}], input=(64,), seed=seed)
    settings = {"base_epochs": 12, "session_epochs": 4, "major_ratio": 0.7, **parameters}
    procedure = temper.procedure("soft_subnetwork_fscil", **settings)
    optimizer = temper.optimizer("sgd", lr=0.2, momentum=0.9)
    return model, temper.Trainer(model, optimizer=optimizer, procedure=procedure, batch_size=50, seed=seed)


def test_major_weights_never_change_after_the_base():
    x, y, session, test = sessions()
    model, trainer = soft_subnetwork(0)
    trainer.fit(x, y, epochs=12, session=session)
    after_base = {name: value.copy() for name, value in model.parameters().items()}
    masks = [trainer.state[f"mask{index}"].copy() for index in range(2)]
    assert abs((masks[0] == 1).mean() - 0.7) < 0.01 and ((masks[0] >= 0) & (masks[0] <= 1)).all()
    trainer.fit(x, y, epochs=23, session=session)
    state, after = trainer.state, model.parameters()
    assert all(np.array_equal(mask, state[f"mask{index}"]) for index, mask in enumerate(masks))
    np.testing.assert_array_equal(after["0.weight"], after_base["0.weight"])  # only the last hidden matrix is tuned
    np.testing.assert_array_equal(after["2.weight"][masks[1] == 1], after_base["2.weight"][masks[1] == 1])
    assert (after["2.weight"][masks[1] < 1] != after_base["2.weight"][masks[1] < 1]).mean() > 0.3
    assert state["known"].all()
    np.testing.assert_array_equal(after["4.weight"], state["prototypes"])


def test_old_classes_are_kept_while_new_ones_come():
    """Base accuracy falls far less than with plain fine-tuning on the shots, and more is right in all; 5 seeds of 5."""
    for seed in range(5):
        x, y, session, (test_x, test_y) = sessions(seed)
        old = test_y < 6
        model, trainer = soft_subnetwork(seed)
        trainer.fit(x, y, epochs=13, session=session)
        before = (model.predict(test_x[old]).argmax(1) == test_y[old]).mean()
        trainer.fit(x, y, epochs=23, session=session)
        answer = model.predict(test_x).argmax(1)
        kept, learned = (answer == test_y)[old].mean(), (answer == test_y)[~old].mean()
        plain = temper.Model([{"dense": 64}, "relu", {"dense": 48}, "relu", {"dense": 10}], input=(64,), seed=seed)
        optimizer = temper.optimizer("sgd", lr=0.2, momentum=0.9)
        tuning = temper.Trainer(plain, optimizer=optimizer, batch_size=50, seed=seed)
        for part, last in ((0, 12), (1, 27), (2, 42)):
            tuning.fit(x[session == part], y[session == part], epochs=last)
        tuned = plain.predict(test_x).argmax(1) == test_y
        assert before > 0.9 and kept > before - 0.15 and kept > tuned[old].mean() + 0.2, (before, kept, tuned[old].mean())
        assert learned > 0.25 and (answer == test_y).mean() > tuned.mean() + 0.1, (learned, tuned.mean())


def test_a_stopped_soft_subnetwork_goes_on(tmp_path):
    x, y, session, _ = sessions()
    _, whole = soft_subnetwork(1, base_epochs=3, session_epochs=2)
    whole.fit(x, y, epochs=9, session=session)
    for stop in (2, 4, 6):
        _, first = soft_subnetwork(1, base_epochs=3, session_epochs=2)
        first.fit(x, y, epochs=stop, session=session)
        first.save(tmp_path / "run")
        model, second = soft_subnetwork(1, base_epochs=3, session_epochs=2)
        second.resume(tmp_path / "run")
        second.fit(x, y, epochs=9, session=session)
        for name, value in whole.model.parameters().items():
            np.testing.assert_array_equal(value, model.parameters()[name])
