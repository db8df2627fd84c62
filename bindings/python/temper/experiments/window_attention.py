"""Attention in space-time windows, and the gap that a network with too little data opens."""

import numpy as np

import temper

from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)  # batches are small
FRAMES, SIDE, CLASSES = 8, 8, 4
WINDOW = (2, 4, 4)


def windows(x, window, shift=(0, 0, 0)):
    """(B, T, H, W, C) cut into (B, windows, tokens, C), after a cyclic shift of the grid."""
    x = np.roll(x, [-s for s in shift], axis=(1, 2, 3))
    batch, t, h, w, c = x.shape
    a, b, d = window
    x = x.reshape(batch, t // a, a, h // b, b, w // d, d, c).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, -1, a * b * d, c)


def grid(x, shape, window, shift=(0, 0, 0)):
    """The inverse of `windows`."""
    t, h, w = shape
    a, b, d = window
    x = x.reshape(len(x), t // a, h // b, w // d, a, b, d, -1).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return np.roll(x.reshape(len(x), t, h, w, -1), shift, axis=(1, 2, 3))


def neighbours(shape, window, shift):
    """Which pairs of a shifted window's tokens were neighbours before the shift: (windows, tokens, tokens)."""
    parts = np.zeros(shape, int)
    for axis, (size, step, moved) in enumerate(zip(shape, window, shift)):
        place = np.arange(size)
        part = np.where(place < size - step, 0, np.where(place < size - moved, 1, 2)) if moved else place * 0
        parts += part.reshape([-1 if i == axis else 1 for i in range(3)]) * 3**axis
    cut = windows(parts[None, ..., None].astype(float), window)[0, :, :, 0]
    return cut[:, :, None] == cut[:, None, :]


def relative_places(window):
    """For each pair of tokens its place in a table of (2a - 1)(2b - 1)(2c - 1) biases."""
    places = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"), -1).reshape(-1, 3)
    apart = places[:, None] - places[None] + np.array(window) - 1
    a, b, c = (2 * size - 1 for size in window)
    return (apart[..., 0] * b + apart[..., 1]) * c + apart[..., 2]


def attend(x, parameters, window, shift=(0, 0, 0)):
    """softmax(q k^T / sqrt(d) + bias) v of each head within each window; what `slopes` needs beside."""
    query, key, value, table = parameters
    shape, heads = x.shape[1:4], len(table)
    tokens = windows(x, window, shift)
    split = [(tokens @ w).reshape(*tokens.shape[:3], heads, -1).transpose(0, 1, 3, 2, 4) for w in (query, key, value)]
    q, k, v = split
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + table[:, relative_places(window)]
    if any(shift):
        scores = np.where(neighbours(shape, window, shift)[None, :, None], scores, -1e30)
    weights = CONTEXT.op("softmax")(scores)
    out = (weights @ v).transpose(0, 1, 3, 2, 4).reshape(*tokens.shape[:3], -1)
    return grid(out, shape, window, shift), (tokens, q, k, v, weights)


def slopes(dy, known, parameters, window, shift=(0, 0, 0)):
    """The gradients by x and by the parameters."""
    tokens, q, k, v, weights = known
    table = parameters[3]
    heads, shape = len(table), dy.shape[1:4]
    dy = windows(dy, window, shift)
    dy = dy.reshape(*dy.shape[:3], heads, -1).transpose(0, 1, 3, 2, 4)
    dv, dw = weights.swapaxes(-1, -2) @ dy, dy @ v.swapaxes(-1, -2)
    ds = weights * (dw - (dw * weights).sum(-1, keepdims=True))
    dq, dk = ds @ k / np.sqrt(q.shape[-1]), ds.swapaxes(-1, -2) @ q / np.sqrt(q.shape[-1])
    flat = [g.transpose(0, 1, 3, 2, 4).reshape(*tokens.shape[:3], -1) for g in (dq, dk, dv)]
    gradients = [np.einsum("bnti,bntj->ij", tokens, g) for g in flat]
    dtable = np.zeros_like(table)
    pairs = ds.sum((0, 1))
    for head in range(heads):
        dtable[head] = np.bincount(relative_places(window).ravel(), pairs[head].ravel(), len(table[head]))
    dx = sum(g @ w.T for g, w in zip(flat, parameters))
    return grid(dx, shape, window, shift), [*gradients, dtable]


def clips(rng, count):
    """A blob on a torus that moves by a pixel a frame, left, right, up or down, in noise."""
    y = rng.integers(0, CLASSES, count)
    start = rng.integers(0, SIDE, (count, 2))
    step = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)])[y]
    frames = np.arange(FRAMES)[None, :, None]
    centre = start[:, None] + frames * step[:, None]
    place = np.arange(SIDE)
    away = np.abs(place[None, None, None] - centre[..., None]) % SIDE  # (count, frames, axis, side)
    near = np.exp(-0.5 * np.minimum(away, SIDE - away) ** 2)
    x = near[:, :, 0, :, None] * near[:, :, 1, None, :] + 0.1 * rng.normal(size=(count, FRAMES, SIDE, SIDE))
    return x[..., None].astype(np.float32), y


