"""The problem of temporal order: two early symbols of a long sequence, among others, tell its class."""

import numpy as np

import temper

from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)  # arrays are small
SYMBOLS = 6  # two that count and four that do not


def sequences(rng, length, count):
    """Symbols (length, count), of which one near the beginning and one in the middle count; and the class of both."""
    x, columns = rng.integers(2, SYMBOLS, (length, count)), np.arange(count)
    first, second = rng.integers(0, 2, (2, count))
    x[rng.integers(length // 10, length // 5 + 1, count), columns] = first
    x[rng.integers(length // 2, 6 * length // 10 + 1, count), columns] = second
    return x, 2 * first + second


class Recurrence:
    """tanh(W h + U x + b), one network for each seed, side by side; the last state tells the class."""

    def __init__(self, seeds, units, radius=0.95):
        self.rngs = [np.random.default_rng(seed) for seed in range(seeds)]
        w, u, v = (np.stack([rng.normal(size=size) for rng in self.rngs])
                   for size in ((units, units), (SYMBOLS, units), (units, 4)))  # fmt: skip
        w *= radius / np.abs(np.linalg.eigvals(w)).max(1)[:, None, None]
        zeros = np.zeros((seeds, 1, units)), np.zeros((seeds, 1, 4))
        self.weights = [a.astype(np.float32) for a in (w, 0.1 * u, zeros[0], 0.1 * v, zeros[1])]

    def slopes(self, x, y):
        """Whether each answer is right, and the gradients of the mean cross-entropy through all steps."""
        w, u, b, v, c = self.weights
        length, (seeds, count) = x.shape[0], y.shape
        seen, states = np.eye(SYMBOLS, dtype=np.float32)[x], [np.zeros((seeds, count, w.shape[1]), np.float32)]
        for step in range(length):
            states.append(np.tanh(states[-1] @ w + seen[step] @ u + b))
        logits = states[-1] @ v + c
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p = (p / p.sum(-1, keepdims=True) - np.eye(4, dtype=np.float32)[y]) / count
        found = [np.zeros_like(a) for a in self.weights]
        found[3], found[4] = states[-1].swapaxes(1, 2) @ p, p.sum(1, keepdims=True)
        back, turned = p @ v.swapaxes(1, 2), w.swapaxes(1, 2)
        for step in reversed(range(length)):
            error = back * (1 - states[step + 1] ** 2)
            found[0] += states[step].swapaxes(1, 2) @ error
            found[1] += seen[step].swapaxes(1, 2) @ error
            found[2] += error.sum(1, keepdims=True)
            back = error @ turned
        return logits.argmax(-1) == y, found


def solved(make, seeds, length, steps, units=32, count=20):
    """For each seed whether 98% of the last 50 batches or so are right at some step."""
    network, optimizers = Recurrence(seeds, units), [make() for _ in range(seeds)]
    share, done = np.zeros(seeds), np.zeros(seeds, bool)
    for _ in range(steps):
        x, y = zip(*[sequences(rng, length, count) for rng in network.rngs])
        right, found = network.slopes(np.stack(x, 1), np.stack(y))
        share += 0.02 * (right.mean(1) - share)
        done |= share > 0.98
        if done.all():
            break
        for seed, optimizer in enumerate(optimizers):
            optimizer.step([a[seed] for a in network.weights], [a[seed] for a in found])
    return done


@experiment(
    "temporal_order_study", area="optim",
    summary="Recurrent networks that must remember two symbols, by descent with and without a bound on the gradient.",
    reference=Reference("Pascanu, Mikolov and Bengio", 2013, "On the difficulty of training Recurrent Neural Networks",
                        "1211.5063"),
    seeds="Networks of each.", length="Symbols of a sequence.", steps="Of training.", rate="The learning rate.",
)  # fmt: skip
def temporal_order_study(seeds: int = 5, length: int = 50, steps: int = 6000, rate: float = 0.1):
    plain = solved(lambda: CONTEXT.optimizer("sgd", lr=rate), seeds, length, steps).sum()
    bound = {"base": "sgd", "max_norm": 1.0, "lr": rate}
    clipped = solved(lambda: CONTEXT.optimizer("clip_by_global_norm", **bound), seeds, length, steps).sum()
    yield Finding(
        "Clipped by its norm, descent solves the problem from more starts.",
        f"of {seeds}, {clipped} clipped and {plain} plain, in {steps} steps over sequences of {length}",
        bool(clipped > plain),
    )
