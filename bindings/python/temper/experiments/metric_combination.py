"""A pool of small networks whose best is searched by proxies that cost no training, and few trainings."""

import numpy as np

from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, accuracy, fit, model, shuffled

PROXIES = ("gradient norm", "snip", "grasp", "fisher", "synflow", "jacobian")


def pool(count, seed=0):
    """Widths of the hidden layers of so many networks, all different."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        widths = tuple(int(w) for w in 2 ** rng.uniform(1.5, 6.5, rng.integers(1, 5)))
        if widths not in found:
            found.append(widths)
    return found


def layers(widths):
    return [layer for width in widths for layer in ({"dense": width}, "relu")] + [{"dense": 10}]


def proxies(widths, x, y, seed=0):
    """What each proxy says of a network as it begins, on one batch."""
    network = model(layers(widths), (64,), seed)
    values = network.parameters()
    weights = [values[name].astype(float) for name in values if name.endswith("weight")]
    biases = [values[name].astype(float) for name in values if name.endswith("bias")]

    def forward(weights, x):
        states = [x.astype(float)]
        for index, (weight, bias) in enumerate(zip(weights, biases)):
            z = states[-1] @ weight.T + bias
            states.append(np.maximum(z, 0) if index + 1 < len(weights) else z)
        return states

    def backward(weights, states, slope):
        """Slopes of the weights and of every layer's output."""
        found, at = [], [slope]
        for index in reversed(range(len(weights))):
            found.insert(0, at[0].T @ states[index])
            if index:
                at.insert(0, (at[0] @ weights[index]) * (states[index] > 0))
        return found, at

    def slopes(weights):
        states = forward(weights, x)
        error = CONTEXT.loss("cross_entropy").value_and_grad(states[-1], y)[1]["logits"]
        return backward(weights, states, error), states

    (gradient, at), states = slopes(weights)
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    step = 1e-4 / max(norm, 1e-12)  # 0 where every unit is dead
    ahead = slopes([w + step * g for w, g in zip(weights, gradient)])[0][0]
    behind = slopes([w - step * g for w, g in zip(weights, gradient)])[0][0]
    curved = [(a - b) / (2 * step) for a, b in zip(ahead, behind)]
    flow = np.ones((1, 64))
    for weight in weights:
        flow = flow @ np.abs(weight).T
    jacobian = network.vjp(x, np.ones((len(x), 10), np.float32))["x"].astype(float)
    centred = jacobian - jacobian.mean(1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    spectrum = np.linalg.eigvalsh(centred @ centred.T)
    return [
        norm,
        sum(np.abs(w * g).sum() for w, g in zip(weights, gradient)),
        -sum((w * h).sum() for w, h in zip(weights, curved)),
        sum((a * s).sum() ** 2 for a, s in zip(states[1:-1], at[:-1])),
        # Every weight's share of the sum of positive paths: each layer has the whole of it.
        np.log(len(weights) * flow.sum()),
        -(np.log(spectrum.clip(0) + 1e-5) + 1 / (spectrum.clip(0) + 1e-5)).sum(),
    ]


def searched(scores, accuracies, budget, seed):
    """The best accuracy among `budget` networks that the search asks to train."""
    search = CONTEXT.metric("robot_metric_combination_search", budget=budget, seed=seed)
    known = np.full(len(accuracies), np.nan)
    while True:
        chosen, best = search(proxies=scores, accuracies=known).astype(int)
        if chosen < 0:
            return known[best]
        known[chosen] = accuracies[chosen]


@experiment(
    "metric_combination_study", area="regularize",
    summary="Searches a pool of networks by a combination of proxies, by each of them, and by chance.",
    reference=Reference(
        "He et al.", 2024, "Robustifying and Boosting Training-Free Neural Architecture Search", "2403.07591"),
    networks="In the pool.", budget="Networks that a search may train.", seeds="Searches.", epochs="Of each training.",
)  # fmt: skip
def metric_combination_study(networks: int = 60, budget: int = 10, seeds: int = 20, epochs: int = 10):
    x, y = shuffled(0)
    shapes = pool(networks)
    accuracies = np.array([accuracy(fit(model(layers(w), (64,), 1), x[:400], y[:400], epochs, 1), x[400:], y[400:])
                           for w in shapes])  # fmt: skip
    scores = np.array([proxies(w, x[:100], y[:100]) for w in shapes])
    found = np.mean([searched(scores, accuracies, budget, seed) for seed in range(seeds)])
    alone = {
        name: accuracies[np.argsort(-scores[:, k], kind="stable")[:budget]].max() for k, name in enumerate(PROXIES)
    }
    chance = np.mean([np.random.default_rng(s).permutation(accuracies)[:budget].max() for s in range(100 * seeds)])
    best = max(alone, key=alone.get)
    words = f"{found:.2f}% of {accuracies.max():.2f}% (median of the pool {np.median(accuracies):.2f}%)"
    yield Finding(
        f"With {budget} trainings a combination finds no worse than chance.",
        f"{words}; chance {chance:.2f}%",
        bool(found >= chance),
    )
    measured = f"{words}; " + ", ".join(f"{name} {value:.2f}%" for name, value in alone.items())
    yield Finding("And no worse than the first of the best single proxy.", measured, bool(found >= alone[best]))
