"""Losses of the study that read more than logits and targets: several experts, features, ordered classes.

Each trains the network of the other losses, 64 - 128 - 10, by Adam with the same batches for as many epochs, with what it
needs beside: three experts are three last layers, a regulariser of features is added to cross-entropy, ordered classes
take the last layer's place. Each gives scores of some inputs: of long tails after the last epoch, for every label; of
wrong labels after every epoch.
"""

import numpy as np

import temper

from . import digits

HIDDEN, RATE, BATCH = 128, 0.003, 128


def _network(layers, width, seed):
    return temper.Model(layers, input=(width,), seed=seed, context=temper.Context(threads=1))


def _trunk(x, seed):
    return _network([{"dense": HIDDEN}, "relu"], x.shape[1], seed)


def _batches(count, epochs, seed):
    """(rows of a batch, whether it ends an epoch)."""
    rng = np.random.default_rng([seed, 128])
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count, BATCH):
            yield order[start : start + BATCH], start + BATCH >= count


def _adam():
    return temper.optimizer("adam", learning_rate=RATE)


class _Chain:
    """A network, then another on its features, trained together: gradients by both outputs."""

    def __init__(self, *models):
        self.models = models
        self.parameters = [array for model in models for array in model.parameters().values()]

    def outputs(self, x):
        found = []
        for model in self.models:
            x = model.predict(x)
            found.append(x)
        return found

    def gradients(self, x, outputs, slopes):
        """Of all parameters. slopes: by each model's outputs, None for 0."""
        inputs, back, made = [x, *outputs[:-1]], None, []
        for model, given, slope in zip(reversed(self.models), reversed(inputs), reversed(slopes)):
            dy = slope if back is None else back if slope is None else back + slope
            names = list(model.parameters())
            found = model.vjp(given, dy, wrt=[*names, "x"])
            back = found["x"]
            made = [found[name] for name in names] + made
        return made


def sade(x, y, known, epochs, seed, inputs):
    """Three last layers: their mean scores, and their sum with the weights under which two noisy views of the inputs
    agree."""
    loss, names = temper.loss("sade_diverse_experts"), ["logits_forward", "logits_uniform", "logits_backward"]
    chain, optimizer = _Chain(_trunk(x, seed), _network([{"dense": 3 * digits.CLASSES}], HIDDEN, seed)), _adam()

    def experts(outputs):
        return dict(zip(names, np.split(outputs[-1], 3, axis=1)))

    for rows, _ in _batches(len(x), epochs, seed):
        outputs = chain.outputs(x[rows])
        slopes = loss.value_and_grad(
            **experts(outputs), targets=y[rows], class_priors=known["class_priors"], wrt=names
        )[1]
        whole = np.concatenate([slopes[name] for name in names], axis=1)
        optimizer.step(chain.parameters, chain.gradients(x[rows], outputs, [None, whole]))
    heads = np.stack(list(experts(chain.outputs(inputs)).values()))
    yield heads.mean(0)
    yield np.tensordot(_agreement(chain, experts, inputs, seed), heads, 1)


def _agreement(chain, experts, inputs, seed, rounds=5, noise=0.1, least=0.05):
    """Weights of experts, which no label is read for: until one falls below `least`."""
    agree, omega = temper.loss("sade_diverse_experts_aggregation"), np.zeros(3, np.float32)
    optimizer, rng = temper.optimizer("sgd", learning_rate=1.0), np.random.default_rng([seed, 3])
    for rows, _ in _batches(len(inputs), rounds, seed):
        views = [inputs[rows] + noise * rng.standard_normal((len(rows), inputs.shape[1]), np.float32) for _ in "ab"]
        one, two = (np.stack(list(experts(chain.outputs(view)).values())) for view in views)
        slope = agree.value_and_grad(omega=omega, logits_1=one, logits_2=two, wrt="omega")[1]["omega"]
        before = omega.copy()
        optimizer.step([omega], [slope])
        if np.exp(omega - omega.max()).min() / np.exp(omega - omega.max()).sum() < least:
            omega = before
            break
    return np.exp(omega) / np.exp(omega).sum()


