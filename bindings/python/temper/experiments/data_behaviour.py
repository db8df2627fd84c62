"""Claims about generators, calibrators, detectors and samplers: what their noise does, what their estimates bring."""

import re

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, accuracy, compared, model


def _linear(x, y, seed, epochs, decay, batch=64):
    """Logistic regression of digits; `decay` is twice the weight of the squared length."""
    network = model([{"dense": 10}], (x.shape[1],), seed)
    optimizer = CONTEXT.optimizer("adam", learning_rate=0.01, weight_decay=decay)
    trainer = temper.Trainer(network, optimizer=optimizer, batch_size=batch, seed=seed)
    trainer.fit(np.asarray(x, np.float32), y, epochs=epochs)
    return network


def _mlp(x, y, seed, epochs, classes=10, loss="cross_entropy", **inputs):
    network = model([{"dense": 64}, "relu", {"dense": classes}], (x.shape[1],), seed)
    optimizer = CONTEXT.optimizer("adam", learning_rate=0.003)
    trainer = temper.Trainer(network, loss=loss, optimizer=optimizer, batch_size=64, seed=seed)
    trainer.fit(np.asarray(x, np.float32), y, epochs=epochs, **inputs)
    return network


def _softmax(z):
    e = np.exp(np.asarray(z, np.float64) - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _diluted(seeds):
    """Each digit kept right once and repeated 1, 10 and 50 times with labels drawn at random."""
    scores = {"1 wrong": [], "10 wrong": [], "50 wrong": []}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        for (name, values), alpha in zip(scores.items(), (1, 10, 50)):
            made = temper.generator("diluted_label_noise", alpha=alpha)(x, y, seed=seed + 1)
            given = made["y"].astype(np.int32)
            epochs = max(200 // -(-len(given) // 4096), 1)
            network = _linear(made["x"], given, seed, epochs, decay=0.006, batch=4096)
            values.append(accuracy(network, *test))
    return scores


def _annotated(seeds, epochs):
    """Labels of a weak annotator, others with the same matrix, and the right ones of the annotator's alone."""
    scores = {"annotators": [], "their matrix": [], "without the wrong": []}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        benchmark = temper.generator("real_label_noise_benchmark", annotator_fraction=0.02, n_annotators=1)
        made = benchmark(x, y, seed=seed + 1)
        right = made["oracle"]
        for values, (px, labels) in zip(
            scores.values(), ((x, made["y"]), (x, made["simulated_y"]), (x[right], y[right]))
        ):
            values.append(accuracy(_mlp(px, labels.astype(np.int32), seed, epochs), *test))
    return scores


def _area(scores, y):
    """Under the receiver's curve, in percent."""
    ranks = np.empty(len(y))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(y) + 1)
    ones = (y == 1).sum()
    return 100 * (ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones))


def _slabs(seeds, epochs):
    """What is left when the one simple feature, or all the others, are those of other samples."""
    scores = {"whole": [], "without the simple one": [], "without the others": []}
    for seed in range(seeds):
        made = temper.generator("simplicity_bias_slabs", n=6000, d=20, form="lms", k=5)(seed=seed + 1)
        x, y = made["x"].astype(np.float32), (made["y"] > 0).astype(np.int32)
        network = _mlp(x[:5000], y[:5000], seed, epochs, classes=2)
        rng = np.random.default_rng(seed)
        test, labels = x[5000:], y[5000:]
        other = test[rng.permutation(len(test))]
        for values, px in zip(
            scores.values(),
            (test, np.c_[other[:, :1], test[:, 1:]], np.c_[test[:, :1], other[:, 1:]]),
        ):
            z = network.predict(px.astype(np.float32))
            values.append(_area(z[:, 1] - z[:, 0], labels))
    return scores


def _described(text, numbers, size=96):
    """Each number of a problem by the words of its sentence, one-hot by their hash, beside those of the question."""
    rows = []
    parts = re.findall(r"[^.?]+[.?]", text)
    ask = set(re.findall(r"[A-Za-z]+", parts[-1]))
    for part in parts:
        words = set(re.findall(r"[A-Za-z]+", part))
        row = np.zeros(size + 2, np.float32)
        for word in words:
            place = 0
            for letter in word:
                place = (31 * place + ord(letter)) % 1_000_003
            row[place % size] = 1
        row[size], row[size + 1] = len(words & ask) / 4, 1
        rows += [row] * len(re.findall(r"\d+", part))
    assert len(rows) == numbers
    return rows


