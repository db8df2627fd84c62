"""Number formats of few bits in training: each on weights, on activations, on gradients, rounded in two ways."""

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment

SIZES = (64, 64, digits.CLASSES)
BATCH, RATE, MOMENTUM = 64, 0.1, 0.9
KINDS = ("weights", "activations", "gradients")
CONTEXT = temper.Context(threads=1)  # batches are small


def _rounded(x, rng):
    """To whole numbers: to nearest, ties to even, or with rng up with the probability of the fraction."""
    return np.round(x) if rng is None else np.floor(x + rng.random(x.shape))


def minifloat(x, exponent_bits, fraction_bits, largest, rng=None):
    """Floats of 1 + e + m bits: steps of 2^(E - m) from 2^E on, of 2^(1 - bias - m) below 2^(1 - bias), cut off at the
    largest."""
    bias = 2 ** (exponent_bits - 1) - 1
    exponent = np.maximum(np.frexp(x)[1] - 1, 1 - bias)
    step = np.ldexp(1.0, exponent - fraction_bits)
    return np.clip(_rounded(x / step, rng) * step, -largest, largest)


MINIFLOATS = {"e4m3": (4, 3, 448.0), "e5m2": (5, 2, 57344.0), "e2m1": (2, 1, 6.0), "bf16": (8, 7, 3.39e38)}


def integers(x, bits, rng=None):
    """Whole multiples of absmax / (2^(b-1) - 1)."""
    largest = 2 ** (bits - 1) - 1
    scale = abs(x).max() / largest
    return x if scale == 0 else np.clip(_rounded(x / scale, rng), -largest, largest) * scale


def _blocks(x, size):
    """x as rows of `size`, filled up with zeros."""
    flat = x.ravel()
    return np.pad(flat, (0, -flat.size % size)).reshape(-1, size)


def microscaled(x, name, rng=None, size=32):
    """MX: 32 values share the power of two 2^(floor(log2 absmax) - emax)."""
    element = MINIFLOATS[name]
    blocks = _blocks(x, size)
    largest = abs(blocks).max(axis=1, keepdims=True)
    emax = int(np.floor(np.log2(element[2])))
    scale = np.ldexp(1.0, np.where(largest > 0, np.frexp(largest)[1] - 1 - emax, 0))
    return (minifloat(blocks / scale, *element, rng) * scale).ravel()[: x.size].reshape(x.shape)


def nvfp4(x, rng=None, size=16):
    """16 values share an E4M3 scale, absmax / 6, over one float32 scale of the tensor."""
    blocks = _blocks(x, size)
    largest = abs(blocks).max(axis=1, keepdims=True)
    whole = max(largest.max() / (6 * 448), 1e-30)
    scale = minifloat(largest / 6 / whole, *MINIFLOATS["e4m3"]) * whole
    safe = np.where(scale > 0, scale, 1)
    rounded = np.where(scale > 0, minifloat(blocks / safe, *MINIFLOATS["e2m1"], rng) * scale, 0)
    return rounded.ravel()[: x.size].reshape(x.shape)


FORMATS = {
    "int8": lambda x, rng=None: integers(x, 8, rng),
    "int4": lambda x, rng=None: integers(x, 4, rng),
    "e4m3": lambda x, rng=None: minifloat(x, *MINIFLOATS["e4m3"], rng),
    "e5m2": lambda x, rng=None: minifloat(x, *MINIFLOATS["e5m2"], rng),
    "mxfp8": lambda x, rng=None: microscaled(x, "e4m3", rng),
    "mxfp4": lambda x, rng=None: microscaled(x, "e2m1", rng),
    "nvfp4": nvfp4,
}


