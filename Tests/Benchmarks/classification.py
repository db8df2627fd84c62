"""Every classification loss of the catalogue with its gradient, beside our own fused cross-entropy on the same logits.

    python classification.py [LOSS ...]
"""
import concurrent.futures
import functools
import os
import sys

import numpy as np

import temper
from pairs import human, once, pair

# What else a loss needs, by the name of the input: an array for so many rows and classes.
OTHERS = {
    "transition": lambda random, rows, classes: np.full((classes, classes), 0.4 / (classes - 1), np.float32)
    + np.eye(classes, dtype=np.float32) * (0.6 - 0.4 / (classes - 1)),
    "class_counts": lambda random, rows, classes: random.integers(1, 500, classes).astype(np.float32),
    "class_priors": lambda random, rows, classes: random.dirichlet(np.ones(classes)).astype(np.float32),
    "visible": lambda random, rows, classes: np.ones((rows, classes), bool),
    "temperatures": lambda random, rows, classes: random.uniform(0.5, 2, rows).astype(np.float32),
    "temperature": lambda random, rows, classes: np.float32(1.5),
    "mix": lambda random, rows, classes: random.random(rows).astype(np.float32),
    "mixed_targets": lambda random, rows, classes: random.random((rows, classes)).astype(np.float32),
    "ema_targets": lambda random, rows, classes: np.full((rows, classes), 1 / classes, np.float32),
}


def arrays(record, rows, classes):
    """The required inputs of a loss of logits (N, C) and targets, or None where it is of another kind."""
    random, made = np.random.default_rng(0), {}
    given = {entry["name"]: entry for entry in record["inputs"]}
    if not {"logits", "targets"} <= set(given) or given["logits"]["forms"][0]["shape"] != ["N", "C"]:
        return None
    for name, entry in given.items():
        if entry["optional"]:
            continue
        form, sizes = entry["forms"][0], {"N": rows, "C": classes}
        if name not in OTHERS and not set(form["shape"]) <= set(sizes):
            return None
        shape = [sizes.get(letter) for letter in form["shape"]]
        if name in OTHERS:
            made[name] = OTHERS[name](random, rows, classes)
        elif form["dtype"] == "int":
            made[name] = random.integers(0, classes, shape)
        elif form["dtype"] == "bool" or name == "targets":
            made[name] = (random.random(shape) < 0.1).astype(np.float32 if form["dtype"] == "float" else bool)
        else:
            made[name] = normal(name, *shape)
    return made


@functools.lru_cache(8)
def normal(name, *shape):
    """The same arrays for all losses: drawing them takes longer than timing."""
    return np.random.default_rng(len(name)).standard_normal(shape, np.float32)


# Their value is of pairs of samples, not of samples.
PAIRS = {"mmce", "guidance_cka_alignment"}
# Work that grows with C^2 or C^3 beside N x C, and is more than all else where there are many classes.
CLASS_MATRICES = {"forward_correction": "a matrix larger than the logits is read",
                  "backward_correction": "inverts a C x C matrix",
                  "determinant_mutual_information": "eliminates a C x C matrix"}
# What a loss takes by its formula: exponentials, logarithms, roots for each class (else, as cross-entropy, 1), arrays of
# the size of the logits that are written or read beyond its inputs and gradient, and what has no such count.
COUNTS = {
    "joint_optimization": (2, 1, "the mean over the batch needs all logits before the first slope: two readings"),
    "lovasz_softmax": (1, 2, "weights come of the order of all samples in each class: sorted, probabilities put by"),
    "distillation": (3, 0, "both at a temperature, the student without as well"),
    "decoupled_kd": (2, 0, ""), "weat_loss": (2, 0, ""), "mixoe": (2, 0, ""),
    "kl_divergence": (2, 0, "a logarithm of each target"), "ldam_bce": (2, 0, "softplus: a logarithm"),
    "forward_forward_loss": (2, 0, "softplus: a logarithm"),
    "normalized_focal": (3, 0, "e^x - 1 of each log-probability, and a root"),
    "bi_tempered_logistic": (1, 0, "a power in place of the exponential; each step of the normaliser is one more"),
    "entmax_loss": (0, 1, "the threshold of each row before the first slope: two readings"),
    "sparsemax_loss": (0, 1, "the threshold of each row before the first slope: two readings"),
    "early_learning_regularization": (1, 0, "sums that wait for each other: six sweeps for three"),
    "normalized_cross_entropy": (1, 0, "masked classes are looked for in each sweep"),
    "active_passive_loss": (1, 0, "masked classes are looked for in each sweep"),
    "z_loss": (0, 0, "masked classes are looked for in each sweep"),
    "stablemax_cross_entropy": (1, 0, "a division in place of the exponential"),
    "vector_scaling": (1, 0, "a factor and an offset a class are read in each sweep"),
    "determinant_mutual_information": (1, 0, "a product over the samples, and a determinant"),
    "forward_correction": (1, 0, "a product with the C x C matrix, and one for the slopes"),
    "backward_correction": (1, 0, "a product with the C x C matrix, and one for the slopes"),
}


