"""Claims of procedures that curate labels and rows: those that come out on data this small, and those that do not."""

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, accuracy, compared, model

LAYERS = [{"dense": 64}, "relu", {"dense": 10}]


def _trained(procedure, x, y, epochs, seed, layers=LAYERS, rate=0.002, **inputs):
    network = model(layers, (x.shape[1],), seed)
    optimizer = CONTEXT.optimizer("adam", learning_rate=rate)
    trainer = temper.Trainer(network, optimizer=optimizer, procedure=procedure, batch_size=64, seed=seed)
    trainer.fit(x, y, epochs=epochs, **inputs)
    return trainer


def _rare_and_wrong(seeds, epochs):
    """Mean accuracy of the classes: a tail of 10:1, of whose labels 40% are wrong."""
    scores = {"rcal": [], "plain": [], "oversampled": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        tail_x, tail_y, _ = digits.with_tail(x, y, 10, rng)
        given = digits.with_noise(tail_y, digits.symmetric(0.4), rng)
        rcal = temper.procedure(
            "rcal_representation_calibration", contrastive_epochs=epochs // 2, head_epochs=epochs // 6,
            contamination=0.4,
        )  # fmt: skip
        more = temper.sampler("random_oversampler").resample(tail_x, given, seed=seed)[:2]
        for name, procedure, data in (
            ("rcal", rcal, (tail_x, given)), ("plain", None, (tail_x, given)), ("oversampled", None, more)
        ):  # fmt: skip
            right = _trained(procedure, *data, epochs, seed).model.predict(test_x).argmax(1) == test_y
            scores[name].append(100 * digits.by_class(right, test_y).mean())
    return scores


def _strangers(seeds, epochs):
    """Digits, and two for three of them pictures of shuffled pixels with drawn labels."""
    scores = {"alternating": [], "losses": [], "plane": [], "plain": []}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        strange = np.stack([rng.permutation(x[at]) for at in rng.integers(0, len(x), 2 * len(x) // 3)])
        both_x = np.concatenate([x, strange])
        both_y = np.concatenate([y, rng.integers(0, 10, len(strange)).astype(np.int32)])
        for name, order in zip(scores, ("alternate", "loss", "linear", None)):
            procedure = order and temper.procedure(
                "linear_separation_alternating", order=order, warmup_epochs=max(epochs // 20, 1),
                contrastive_epochs=epochs // 3,
            )  # fmt: skip
            scores[name].append(accuracy(_trained(procedure, both_x, both_y, epochs, seed).model, *test))
    return scores


def _same_pairs(groups, truth):
    """F1 of the pairs that are put together, in percent."""
    upper = np.triu_indices(len(truth), 1)
    found, same = ((ids[:, None] == ids[None])[upper] for ids in (groups, truth))
    return 200 * (found & same).sum() / (found.sum() + same.sum())


def _typos(seeds, epochs):
    """Sixty rows of a table, each four times, with typing errors and empty cells in three of them."""
    scores = {"pushed": [], "plain contrast": []}
    rows = temper.generator("pairwise_match_then_community_rows", count=60, copies=4, features=128, views=4)
    for seed in range(seeds):
        made = rows(seed=seed + 1)
        for name, weight in zip(scores, (1, 0)):
            procedure = temper.procedure("pairwise_match_then_community", adv_weight=weight, eps=0.05)
            trainer = _trained(
                procedure, made["x"].astype(np.float32), np.zeros(len(made["x"]), np.int32), epochs, seed,
                [{"dense": 64}, "relu", {"dense": 32}], 0.001, views=made["views"].astype(np.float32),
            )  # fmt: skip
            scores[name].append(_same_pairs(trainer.state["group"][:, 0], made["groups"]))
    return scores


def _candidates(seeds, epochs):
    """Digits with sets of labels: each other one with 0.3, and of a fifth of the digits the right one is missing."""
    scores = {"alim": [], "candidates alone": []}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sets = (rng.random((len(y), 10)) < 0.3) | (np.eye(10)[y] > 0)
        sets[(rng.random(len(y)) < 0.2)[:, None] & (np.eye(10)[y] > 0)] = False
        empty = np.flatnonzero(~sets.any(axis=1))
        sets[empty, (y[empty] + rng.integers(1, 10, len(empty))) % 10] = True
        for name, settings in zip(scores, ({"noise_rate": 0.2}, {"lam": 0.0})):
            procedure = temper.procedure("alim", e0=epochs // 5, **settings)
            trainer = _trained(procedure, x, sets.astype(np.float32), epochs, seed)
            scores[name].append(accuracy(trainer.model, *test))
    return scores


def _privileged(seeds, epochs):
    """Digits, 40% of the labels wrong: each of four annotators confuses classes in a way of its own. While training it is
    known who labelled and whether wrongly; or the label itself, which ought to hurt."""
    scores = {"tram": [], "plain": [], "told the label": []}
    deep = [{"dense": 64}, "relu", {"dense": 64}, "relu", {"dense": 10}]
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        wrong, who = rng.random(len(y)) < 0.4, rng.integers(0, 4, len(y))
        given = np.where(wrong, (y + 1 + who) % 10, y).astype(np.int32)
        known = np.concatenate([wrong[:, None], np.eye(4)[who]], axis=1).astype(np.float32)
        for name, privileged in zip(scores, (known, None, np.eye(10, dtype=np.float32)[given])):
            inputs = {} if privileged is None else {"privileged": privileged}
            procedure = temper.procedure("tram_privileged") if inputs else None
            scores[name].append(accuracy(_trained(procedure, x, given, epochs, seed, deep, **inputs).model, *test))
    return scores


def _unlabelled(seeds, epochs):
    """Mean accuracy of the classes: a tail of 50:1 of half the digits, and the other half without labels."""
    scores = {"with guesses": [], "labels alone": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        first, rest = order[: len(y) // 2], order[len(y) // 2 :]
        tail_x, tail_y, _ = digits.with_tail(x[first], y[first], 50, rng)
        both = np.concatenate([tail_x, x[rest]]), np.concatenate([tail_y, np.full(len(rest), -100, np.int32)])
        semi = temper.procedure("imbalanced_semi_self", base_epochs=max(epochs // 2, 1))
        for name, procedure, data in zip(scores, (semi, None), (both, (tail_x, tail_y))):
            right = _trained(procedure, *data, epochs, seed).model.predict(test_x).argmax(1) == test_y
            scores[name].append(100 * digits.by_class(right, test_y).mean())
    return scores


@experiment(
    "curation_behaviour_study", area="noisy-labels",
    summary="What papers say that curating labels and rows does, on digits and words: also where it does not come out.",
    reference=Reference("", 2024, "Claims of the papers behind rcal_representation_calibration, "
                        "linear_separation_alternating, pairwise_match_then_community, alim, tram_privileged and "
                        "imbalanced_semi_self"),
    seeds="Runs of each.", epochs="Of each run.",
)  # fmt: skip
def curation_behaviour_study(seeds: int = 5, epochs: int = 120):
    scores = _rare_and_wrong(seeds, epochs)
    for other in ("plain", "oversampled"):
        measured, holds = compared(scores, "rcal", other)
        claim = f"With rare classes and 40% wrong labels calibrated features beat {other} training."
        yield Finding(claim, measured, holds)
    scores = _strangers(seeds, epochs)
    measured, holds = compared(scores, "alternating", "plain")
    yield Finding("Among strangers with drawn labels detection by turns beats plain training.", measured, holds)
    for other in ("losses", "plane"):
        measured, holds = compared(scores, "alternating", other, margin=0.3)
        yield Finding(f"And is at most 0.3 points below detection by the {other} alone.", measured, holds)
    measured, holds = compared(_typos(seeds, max(epochs // 3, 1)), "pushed", "plain contrast")
    yield Finding("Pushed embeddings find more of the pairs with typing errors than plain contrast.", measured, holds)
    half = max(epochs // 2, 1)
    measured, holds = compared(_candidates(seeds, half), "alim", "candidates alone")
    yield Finding("Labels outside of noisy sets of candidates are found again.", measured, holds)
    scores = _privileged(seeds, half)
    measured, holds = compared(scores, "tram", "plain")
    yield Finding("What is known of the annotators while training explains wrong labels away.", measured, holds)
    measured, holds = compared(scores, "plain", "told the label")
    yield Finding("Knowing the label itself hurts: what is learnt then falls below plain training.", measured, holds)
    measured, holds = compared(_unlabelled(seeds, half), "with guesses", "labels alone")
    yield Finding("Guessed labels of more samples help where classes are rare.", measured, holds)