class Network:
    """Tokens of one pixel, attention in windows beside them, a hidden layer, the mean over all tokens, class scores."""

    def __init__(self, rng, width=6, hidden=24, heads=2):
        def uniform(*shape):
            return (rng.uniform(-1, 1, shape) / np.sqrt(shape[0])).astype(np.float32)

        places = np.prod([2 * size - 1 for size in WINDOW])
        self.values = [
            uniform(1, width), *(uniform(width, width) for _ in range(3)),
            (0.5 * rng.normal(size=(heads, places))).astype(np.float32),
            uniform(2 * width, hidden), np.zeros(hidden, np.float32), uniform(hidden, CLASSES),
            np.zeros(CLASSES, np.float32),
        ]  # fmt: skip

    def forward(self, x):
        embed, *attention = self.values[:5]
        w1, b1, w2, b2 = self.values[5:]
        tokens = x @ embed
        seen, known = attend(tokens, attention, WINDOW)
        both = np.concatenate([tokens, seen], -1)
        hidden = np.maximum(both @ w1 + b1, 0)
        pooled = hidden.mean((1, 2, 3))
        return pooled @ w2 + b2, (x, tokens, known, both, hidden, pooled)

    def gradients(self, known, dy):
        x, tokens, inside, both, hidden, pooled = known
        embed, *attention = self.values[:5]
        w1, _, w2, _ = self.values[5:]
        count = np.prod(hidden.shape[1:4])
        dh = (dy @ w2.T)[:, None, None, None] / count * (hidden > 0)
        db = dh @ w1.T
        width = tokens.shape[-1]
        dx, inner = slopes(db[..., width:], inside, attention, WINDOW)
        dt = db[..., :width] + dx
        axes = "bthwi,bthwj->ij"
        return [
            np.einsum(axes, x, dt), *inner, np.einsum(axes, both, dh), dh.sum((0, 1, 2, 3)), pooled.T @ dy, dy.sum(0),
        ]  # fmt: skip


def curve(network, train, test, epochs, rng):
    """Training loss, test loss and test accuracy after each epoch."""
    loss, optimizer = CONTEXT.loss("cross_entropy"), CONTEXT.optimizer("adam", learning_rate=0.01)
    rows = []
    for _ in range(epochs):
        order = rng.permutation(len(train[0]))
        for start in range(0, len(order), 20):
            batch = order[start : start + 20]
            logits, known = network.forward(train[0][batch])
            dy = loss.value_and_grad(logits, train[1][batch])[1]["logits"]
            gradients = [np.ascontiguousarray(g, np.float32) for g in network.gradients(known, dy)]
            optimizer.step(network.values, gradients)
        measured = [network.forward(data[0])[0] for data in (train, test)]
        losses = [loss(logits, data[1]).mean() for logits, data in zip(measured, (train, test))]
        rows.append((*losses, (measured[1].argmax(1) == test[1]).mean()))
    return np.array(rows)


