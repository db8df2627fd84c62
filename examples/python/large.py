"""Train on data larger than memory, in four forms that give the same bits: a .npy file mapped by NumPy or by Temper,
items that are read when they are needed, and batches from an iterable.

    python large.py FOLDER
"""

import pathlib
import sys

import numpy as np

import temper

SAMPLES, FEATURES = 2000, 16


class Items:
    """Samples by number, made when they are asked for; a folder of pictures, or a data base, works the same way."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        x = np.random.default_rng(index).normal(size=FEATURES).astype(np.float32)
        return x, np.int32((x**2).sum() > FEATURES)


def batches(items, size=100):
    for start in range(0, len(items), size):
        x, y = zip(*(items[index] for index in range(start, start + size)))
        yield np.stack(x), np.stack(y)


def train(*data):
    model = temper.Model([{"dense": 64}, "relu", {"dense": 2}], input=(FEATURES,), seed=1)
    return temper.Trainer(model, seed=2).fit(*data, epochs=20)["training_loss"][-1]


folder = pathlib.Path(sys.argv[1])
items = Items()
x, y = (np.concatenate(parts) for parts in zip(*batches(items)))
np.save(folder / "x.npy", x)
np.save(folder / "y.npy", y)

losses = {
    "in memory": train(x, y),
    "mapped by NumPy": train(np.load(folder / "x.npy", mmap_mode="r"), y),
    "mapped by Temper": train(folder / "x.npy", folder / "y.npy"),
    "item by item": train(items),
    "batches": train(batches(items)),
}
for name, loss in losses.items():
    print(f"{name:18}{loss:.6f}")
assert len(set(losses.values())) == 1
