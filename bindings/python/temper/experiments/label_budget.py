"""Many cheap labels or few good ones: which mixture a budget should buy."""

import itertools

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)  # batches are small
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def pareto_front(cost, score):
    """Places of the points that no other beats: none is as cheap and better, or cheaper and as good; by cost."""
    front, best = [], -np.inf
    for place in np.lexsort((-np.asarray(score), cost)):
        if score[place] > best:
            front.append(int(place))
            best = score[place]
    return front


def weak_labels(y, error, rng):
    """Labels of two classes, of which a share is wrong."""
    return np.where(rng.random(len(y)) < error, 1 - y, y).astype(np.int32)


def _learn(model, x, y, epochs, rate, seed, held=None):
    """Trains further from where the model stands; with held-out samples up to the epoch that is best on them."""
    trainer = temper.Trainer(model, optimizer=CONTEXT.optimizer("adam", learning_rate=rate), batch_size=32, seed=seed)
    stop = {} if held is None else {"validation": held, "monitor": "validation_loss", "restore_best": True}
    trainer.fit(x, y, epochs=epochs, **stop)


def accuracy(train, test, weak, strong, error, seed):
    """Of a model that learns from so many weak labels first and then from so many strong ones, of other samples."""
    (x, y), rng = train, np.random.default_rng(seed)
    order = rng.permutation(len(x))
    of_strong, of_weak = order[:strong], order[strong : strong + weak]
    model = temper.Model([{"dense": 32}, "relu", {"dense": 2}], input=(x.shape[1],), seed=seed, context=CONTEXT)
    if weak:
        _learn(model, x[of_weak], weak_labels(y[of_weak], error, rng), 15, 2e-3, seed)
    if strong:
        held = max(strong // 5, 1) if strong > 20 else 0
        own = (x[of_strong[:held]], y[of_strong[:held]]) if held else None
        _learn(model, x[of_strong[held:]], y[of_strong[held:]], *((20, 5e-4) if weak else (40, 2e-3)), seed, own)
    return (model.predict(test[0]).argmax(1) == test[1]).mean()


def _grid(train, test, ratios, budgets, error, seeds):
    """{(ratio, budget): mean accuracy for each share of the budget that buys strong labels}."""
    cells = {}
    for ratio, budget in itertools.product(ratios, budgets):
        means = []
        for share in SHARES:
            strong = min(int(share * budget / ratio), len(train[0]))
            weak = min(int(budget - strong * ratio), len(train[0]) - strong)
            weak = 0 if share == 1 else weak
            means.append(np.mean([accuracy(train, test, weak, strong, error, seed) for seed in range(seeds)]))
        cells[ratio, budget] = np.array(means)
    return cells


def regime(means, margin=0.01):
    """By the best share: all weak, all strong, or a mixture that beats both by more than the margin."""
    if means[1:-1].max() > max(means[0], means[-1]) + margin:
        return "mixed"
    return "quantity" if means[0] >= means[-1] else "quality"


@experiment(
    "label_budget_frontier",
    area="data",
    summary="Cheap wrong labels, dear right ones, or both, for odd and even digits: what a budget should buy.",
    reference=Reference("", 0, "Balancing Label Quantity and Quality for Scalable Elicitation"),
    seeds="Runs of each cell.",
    weak_error="The share of cheap labels that are wrong.",
)
def label_budget_frontier(seeds: int = 5, weak_error: float = 0.3):
    front = pareto_front([1, 2, 2, 3, 4, 5], [0.5, 0.7, 0.6, 0.65, 0.9, 0.9])
    yield Finding("The frontier of six points is the one by hand.", f"points {front}", front == [0, 1, 4])
    (x, y), (queries, truth) = digits.load(digits.find())
    train, test = (x, y % 2), (queries, truth % 2)
    cells = _grid(train, test, (3, 10, 100), (100, 400), 0.0, min(seeds, 2))
    kinds = {cell: regime(means) for cell, means in cells.items()}
    yield Finding(
        "Where cheap labels are never wrong, buy them alone, at every ratio and budget.",
        ", ".join(f"{ratio}:1 and {budget}: {kind}" for (ratio, budget), kind in kinds.items()),
        set(kinds.values()) == {"quantity"},
    )
    cells = _grid(train, test, (1, 3, 10), (200, 400), 0.5, min(seeds, 2))
    kinds = {cell: regime(means) for cell, means in cells.items()}
    yield Finding(
        "Where they say nothing, buy right ones alone.",
        ", ".join(f"{ratio}:1 and {budget}: {kind}" for (ratio, budget), kind in kinds.items()),
        set(kinds.values()) == {"quality"},
    )
    cells = _grid(train, test, (1, 3, 10, 100), (100, 400, 1600), weak_error, seeds)
    kinds = [regime(means) for means in cells.values()]
    counts = {kind: kinds.count(kind) for kind in ("quantity", "quality", "mixed")}
    yield Finding(
        f"With {100 * weak_error:.0f}% wrong each regime has its place on the grid.",
        ", ".join(f"{kind}: {count} of {len(kinds)} cells" for kind, count in counts.items()),
        all(counts.values()),
    )
    gains = {cell: means[1:-1].max() - max(means[0], means[-1]) for cell, means in cells.items()}
    (ratio, budget), gain = max(gains.items(), key=lambda pair: pair[1])
    best = SHARES[1 + cells[ratio, budget][1:-1].argmax()]
    yield Finding(
        f"Somewhere a mixture beats either kind alone by more than a point, mean of {seeds} runs.",
        f"at {ratio}:1 and a budget of {budget}, {100 * best:.0f}% of it for right labels: {100 * gain:+.1f} points",
        gain > 0.01,
    )