def _told_apart(seeds):
    """Which numbers a problem needs: learned from problems without distractors, and from problems with them."""
    scores = {"clean, by clean": [], "distracted, by clean": [], "distracted, by distracted": []}
    for seed in range(seeds):
        sides = []
        for part in range(2):
            made = temper.generator("distractor_word_problems", count=400)(seed=10 * seed + part + 1)
            clean = [row for text in made["clean"] for row in _described(text, len(re.findall(r"\d+", text)))]
            mixed, used = [], []
            for text, marks in zip(made["adversarial"], made["is_used"]):
                marks = marks[marks >= 0]
                mixed += _described(text, len(marks))
                used += marks.tolist()
            sides.append((np.array(clean), np.array(mixed), np.array(used, np.int32)))
        (clean, mixed, used), (test_clean, test_mixed, test_used) = sides
        learned = _mlp(clean, np.ones(len(clean), np.int32), seed, 5, classes=2)
        warned = _mlp(mixed, used, seed, 15, classes=2)
        scores["clean, by clean"].append(accuracy(learned, test_clean, 1))
        scores["distracted, by clean"].append(accuracy(learned, test_mixed, test_used))
        scores["distracted, by distracted"].append(accuracy(warned, test_mixed, test_used))
    return scores


def _filled_at_random(sizes, rng, tries=60):
    """The share of a page that elements cover which are put at random places where they fit."""
    boxes = np.zeros((0, 4))
    for width, height in sizes[rng.integers(0, len(sizes), tries)]:
        low = rng.random(2) * (1 - np.array([width, height]))
        box = np.r_[low, low + [width, height]]
        apart = (boxes[:, 2:] <= box[:2]).any(1) | (boxes[:, :2] >= box[2:]).any(1)
        if apart.all():
            boxes = np.vstack([boxes, box])
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum()


def _filled_by_shelves(sizes, rng, tries=60):
    """In rows, the tallest first."""
    drawn = sizes[rng.integers(0, len(sizes), tries)]
    drawn = drawn[np.argsort(-drawn[:, 1], kind="stable")]
    area, left, bottom, tallest = 0.0, 0.0, 0.0, 0.0
    for width, height in drawn:
        if left + width > 1:
            left, bottom, tallest = 0.0, bottom + tallest, 0.0
        if bottom + height > 1:
            continue
        left, tallest, area = left + width, max(tallest, height), area + width * height
    return area


def _pages(seeds):
    scores = {"best fit": [], "at random": [], "by shelves": []}
    for seed in range(20 * seeds):
        rng = np.random.default_rng(seed)
        sizes = rng.uniform(0.05, 0.6, (60, 2))
        made = temper.generator("mesh_candidate_bestfit", candidates=60)(sizes, seed=seed + 1)
        scores["best fit"].append(100 * made["fill"][-1])
        scores["at random"].append(100 * _filled_at_random(sizes, rng))
        scores["by shelves"].append(100 * _filled_by_shelves(sizes, rng))
    return scores


def _three_labels(seeds, epochs):
    """Digits with three labels each, 40% wrong: training corrected by the true matrix and by the one that was found."""
    scores = {"found": [], "true": [], "none": []}
    (x, y), test = digits.load(digits.find())
    true = digits.symmetric(0.25) @ digits.pairs(0.2)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        labels = np.stack([digits.with_noise(y, true, rng) for _ in range(3)], axis=1)
        fit = temper.calibrator("transition_matrix_from_three_labels").fit(labels=labels)
        for name, matrix in (("found", fit.state["transition"]), ("true", true), ("none", None)):
            loss = "cross_entropy" if matrix is None else "forward_correction"
            inputs = {} if matrix is None else {"transition": matrix.astype(np.float32)}
            network = _mlp(x, labels[:, 0], seed, epochs, loss=loss, **inputs)
            scores[name].append(accuracy(network, *test))
    return scores


