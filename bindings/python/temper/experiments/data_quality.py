"""What wrong context, wrong judges and a budget for labels do."""

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)


def _retrieved(train, queries, k):
    """(numbers, distances) of the k nearest training samples of each query."""
    detector = CONTEXT.detector("nearest_neighbours", k=k).fit(train)
    detector.score(queries)
    return detector.details["neighbours"], detector.details["distances"]


def _votes(labels, distances):
    """The class with the largest sum of 1 / (1 + distance) over what was retrieved."""
    weights = np.zeros((len(labels), digits.CLASSES))
    for place in range(labels.shape[1]):
        np.add.at(weights, (np.arange(len(labels)), labels[:, place]), 1 / (1 + distances[:, place]))
    return weights.argmax(1)


def _with_noise(kind, ratio, train, labels, queries, truth, found, rng):
    """(labels, distances) of the retrieved samples after a share of them became noise."""
    ids, distances = found
    labels, distances = labels[ids].copy(), distances.copy()
    struck = rng.random(ids.shape) < ratio
    if kind == "random context":  # other samples of other classes, with their own labels
        pick = rng.integers(0, len(train[0]), ids.shape)
        other = train[1][pick] != truth[:, None]
        struck &= other
        labels[struck] = train[1][pick][struck]
        distances[struck] = np.linalg.norm(train[0][pick] - queries[:, None], axis=-1)[struck]
    elif kind == "counterfactual":  # the same samples, all with one wrong label
        wrong = (truth + rng.integers(1, digits.CLASSES, len(truth))) % digits.CLASSES
        labels[struck] = np.broadcast_to(wrong[:, None], ids.shape)[struck]
    else:  # orthographic: the same samples with spoiled features
        spoiled = train[0][ids] + rng.normal(0, 0.3, (*ids.shape, train[0].shape[1]))
        distances[struck] = np.linalg.norm(spoiled - queries[:, None], axis=-1)[struck]
    return labels, distances


@experiment(
    "context_noise_benchmark",
    area="data",
    summary="Retrieved neighbours of digits, a share of them replaced by noise of several kinds.",
    reference=Reference(
        "Wu et al.",
        2024,
        "Pandora's Box or Aladdin's Lamp: A Comprehensive Analysis Revealing the Role of RAG Noise in Large Language "
        "Models",
        "2408.13533",
    ),
    seeds="Draws of the noise.",
    k="Neighbours retrieved.",
    bootstrap="Samples of the confidence intervals.",
)
def context_noise_benchmark(seeds: int = 5, k: int = 5, bootstrap: int = 1000):
    (x, y), (queries, truth) = digits.load(digits.find())
    found = _retrieved(x, queries, k)
    clean = _votes(y[found[0]], found[1]) == truth
    ratios, kinds = (0.0, 0.2, 0.4, 0.6, 0.8), ("random context", "counterfactual", "orthographic")
    delta = {}
    for kind in kinds:
        for ratio in ratios:
            draws = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                changed = _with_noise(kind, ratio, (x, y), y, queries, truth, found, rng)
                draws.append((_votes(*changed) == truth).astype(float) - clean)
            delta[kind, ratio] = np.mean(draws, axis=0)
    yield Finding(
        "Without noise nothing changes.",
        ", ".join(f"{kind} {delta[kind, 0.0].mean():+.3f}" for kind in kinds),
        not any(delta[kind, 0.0].any() for kind in kinds),
    )
    mean = {key: value.mean() for key, value in delta.items()}
    yield Finding(
        "Counterfactual context hurts more than random context, at every ratio.",
        ", ".join(f"{r}: {mean['counterfactual', r]:+.3f} and {mean['random context', r]:+.3f}" for r in ratios[1:]),
        all(mean["counterfactual", r] < mean["random context", r] for r in ratios[1:]),
    )
    falls = [mean["counterfactual", r] for r in ratios]
    yield Finding(
        "The more counterfactual context, the lower the accuracy.",
        ", ".join(f"{100 * (clean.mean() + d):.1f}%" for d in falls),
        all(b < a for a, b in zip(falls, falls[1:])),
    )
    rng = np.random.default_rng(0)
    verdicts = {}
    for kind in kinds:
        values = delta[kind, 0.4]
        means = values[rng.integers(0, len(values), (bootstrap, len(values)))].mean(1)
        low, high = np.quantile(means, (0.025, 0.975))
        verdicts[kind] = "harmful" if high < 0 else "beneficial" if low > 0 else "neither"
    yield Finding(
        "At a ratio of 0.4 counterfactual context is harmful by its interval; what kinds do good is a matter of large "
        "language models and is only told.",
        ", ".join(f"{kind}: {verdict}" for kind, verdict in verdicts.items()),
        verdicts["counterfactual"] == "harmful",
    )


