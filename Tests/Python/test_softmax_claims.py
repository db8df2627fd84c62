"""What the page of softmaxes says that they do, on small data: several seeds, and the numbers of the claim."""

import itertools

import numpy as np
from digits import accuracy, digits

import temper


def rows(rng, n, size):
    return rng.normal(size=(n, size))


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def test_adaptive_temperature_only_sharpens(rng):
    operator = temper.op("adaptive_temperature_softmax")
    for size in (4, 10, 100, 4096):
        x = rows(rng, 20, size) * 3
        p, q = temper.op("softmax")(x), operator(x)
        assert (entropy(q) <= entropy(p) + 1e-12).all() and (q.argmax(-1) == p.argmax(-1)).all()
        # No weight leaves exp(+-range) / n.
        spread = np.ptp(x, axis=-1)
        assert (p.max(-1) <= np.exp(spread) / size).all() and (p.min(-1) >= np.exp(-spread) / size).all()
    np.testing.assert_allclose(operator(np.zeros((1, 100))), 0.01)


def test_adaptive_temperature_finds_the_maximum_of_longer_sets():
    """One attention head learns, in sets of 16, to return the label of the largest number; in sets of 512 the weight on
    it and the accuracy rise with the adaptive temperature, 3 seeds of 3."""
    softmax, loss = temper.op("softmax"), temper.loss("cross_entropy")
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def sets(count, size):
            numbers, labels = rng.random((count, size)), rng.integers(0, 10, (count, size))
            return numbers, labels, labels[np.arange(count), numbers.argmax(-1)]

        slope, gain, rate = 1.0, 1.0, 0.1
        for _ in range(300):
            numbers, labels, y = sets(64, 16)
            p = softmax(slope * numbers)
            seen = np.eye(10)[labels]
            mixed = np.einsum("nk,nkc->nc", p, seen)
            g = loss.value_and_grad(gain * mixed, y)[1]["logits"]
            dz = softmax.vjp(slope * numbers, gain * np.einsum("nc,nkc->nk", g, seen))
            slope, gain = slope - 50 * rate * (dz * numbers).sum(), gain - 10 * rate * (g * mixed).sum()
        numbers, labels, y = sets(300, 512)
        found = {}
        for name in ("softmax", "adaptive_temperature_softmax"):
            p = temper.op(name)(slope * numbers)
            votes = np.einsum("nk,nkc->nc", p, np.eye(10)[labels])
            found[name] = p.max(-1).mean(), (votes.argmax(-1) == y).mean()
        plain, sharp = found.values()
        assert sharp[0] > 1.1 * plain[0] and sharp[1] > plain[1], found


def test_boltzmann_is_a_soft_maximum(rng):
    x = rows(rng, 9, 7)
    for t in (0.3, 1.0, 4.0):
        operator = temper.op("boltzmann_operator", t=t)
        p = temper.op("softmax")(t * x)
        np.testing.assert_allclose(t * operator(x), np.log(np.exp(t * x).sum(-1)) - entropy(p), rtol=1e-12)
        np.testing.assert_allclose(operator(x + 2.5), operator(x) + 2.5, rtol=1e-12)
        np.testing.assert_allclose(operator.vjp(x, dy=np.ones(9), wrt=("x",))["x"].sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(temper.op("boltzmann_operator", t=1e3)(x), x.max(-1), atol=1e-12)
    np.testing.assert_allclose(temper.op("boltzmann_operator", t=-1e3)(x), x.min(-1), atol=1e-12)
    slope = temper.op("boltzmann_operator").vjp(np.array([[0.0, 5.0]]), dy=np.ones(1), wrt=("x",))["x"]
    assert slope[0, 0] < 0  # unlike log-sum-exp it is not monotone


def test_boltzmann_tells_sets_of_tokens_apart():
    """Five values spaced by more than 2 log n + 3, n = 3, centred at 0: sets without repetitions lie farther apart than
    (log n)^2 exp(-2 r)."""
    n = 3
    values = (np.arange(5) - 2) * (2 * np.log(n) + 3.001)
    sets = np.array(list(itertools.combinations(values, n)))
    result = np.sort(temper.op("boltzmann_operator")(sets))
    assert np.diff(result).min() > np.log(n) ** 2 * np.exp(-2 * values.max())


def test_gumbel_softmax_learns_with_less_variance_than_the_score_function():
    """Maximising E f(category) for f = (0, 1, 0.2): all probability goes to the best category, 3 seeds of 3."""
    f = np.array([0.0, 1.0, 0.2])
    operator, softmax = temper.op("gumbel_softmax", tau=0.5), temper.op("softmax")
    for seed in range(3):
        rng, z = np.random.default_rng(seed), np.zeros(3)
        for _ in range(200):
            many = np.tile(z, (16, 1))
            z = z + 0.5 * operator.vjp(many, rng.random((16, 3)), dy=np.tile(f, (16, 1)))["x"].mean(0)
        assert softmax(z[None])[0].argmax() == 1 and softmax(z[None])[0, 1] > 0.9
        z = np.tile(np.array([0.2, 0.0, 0.1]), (5000, 1))
        soft = operator.vjp(z, rng.random((5000, 3)), dy=np.tile(f, (5000, 1)))["x"]
        p = softmax(z)
        drawn = (p.cumsum(-1) < rng.random((5000, 1))).sum(-1)
        score = f[drawn][:, None] * (np.eye(3)[drawn] - p)
        assert soft.var(0).sum() < 0.5 * score.var(0).sum()


def test_sparsemax_classifies_digits_with_zeros():
    """Within 1 point of cross-entropy, more than half of the probabilities exactly 0; means of 3 seeds."""
    right, zeros = {"cross_entropy": [], "sparsemax_loss": []}, []
    for seed in range(3):
        x, y = digits(seed)
        for name, found in right.items():
            model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=seed)
            temper.Trainer(model, loss=name, optimizer=temper.optimizer("adam", lr=0.003), seed=seed).fit(
                x[:1200], y[:1200], epochs=30)  # fmt: skip
            found.append(accuracy(model, x[1200:], y[1200:]))
        zeros.append((temper.op("sparsemax")(model.predict(x[1200:])) == 0).mean())
    assert np.mean(right["sparsemax_loss"]) > np.mean(right["cross_entropy"]) - 0.01, right
    assert min(zeros) > 0.5


