"""The small data sets of studies, as (x, y) to train on and (x, y) to test: every fifth sample is for the test."""

import importlib.util

import numpy as np

from . import digits


REGRESSION = ("diabetes",)


def load(name):
    """digits, breast_cancer and diabetes come with the repository, wine with scikit-learn."""
    if name == "digits":
        return digits.load(digits.find())
    if name == "wine":
        from sklearn.datasets import load_wine

        x, y = load_wine(return_X_y=True)
    else:
        table = np.loadtxt(digits.find().with_name(f"{name}.csv"), delimiter=",")
        x, y = table[:, :-1], table[:, -1]
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order].astype(np.float64 if name in REGRESSION else np.int32)
    test = np.arange(len(y)) % 5 == 0
    mean, deviation = x[~test].mean(axis=0), x[~test].std(axis=0)
    x = ((x - mean) / deviation).astype(np.float32)
    return (x[~test], y[~test]), (x[test], y[test])


def available():
    """The sets that are here."""
    ours = digits.find()
    found = ["digits"] if ours.exists() else []
    found += [name for name in ("breast_cancer", *REGRESSION) if ours.with_name(f"{name}.csv").exists()]
    return found + (["wine"] if importlib.util.find_spec("sklearn") else [])


def noisy(y, kind, rate, x, rng):
    """Labels of which a share is wrong: "symmetric" any other class, "pairs" the next one, "instance" by the sample."""
    classes = int(y.max()) + 1
    if kind == "instance":
        # How likely a sample is mislabelled, and as what, depends on where it lies (Xia et al., 2020).
        rates = np.clip(rng.normal(rate, 0.1, len(y)), 0, 1)
        scores = x @ rng.normal(size=(x.shape[1], classes))
        scores[np.arange(len(y)), y] = -np.inf
        scores = np.exp(scores / x.shape[1] ** 0.5 - scores.max(axis=1, keepdims=True) / x.shape[1] ** 0.5)
        others = scores / scores.sum(axis=1, keepdims=True)
        wrong = (rng.random((len(y), 1)) > others.cumsum(axis=1)[:, :-1]).sum(axis=1)
        return np.where(rng.random(len(y)) < rates, wrong, y).astype(np.int32)
    step = rng.integers(1, classes, len(y)) if kind == "symmetric" else 1
    return np.where(rng.random(len(y)) < rate, (y + step) % classes, y).astype(np.int32)


def with_outliers(y, rate, rng):
    """Numbers of which a share is moved by 3 to 10 of their standard deviations, up or down."""
    wrong = rng.random(len(y)) < rate
    return np.where(wrong, y + rng.choice([-1, 1], len(y)) * rng.uniform(3, 10, len(y)) * y.std(), y)
