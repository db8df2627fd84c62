"""Do training procedures learn from wrong labels? Small data sets, one small network, one budget.

Labels become any other class (symmetric), the next one (pairs), or one that depends on the sample (instance). Accuracy
on a clean test set after the last epoch, and at the best one: the best is chosen by the test set itself, so that it
shows what was reached on the way and not what anyone could have kept. Seconds of training are relative to plain training.

Procedures have their default parameters but for lengths of warm-ups and ramps, which are shares of the epochs; none is
tuned on these data. Those that drop a share of the samples know the true share of wrong labels. Those marked with * see
50 samples, of the training set, whose labels are known to be right. "automatic" is temper.RobustClassifier with its
defaults: it knows nothing but the data, and its best is its last.

Each seed draws its own labels and network; intervals are of Student's t over seeds, at 95%. A procedure is marked + or
- where its difference from plain training, seed by seed, is above or below 0 at 95%.
"""

import pathlib
import sys
import time

import numpy as np

import temper

from . import picture, sets
from .results import Results

NOISE = {
    "clean": ("symmetric", 0.0),
    "symmetric 20%": ("symmetric", 0.2),
    "symmetric 40%": ("symmetric", 0.4),
    "symmetric 60%": ("symmetric", 0.6),
    "pairs 40%": ("pairs", 0.4),
    "instance 40%": ("instance", 0.4),
}
BASELINE = "plain"
AUTOMATIC = "automatic"


def _by_share(name, **parameters):
    """A procedure that leaves out the share of wrong labels, from a tenth of the epochs on."""
    return lambda rate, epochs: temper.procedure(
        name, forget_rate=rate, ramp=max(epochs // 10, 1), **{key: make(epochs) for key, make in parameters.items()}
    )


def _after(name, share, **parameters):
    """A procedure with a warm-up of a share of the epochs."""
    return lambda rate, epochs: temper.procedure(name, warmup_epochs=max(int(share * epochs), 1), **parameters)


def _tenth(epochs):
    return max(epochs // 10, 1)


METHODS = {
    BASELINE: lambda rate, epochs: None,
    AUTOMATIC: None,
    "small_loss": _by_share("small_loss"),
    "co_teaching": _by_share("co_teaching"),
    "co_teaching_plus": _by_share("co_teaching_plus", warmup_epochs=_tenth),
    "jocor": _by_share("jocor"),
    "decoupling": _after("decoupling", 0.05),
    "adaptive_k": _after("adaptive_k", 0.05),
    "mentor_weights": lambda rate, epochs: temper.procedure(
        "mentor_weights", percentile=1 - rate, warmup_epochs=_tenth(epochs)
    ),
    "divide_mix": lambda rate, epochs: temper.procedure(
        "divide_mix", warmup_epochs=_tenth(epochs), ramp=_tenth(epochs)
    ),
    "elr_plus": lambda rate, epochs: temper.procedure("elr_plus"),
    "sop": lambda rate, epochs: temper.procedure("sop"),
    "estimated_transition": _after("estimated_transition", 0.1),
    "estimated_transition, anchor": _after("estimated_transition", 0.1, estimator="anchor"),
    "volume_minimization": lambda rate, epochs: temper.procedure("volume_minimization"),
    "late_stopping": lambda rate, epochs: temper.procedure(
        "late_stopping", warmup_epochs=1, max_epochs=max(epochs // 20, 1), keep_rate=max(1 - rate, 0.01) ** (1 / 12)
    ),
    "storm_meta_loss_rescaling": lambda rate, epochs: temper.procedure("storm_meta_loss_rescaling", G=1),
    "learning_to_reweight *": lambda rate, epochs: temper.procedure("learning_to_reweight"),
    "meta_weight_net *": lambda rate, epochs: temper.procedure("meta_weight_net"),
}
TRUSTED = 50


def train(name, label, noise, seed, epochs):
    """Accuracy on the test set after the last epoch and at the best, and seconds."""
    kind, rate = NOISE[noise]
    (x, y), test = sets.load(name)
    rng = np.random.default_rng([seed, list(NOISE).index(noise)])
    given = sets.noisy(y, kind, rate, x, rng)
    if label == AUTOMATIC:
        start = time.perf_counter()
        automatic = temper.RobustClassifier(random_state=seed).fit(x, given)
        accuracy = automatic.score(*test)
        return accuracy, accuracy, time.perf_counter() - start
    inputs = {}
    if label.endswith("*"):
        chosen = rng.permutation(len(y))[:TRUSTED]
        inputs = {"trusted_x": x[chosen], "trusted_y": y[chosen]}
    layers = [{"dense": 128}, "relu", {"dense": int(y.max()) + 1}]
    trainer = temper.Trainer(
        temper.Model(layers, input=(x.shape[1],), seed=seed),
        optimizer=temper.optimizer("adam", learning_rate=0.003),
        procedure=METHODS[label](rate, epochs),
        batch_size=64,
        seed=seed,
        threads=1,
    )
    history = trainer.fit(x, given, epochs=epochs, tests={"test": test}, **inputs)
    return history["test_accuracy"][-1], history["test_accuracy"].max(), history["seconds"].sum()


def run(options):
    start = time.perf_counter()
    names = ["digits"] if options.quick else options.sets or sets.available()
    noises = ["clean", "symmetric 40%"] if options.quick else list(NOISE)
    seeds, epochs = (2, 10) if options.quick else (options.seeds, options.epochs)
    if epochs < 1:
        sys.exit(f"At least one epoch is needed; {epochs} came.")
    unknown = {name for name in options.only or () if name not in METHODS}
    if unknown:
        sys.exit(f"The study has no procedure {', '.join(sorted(unknown))}.")
    labels = [label for label in METHODS if not options.only or label in {BASELINE, *options.only}]
    results, seconds = Results(BASELINE, "procedure"), {label: [] for label in labels}
    settings = [f"{name}, {noise}" for name in names for noise in noises]
    for seed in range(1, seeds + 1):
        for setting in settings:
            name, noise = setting.split(", ")
            for label in labels:
                final, best, time_taken = train(name, label, noise, seed, epochs)
                results.rows.append((setting, "final", label, seed, float(final)))
                results.rows.append((setting, "best", label, seed, float(best)))
                seconds[label].append(time_taken)
                if sys.stderr.isatty():
                    print(f"\r\033[Kseed {seed}: {setting}, {label}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    folder = pathlib.Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "noisy-labels.csv")
    picture.write(folder / "noisy-labels.svg", list(results.panels(settings)), BASELINE)
    print(f"Accuracy in percent, {seeds} seeds of {epochs} epochs, ± half a 95% interval; + and -: above and below")
    print("plain training at 95%, seed by seed. * sees 50 right labels.")
    for name in names:
        chosen = [setting for setting in settings if setting.startswith(name)]
        for pair in (chosen[at : at + 3] for at in range(0, len(chosen), 3)):
            print("\n".join(results.table(pair)))
    print("\nseconds of training, in those of plain training")
    for label in labels:
        print(f"{label:30}{np.median(np.divide(seconds[label], seconds[BASELINE])):6.2f}")
    print(f"\n{folder / 'noisy-labels.csv'} and .svg; {time.perf_counter() - start:.0f} seconds")