def test_partial_fc_needs_a_tenth_of_the_classes():
    """1000 classes around directions of 32 dimensions: a tenth of the classes in each step gives an accuracy within a
    point of that with all."""
    rng = np.random.default_rng(0)
    classes, d, batch = 1000, 32, 200
    centres = rng.normal(size=(classes, d)).astype(np.float32)

    def draw(count):
        y = rng.integers(0, classes, count)
        return (centres[y] + 0.6 * rng.normal(size=(count, d))).astype(np.float32), y

    test_x, test_y = draw(2000)
    right = {}
    for share in (1.0, 0.1):
        weights, speed = rng.normal(size=(classes, d)).astype(np.float32), np.zeros((classes, d), np.float32)
        loss = temper.loss("partial_fc", scale=16.0, margin=0.2)
        for _ in range(150):
            x, y = draw(batch)
            more = {} if share == 1 else {"sampled_classes": rng.choice(classes, int(share * classes), replace=False)}
            g = loss.value_and_grad(x, weights, y, **more, wrt=("weights",))[1]["weights"]
            if more:
                untouched = np.setdiff1d(np.arange(classes), [*more["sampled_classes"], *y])
                assert not g[untouched].any()
            touched = g.any(-1)
            speed[touched] = 0.9 * speed[touched] - 100 * g[touched]
            weights[touched] += speed[touched]
        unit = weights / np.linalg.norm(weights, axis=-1, keepdims=True)
        right[share] = ((test_x @ unit.T).argmax(-1) == test_y).mean()
    assert right[0.1] > right[1.0] - 0.01, right


def test_stablemax_does_not_collapse():
    """In float32 cross-entropy of well separated samples becomes exactly 0, and with it every gradient; that of
    StableMax falls like a power, and learning goes on."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    x[:, 0] += np.where(y, 1, -1)
    stopped = {}
    for name in ("cross_entropy", "stablemax_cross_entropy"):
        loss, w = temper.loss(name), np.zeros((5, 2), np.float32)
        for _ in range(400):
            slopes = loss.value_and_grad(x @ w, y, reduction="sum")[1]["logits"]
            w -= 0.3 * (x.T @ slopes)
        stopped[name] = (loss.value_and_grad(x @ w, y)[1]["logits"] == 0).all(-1).mean()
    assert stopped["cross_entropy"] > 0.5 and stopped["stablemax_cross_entropy"] == 0, stopped


def test_masked_softmax_forgets_less():
    """Five tasks of two digits with a buffer of 50: after the last, more of the first is left, mean of 5 seeds."""
    left = {"plain": [], "masked": []}
    for seed in range(5):
        x, y = digits(seed)
        for name, kept in left.items():
            rng = np.random.default_rng(seed)
            model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=seed)
            buffer = np.zeros(0, int)
            for task in range(5):
                own = np.flatnonzero((y[:1200] // 2) == task)
                at = np.concatenate([own, buffer])
                visible = np.ones((len(at), 10), bool)
                if name == "masked":
                    visible[: len(own)] = np.arange(10) // 2 == task
                temper.Trainer(model, loss="masked_softmax_ce", optimizer=temper.optimizer("adam", lr=0.001),
                               batch_size=32, seed=seed).fit(x[at], y[at], epochs=8, visible=visible)  # fmt: skip
                share = 50 // (task + 1)
                buffer = np.concatenate([rng.permutation(np.flatnonzero(y[:1200] // 2 == t))[:share]
                                         for t in range(task + 1)])  # fmt: skip
            first = y[1200:] < 2
            kept.append(accuracy(model, x[1200:][first], y[1200:][first]))
    assert np.mean(left["masked"]) > np.mean(left["plain"]), left


def test_the_activated_gate_is_identified():
    """The plain gate is the same for (B, b, tau) and (c B, c b, c tau), the activated one is not."""
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(6, 4)), rng.normal(size=(4, 3))
    bias, c = rng.normal(size=3), 2.5
    for act, is_same in (("identity", True), ("sigmoid", False)):
        gate = temper.op("activation_dense_to_sparse_gate", act=act)
        one, other = gate(x, b, bias, np.array(0.7)), gate(x, c * b, c * bias, np.array(0.7 * c))
        assert np.allclose(one, other, rtol=1e-12) == is_same
    np.testing.assert_allclose(gate(x, b, bias, np.array(1e9)), 1 / 3, atol=1e-8)
    assert np.isin(gate(x, b, bias, np.array(1e-9)), [0, 1]).all()
