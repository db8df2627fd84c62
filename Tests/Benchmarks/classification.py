"""Every classification loss of the catalogue with its gradient, beside our own fused cross-entropy on the same logits.

    python classification.py [LOSS ...]
"""
import functools
import os
import sys

import numpy as np

import temper
from pairs import human, pair

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
# What no way of writing the loss can avoid, beyond one pass over the logits and one over the gradient.
LIMITS = {"lovasz_softmax": "weights come of all samples: probabilities and weights are written and read again",
          "joint_optimization": "the mean over the batch is known only after all logits were read: twice read",
          "bi_tempered_logistic": "the normaliser is found by iteration, a power for each logit and step",
          "entmax_loss": "the threshold is found by iteration", "sparsemax_loss": "the threshold is found by iteration",
          "distillation": "three exponentials a class", "decoupled_kd": "two exponentials a class",
          "weat_loss": "two exponentials a class", "mixoe": "two exponentials a class",
          "normalized_focal": "two exponentials and a root a class", "kl_divergence": "a logarithm a class as well",
          "ldam_bce": "a logarithm a class as well", "forward_forward_loss": "a logarithm a class as well",
          "early_learning_regularization": "three sums of the exponentials, each of which waits for the one before",
          "normalized_cross_entropy": "masked classes are looked for in each of three passes",
          "active_passive_loss": "masked classes are looked for in each of three passes",
          "z_loss": "masked classes are looked for in each of three passes",
          "brier": "two more sums of the exponentials, which wait for the first",
          "stablemax_cross_entropy": "a division and two selections a class",
          "vector_scaling": "a factor and an offset a class are read in each pass"}


def limit(name, given):
    """Why a loss may take longer: the arrays of the size of the logits that it reads, or what `LIMITS` says."""
    others = sum(array.nbytes for name, array in given.items() if name != "logits") / given["logits"].nbytes
    reads = f"reads {1 + others:.2g} arrays: {1 + others / 2:.2g} times the memory" if others >= 0.2 else ""
    return "; ".join(reason for reason in (LIMITS.get(name, ""), reads) if reason)


def table(context, rows, columns, names=(), aim=1.5):
    """Times each loss, or those named, against cross-entropy of the same logits, turn and turn about."""
    plain, gradient = context.loss("cross_entropy"), np.empty((rows, columns), np.float32)
    ids = np.random.default_rng(1).integers(0, columns, rows)
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
        reason = limit(name, given) if times > aim else ""
        print(f"  {name:50} {human(mine):>9} {times:7.2f} times cross-entropy  {reason}".rstrip(), flush=True)
    print(f"  {within} losses within {aim} times; beyond: "
          + ", ".join(f"{name} {times:.1f}" for times, name in sorted(beyond, reverse=True)))


def run(threads, names=()):
    context = temper.Context(threads=threads)
    for rows, columns in ((8192, 4096), (65536, 10)):
        print(f"every classification loss with its gradient, {rows} x {columns}")
        table(context, rows, columns, names)


if __name__ == "__main__":
    for processors in (1, os.cpu_count()):
        print(f"{processors} thread{'s' * (processors > 1)}")
        run(processors, sys.argv[1:])
