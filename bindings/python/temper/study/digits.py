"""The digits of examples/data, with wrong labels or a long tail."""

import pathlib

import numpy as np

CLASSES = 10


def find():
    """digits.bin: beside this file where temper is installed, in examples/data in its repository."""
    here = pathlib.Path(__file__).resolve()
    places = [here.with_name("digits.bin"), *(folder / "examples/data/digits.bin" for folder in here.parents[3:5])]
    return next((place for place in places if place.exists()), places[0])


def load(path):
    """(x, y) to train on and (x, y) to test: every fifth digit is for the test."""
    records = np.fromfile(path, np.uint8).reshape(-1, 65)
    x, y = records[:, :64].astype(np.float32) / 16, records[:, 64].astype(np.int32)
    test = np.arange(len(y)) % 5 == 0
    return (x[~test], y[~test]), (x[test], y[test])


def symmetric(rate):
    """P(label | digit): any other label instead, all alike."""
    return np.eye(CLASSES) * (1 - rate) + (1 - np.eye(CLASSES)) * rate / (CLASSES - 1)


def pairs(rate):
    """P(label | digit): the next digit's label instead."""
    return np.eye(CLASSES) * (1 - rate) + np.roll(np.eye(CLASSES), 1, axis=1) * rate


def with_noise(y, transition, rng):
    """Labels drawn from the rows of `transition`."""
    draws = rng.random((len(y), 1))
    return (draws > transition[y].cumsum(axis=1)[:, :-1]).sum(axis=1).astype(np.int32)


def by_class(right, y):
    """The share of samples that are right, of each class."""
    return np.array([right[y == label].mean() for label in np.unique(y)])


def with_tail(x, y, ratio, rng):
    """Classes thinned down to 1 / ratio of their samples, in a random order: (x, y, classes, the rarest last)."""
    classes = rng.permutation(int(y.max()) + 1)
    most = np.bincount(y).min()
    kept = []
    for rank, label in enumerate(classes):
        count = max(1, round(most * ratio ** (-rank / (len(classes) - 1))))
        kept.append(rng.permutation(np.flatnonzero(y == label))[:count])
    kept = np.sort(np.concatenate(kept))
    return x[kept], y[kept], classes
