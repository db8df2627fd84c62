"""Claims about noise, crowds and outliers: what each kind of noise costs, and what estimates, aggregates, detectors and
samplers bring, on digits."""

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment
from .data_behaviour import _mlp
from .layer_behaviour import accuracy, compared

# What makes (x, y) worse, with a seed.
_NOISE = {
    "symmetric_noise": lambda x, y, seed: (x, temper.generator("symmetric_noise", rate=0.4)(y, seed=seed)["y"]),
    "pair_noise": lambda x, y, seed: (x, temper.generator("pair_noise", rate=0.4)(y, seed=seed)["y"]),
    "asymmetric_noise": lambda x, y, seed: (x, temper.generator("asymmetric_noise")(y, _unequal(), seed=seed)["y"]),
    "instance_dependent_noise": lambda x, y, seed: (
        x, temper.generator("instance_dependent_noise", rate=0.4)(x, y, seed=seed)["y"]
    ),
    "open_set_noise": lambda x, y, seed: (temper.generator("open_set_noise", rate=0.6)(x, y, seed=seed)["x"], y),
    "feature_noise": lambda x, y, seed: (temper.generator("feature_noise", rate=0.8, scale=3)(x, seed=seed)["x"], y),
    "outliers": lambda x, y, seed: (temper.generator("outliers", rate=0.4)(x, seed=seed)["x"], y),
    "long_tail": lambda x, y, seed: [temper.generator("long_tail", rho=50)(x, y, seed=seed)[key] for key in "xy"],
}  # fmt: skip


def _unequal():
    """Of ten classes each second one is often the next one, the others seldom any."""
    return np.where(np.arange(10)[:, None] % 2 == 0, digits.pairs(0.45), digits.symmetric(0.1))


def _costs(seeds, epochs):
    scores = {"clean": [], **{name: [] for name in _NOISE}}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        scores["clean"].append(accuracy(_mlp(x, y, seed, epochs), *test))
        for name, make in _NOISE.items():
            worse_x, given = make(x, y, seed + 1)
            scores[name].append(accuracy(_mlp(worse_x, np.asarray(given, np.int32), seed, epochs), *test))
    return scores


def _matrices(seeds, epochs):
    """The sum of errors of the matrix of 40% symmetric noise, as a negative, by the logits of a short training."""
    scores = {"two steps": [], "anchors": []}
    (x, y), _ = digits.load(digits.find())
    true = digits.symmetric(0.4)
    for seed in range(seeds):
        given = digits.with_noise(y, true, np.random.default_rng(seed))
        logits = _mlp(x, given, seed, epochs).predict(x)
        for name, method in zip(scores, ("dual_t_transition", "anchor_point_transition")):
            inputs = {"targets": given} if method == "dual_t_transition" else {}
            found = temper.calibrator(method).fit(logits, **inputs).state["transition"]
            scores[name].append(-np.abs(found - true).sum())
    return scores


def _strange(seeds):
    """Areas, in percent, by which pictures whose pixels come each from another digit are told from digits; both are of
    the test, and no fit saw them."""
    names = ("nearest_neighbours", "local_outlier_factor", "k_means", "principal_components", "distance from the mean")
    scores = {name: [] for name in names}
    (x, _), (test_x, _) = digits.load(digits.find())
    for seed in range(seeds):
        mixed = temper.generator("open_set_noise", rate=1)(test_x, np.zeros(len(test_x), int), seed=seed + 1)["x"]
        both = np.concatenate([test_x, mixed])
        strange = np.arange(len(both)) >= len(test_x)
        for name, values in scores.items():
            if name == "distance from the mean":
                found = np.linalg.norm(both - x.mean(0), axis=1)
            elif name == "local_outlier_factor":
                found = temper.detector(name).score(np.concatenate([x, both]))[len(x) :]
            else:
                more = {"k": 40, "seed": seed + 1} if name == "k_means" else {}
                more |= {"components": 20} if name == "principal_components" else {}
                found = temper.detector(name, **more).fit(x).score(both)
            order = np.argsort(found, kind="stable")
            ranks = np.empty(len(both))
            ranks[order] = np.arange(1, len(both) + 1)
            count = strange.sum()
            values.append(100 * (ranks[strange].sum() - count * (count + 1) / 2) / (count * (~strange).sum()))
    return scores


def _crowds(seeds):
    """Right answers of models of workers, two of whom know and four of whom hardly do."""
    scores = {"dawid_skene": [], "glad": [], "mace": [], "majority_vote": []}
    (_, y), _ = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        votes = np.stack([digits.with_noise(y, digits.symmetric(1 - skill), rng)
                          for skill in (0.9, 0.85, 0.3, 0.3, 0.25, 0.25)], axis=1)  # fmt: skip
        for name, values in scores.items():
            values.append(100 * (temper.op(name)(votes=votes, num_classes=10).argmax(1) == y).mean())
    return scores