def dice(a, b):
    """2 |a and b| / (|a| + |b|) of masks."""
    return 2 * np.logical_and(a, b).sum() / max(a.sum() + b.sum(), 1)


def _ellipse(rng, size, jitter=None):
    """(mask, its five numbers); with jitter the numbers of another mask moved by it."""
    numbers = rng.uniform([0.35, 0.35, 0.15, 0.15, 0], [0.65, 0.65, 0.3, 0.3, np.pi]) if jitter is None else jitter
    cx, cy, a, b, angle = numbers
    v, u = np.mgrid[0:size, 0:size] / size
    p = (u - cx) * np.cos(angle) + (v - cy) * np.sin(angle)
    q = (v - cy) * np.cos(angle) - (u - cx) * np.sin(angle)
    return (p / a) ** 2 + (q / b) ** 2 <= 1, numbers


def _prefers_first(better_is_first, skill, bias, rng):
    """A judge: with probability `bias` says "first", else is right with probability `skill`."""
    if rng.random() < bias:
        return True
    return better_is_first == (rng.random() < skill)


@experiment(
    "pairwise_label_critic",
    area="data",
    summary="Chooses among machine labels by a judge who is asked twice, with places swapped.",
    reference=Reference("Bassi et al.", 2024, "Label Critic: Design Data Before Models", "2411.02753"),
    seeds="Sets of masks.",
    skill="How often the judge is right where it judges.",
    bias="How often it says the first, whatever it sees.",
    dice_equal="Masks more alike than this count as equal.",
)
def pairwise_label_critic(seeds: int = 5, skill: float = 0.8, bias: float = 0.2, dice_equal: float = 0.9):
    rng = np.random.default_rng(0)
    first, second = bias + (1 - bias) * skill, (1 - bias) * skill
    both, neither = first * second, (1 - first) * (1 - second)
    draws = 100_000
    answers = np.array(
        [np.where(rng.random(draws) < bias, place == 0, rng.random(draws) < skill) for place in (0, 1)]
    )  # whether the better one is named, when it stands first and when it stands second
    decided = answers[0] == answers[1]
    right, ties, once = answers[0][decided].mean(), 1 - decided.mean(), answers.mean()
    theory = both / (both + neither)
    yield Finding(
        "Asked twice with places swapped, the judge is right among decided pairs, and undecided, as often as the "
        "closed form says.",
        f"right {right:.4f} of {theory:.4f}, undecided {ties:.4f} of {1 - both - neither:.4f}",
        abs(right - theory) < 4 * (theory * (1 - theory) / decided.sum()) ** 0.5 + 1e-12
        and abs(ties - (1 - both - neither)) < 2 * draws**-0.5,
    )
    yield Finding(
        "Swapping raises the accuracy of decided pairs above that of one question.",
        f"{right:.3f} against {once:.3f}",
        right > once,
    )
    chosen, single = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        scores, picks = [], []
        for _ in range(60):
            truth, numbers = _ellipse(rng, 32)
            masks = []
            for _ in range(3):  # each labeler is good on some items and bad on others
                spread = rng.choice([0.02, 0.15])
                moved = numbers + rng.normal(0, spread, 5) * [0.5, 0.5, 0.5, 0.5, 2]
                moved[2:4] = np.maximum(moved[2:4], 0.05)
                masks.append(_ellipse(rng, 32, moved)[0])
            quality = [dice(mask, truth) for mask in masks]
            best = 0
            for other in (1, 2):
                if dice(masks[best], masks[other]) > dice_equal:
                    continue
                other_is_better = quality[other] > quality[best]
                forward = _prefers_first(not other_is_better, skill, bias, rng)
                backward = _prefers_first(other_is_better, skill, bias, rng)
                if not forward and backward:
                    best = other
            scores.append(quality)
            picks.append(quality[best])
        chosen.append(np.mean(picks))
        single.append(np.mean(scores, axis=0).max())
    yield Finding(
        f"Masks chosen by the tournament are better than those of the best single labeler, mean of {seeds} sets.",
        f"Dice {np.mean(chosen):.3f} against {np.mean(single):.3f}",
        np.mean(chosen) > np.mean(single),
    )
