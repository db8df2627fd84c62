"""Claims about texts and rules: noise in worked arithmetic, training near a threshold, what surprises a model, triggers
of labels; and about averages of fine-tuned models."""

import itertools

import numpy as np

import temper

from ..study import digits, quantization
from . import Finding, Reference, experiment
from .layer_behaviour import CONTEXT, accuracy, compared, model

LETTERS = 128  # ASCII, of which 0 fills up
SEEN = 14  # letters before the next one


def _trained(network, x, y, epochs, seed, rate=0.003, batch=64, loss="cross_entropy", **inputs):
    optimizer = CONTEXT.optimizer("adam", learning_rate=rate)
    trainer = temper.Trainer(network, loss=loss, optimizer=optimizer, batch_size=batch, seed=seed)
    trainer.fit(x, y, epochs=epochs, **inputs)
    return network


def _rows(texts):
    """Ids of letters, one row for each text, behind as many 0 as a reader sees."""
    length = max(map(len, texts))
    return np.array([[0] * SEEN + [min(ord(letter), 127) for letter in text.ljust(length, "\0")] for text in texts])


def _windows(texts, asked=None):
    """(windows, next letters, which text and place) of all texts; what was asked stands in front of each window."""
    rows = _rows(texts)
    views = np.lib.stride_tricks.sliding_window_view(rows, SEEN + 1, axis=1)
    at = np.nonzero(np.arange(views.shape[1]) < np.array([len(text) for text in texts])[:, None])
    x = views[at][:, :SEEN] if asked is None else np.concatenate([_ids(asked)[at[0]], views[at][:, :SEEN]], axis=1)
    return x.astype(np.int32), views[at][:, SEEN].astype(np.int32), at


def _ids(texts):
    return np.array([[ord(letter) for letter in text] for text in texts])


def _reader(texts, epochs, seed, asked=None):
    """Tells the next letter from those before it."""
    layers = [{"embedding": {"entries": LETTERS, "size": 16}}, "flatten", {"dense": 128}, "relu", {"dense": LETTERS}]
    x, y, _ = _windows(texts, asked)
    return _trained(model(layers, (x.shape[1],), seed), x, y, epochs, seed, batch=128)


def _log_probabilities(network, texts):
    """(texts, places) of each letter, and which places have one."""
    x, y, at = _windows(texts)
    z = network.predict(x).astype(np.float64)
    z -= z.max(1, keepdims=True)
    values = np.zeros((len(texts), max(map(len, texts))))
    shown = np.zeros(values.shape, bool)
    values[at], shown[at] = z[np.arange(len(y)), y] - np.log(np.exp(z).sum(1)), True
    return values, shown


# MARK: worked arithmetic


def _product(asked, count, **noise):
    """Worked products of two digits: texts, what each asks, and the right answers."""
    made = temper.generator("traced_integer_noise_generator", digits=1, count=count, function="multiplication", **noise)
    made = made(seed=asked)
    questions = [text.partition("\n")[0] for text in made["clean_texts"]]
    return made["texts"], [question[-4:-1] for question in questions], made["true_answers"], questions


def _answers(reader, asked, questions, length=80):
    """What a reader goes on with, the likeliest letter at a time, up to this length."""
    texts = [question + "\n" for question in questions]
    while len(texts[0]) < length:
        x = np.concatenate([_ids(asked), _ids([text[-SEEN:] for text in texts])], axis=1).astype(np.int32)
        texts = [text + chr(letter) for text, letter in zip(texts, reader.predict(x).argmax(1))]
    return [text.partition("answer=")[2].partition("\0")[0] for text in texts]


def _worked(seeds, epochs):
    """Products of two digits, half of the digits of each text (static) or of its results (dynamic) wrong: right answers
    of a reader, who sees what was asked and the last letters, that learned from such texts."""
    scores = {"static": [], "dynamic": []}
    for seed in range(seeds):
        _, test_asked, true, questions = _product(1000 + seed, 200, contamination=0)
        for name, noise in zip(scores, ("char_replace", "random_same_digits")):
            texts, asked, *_ = _product(seed + 1, 1500, contamination=1, intensity=0.5, noise=noise)
            reader = _reader([text + "\0" for text in texts], epochs, seed, asked)
            told = _answers(reader, test_asked, questions)
            scores[name].append(100 * np.mean([answer == str(right) for answer, right in zip(told, true)]))
    return scores


# MARK: rules that can or cannot all hold

VARIABLES = 4
_RULES = {
    tuple(sign * variable for sign, variable in zip(signs, variables)): at
    for at, (variables, signs) in enumerate(
        itertools.product(itertools.combinations(range(1, VARIABLES + 1), 3), itertools.product((1, -1), repeat=3))
    )
}