def _counted_matrix(seeds, epochs):
    """A matrix counted from 5 and from 100 samples of each class whose labels are known: what training corrected by it
    reaches; and the squared error of a count, measured, in percent of what the formula says."""
    scores = {"100 counted": [], "5 counted": [], "error": []}
    (x, y), test = digits.load(digits.find())
    true = digits.pairs(0.4)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        given = digits.with_noise(y, true, rng)
        for name, count in (("100 counted", 100), ("5 counted", 5)):
            matrix = rng.multinomial(count, true).astype(np.float32) / count
            network = _mlp(x, given, seed, epochs, loss="forward_correction", transition=matrix)
            scores[name].append(accuracy(network, *test))
        drawn = rng.multinomial(20, true, size=(500, 10)) / 20
        said = temper.metric("noise_matrix_expected_error")(transition=true, class_counts=np.full(10, 20))
        scores["error"].append(100 * ((drawn - true) ** 2).sum((1, 2)).mean() / float(said))
    return scores


def _past_the_turn(seeds):
    """Logistic regression on digits with 60% wrong labels, where the signal is positive, and 95%, where it is not."""
    scores = {"60% wrong": [], "95% wrong": []}
    (x, y), test = digits.load(digits.find())
    for seed in range(seeds):
        for (name, values), rate in zip(scores.items(), (0.6, 0.95)):
            given = digits.with_noise(y, digits.symmetric(rate), np.random.default_rng(seed))
            values.append(accuracy(_linear(x, given, seed, 40, decay=0.01), *test))
    return scores


def _steps(seeds, epochs):
    """Mean accuracy of the classes, half of which have a fiftieth of the samples of the others."""
    scores = {"thresholds": [], "oversampled": [], "plain": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        rare = rng.permutation(10)[:5]
        kept = np.concatenate([np.flatnonzero(y == k)[: 2 if k in rare else 100] for k in range(10)])
        px, labels = x[kept], y[kept]
        network = _mlp(px, labels, seed, epochs)
        calibrator = temper.calibrator("prior_correction").fit(network.predict(px), labels)
        more = temper.sampler("random_oversampler").resample(px, labels, seed=seed + 1)[:2]
        for name, z in (
            ("thresholds", calibrator.transform(network.predict(test_x))),
            ("oversampled", _mlp(*more, seed, epochs).predict(test_x)), ("plain", network.predict(test_x)),
        ):  # fmt: skip
            right = z.argmax(1) == test_y
            scores[name].append(100 * digits.by_class(right, test_y).mean())
    return scores


def _found_in_the_tail(seeds, epochs):
    """F1 of the right labels of the three rarest classes of a tail of 10:1 with 40% wrong labels."""
    scores = {"tabasco": [], "mixture of losses": []}
    (x, y), _ = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        px, labels, classes = digits.with_tail(x, y, 10, rng)
        given = digits.with_noise(labels, digits.symmetric(0.4), rng)
        network = _mlp(px, given, seed, epochs)
        values, z = network.parameters(), network.predict(px)
        hidden = np.maximum(px @ values["0.weight"].T + values["0.bias"].ravel(), 0)
        p = _softmax(z)
        losses = -np.log(np.maximum(p[np.arange(len(given)), given], 1e-12))
        doubts = {
            "tabasco": temper.detector("tabasco").score(given, p, hidden),
            "mixture of losses": temper.detector("loss_mixture").fit(losses).score(losses),
        }
        rare = np.isin(given, classes[-3:])
        for name, doubt in doubts.items():
            believed, right = (doubt <= 0.5)[rare], (given == labels)[rare]
            scores[name].append(200 * (believed & right).sum() / max(believed.sum() + right.sum(), 1))
    return scores


def _axis(x):
    """The direction of the largest variance."""
    return np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]


