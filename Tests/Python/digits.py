"""The digits of examples/data, for tests of behaviour."""

import pathlib

import numpy as np

PATH = pathlib.Path(__file__).resolve().parents[2] / "examples/data/digits.bin"


def digits(seed=0):
    """All 1797 in an order of the seed: pixels in [0, 1], (N, 64), and labels."""
    records = np.fromfile(PATH, np.uint8).reshape(-1, 65)
    order = np.random.default_rng(seed).permutation(len(records))
    return records[order, :64].astype(np.float32) / 16, records[order, 64].astype(np.int64)


def with_wrong_labels(y, share, rng, classes=10):
    """So many of the labels become any other."""
    wrong = rng.random(len(y)) < share
    return np.where(wrong, (y + rng.integers(1, classes, len(y))) % classes, y)


def accuracy(model, x, y):
    return float((model.predict(x).argmax(1) == y).mean())