def _rules(seed, count, low, high, balanced):
    """Of four variables: how often each of the 32 rules is there, and whether all can hold."""
    sizes = {"count": count, "n_low": VARIABLES, "n_high": VARIABLES, "r_low": low, "r_high": high}
    made = temper.generator("random_ksat_text_generator", balanced=balanced, **sizes)(seed=seed)
    x = np.zeros((count, len(_RULES)), np.float32)
    for row, clauses in zip(x, made["clauses"]):
        for clause in clauses[clauses.any(1)]:
            row[_RULES[tuple(int(v) for v in sorted(clause, key=abs))]] += 1
    return x, made["satisfiable"].astype(np.int32)


def _threshold(seeds, epochs):
    """Rules for each variable: 3.5 to 5.5, half of which can hold, or 1 to 2.5 and 7 to 9, where few are hard; both
    asked at 4.27."""
    scores = {"near": [], "far": []}
    for seed in range(seeds):
        near = _rules(5 * seed + 1, 4000, 3.5, 5.5, True)
        few, many = _rules(5 * seed + 2, 2000, 1, 2.5, False), _rules(5 * seed + 3, 2000, 7, 9, False)
        test = _rules(5 * seed + 4, 1000, 4.27, 4.27, True)
        for name, (x, y) in (("near", near), ("far", [np.concatenate(pair) for pair in zip(few, many)])):
            network = model([{"dense": 128}, "relu", {"dense": 2}], (len(_RULES),), seed)
            scores[name].append(accuracy(_trained(network, x, y, epochs, seed), *test))
    return scores


# MARK: texts that surprise


def _filtered(seeds, epochs):
    """Lines of documentation, 30% with their letters shuffled. Kept are the 60% of the lowest perplexity by a reader of
    others: the share of the shuffled that is gone; and the mean log-likelihood, in hundredths, of other lines by
    readers of what is kept and of as many drawn lines."""
    scores, gone = {"filtered": [], "drawn": []}, []
    lines = [line[:60] for line in quantization.text(120_000).split("\n") if len(line) > 30]
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        chosen = [lines[at] for at in rng.permutation(len(lines))[:1700]]
        known, clean, others = chosen[:500], chosen[500:1500], chosen[1500:]
        shuffled = np.arange(len(clean)) < 300
        given = ["".join(rng.permutation(list(line))) if bad else line for line, bad in zip(clean, shuffled)]
        values, shown = _log_probabilities(_reader(known, epochs, seed), given)
        surprise = temper.op("perplexity_filter_and_greedy_soup")(token_log_probs=values, mask=shown)
        kept = np.argsort(surprise, kind="stable")[:600]
        gone.append(100 * (1 - shuffled[kept].sum() / shuffled.sum()))
        for name, rows in (("filtered", kept), ("drawn", rng.permutation(len(given))[:600])):
            values, shown = _log_probabilities(_reader([given[at] for at in rows], epochs, seed), others)
            scores[name].append(100 * values[shown].mean())
    return scores, gone


# MARK: averages of models