def _memorised(seeds):
    """A test set and the training set with the same pairs of classes confused, in 0 to 60% of their samples: by the
    labels given and by the right ones, how far the nearest neighbour is above logistic regression."""
    scores = {"by given labels": [], "by right labels": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        swapped = np.arange(10) ^ 1
        # Confused are those far from the middle along a direction, on both sides, and so alike in both sets.
        along = _axis(x)
        middle, far = np.median(x @ along), np.quantile(np.abs(x @ along - np.median(x @ along)), 0.6)

        def given(px, labels):
            return np.where(np.abs(px @ along - middle) > far, swapped[labels], labels).astype(np.int32)

        train_given, test_given = given(x, y), given(test_x, test_y)
        nearest = ((test_x[:, None] - x[None]) ** 2).sum(2).argmin(1)
        plane = _linear(x, train_given, seed, 40, decay=0.01).predict(test_x).argmax(1)
        for name, truth in (("by given labels", test_given), ("by right labels", test_y)):
            scores[name].append(100 * ((train_given[nearest] == truth).mean() - (plane == truth).mean()))
    return scores


def _soft_labels(seeds, epochs):
    """Five annotators of differing skill: the mean log likelihood on digits with noise put on, in hundredths."""
    methods = ("standard", "softmax", "ds", "glad", "mace", "wawa", "zbs")
    scores = {"majority": [], "median of single ones": [], "average": []}
    (x, y), (test_x, test_y) = digits.load(digits.find())
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        shifted = (test_x + 0.5 * rng.normal(size=test_x.shape)).astype(np.float32)
        skills = np.linspace(0.5, 0.9, 5)
        confusion = [np.roll(np.eye(10), 1 + worker, axis=1) * 0.5 + 0.05 for worker in range(5)]
        votes = np.stack(
            [digits.with_noise(y, skill * np.eye(10) + (1 - skill) * c, rng) for skill, c in zip(skills, confusion)], 1
        )

        def likelihood(labels):
            p = _softmax(_mlp(x, labels.astype(np.float32), seed, epochs).predict(shifted))
            return 100 * np.log(np.maximum(p[np.arange(len(test_y)), test_y], 1e-12)).mean()

        def soft(method):
            return temper.op("soft_label_ensemble", method=method)(votes=votes, num_classes=10)

        majority = temper.op("majority_vote")(votes=votes, num_classes=10).argmax(1)
        scores["majority"].append(likelihood(np.eye(10)[majority]))
        scores["median of single ones"].append(np.median([likelihood(soft(method)) for method in methods]))
        scores["average"].append(likelihood(soft("average")))
    return scores


_TASKS = (
    lambda a, b: (a + b) % 11, lambda a, b: (a - b) % 11, np.maximum, np.minimum, lambda a, b: abs(a - b),
    lambda a, b: (a + b) % 2,
)  # fmt: skip


def _exercises(tasks, rng):
    """Two numbers below 11 and what to do with them, and the result."""
    a, b = rng.integers(0, 11, (2, len(tasks)))
    y = np.choose(tasks, [task(a, b) for task in _TASKS]).astype(np.int32)
    return np.concatenate([np.eye(6)[tasks], np.eye(11)[a], np.eye(11)[b]], axis=1).astype(np.float32), y


def _missed_skills(seeds, epochs):
    """Six kinds of arithmetic, learned from a mix with few of some, and then from 500 more of its exercises, drawn by the
    skills that were missed, or alike."""
    scores = {"by missed skills": [], "alike": []}
    shares = np.array([0.45, 0.4, 0.05, 0.05, 0.03, 0.02])
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        first, pool, asked, tests = (rng.choice(6, count, p=mix) for count, mix in (
            (2000, shares), (6000, shares), (600, None), (3000, None)))  # fmt: skip
        x, y = _exercises(first, rng)
        (pool_x, pool_y), (asked_x, asked_y), test = (_exercises(tasks, rng) for tasks in (pool, asked, tests))
        for name in scores:
            network = _mlp(x, y, seed, epochs, classes=11)
            if name == "alike":
                drawn = rng.integers(0, len(pool), 500)
            else:
                failed = network.predict(asked_x).argmax(1) != asked_y
                fails, tries = (np.bincount(asked, weights, minlength=6) for weights in (failed, None))
                sampler = temper.sampler("missing_skill_reweighting")
                chances = sampler.weights(np.eye(6, dtype=np.int32)[pool], fails=fails, tries=tries)
                drawn = rng.choice(len(pool), 500, p=chances / chances.sum())
            optimizer = CONTEXT.optimizer("adam", learning_rate=0.003)
            more = temper.Trainer(network, optimizer=optimizer, batch_size=64, seed=seed)
            more.fit(pool_x[drawn], pool_y[drawn], epochs=epochs // 4)
            scores[name].append(accuracy(network, *test))
    return scores


@experiment(
    "data_behaviour_study", area="data",
    summary="What papers say of noise made on purpose, and of estimates from data: on digits and small problems.",
    reference=Reference("", 2024, "Claims of the papers behind generators, calibrators, detectors and metrics of data"),
    seeds="Runs of each; of annotators four times as many, of tabasco six times, of pages twenty times.",
    epochs="Of each run.",
)  # fmt: skip
def data_behaviour_study(seeds: int = 5, epochs: int = 60):
    def above(scores, better, worse, margin=None, unit="%"):
        return compared(scores, better, worse, unit, margin)

    def finding(claim, measured, *others):
        words = [measured[0], *(other[0].rpartition("; ")[2] for other in others)]
        return Finding(claim, "; ".join(words), measured[1] and all(other[1] for other in others))

    scores = _diluted(seeds)
    yield finding(
        "Ten labels drawn at random beside each right one leave logistic regression above 82%, fifty take more.",
        above(scores, "1 wrong", "10 wrong"), above(scores, "10 wrong", "50 wrong"),
        ("", np.mean(scores["10 wrong"]) > 82),
    )  # fmt: skip
    yield finding(
        "Exercises drawn by the skills that were missed teach more than as many drawn alike.",
        compared(_missed_skills(seeds, epochs), "by missed skills", "alike"),
    )  # fmt: skip
    scores = _annotated(4 * seeds, epochs)
    yield finding(
        "Labels of weak annotators hurt more than others with the same matrix, and these more than none wrong.",
        above(scores, "their matrix", "annotators"), above(scores, "without the wrong", "their matrix"),
    )  # fmt: skip
    scores = _slabs(seeds, max(epochs // 3, 1))
    yield finding(
        "A network relies on the one simple feature: without it the area is below 60%, without the others above 99%.",
        above(scores, "without the others", "without the simple one"),
        ("", np.max(scores["without the simple one"]) < 60 and np.min(scores["without the others"]) > 99),
    )  # fmt: skip
    scores = _told_apart(seeds)
    lost = np.mean(scores["clean, by clean"]) - np.mean(scores["distracted, by clean"])
    back = np.mean(scores["distracted, by distracted"]) - np.mean(scores["distracted, by clean"])
    yield finding(
        "Distractors cost what learned without them more than a tenth; learning with them brings back half of it.",
        above(scores, "clean, by clean", "distracted, by clean"),
        above(scores, "distracted, by distracted", "distracted, by clean"), ("", lost > 10 and back >= lost / 2),
    )  # fmt: skip
    scores = _pages(seeds)
    yield finding(
        "Pages by best fit are fuller than pages at random and in rows.", above(scores, "best fit", "at random"),
        above(scores, "best fit", "by shelves"),
    )  # fmt: skip
    scores = _three_labels(seeds, epochs)
    yield finding(
        "Corrected by the matrix that three labels tell training is within 1 point of that by the true one.",
        above(scores, "found", "true", 1), above(scores, "found", "none"),
    )  # fmt: skip
    scores = _counted_matrix(seeds, epochs)
    near = abs(np.mean(scores.pop("error")) - 100) < 5
    yield finding(
        "The error of a counted matrix is what the formula says, and more counted samples correct better.",
        above(scores, "100 counted", "5 counted"), ("", near),
    )  # fmt: skip
    scores = _past_the_turn(seeds)
    yield finding(
        "While the signal is positive digits are learned (above 72%), past the turn they are not (below 15%).",
        above(scores, "60% wrong", "95% wrong"),
        ("", np.mean(scores["60% wrong"]) > 72 and np.mean(scores["95% wrong"]) < 15),
    )  # fmt: skip
    scores = _steps(seeds, epochs)
    yield finding(
        "Thresholds by the classes' shares, and oversampling, help rare classes.", above(scores, "thresholds", "plain"),
        above(scores, "oversampled", "plain"),
    )  # fmt: skip
    yield finding(
        "In the tail tabasco finds right labels better than a mixture of losses, after the ten epochs of its paper.",
        compared(_found_in_the_tail(6 * seeds, max(epochs // 6, 1)), "tabasco", "mixture of losses"),
    )  # fmt: skip
    yield finding(
        "Where test labels are wrong as the training labels are, a method that memorises (the nearest neighbour, less "
        "logistic regression) looks better than it is.",
        compared(_memorised(seeds), "by given labels", "by right labels", "points"),
    )  # fmt: skip
    scores = _soft_labels(seeds, epochs)
    yield finding(
        "Trained on the average of soft labels of a crowd, digits with noise are less surprising than by the majority "
        "and by the median method.", above(scores, "average", "majority", unit="cnat"),
        above(scores, "average", "median of single ones", unit="cnat"),
    )  # fmt: skip
