"""Do robust losses learn from wrong labels, and long-tail losses from few samples? Digits, one small network, one
budget.

Wrong labels: 40% and 60% of the labels become any other (symmetric), or 40% the next digit's (pairs). Accuracy on clean
test digits after the last epoch, and at the best one: the best is chosen by the test digits themselves, so that it
shows what was reached on the way and not what anyone could have kept.
Long tail: classes thinned evenly down to 1/50. Accuracy over all digits, and over the three rarest classes.

Every loss of the catalogue for these ends, with its default parameters, and a few with others; none is tuned. What
those need that read more than logits and targets is in more_inputs.py; the few that judge something else than the class
of a sample are named with their reasons. Each seed draws its own labels, or tail, and network; intervals are of
Student's t over seeds, at 95%. A loss is marked + or - where its difference from cross-entropy, seed by seed, is above or
below 0 at 95%.
"""

import pathlib
import sys
import time

import numpy as np

import temper

from . import digits, more_inputs, picture
from .results import Results

NOISE = {
    "symmetric 40%": digits.symmetric(0.4),
    "symmetric 60%": digits.symmetric(0.6),
    "pairs 40%": digits.pairs(0.4),
}
TAIL = "tail 50:1"
BASELINE = "cross_entropy"


def _named(name, **parameters):
    return lambda epochs: temper.loss(name, **parameters)