def conr(x, y, known, epochs, seed, inputs):
    """Cross-entropy and the contrast of hidden features: labels are classes, so that those which are predicted alike but
    labelled otherwise are the confused ones; rare classes weigh more."""
    plain, contrast = temper.loss("cross_entropy"), temper.loss("conr_loss", w=0.5)
    chain, optimizer = _Chain(_trunk(x, seed), _network([{"dense": digits.CLASSES}], HIDDEN, seed)), _adam()
    weights = (1 / known["class_counts"] / np.mean(1 / known["class_counts"][y])).astype(np.float32)
    for rows, _ in _batches(len(x), epochs, seed):
        features, logits = outputs = chain.outputs(x[rows])
        slope = plain.value_and_grad(logits, y[rows])[1]["logits"]
        pushed = contrast.value_and_grad(
            features=features, targets=y[rows].astype(np.float32), density_weights=weights[y[rows]],
            predictions=logits.argmax(1).astype(np.float32), wrt="features",
        )[1]["features"]  # fmt: skip
        optimizer.step(chain.parameters, chain.gradients(x[rows], outputs, [pushed, slope]))
    yield chain.outputs(inputs)[-1]


def presto(x, y, known, epochs, seed, inputs):
    """Classes in the order of how frequent they are, the rarest last, cut apart on the hidden features. A step after which
    a training sample's class has no probability is halved until it has one, as the authors' solver does."""
    loss, trunk, optimizer = temper.loss("presto_ordinal", lam=0.001), _trunk(x, seed), _adam()
    order = np.argsort(-known["class_counts"], kind="stable")
    ranks = np.argsort(order)[y].astype(np.int32)
    shares = np.cumsum(np.bincount(ranks, minlength=digits.CLASSES)) / len(ranks)
    thresholds = np.log(shares[:-1] / (1 - shares[:-1])).astype(np.float32)
    weights = np.zeros((digits.CLASSES - 1, HIDDEN), np.float32)
    chain, cuts = _Chain(trunk), [thresholds, weights]
    arrays = [*chain.parameters, *cuts]

    def probabilities(inputs):
        scores = (thresholds + trunk.predict(inputs) @ weights.T).astype(np.float64)
        return np.diff(1 / (1 + np.exp(-scores)), axis=1, prepend=0, append=1)

    for rows, _ in _batches(len(x), epochs, seed):
        before, features = [array.copy() for array in arrays], trunk.predict(x[rows])
        slopes = loss.value_and_grad(
            features=features, targets=ranks[rows], thresholds=thresholds, weights=weights,
            wrt=["features", "thresholds", "weights"],
        )[1]  # fmt: skip
        made = chain.gradients(x[rows], [features], [slopes["features"]])
        optimizer.step(arrays, [*made, slopes["thresholds"], slopes["weights"]])
        for _ in range(20):
            if probabilities(x)[np.arange(len(x)), ranks].min() >= 1e-6:
                break
            for array, old in zip(arrays, before):
                array[...] = (array + old) / 2
        else:
            for array, old in zip(arrays, before):
                array[...] = old
    found = np.empty((len(inputs), digits.CLASSES))
    found[:, order] = probabilities(inputs)
    yield found


def nmtune(x, y, epochs, seed, inputs):
    """Half of the epochs train the network on the labels as they are, wrong ones included; then its hidden layer stays, and
    a small network between it and a new last layer is tuned. Scores after every epoch of either half."""
    start = _Chain(_trunk(x, seed), _network([{"dense": digits.CLASSES}], HIDDEN, seed))
    plain, optimizer, half = temper.loss("cross_entropy"), _adam(), max(1, epochs // 2)
    for rows, ends in _batches(len(x), half, seed):
        outputs = start.outputs(x[rows])
        slope = plain.value_and_grad(outputs[1], y[rows])[1]["logits"]
        optimizer.step(start.parameters, start.gradients(x[rows], outputs, [None, slope]))
        if ends:
            yield start.outputs(inputs)[1]
    trained, seen = start.models[0].predict(x), start.models[0].predict(inputs)
    between = _network([{"dense": HIDDEN}, "relu", {"dense": HIDDEN}], HIDDEN, seed + 1)
    tuned = _Chain(between, _network([{"dense": digits.CLASSES}], HIDDEN, seed + 1))
    loss, optimizer = temper.loss("nmtune"), _adam()
    for rows, ends in _batches(len(x), epochs - half, seed):
        features, logits = outputs = tuned.outputs(trained[rows])
        slopes = loss.value_and_grad(
            logits=logits, targets=y[rows], features=features, pretrained_features=trained[rows],
            wrt=["logits", "features"],
        )[1]  # fmt: skip
        optimizer.step(tuned.parameters, tuned.gradients(trained[rows], outputs, [slopes["features"], slopes["logits"]]))
        if ends:
            yield tuned.outputs(seen)[1]


NOISE = {"nmtune": nmtune}
TAIL = {
    ("sade_diverse_experts", "sade_diverse_experts_aggregation"): sade,
    ("conr_loss",): conr,
    ("presto_ordinal, lam = 0.001",): presto,
}
