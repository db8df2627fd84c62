"""Do training methods learn from wrong labels? Small data sets, one small network, one budget.

Labels become any other class (symmetric), the next one (pairs), or one that depends on the sample (instance); of two
classes 60% wrong labels are the classes exchanged, from which nobody can learn the right ones. Of diabetes, a
regression, a share of the numbers is moved by 3 to 10 times their spread; there the table has 100 R² in place of
percent. Accuracy is on a clean test set after the last epoch, and at the best one: the best is chosen by the test set
itself, so that it shows what was reached on the way and not what anyone could have kept. Seconds of training are
relative to plain training.

Methods have their default parameters but for lengths of warm-ups and stages, which are shares of the epochs; none is
tuned on these data. Those that drop a share of the samples know the true share of wrong labels. Those marked with * see
50 samples, of the training set, whose labels are known to be right. erase takes the five nearest neighbours of each
sample for its edges. "automatic" is temper.RobustClassifier (or RobustRegressor) with its defaults: it knows nothing
but the data, and its best is its last. "cleanlab" is its CleanLearning around the same network, where the package is
installed. Not here are methods that need more than labels: alim (sets of candidates), tram_privileged (who labelled),
bag_of_multilabel_descriptors (several labels), reward_model_data_filter (rankings), pairwise_match_then_community
(altered copies).

Passes are what a method needs by its definition, in samples through a network forward + backward for each sample of a
step, in most of the epochs: plain training is 1+1. "counted" is what its runs really multiplied, in matrix products and
to solve with matrices, as a trainer's history counts it, in what plain training does on the same data: passes, layers and
fits of its own, products of samples and tests. Seconds beyond that are a method's work beside multiplications.

Wrong labels are looked for in the training set too: the area under precision and recall of the scores of automatic; of
confident_learning, cleanlab and tabasco on the same probabilities, of plain networks that did not see the samples (4
folds); and of detectors that watch plain training on all samples through the first fifth of the epochs, tracin_influence
by the last layer's gradients at four of its epochs.

Each seed draws its own labels and network; intervals are of Student's t over seeds, at 95%. A method is marked + or -
where its difference from plain training, seed by seed, is above or below 0 at 95%.
"""

import pathlib
import sys
import time

import numpy as np

import temper

from . import picture, runs, sets
from .results import Results

NOISE = {
    "clean": ("symmetric", 0.0),
    "symmetric 20%": ("symmetric", 0.2),
    "symmetric 40%": ("symmetric", 0.4),
    "symmetric 60%": ("symmetric", 0.6),
    "pairs 40%": ("pairs", 0.4),
    "instance 40%": ("instance", 0.4),
}
OUTLIERS = {"clean": 0.0, "outliers 10%": 0.1, "outliers 20%": 0.2}
BASELINE, AUTOMATIC, FOREIGN = "plain", "automatic", "cleanlab"
DETECTION = "detection"
TRUSTED = 50
# Square images, which can be turned.
PICTURES = ("digits",)


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