class Training:
    """A network with one hidden layer by gradient descent with momentum, its weights, activations and gradients passed
    through formats on their way into the products; the master weights stay float64. loss_scale: gradients are
    multiplied with it before their format and divided afterwards; it is halved when they would be cut off."""

    def __init__(self, formats, stochastic=False, loss_scale=1.0, seed=0):
        self.formats, self.loss_scale = formats, loss_scale
        self.rng = np.random.default_rng(seed)
        self.rounding = np.random.default_rng([seed, 1]) if stochastic else None
        self.weights = [self.rng.normal(0, a**-0.5, (b, a)) for a, b in zip(SIZES, SIZES[1:])]
        self.seen = {kind: [0.0, 0.0, 0, 0] for kind in KINDS}  # signal, noise, zeros made, numbers

    def through(self, kind, x):
        if kind not in self.formats:
            return x
        element = MINIFLOATS.get(self.formats[kind])
        while kind == "gradients" and element and abs(x).max() * self.loss_scale > element[2]:
            self.loss_scale /= 2
        scale = self.loss_scale if kind == "gradients" else 1.0
        y = FORMATS[self.formats[kind]](x * scale, self.rounding) / scale
        seen = self.seen[kind]
        seen[0] += np.square(x).sum()
        seen[1] += np.square(x - y).sum()
        seen[2] += np.count_nonzero((y == 0) & (x != 0))
        seen[3] += np.count_nonzero(x)
        return y

    def forward(self, x):
        first, second = (self.through("weights", w) for w in self.weights)
        x = self.through("activations", x)
        before = x @ first.T
        hidden = self.through("activations", np.maximum(before, 0))
        return hidden @ second.T, (x, before, hidden, second)

    def run(self, x, y, epochs):
        """The loss over all of x in the end."""
        loss, x = CONTEXT.loss("cross_entropy"), x.astype(np.float64)
        velocity = [np.zeros_like(w) for w in self.weights]
        for _ in range(epochs):
            order = self.rng.permutation(len(x))
            for start in range(0, len(x) - BATCH + 1, BATCH):
                batch = order[start : start + BATCH]
                logits, (inputs, before, hidden, second) = self.forward(x[batch])
                dy = self.through("gradients", loss.value_and_grad(logits, y[batch])[1]["logits"])
                dhidden = self.through("gradients", (dy @ second) * (before > 0))
                for index, gradient in enumerate((dhidden.T @ inputs, dy.T @ hidden)):
                    velocity[index] = MOMENTUM * velocity[index] - RATE * gradient
                    self.weights[index] += velocity[index]
        return float(loss(self.forward(x)[0], y).mean())

    def noise(self, kind):
        """Signal over noise in decibels, and the share of numbers that became zero."""
        signal, noise, zeros, count = self.seen[kind]
        return 10 * np.log10(signal / max(noise, 1e-300)), zeros / max(count, 1)


def _exact():
    def of(name, *values):
        return [float(v) for v in minifloat(np.array(values), *MINIFLOATS[name])]

    found = {"e4m3": of("e4m3", 0.3, 1000), "e2m1": of("e2m1", 2.5, 5, 3.6)}
    codes = {name: np.unique(minifloat(np.linspace(-1, 1, 400_001) * limit, *MINIFLOATS[name]))
             for name, limit in (("e4m3", 448.0), ("e5m2", 57344.0))}  # fmt: skip
    again = all(np.array_equal(minifloat(v, *MINIFLOATS[name]), v) for name, v in codes.items())
    x = np.random.default_rng(0).standard_normal((7, 50))
    steady = max(abs(quantize(y) - y).max() for quantize in FORMATS.values() for y in [quantize(x)])
    doubled = all(np.array_equal(FORMATS[name](2 * x), 2 * FORMATS[name](x)) for name in ("mxfp8", "mxfp4"))
    holds = found == {"e4m3": [0.3125, 448], "e2m1": [2, 4, 4]} and again and steady < 1e-12 and doubled
    return Finding(
        "E4M3: 0.3 becomes 0.3125 and 1000 becomes 448; E2M1: 2.5, 5 and 3.6 become 2, 4 and 4. What is rounded once "
        "stays, and twice the numbers become twice the numbers in MX formats.",
        f"{found}, {steady:.0e} between once and twice",
        bool(holds),
    )


def _signal():
    x = np.random.default_rng(1).uniform(-1, 1, 1_000_000)
    ratio = 10 * np.log10(np.square(x).sum() / np.square(x - integers(x, 8)).sum())
    return Finding(
        "Uniform numbers in int8 have a signal over noise of 10 log10(4 * 127^2) = 48.1 dB.",
        f"{ratio:.2f} dB",
        bool(abs(ratio - 10 * np.log10(4 * 127**2)) < 0.05),
    )