def _soups(seeds, epochs):
    """Five fine-tunes from one start, each on half of the digits with noise of its own: the best by validation, and the
    average to which each next best is added where that does not lower validation."""
    scores = {"greedy average": [], "best single": []}
    (x, y), test = digits.load(digits.find())
    average = temper.op("perplexity_filter_and_greedy_soup_soup")
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        held, rest = order[:300], order[300:]
        network = model([{"dense": 64}, "relu", {"dense": 10}], (x.shape[1],), seed)
        parameters = network.parameters()
        _trained(network, x[rest[:300]], y[rest[:300]], epochs, seed)
        start = {name: value.copy() for name, value in parameters.items()}

        def put(row):
            at = 0
            for value in parameters.values():
                value[...] = row[at : at + value.size].reshape(value.shape)
                at += value.size
            return accuracy(network, x[held], y[held])

        found = []
        for member in range(5):
            for name, value in parameters.items():
                value[...] = start[name]
            rows = rng.choice(rest, len(rest) // 2, replace=False)
            noisy = (x[rows] + rng.normal(scale=0.15, size=x[rows].shape)).astype(np.float32)
            _trained(network, noisy, y[rows], epochs, 10 * seed + member, rate=0.002)
            found.append(np.concatenate([value.ravel() for value in parameters.values()]))
        judged = [put(row) for row in found]
        best, *others = np.argsort(np.negative(judged), kind="stable")
        members, held_by = [best], judged[best]
        for other in others:
            tried = put(average(weights=np.stack([found[at] for at in [*members, other]])))
            if tried >= held_by:
                members, held_by = [*members, other], tried
        put(found[best])
        scores["best single"].append(accuracy(network, *test))
        put(average(weights=np.stack([found[at] for at in members])))
        scores["greedy average"].append(accuracy(network, *test))
    return scores


# MARK: triggers of labels


def _triggered(rng, count, labels=8, words=60, length=20):
    """Sequences of words; a word of its own stands somewhere for each of the labels, the rarest of which is 50 times as
    rare as the first."""
    y = (rng.random((count, labels)) < 0.5 * 50.0 ** (-np.arange(labels) / (labels - 1))).astype(np.float32)
    x = rng.integers(labels, words, (count, length))
    places = rng.permuted(np.tile(np.arange(length), (count, 1)), axis=1)[:, :labels]
    rows, columns = np.nonzero(y)
    x[rows, places[rows, columns]] = columns
    return x.astype(np.int32), y, places


def _rare_labels(seeds, epochs):
    """F1, the mean of the labels, with margins and without; and how often attention looks most at the trigger."""
    scores, hits = {"margins": [], "none": []}, []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        (x, y, _), (test_x, test_y, places) = _triggered(rng, 1000), _triggered(rng, 3000)
        counts = y.sum(0)
        for name, margin in zip(scores, (3.0, 0.0)):
            layers = [{"embedding": {"entries": 60, "size": 16}}, {"label_wise_attention_ldam": y.shape[1]}]
            network = _trained(
                model(layers, (x.shape[1],), seed), x, y, epochs, seed,
                loss=CONTEXT.loss("ldam_bce", C=margin), class_counts=counts,
            )  # fmt: skip
            told = network.predict(test_x) > 0
            both = 2 * (told & (test_y > 0)).sum(0) / np.maximum(told.sum(0) + test_y.sum(0), 1)
            scores[name].append(100 * both.mean())
            if name == "margins":
                values = network.parameters()
                h = values["0.weight"][test_x]
                looked = np.tanh(h @ values["1.project.weight"].T) @ values["1.queries.weight"].T
                rows, columns = np.nonzero(test_y)
                hits.append(100 * (looked.argmax(1)[rows, columns] == places[rows, columns]).mean())
    return scores, hits


@experiment(
    "text_behaviour_study", area="data",
    summary="What papers say of noise in texts and of what texts and rules teach, on small ones.",
    reference=Reference("", 2024, "Claims of the papers behind traced_integer_noise_generator, "
                        "random_ksat_text_generator, perplexity_filter_and_greedy_soup and label_wise_attention_ldam"),
    seeds="Runs of each.", epochs="Of each run of rules and labels; readers take a tenth.",
)  # fmt: skip
def text_behaviour_study(seeds: int = 5, epochs: int = 40):
    few = max(epochs // 10, 1)
    measured, holds = compared(_worked(seeds, few), "static", "dynamic")
    yield Finding(
        "Worked products with spoiled digits teach more right answers than those with spoiled results that are used on.",
        measured, holds,
    )  # fmt: skip
    scores = _threshold(seeds, epochs)
    measured, holds = compared(scores, "near", "far")
    gap = np.mean(scores["near"]) - np.mean(scores["far"])
    yield Finding(
        "What learned rules far from the threshold loses there more than 10 points against what learned them near it.",
        measured, bool(holds and gap > 10),
    )  # fmt: skip
    scores, gone = _filtered(seeds, few)
    measured, holds = compared(scores, "filtered", "drawn", "cnat")
    yield Finding(
        "A filter by perplexity takes more than 90% of the shuffled lines away, and what is left teaches more than as "
        "many drawn lines.", f"{np.mean(gone):.1f}% are gone; {measured}", bool(holds and np.mean(gone) > 90),
    )  # fmt: skip
    measured, holds = compared(_soups(seeds, max(epochs // 4, 1)), "greedy average", "best single", margin=0.0)
    yield Finding("A greedy average of fine-tuned models is at least as good as the best of them.", measured, holds)
    scores, hits = _rare_labels(seeds, epochs)
    measured, holds = compared(scores, "margins", "none", margin=0.0)
    yield Finding(
        "Margins for rare labels do not lower the mean F1 of labels with attention of their own.", measured, holds
    )
    yield Finding(
        "In more than 80% of its samples a label's attention looks most at what makes the label.",
        f"{np.mean(hits):.1f}%, {np.min(hits):.1f}% in the worst of {len(hits)} runs", bool(np.mean(hits) > 80),
    )  # fmt: skip