def _half(epochs):
    return max(epochs // 2, 1)


# What makes the procedure of a share of wrong labels and the epochs; and its passes, forward and backward.
PROCEDURES = {
    BASELINE: (lambda rate, epochs: None, "1+1"),
    "small_loss": (_by_share("small_loss"), "1+1"),
    "adaptive_k": (_after("adaptive_k", 0.05), "1+1"),
    "mentor_weights": (
        lambda rate, epochs: temper.procedure("mentor_weights", percentile=1 - rate, warmup_epochs=_tenth(epochs)),
        "1+1",
    ),
    "late_stopping": (
        lambda rate, epochs: temper.procedure(
            "late_stopping", warmup_epochs=1, max_epochs=max(epochs // 20, 1), keep_rate=max(1 - rate, 0.01) ** (1 / 12)
        ),
        "2+1",  # all samples after each epoch
    ),
    "confidence_filter_and_rectify": (
        lambda rate, epochs: temper.procedure("confidence_filter_and_rectify", folds=4, fold_epochs=_tenth(epochs)),
        "1+1",
    ),
    "sop": (lambda rate, epochs: temper.procedure("sop"), "1+1"),
    "estimated_transition": (_after("estimated_transition", 0.1), "1+1"),
    "estimated_transition (anchor)": (_after("estimated_transition", 0.1, estimator="anchor"), "1+1"),
    "volume_minimization": (lambda rate, epochs: temper.procedure("volume_minimization"), "1+1"),
    "co_teaching": (_by_share("co_teaching"), "2+2"),
    "co_teaching_plus": (_by_share("co_teaching_plus", warmup_epochs=_tenth), "2+2"),
    "jocor": (_by_share("jocor"), "2+2"),
    "decoupling": (_after("decoupling", 0.05), "2+2"),
    "nested_co_teaching": (
        lambda rate, epochs: temper.procedure(
            "nested_co_teaching", forget_rate=rate, stage1_epochs=_half(epochs), s=runs.HIDDEN
        ),
        "2+2",
    ),
    "elr_plus": (lambda rate, epochs: temper.procedure("elr_plus"), "4+2"),  # what two averages say
    "divide_mix": (
        lambda rate, epochs: temper.procedure("divide_mix", warmup_epochs=_tenth(epochs), ramp=_tenth(epochs)),
        "6+2",  # guesses of two networks, and all samples in both after each epoch
    ),
    "linear_separation_alternating": (
        lambda rate, epochs: temper.procedure("linear_separation_alternating", warmup_epochs=_tenth(epochs)),
        "4+2",  # two views; after each epoch all samples, and those in doubt, some four in ten, twice
    ),
    "rotation_consistency_decoupling": (
        lambda rate, epochs: temper.procedure("rotation_consistency_decoupling", ramp=max(3 * epochs // 10, 1)),
        "6+5",  # four turns and a noisy view; what the average says
    ),
    "rcal_representation_calibration": (
        lambda rate, epochs: temper.procedure(
            "rcal_representation_calibration", contrastive_epochs=_half(epochs), head_epochs=_tenth(epochs),
            contamination=rate,
        ),
        "2+2",  # two views, then mixed and plain samples
    ),
    "erase": (lambda rate, epochs: temper.procedure("erase", representation_epochs=_half(epochs)), "1+1"),
    "storm_meta_loss_rescaling": (
        lambda rate, epochs: temper.procedure("storm_meta_loss_rescaling", G=1),
        "3+2",  # a tried step, other samples at its end, and the slope of that by each loss
    ),
    "learning_to_reweight *": (lambda rate, epochs: temper.procedure("learning_to_reweight"), "3+3"),
    "meta_weight_net *": (lambda rate, epochs: temper.procedure("meta_weight_net"), "3+3"),
    "enhanced_meta_label_correction *": (
        lambda rate, epochs: temper.procedure("enhanced_meta_label_correction"),
        "4+4",  # student, teacher, both on trusted samples; the student's slope along a direction
    ),
}
LOSSES = ["early_learning_regularization", "generalized_cross_entropy"]
REGRESSION = {BASELINE: "mse", "huber": "huber", "mae": "mae", "tukey_biweight": "tukey_biweight"}
METHODS = [BASELINE, AUTOMATIC, FOREIGN, *list(PROCEDURES)[1:], *LOSSES, *list(REGRESSION)[1:]]


def noises(name):
    """The kinds of noise of a data set."""
    return list(OUTLIERS if name in sets.REGRESSION else NOISE)


def methods(name, wanted):
    """Those of `wanted` that have a meaning for a data set."""
    own = [*REGRESSION, AUTOMATIC, FOREIGN] if name in sets.REGRESSION else [*PROCEDURES, *LOSSES, AUTOMATIC, FOREIGN]
    left_out = [] if runs.available(FOREIGN) else [FOREIGN]
    if name not in PICTURES:
        left_out.append("rotation_consistency_decoupling")
    return [label for label in wanted if label in own and label not in left_out]


def train(name, noise, label, seed, epochs):
    """{measure: value} on the test set, seconds, and multiplications where they are counted, else NaN."""
    (x, y), test = sets.load(name)
    rng = np.random.default_rng([seed, noises(name).index(noise)])
    if name in sets.REGRESSION:
        return _train_numbers(x, sets.with_outliers(y, OUTLIERS[noise], rng), test, label, seed, epochs)
    kind, rate = NOISE[noise]
    given = sets.noisy(y, kind, rate, x, rng)
    if label == DETECTION:
        return _detect(x, y, given, seed, epochs)
    if label in (AUTOMATIC, FOREIGN):
        method = (_automatic if label == AUTOMATIC else _cleanlab)(seed, epochs)
        start = time.perf_counter()
        found = method.fit(x, given)
        seconds, accuracy = time.perf_counter() - start, float(np.mean(found.predict(test[0]) == test[1]))
        measures = {"final": accuracy, "best": accuracy}
        if label == AUTOMATIC and rate:
            measures["found"] = runs.average_precision(given != y, found.report_.suspicion)
        return measures, seconds, np.nan
    inputs = {}
    if label.endswith("*"):
        chosen = rng.permutation(len(y))[:TRUSTED]
        inputs = {"trusted_x": x[chosen], "trusted_y": y[chosen]}
    if label == "erase":
        inputs = {"edges": _neighbours(x, 5)}
    loss, procedure = (label, None) if label in LOSSES else ("cross_entropy", PROCEDURES[label][0](rate, epochs))
    trainer = runs.trainer(x.shape[1], int(y.max()) + 1, seed, loss, procedure)
    history = trainer.fit(x, given, epochs=epochs, tests={"test": test}, **inputs)
    accuracy = history["test_accuracy"]
    return {"final": float(accuracy[-1]), "best": float(accuracy.max())}, *_cost(history)


def _cost(history):
    """Seconds and multiplications of a run."""
    return float(history["seconds"].sum()), float(history["multiplications"].sum())


def _neighbours(x, count):
    """Pairs of each sample and its nearest others."""
    apart = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1, kind="stable")[:, :count]
    return np.stack([np.repeat(np.arange(len(x)), count), near.ravel()], axis=1).astype(np.int32)


def _automatic(seed, epochs):
    return temper.RobustClassifier(random_state=seed, threads=1)


def _cleanlab(seed, epochs):
    from cleanlab.classification import CleanLearning

    return CleanLearning(runs.Plain(epochs, seed), seed=seed, cv_n_folds=4, find_label_issues_kwargs={"n_jobs": 1})


def _automatic_regressor(seed):
    return temper.RobustRegressor(random_state=seed, threads=1)


def _cleanlab_regressor(seed, epochs):
    from cleanlab.regression.learn import CleanLearning

    return CleanLearning(runs.PlainRegressor(epochs, seed), cv_n_folds=4, seed=seed)


def _detect(x, y, given, seed, epochs):
    """Areas of scores on probabilities of networks that did not see the samples."""
    probabilities = np.zeros((len(y), int(y.max()) + 1))
    folds = np.empty(len(y), int)
    order = np.random.default_rng(seed).permutation(len(y))
    folds[order[np.argsort(given[order], kind="stable")]] = np.arange(len(y)) % 4
    for fold in range(4):
        plain = runs.Plain(epochs, seed).fit(x[folds != fold], given[folds != fold])
        probabilities[np.ix_(folds == fold, plain.classes_)] = plain.predict_proba(x[folds == fold])
    detector = temper.detector("confident_learning")
    scores = {"confident_learning": detector.fit(given, probabilities).score(given, probabilities)}
    course, hidden = _course(x, given, seed, max(epochs // 5, 1))
    for name in ("aum", "data_maps", "forget_events"):
        scores[name] = temper.detector(name).score(course, given)
    shares = np.exp(course - course.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    losses = -np.log(np.maximum(shares[-1, np.arange(len(y)), given], 1e-12))
    scores["loss_mixture"] = temper.detector("loss_mixture").fit(losses).score(losses)
    scores["tabasco"] = temper.detector("tabasco").score(given, probabilities, hidden[-1])
    # Of the last layer's weights, at four checkpoints.
    ends = np.unique(np.linspace(0, len(course) - 1, 4).astype(int))
    slopes = shares[ends] - np.eye(shares.shape[2])[given]
    gradients = slopes[..., None] * hidden[ends][:, :, None]
    scores["tracin_influence"] = temper.detector("tracin_influence").score(gradients.reshape(len(ends), len(y), -1))
    areas = {name: runs.average_precision(given != y, values) for name, values in scores.items()}
    if runs.available(FOREIGN):
        from cleanlab.rank import get_label_quality_scores

        areas[FOREIGN] = runs.average_precision(given != y, -get_label_quality_scores(given, probabilities))
    return areas, 0.0, np.nan


def _course(x, given, seed, epochs):
    """Logits (E, N, C) and hidden units (E, N, H) after each epoch of plain training on all samples."""
    trainer = runs.trainer(x.shape[1], int(given.max()) + 1, seed)
    course, hidden = [], []
    for end in range(1, epochs + 1):
        trainer.fit(x, given, epochs=end)
        course.append(trainer.model.predict(x).astype(np.float64))
        values = trainer.model.parameters()
        hidden.append(np.maximum(x @ values["0.weight"].T + values["0.bias"].ravel(), 0).astype(np.float64))
    return np.array(course), np.array(hidden)


def _train_numbers(x, given, test, label, seed, epochs):
    """As `train`, of a regression: R² on the test set."""

    def r2(predicted):
        return float(1 - np.mean((predicted - test[1]) ** 2) / np.var(test[1]))

    if label in (AUTOMATIC, FOREIGN):
        method = _automatic_regressor(seed) if label == AUTOMATIC else _cleanlab_regressor(seed, epochs)
        start = time.perf_counter()
        found = method.fit(x, given)
        value = r2(np.asarray(found.predict(test[0])))
        return {"final": value, "best": value}, time.perf_counter() - start, np.nan
    centre = np.median(given)
    scale = 1.4826 * np.median(np.abs(given - centre))
    trainer = runs.trainer(x.shape[1], 1, seed, REGRESSION[label])
    trained = ((given - centre) / scale).astype(np.float32)
    values = []
    for end in sorted({max(epochs * part // 20, 1) for part in range(1, 21)}):  # what is asked for is not the loss
        history = trainer.fit(x, trained, epochs=end)
        values.append(r2(trainer.model.predict(test[0])[:, 0] * scale + centre))
    return {"final": values[-1], "best": max(values)}, *_cost(history)


def run(options):
    start = time.perf_counter()
    names = runs.sets_of(options, sets.available(), "digits")
    seeds, epochs = (2, 10) if options.quick else (options.seeds, options.epochs)
    if epochs < 1:
        sys.exit(f"At least one epoch is needed; {epochs} came.")
    wanted = runs.chosen(METHODS, options, {BASELINE})
    kinds = ["clean", "symmetric 40%"] if options.quick else None
    tasks = []
    for seed in range(1, seeds + 1):
        for name in names:
            for noise in kinds or noises(name):
                labels = methods(name, wanted)
                if {AUTOMATIC, FOREIGN} & set(labels) and name not in sets.REGRESSION and NOISE[noise][1]:
                    labels = [*labels, DETECTION]
                tasks += [(name, noise, label, seed, epochs) for label in labels]
    results, found = Results(BASELINE, "method"), Results(AUTOMATIC, "method")
    costs = {}
    for (name, noise, label, seed, _), (measures, *cost) in zip(tasks, runs.in_parallel(train, tasks, options.jobs)):
        setting = f"{name}, {noise}"
        if label == DETECTION:
            found.rows += [(setting, "found", method, seed, value) for method, value in measures.items()]
            continue
        costs.setdefault(label, {})[setting, seed] = cost
        for measure, value in measures.items():
            (found if measure == "found" else results).rows.append((setting, measure, label, seed, value))
    _report(options, names, seeds, epochs, kinds, results, found, costs)
    print(f"{time.perf_counter() - start:.0f} seconds")


def sentences(results, names, settings):
    """Where the automatic mode is not what it ought to be: never more than 1 point below plain training on clean data,
    and within 2 points of the best single method under noise. Those that see right labels are no rivals."""
    for name in names:
        labels = results.labels(settings[name][0])
        if AUTOMATIC not in labels:
            continue
        rivals = [label for label in labels if label not in (AUTOMATIC, FOREIGN) and "*" not in label]
        misses = []
        for setting in settings[name]:
            noise = setting.removeprefix(f"{name}, ")
            allowed, among = (1, [BASELINE]) if noise == "clean" else (2, rivals)
            points, best = results.behind(AUTOMATIC, setting, among)
            if points > allowed:
                misses.append(f"{noise} ({points:.1f} behind {best})")
        promise = "within 1 point of plain training on clean data and 2 of the best single method under noise"
        yield f"{name}: automatic is {promise}" + (f", but for {'; '.join(misses)}." if misses else ".")


def _passes(label):
    if label in PROCEDURES:
        return PROCEDURES[label][1]
    return "" if label == AUTOMATIC else "4+4" if label == FOREIGN else "1+1"


def relative(costs, settings):
    """label -> (seconds, multiplications) of its runs in these settings, in plain training's on the same data: medians."""

    def text(label):
        own = [np.divide(cost, costs[BASELINE][key]) for key, cost in costs[label].items() if key[0] in settings]
        return np.median(own, axis=0)

    return text


def _report(options, names, seeds, epochs, kinds, results, found, costs):
    folder = pathlib.Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: [f"{name}, {noise}" for noise in kinds or noises(name)] for name in names}
    everything = [setting for name in names for setting in settings[name]]
    results.write(folder / "noisy-labels.csv")
    picture.write(folder / "noisy-labels.svg", list(results.panels(everything)), BASELINE)
    print(f"After the last of {epochs} epochs, in percent, {seeds} seeds, ± half a 95% interval; in brackets at the best")
    print("one. + and -: above and below plain training at 95%, seed by seed. * sees 50 right labels. Passes: in samples")
    print("through a network, forward + backward; counted: multiplications, seconds: of training, both in plain training's.")
    for name in names:
        heads = [setting.removeprefix(f"{name}, ") for setting in settings[name]]
        of = relative(costs, settings[name])
        columns = {
            "passes": _passes,
            "counted": lambda label, of=of: f"{of(label)[1]:.1f}" if of(label)[1] >= 0 else "",
            "seconds": lambda label, of=of: f"{of(label)[0]:.1f}",
        }
        print(f"\n{name}\n")
        print("\n".join(results.summary(settings[name], heads, columns)))
    print()
    for sentence in sentences(results, names, settings):
        print(sentence)
    if found.rows:
        found.write(folder / "wrong-labels-found.csv")
        print("\nWrong labels found, area under precision and recall in percent; + and -: above and below automatic")
        for name in names:
            noisy = [setting for setting in settings[name] if found.labels(setting)]
            if noisy:
                heads = [setting.removeprefix(f"{name}, ") for setting in noisy]
                print(f"\n{name}\n\n" + "\n".join(found.summary(noisy, heads, {})))
    print(f"\n{folder / 'noisy-labels.csv'} and .svg")