def diagnose(rows, targets, patience=3):
    """What a curve warns of: "overfits" where the test loss rose for `patience` epochs while the training loss fell,
    "below majority" where the last accuracy is below that of always saying the most frequent class."""
    rising = (np.diff(rows[:, 1]) > 0) & (np.diff(rows[:, 0]) < 0)
    runs = np.convolve(rising, np.ones(patience), "valid") if len(rising) >= patience else np.zeros(1)
    majority = np.bincount(targets).max() / len(targets)
    return {name for name, holds in (("overfits", (runs == patience).any()), ("below majority", rows[-1, 2] < majority)) if holds}


@experiment(
    "temporal_window_attention_study",
    area="regularize",
    summary="Attention in space-time windows on moving blobs, with few clips and with many.",
    reference=Reference(
        "Lakhani",
        2022,
        "Applying Spatiotemporal Attention to Identify Distracted and Drowsy Driving with Vision Transformers",
        "2207.12148",
    ),
    seeds="Networks of each amount of data.",
    few="Clips of the small training set.",
    many="Clips of the large one.",
    epochs="Of a training on the large set; a small one gets as many steps.",
)
def temporal_window_attention_study(seeds: int = 5, few: int = 20, many: int = 1000, epochs: int = 3):
    rng = np.random.default_rng(0)
    shape, width, heads = (4, 4, 4), 6, 2
    x = rng.normal(size=(2, *shape, width))
    weights = [rng.normal(size=(width, width)) for _ in range(3)]
    whole, _ = attend(x, [*weights, np.zeros((heads, 7 * 7 * 7))], shape)
    flat = x.reshape(2, -1, width)
    q, k, v = ((flat @ w).reshape(2, -1, heads, width // heads).swapaxes(1, 2) for w in weights)
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(width // heads))
    full = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(2, -1, width)
    worst = np.abs(whole.reshape(full.shape) - full).max()
    yield Finding(
        "With a window as large as the clip and no bias, windowed attention is ordinary attention.",
        f"largest difference {worst:.1e}",
        worst < 1e-12,
    )

    window, shift = (2, 2, 2), (1, 1, 1)
    parameters = [*weights, rng.normal(size=(heads, 27))]
    before, _ = attend(x, parameters, window, shift)
    moved = x.copy()
    moved[:, 0, 0, 0] += 1  # shares a shifted window with (3, 3, 3), from across every boundary
    after, _ = attend(moved, parameters, window, shift)
    reached = np.abs(after - before).max(-1)
    yield Finding(
        "The mask of shifted windows keeps what was no neighbour before the shift apart.",
        f"a change of the first token moves the last by {reached[:, 3, 3, 3].max():.1g}, itself by "
        f"{reached[:, 0, 0, 0].min():.1g}",
        reached[:, 3, 3, 3].max() == 0 and reached[:, 0, 0, 0].min() > 0,
    )

    gaps, warned = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        test, data = clips(rng, 300), clips(rng, many)
        found = []
        for count in (few, many):
            train = data[0][:count], data[1][:count]
            rows = curve(Network(np.random.default_rng(seed)), train, test, epochs * many // count, rng)
            found.append(rows[-1, 1] - rows[-1, 0])
            warned.append((count, "overfits" in diagnose(rows, test[1])))
        gaps.append(found)
    gaps = np.array(gaps)
    yield Finding(
        f"The gap between test and training loss is larger with {few} clips than with {many}, for every seed.",
        f"{few}: {gaps[:, 0].mean():.3f}, {many}: {gaps[:, 1].mean():.3f}; larger for {(gaps[:, 0] > gaps[:, 1]).sum()} "
        f"of {seeds}",
        bool((gaps[:, 0] > gaps[:, 1]).all()),
    )
    with_few = [flag for count, flag in warned if count == few]
    constant = np.array([[1.4, 1.4, (test[1] == np.bincount(test[1]).argmin()).mean()]] * 4)
    yield Finding(
        "The diagnosis warns of the small set's rising test loss, and of a model worse than the majority class.",
        f"warned of {sum(with_few)} of {seeds} small sets; a constant answer: {sorted(diagnose(constant, test[1]))}",
        sum(with_few) > seeds / 2 and "below majority" in diagnose(constant, test[1]),
    )
