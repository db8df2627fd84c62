"""Do methods for long tails help rare classes? Small data sets thinned to tails, one small network, one budget.

Classes, in an order that the seed draws, keep from all of their samples down to a tenth, a fiftieth or a hundredth, at
least one. What counts is the mean of the classes' accuracies on the test set, which has no tail: after the last epoch,
and at the best one, which is chosen by the test set itself; and that of the rarest classes, a third of them. Seconds of
training are relative to plain training.

Methods have their default parameters but for the epochs at which they change, which are shares of all. Samplers make
the training set that plain training then learns; those of imbalanced-learn come beside ours where the package is
installed. "automatic" is temper.RobustClassifier with its defaults; its best is its last.

Each seed draws its own tail and network; intervals are of Student's t over seeds, at 95%. A method is marked + or -
where its difference from plain training, seed by seed, is above or below 0 at 95%.
"""

import importlib
import pathlib
import sys
import time

import numpy as np

import temper

from . import digits, picture, runs, sets
from .results import Results

RATIOS = (10, 50, 100)
BASELINE, AUTOMATIC, FOREIGN = "plain", "automatic", "imblearn"
LOSSES = ["logit_adjusted", "balanced_softmax", "class_balanced", "ldam", "vector_scaling", "influence_balanced"]
PROCEDURES = {
    "class_balanced_sampling": lambda epochs: temper.procedure("class_balanced_sampling"),
    "progressively_balanced_sampling": lambda epochs: temper.procedure(
        "progressively_balanced_sampling", ramp=max(epochs, 2)
    ),
    "deferred_reweighting": lambda epochs: temper.procedure("deferred_reweighting", defer_epochs=int(0.8 * epochs)),
    "classifier_retraining": lambda epochs: temper.procedure(
        "classifier_retraining", representation_epochs=max(int(0.8 * epochs), 1)
    ),
    "tau_normalization": lambda epochs: temper.procedure("tau_normalization"),
    "bilateral_branch": lambda epochs: temper.procedure("bilateral_branch", epochs=epochs),
    "multi_encoder_backdoor_adjustment": lambda epochs: temper.procedure("multi_encoder_backdoor_adjustment", M=2),
    "rcal_representation_calibration": lambda epochs: temper.procedure(
        "rcal_representation_calibration", contrastive_epochs=max(epochs // 2, 1), head_epochs=max(epochs // 10, 1)
    ),
}
# They predict by the sum of their networks' outputs.
ENSEMBLES = ("bilateral_branch", "multi_encoder_backdoor_adjustment")
# Ours, and the class of imbalanced-learn that does the same.
SAMPLERS = {
    "random_oversampler": ("over_sampling", "RandomOverSampler"),
    "random_undersampler": ("under_sampling", "RandomUnderSampler"),
    "smote": ("over_sampling", "SMOTE"),
    "borderline_smote": ("over_sampling", "BorderlineSMOTE"),
    "adasyn": ("over_sampling", "ADASYN"),
    "tomek_links": ("under_sampling", "TomekLinks"),
    "edited_nearest_neighbours": ("under_sampling", "EditedNearestNeighbours"),
}
_THEIRS = {f"imbalanced-learn {name}": ours for ours, (_, name) in SAMPLERS.items()}
METHODS = [BASELINE, AUTOMATIC, *LOSSES, *PROCEDURES, *SAMPLERS, *_THEIRS]


def available_sets():
    return [name for name in sets.available() if name not in sets.REGRESSION]


def methods(wanted):
    return [label for label in wanted if label not in _THEIRS or runs.available(FOREIGN)]


def sampler(label):
    """What makes a training set of (x, y, seed); x and y themselves where it cannot."""
    if label in SAMPLERS:
        return lambda x, y, seed: temper.sampler(label).resample(x, y, seed=seed)[:2]
    folder, name = SAMPLERS[_THEIRS[label]]
    kind = getattr(importlib.import_module(f"imblearn.{folder}"), name)
    return lambda x, y, seed: _theirs(kind, x, y, seed)


def _theirs(kind, x, y, seed):
    options = {"random_state": seed} if "random_state" in kind().get_params() else {}
    if "k_neighbors" in kind().get_params():
        options["k_neighbors"] = max(min(5, np.bincount(y)[np.unique(y)].min() - 1), 1)
    try:
        return kind(**options).fit_resample(x, y)
    except (ValueError, RuntimeError):  # a class of one sample has no neighbours
        return x, y


def train(name, tail, label, seed, epochs):
    """{measure: value} on the test set, and seconds."""
    (x, y), (test_x, test_y) = sets.load(name)
    x, y, order = digits.with_tail(
        x, y, int(tail.removesuffix(":1").removeprefix("tail ")), np.random.default_rng(seed)
    )
    count = len(order)
    rare = order[-max(count // 3, 1) :]

    def measures(by_class):
        return {"final": by_class[-1].mean(), "best": by_class.mean(axis=1).max(), "rarest": by_class[-1, rare].mean()}

    make = sampler(label) if label in SAMPLERS or label in _THEIRS else None
    start = time.perf_counter()
    if label == AUTOMATIC:
        right = temper.RobustClassifier(random_state=seed, threads=1).fit(x, y).predict(test_x) == test_y
        by_class = digits.by_class(right, test_y)[None]
        return measures(by_class), time.perf_counter() - start
    if make is not None:
        x, y = make(x, y, seed)
    made = time.perf_counter() - start
    loss, inputs = temper.loss(label if label in LOSSES else "cross_entropy"), {}
    counts = np.maximum(np.bincount(y, minlength=count), 1).astype(np.float32)
    for entry in loss.record["inputs"]:
        if entry["name"] in ("class_counts", "class_priors"):
            inputs[entry["name"]] = counts if entry["name"] == "class_counts" else counts / counts.sum()
    procedure = PROCEDURES[label](epochs) if label in PROCEDURES else None
    trainer = runs.trainer(x.shape[1], count, seed, loss, procedure)
    if label in ENSEMBLES:
        by_class, seconds = _of_all_networks(trainer, x, y, epochs, test_x, test_y)
        return measures(by_class), seconds
    tests = {
        f"class {k}": (test_x[test_y == k], test_y[test_y == k], dict(inputs)) if inputs else
        (test_x[test_y == k], test_y[test_y == k])
        for k in range(count)
    }  # fmt: skip
    history = trainer.fit(x, y, epochs=epochs, tests=tests, **inputs)
    by_class = np.stack([history[f"class {k}_accuracy"] for k in range(count)], axis=1)
    return measures(by_class), made + history["seconds"].sum()


def _of_all_networks(trainer, x, y, epochs, test_x, test_y):
    """Accuracies of the classes, twenty times on the way, and seconds."""
    by_class = []
    for end in sorted({max(epochs * part // 20, 1) for part in range(1, 21)}):
        history = trainer.fit(x, y, epochs=end)
        right = sum(network.predict(test_x) for network in trainer.networks).argmax(axis=1) == test_y
        by_class.append(digits.by_class(right, test_y))
    return np.array(by_class), history["seconds"].sum()


def sentences(results, names, tails):
    """Where the automatic mode is not what it ought to be: never more than 1 point below plain training, nor 2 below the
    best single method."""
    for name in names:
        labels = results.labels(f"{name}, {tails[0]}")
        if AUTOMATIC not in labels:
            continue
        rivals = [label for label in labels if label != AUTOMATIC and label not in _THEIRS]
        misses = []
        for tail in tails:
            for allowed, among in ((1, [BASELINE]), (2, rivals)):
                points, best = results.behind(AUTOMATIC, f"{name}, {tail}", among)
                if points > allowed:
                    misses.append(f"{tail} ({points:.1f} behind {best})")
        promise = "within 1 point of plain training and 2 of the best single method on every tail"
        yield f"{name}: automatic is {promise}" + (f", but for {'; '.join(misses)}." if misses else ".")


def run(options):
    start = time.perf_counter()
    names = runs.sets_of(options, available_sets(), "digits")
    tails = [f"tail {ratio}:1" for ratio in ([50] if options.quick else RATIOS)]
    seeds, epochs = (2, 10) if options.quick else (options.seeds, options.epochs)
    if epochs < 1:
        sys.exit(f"At least one epoch is needed; {epochs} came.")
    labels = methods(runs.chosen(METHODS, options, {BASELINE}))
    settings = [f"{name}, {tail}" for name in names for tail in tails]
    tasks = [
        (*setting.split(", "), label, seed, epochs)
        for seed in range(1, seeds + 1) for setting in settings for label in labels
    ]  # fmt: skip
    results, all_seconds = Results(BASELINE, "method"), []
    for (name, tail, label, seed, _), (measures, seconds) in zip(tasks, runs.in_parallel(train, tasks, options.jobs)):
        all_seconds.append(seconds)
        results.rows += [(f"{name}, {tail}", measure, label, seed, float(v)) for measure, v in measures.items()]
    folder = pathlib.Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "imbalance.csv")
    picture.write(folder / "imbalance.svg", list(results.panels(settings)), BASELINE)
    print(f"Mean accuracy of the classes after the last of {epochs} epochs, in percent, {seeds} seeds, ± half a 95%")
    print("interval; in brackets at the best epoch, and of the rarest classes in the end. + and -: above and below plain")
    print("training at 95%, seed by seed. Seconds: of training, in those of plain training.")
    for name in names:
        of_set = [at for at, task in enumerate(tasks) if task[0] == name]

        def spent(label):
            own, base = ([all_seconds[at] for at in of_set if tasks[at][2] == which] for which in (label, BASELINE))
            return f"{np.median(np.divide(own, base)):.1f}"

        print(f"\n{name}\n")
        print("\n".join(results.summary([f"{name}, {tail}" for tail in tails], tails, {"seconds": spent})))
    print()
    for sentence in sentences(results, names, tails):
        print(sentence)
    print(f"\n{folder / 'imbalance.csv'} and .svg; {time.perf_counter() - start:.0f} seconds")