def _after_cross_entropy(name):
    """Cross-entropy that fades, over the first half of the epochs, into a loss that is made to go on from it."""

    def make(epochs):
        half = max(1, epochs // 2)
        loss = temper.weighted_sum({"first": (1.0, BASELINE), "then": (1.0, name)})
        for part, ends in (("first", (1.0, 0.0)), ("then", (0.0, 1.0))):
            line = temper.schedule("linear_lr", total_steps=half, start_factor=ends[0], end_factor=ends[1])
            loss = loss.scheduled(f"{part}.weight", line, by="epoch")
        return loss

    return make


# Beside the losses of the two areas with their defaults: others with the same end, and other settings.
FURTHER_NOISE = {
    "nce + mae": _named("active_passive_loss", passive="mae"),
    "nfl + rce": _named("active_passive_loss", active="nfl"),
    "nfl + mae": _named("active_passive_loss", active="nfl", passive="mae"),
    "ldr_kl_loss": _named("ldr_kl_loss"),
    "ldr_kl_loss, adaptive": _named("ldr_kl_loss", adaptive=True),
    "logit_clip, tau = 1": lambda epochs: temper.loss(BASELINE).through(temper.op("logit_clip", tau=1.0)),
    "cross_entropy, then dmi": _after_cross_entropy("dmi"),
    "cross_entropy, then peer_loss": _after_cross_entropy("peer_loss"),
}
# A class is rare below 5% here: with the default of 0.3%, made for a thousand classes, no digit is.
FURTHER_TAIL = {
    "equalization, lam = 0.05": _named("equalization", lam=0.05),
    "ldam, scale = 1": _named("ldam", scale=1.0),
    "class_balanced, beta = 0.99": _named("class_balanced", beta=0.99),
    "focal": _named("focal"),
    "cross_entropy, then influence_balanced": _after_cross_entropy("influence_balanced"),
}
# Losses of the two areas that take no part.
LEFT_OUT = {
    "nbpo": "ranks items for users by votes: digits have neither",
    "pu_multilabel_loss": "several labels a sample, of which some are missing and none is wrong",
    "pu_multilabel_loss_consistency": "a part of pu_multilabel_loss",
}


def candidates(area, further, known):
    """Label: what makes the loss. Losses of the area whose inputs are logits, targets and what is known of the data."""
    found = {BASELINE: _named(BASELINE)}
    for record in temper.catalog("loss", area):
        inputs = [entry for entry in record["inputs"] if not entry["optional"]]
        names = {entry["name"] for entry in inputs}
        if inputs[0]["name"] == "logits" and "targets" in names and names <= {"logits", "targets", *known}:
            targets = next(entry for entry in inputs if entry["name"] == "targets")
            # Several labels a sample are another problem, but for one-hot targets in the long tail.
            if "class_counts" in known or any(form["dtype"] == "int" for form in targets["forms"]):
                found[record["name"]] = _named(record["name"])
    return {**found, **further}


def train(loss, x, y, known, epochs, seed, tests=None):
    """The model and the history. `known`: what a loss may ask for beside logits and targets."""
    inputs = {entry["name"]: entry for entry in loss.record["inputs"]}
    more = {name: value for name, value in known.items() if name in inputs}
    # Targets as the loss takes them.
    if all(form["dtype"] != "int" for form in inputs["targets"]["forms"]):
        y = np.eye(digits.CLASSES, dtype=np.float32)[y]
    model = temper.Model([{"dense": 128}, "relu", {"dense": digits.CLASSES}], input=(64,), seed=seed)
    trainer = temper.Trainer(
        model, loss=loss, optimizer=temper.optimizer("adam", learning_rate=0.003), batch_size=128, seed=seed, threads=1
    )
    tests = {name: (*samples, more) for name, samples in (tests or {}).items()}
    return model, trainer.fit(x, y, epochs=epochs, tests=tests, **more)


def noise_labels():
    return [*candidates("noisy-labels", FURTHER_NOISE, {"transition": 0}), *more_inputs.NOISE]


def tail_labels():
    further = [label for labels in more_inputs.TAIL for label in labels]
    return [*candidates("imbalance", FURTHER_TAIL, {"class_counts": 0, "class_priors": 0}), *further]


def _right(scores, y):
    return scores.argmax(axis=1) == y


def noise(path, epochs, seed, only):
    """Rows of (setting, label, measure, value) for one seed."""
    (x, y), test = digits.load(path)
    for setting, transition in NOISE.items():
        noisy = digits.with_noise(y, transition, np.random.default_rng([seed, list(NOISE).index(setting)]))
        known = {"transition": transition.astype(np.float32)}
        for label, make in candidates("noisy-labels", FURTHER_NOISE, known).items():
            if only and label not in only:
                continue
            history = train(make(epochs), x, noisy, known, epochs, seed, {"test": test})[1]
            yield setting, label, "final", history["test_accuracy"][-1]
            yield setting, label, "best", history["test_accuracy"].max()
        for label, scores in more_inputs.NOISE.items():
            if not only or label in only:
                accuracies = [_right(found, test[1]).mean() for found in scores(x, noisy, epochs, seed, test[0])]
                yield setting, label, "final", accuracies[-1]
                yield setting, label, "best", max(accuracies)


def tail(path, epochs, seed, only):
    (x, y), (test_x, test_y) = digits.load(path)
    x, y, classes = digits.with_tail(x, y, 50, np.random.default_rng([seed, 50]))
    counts = np.bincount(y, minlength=digits.CLASSES).astype(np.float32)
    known = {"class_counts": counts, "class_priors": counts / counts.sum()}
    rows = {}
    for label, make in candidates("imbalance", FURTHER_TAIL, known).items():
        if not only or label in only:
            rows[label] = train(make(epochs), x, y, known, epochs, seed)[0].predict(test_x)
    for labels, scores in more_inputs.TAIL.items():
        if not only or set(labels) & set(only):
            rows.update(zip(labels, scores(x, y, known, epochs, seed, test_x)))
    for label, scores in rows.items():
        right = _right(scores, test_y)
        yield TAIL, label, "overall", right.mean()
        yield TAIL, label, "rarest 3", right[np.isin(test_y, classes[-3:])].mean()


def run(options):
    start = time.perf_counter()
    path, folder = pathlib.Path(options.data or digits.find()), pathlib.Path(options.output)
    seeds, epochs = (2, 10) if options.quick else (options.seeds, options.epochs)
    if epochs < 1:
        sys.exit(f"At least one epoch is needed; {epochs} came.")
    unknown = set(options.only or ()) - {*noise_labels(), *tail_labels()}
    if unknown:
        sys.exit(f"The study has no loss {', '.join(sorted(unknown))}.")
    only = options.only and {BASELINE, *options.only}
    results = Results(BASELINE, "loss")
    for seed in range(1, seeds + 1):
        for part in (noise, tail):
            for setting, label, measure, value in part(path, epochs, seed, only):
                results.rows.append((setting, measure, label, seed, float(value)))
                if sys.stderr.isatty():
                    print(f"\r\033[Kseed {seed}: {setting}, {label}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "losses.csv")
    settings = [setting for setting in (*NOISE, TAIL) if results.labels(setting)]
    picture.write(folder / "losses.svg", list(results.panels(settings)), BASELINE)
    print(f"Accuracy in percent, {seeds} seeds of {epochs} epochs, ± half a 95% interval; + and -: above and below")
    print("cross-entropy at 95%, seed by seed. forward_ and backward_correction know the true share of wrong labels.")
    print("\n".join(results.table(list(NOISE)) + results.table([TAIL])))
    if not only:
        print("\nNot here:")
        print("\n".join(f"  {name}: {reason}." for name, reason in LEFT_OUT.items()))
    print(f"\n{folder / 'losses.csv'} and {folder / 'losses.svg'}; {time.perf_counter() - start:.0f} seconds")