def count(name, given, memory, function):
    """What a loss counts, and how many times cross-entropy's time it takes at least, at this machine's rates: `memory`
    and `function` are the shares of it that copying the logits and one function a class take, and a processor does both
    at once. With what has no count."""
    functions, more, words = COUNTS.get(name, (1, 0, ""))
    logits = given["logits"]
    ids = sum(array.nbytes for array in given.values() if array.shape == logits.shape[:1] and array.dtype == np.int64)
    arrays = 2 + more + (sum(array.nbytes for array in given.values()) - logits.nbytes - ids) / logits.nbytes
    times = max(memory * arrays / 2, function * functions)
    verdict = "above the mark by count" if times > 1.5 else "not barred by count"
    parts = [f"{arrays:.3g} arrays, {functions} functions a class: {times:.2f} times, {verdict}", words]
    return "; ".join(part for part in parts if part)


def computing(context, elements):
    """Seconds of an exponential for each of so many elements that are in the cache, by our sigmoid."""
    x = np.zeros((1024, 256), np.float32)
    sigmoid, out = context.op("sigmoid"), np.zeros_like(x)
    return min(once(lambda: sigmoid(x, out=out), 20) for _ in range(5)) * elements / x.size


def copying(source, target, threads):
    """Seconds of reading one array and writing another."""
    cuts = list(zip(np.array_split(source, threads), np.array_split(target, threads)))
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return min(once(lambda: list(pool.map(lambda cut: np.copyto(cut[1], cut[0]), cuts)), 5) for _ in range(5))


def table(context, rows, columns, threads, names=(), aim=1.5):
    """Times each loss, or those named, against cross-entropy of the same logits, turn and turn about."""
    plain, gradient = context.loss("cross_entropy"), np.zeros((rows, columns), np.float32)
    ids = np.random.default_rng(1).integers(0, columns, rows)
    logits = normal("logits", rows, columns)
    alone = min(once(lambda: plain.value_and_grad(logits, ids, out={"logits": gradient}), 5) for _ in range(5))
    memory = min(copying(logits, gradient, threads) / alone, 1)
    function = computing(context, logits.size) / alone
    print(f"  cross-entropy {human(alone)}: copying the logits is {memory:.0%} of that, "
          f"an exponential a class {function:.0%}")
    within, beyond = 0, []
    for record in temper.catalog():
        name = record["name"]
        if record["kind"] != "loss" or name in PAIRS | {"cross_entropy"} or (names and name not in names):
            continue
        given = arrays(record, rows, columns)
        if given is None:
            continue
        if name in CLASS_MATRICES and columns > 1000:
            print(f"  {name:50} left out: {CLASS_MATRICES[name]}")
            continue
        loss = context.loss(name)
        mine, _, ratio = pair(lambda: loss.value_and_grad(**given, out={"logits": gradient}),
                              lambda: plain.value_and_grad(given["logits"], ids, out={"logits": gradient}), 0.2, 5)
        times = 1 / ratio
        within += times <= aim
        beyond += [(times, name)] * (times > aim)
        reason = count(name, given, memory, function) if times > aim else ""
        print(f"  {name:50} {human(mine):>9} {times:7.2f} times cross-entropy  {reason}".rstrip(), flush=True)
    print(f"  {within} losses within {aim} times; beyond: "
          + ", ".join(f"{name} {times:.1f}" for times, name in sorted(beyond, reverse=True)))


def run(threads, names=()):
    context = temper.Context(threads=threads)
    for rows, columns in ((8192, 4096), (65536, 10)):
        print(f"every classification loss with its gradient, {rows} x {columns}")
        table(context, rows, columns, threads, names)


if __name__ == "__main__":
    for processors in (1, os.cpu_count()):
        print(f"{processors} thread{'s' * (processors > 1)}")
        run(processors, sys.argv[1:])