def _confused(seeds, epochs, workers=10):
    """Workers who take some digits for others that look alike: the mean log-likelihood of the test, in hundredths,
    after training on the two best answers and on those of the majority."""
    scores = {"two answers": [], "majority": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    alike = np.array([6, 7, 8, 8, 9, 3, 0, 1, 3, 4])
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sure = np.where(rng.random(len(y)) < 0.5, 0.95, 0.55)[:, None]
        votes = np.where(rng.random((len(y), workers)) < sure, y[:, None], alike[y][:, None])
        votes = np.where(rng.random(votes.shape) < 0.3, rng.integers(0, 10, votes.shape), votes)
        shares = temper.op("toptwo_crowdsourcing")(votes=votes, num_classes=10)
        most = np.eye(10)[temper.op("majority_vote")(votes=votes, num_classes=10).argmax(1)]
        for values, labels in zip(scores.values(), (shares, most)):
            z = _mlp(x, labels.astype(np.float32), seed, epochs).predict(test_x).astype(np.float64)
            z -= z.max(1, keepdims=True)
            values.append(100 * (z[np.arange(len(z)), test_y] - np.log(np.exp(z).sum(1))).mean())
    return scores


def _spread(seeds):
    """Right labels of digits of which three of each class are labelled: over the graph, and by the nearest labelled."""
    scores = {"graph": [], "nearest": []}
    (x, y), _ = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        known = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:3] for k in range(10)])
        labels = np.full(len(y), -1)
        labels[known] = y[known]
        asked = labels < 0
        shares = temper.op("label_propagation")(x, labels, num_classes=10)
        near = known[((x[:, None] - x[known]) ** 2).sum(2).argmin(1)]
        for name, told in (("graph", shares.argmax(1)), ("nearest", y[near])):
            scores[name].append(100 * (told == y)[asked].mean())
    return scores


def _balanced(network, x, y):
    right = network.predict(x).argmax(1) == y
    return 100 * digits.by_class(right, y).mean()


def _samplers(seeds, epochs):
    """Mean accuracy of the classes of digits with a tail of 50:1, a third of the pixels in three steps."""
    scores = {"svm_smote": [], "smote_nc": [], "untouched": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    nominal = np.arange(64) % 3 == 0

    def stepped(values):
        return np.where(nominal, np.round(2 * values) / 2, values).astype(np.float32)

    for seed in range(seeds):
        px, labels, _ = digits.with_tail(stepped(x), y, 50, np.random.default_rng(seed))
        for name, values in scores.items():
            more = {"nominal": nominal} if name == "smote_nc" else {}
            data = px, labels
            if name != "untouched":
                data = temper.sampler(name).resample(px, labels, seed=seed + 1, **more)
            values.append(_balanced(_mlp(*data, seed, epochs), stepped(test_x), test_y))
    return scores


def _drawn(seeds, epochs):
    """Mean accuracy of the classes of digits with a tail of 50:1: as many are drawn anew for each epoch."""
    scores = {"class_balanced_sampler": [], "progressively_balanced_sampler": [], "all alike": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        px, labels, _ = digits.with_tail(x, y, 50, np.random.default_rng(seed))
        for name, values in scores.items():
            rows = []
            for epoch in range(epochs):
                more = {"progress": epoch / max(epochs - 1, 1)} if name.startswith("progressively") else {}
                rows.append(np.arange(len(labels)) if name == "all alike" else temper.sampler(name).indices(
                    labels, seed=1000 * seed + epoch + 1, **more))  # fmt: skip
            network = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(64,), seed=seed)
            optimizer = temper.optimizer("adam", learning_rate=0.003)
            for epoch, chosen in enumerate(rows):
                order = np.random.default_rng([seed, epoch]).permutation(chosen)
                trainer = temper.Trainer(network, optimizer=optimizer, batch_size=64, seed=seed, threads=1)
                trainer.fit(px[order], labels[order], epochs=1)
            values.append(_balanced(network, test_x, test_y))
    return scores


@experiment(
    "noise_behaviour_study", area="noisy-labels",
    summary="What kinds of noise cost, and what estimates, crowds, detectors and samplers bring, on small data.",
    reference=Reference("", 2024, "Claims of the papers behind generators, calibrators, operators, detectors and "
                        "samplers for noisy labels and imbalance"),
    seeds="Runs of each; of SMOTE three times, of crowds that confuse twice as many.",
    epochs="Of each run; of crowds that confuse four times as many.",
)  # fmt: skip
def noise_behaviour_study(seeds: int = 5, epochs: int = 60):
    def above(scores, better, *worse, unit="%", reach=-np.inf):
        """One finding's words and verdict: the one is above each of the others."""
        found = [compared(scores, better, other, unit) for other in worse]
        words = [found[0][0], *(text.rpartition("; ")[2] for text, _ in found[1:])]
        return "; ".join(words), bool(all(holds for _, holds in found) and np.mean(scores[better]) > reach)

    yield Finding("Each kind of noise costs accuracy.", *above(_costs(seeds, epochs), "clean", *_NOISE))
    scores = _matrices(seeds, max(epochs // 4, 1))
    yield Finding("A matrix in two steps errs less than one of anchors.",
                  *above(scores, "two steps", "anchors", unit="summed"))  # fmt: skip
    scores = _strange(seeds)
    for name in list(scores)[:-1]:
        yield Finding(f"{name} tells digits from pictures mixed of many (area above 90%), better than the distance from "
                      "the mean.", *above(scores, name, "distance from the mean", reach=90))  # fmt: skip
    scores = _crowds(seeds)
    for name in list(scores)[:-1]:
        yield Finding(f"Where few workers know, {name} is right more often than the majority.",
                      *above(scores, name, "majority_vote"))  # fmt: skip
    yield Finding("Two answers of a crowd that confuses what looks alike surprise less than those of the majority.",
                  *above(_confused(2 * seeds, 4 * epochs), "two answers", "majority", unit="cnat"))  # fmt: skip
    yield Finding("Three labels of each class spread over the graph are right more often than the nearest of them.",
                  *above(_spread(seeds), "graph", "nearest"))  # fmt: skip
    scores = _samplers(3 * seeds, epochs)
    for name in ("svm_smote", "smote_nc"):
        yield Finding(f"With {name} rare classes are known better.", *above(scores, name, "untouched"))
    scores = _drawn(seeds, max(epochs // 2, 1))
    for name in list(scores)[:-1]:
        yield Finding(f"Epochs drawn by {name} know rare classes better.", *above(scores, name, "all alike"))