def _stochastic():
    rng, x, count = np.random.default_rng(2), 0.3, 100_000
    y = minifloat(np.full(count, x), *MINIFLOATS["e2m1"], rng)
    error, sigma = abs(y.mean() - x), y.std() / count**0.5
    weight, update = 1.0, 1e-3  # a step of bfloat16 above 1 is 2^-7: updates below 2^-8 vanish
    nearest, drawn = np.full(1000, weight), np.full(1000, weight)
    for _ in range(1000):
        nearest = minifloat(nearest + update, *MINIFLOATS["bf16"])
        drawn = minifloat(drawn + update, *MINIFLOATS["bf16"], rng)
    yield Finding(
        "Rounded stochastically, numbers keep their mean.",
        f"E2M1 of {x}: off by {error / sigma:.1f} standard errors",
        bool(error < 4 * sigma),
    )
    yield Finding(
        "A bfloat16 weight of 1 with updates of 0.001 stalls when it is rounded to nearest, and moves on when it is "
        "rounded stochastically.",
        f"after 1000 updates {nearest.mean():.3f} to nearest, {drawn.mean():.3f} stochastically",
        bool((nearest == weight).all() and abs(drawn.mean() - 2) < 0.05),
    )


@experiment(
    "low_precision_format_sweep",
    area="quant",
    summary="Trains a network with its weights, activations or gradients in each of seven number formats.",
    reference=Reference(
        "Hao et al.",
        2025,
        "Low-Precision Training of Large Language Models: Methods, Challenges, and Opportunities",
        "2505.01043",
    ),
    formats="Comma-separated.",
    seeds="Networks of each setting.",
    epochs="Of each training.",
    loss_scale="What gradients are multiplied with at first, before their format.",
)
def low_precision_format_sweep(
    formats: str = ",".join(FORMATS), seeds: int = 3, epochs: int = 15, loss_scale: float = 65536.0
):
    chosen = [name.strip() for name in formats.split(",")]
    if unknown := set(chosen) - set(FORMATS):
        raise temper.errors.UnknownName(f"There is no format {', '.join(unknown)}; there are {', '.join(FORMATS)}.")
    yield _exact()
    yield _signal()
    yield from _stochastic()
    (x, y), _ = digits.load(digits.find())

    def train(given, **options):
        runs = [Training(given, seed=seed, **options) for seed in range(seeds)]
        return np.mean([run.run(x, y, epochs) for run in runs]), runs[0]

    base, _ = train({})
    under = {name: train({"gradients": name})[1].noise("gradients")[1] for name in ("e4m3", "e5m2")}
    yield Finding(
        "Gradients in E4M3, without scaling the loss, become zero more often than in E5M2.",
        ", ".join(f"{name} {100 * share:.1f}%" for name, share in under.items()),
        bool(under["e4m3"] > under["e5m2"]),
    )
    recipe, _ = train({"weights": "e4m3", "activations": "e4m3", "gradients": "e5m2"}, loss_scale=loss_scale)
    yield Finding(
        "Weights and activations in E4M3 with scaled gradients in E5M2 train to nearly the loss of full precision.",
        f"loss {recipe:.4f}, {base:.4f} in full precision",
        bool(recipe - base < 0.02),
    )
    gaps, lines = {}, [f"gap to a loss of {base:.4f}, to nearest / stochastic; decibels; share that became zero"]
    for name in chosen:
        cells = []
        for kind in KINDS:
            scale = loss_scale if kind == "gradients" and name in ("e4m3", "e5m2") else 1.0
            (near, run), (drawn, _) = (train({kind: name}, stochastic=s, loss_scale=scale) for s in (False, True))
            gaps[name, kind] = near - base, drawn - base
            ratio, zeros = run.noise(kind)
            cells.append(f"{kind} {near - base:+.4f} / {drawn - base:+.4f}, {ratio:.0f} dB, {100 * zeros:.0f}%")
        lines.append(f"{name}: " + "; ".join(cells))
    eight = [abs(gap[0]) for (name, _), gap in gaps.items() if name in ("int8", "e4m3", "e5m2", "mxfp8")]
    four = [abs(gap[0]) for (name, _), gap in gaps.items() if name in ("int4", "mxfp4", "nvfp4")]
    if eight and four:
        yield Finding(
            "Formats of 8 bits, each on one kind of tensor, train nearer to full precision than those of 4 bits.",
            "\n".join([*lines, f"mean gap {np.mean(eight):.4f} with 8 bits, {np.mean(four):.4f} with 4"]),
            bool(np.mean(eight) < np.mean(four)),
        )
