"""Smooth activations against rectified ones where every layer's result has few bits and noise."""

import numpy as np

import temper

from ..study import digits
from . import Finding, Reference, experiment

SIZES = (64, 128, 128, digits.CLASSES)
ACTIVATIONS = ("relu", "gelu", "silu")
CONTEXT = temper.Context(threads=1)  # batches are small


def reduce_precision(x, bits, noise=0.0, rng=None):
    """The nearest of 2^bits even levels from min x to max x, plus N(0, (noise * range)^2)."""
    low, high = x.min(), x.max()
    span, levels = high - low, 2**bits - 1
    if span == 0:
        return x.copy()
    rounded = low + np.round((x - low) / span * levels) * (span / levels)
    return rounded if noise == 0 else rounded + rng.normal(0, noise * span, x.shape).astype(x.dtype)


def slope(activation, x):
    return temper.op(activation).vjp(x, np.ones_like(x))


class Network:
    """Dense layers, each followed by `reduce_precision`, with an activation between. Its gradient goes straight through
    the rounding: with the range of the batch itself no value is clamped."""

    def __init__(self, activation, bits, noise, seed):
        self.activation, self.bits, self.noise = CONTEXT.op(activation), bits, noise
        self.rng = np.random.default_rng(seed)
        self.parameters = []
        for inputs, outputs in zip(SIZES, SIZES[1:]):
            bound = inputs**-0.5
            self.parameters.append(self.rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32))
            self.parameters.append(np.zeros(outputs, np.float32))

    def forward(self, x):
        """The logits, and for each layer what came in and what went into its activation."""
        seen, layers = [], len(SIZES) - 1
        for layer in range(layers):
            weight, bias = self.parameters[2 * layer : 2 * layer + 2]
            y = reduce_precision(x @ weight.T + bias, self.bits, self.noise, self.rng)
            seen.append((x, y))
            x = y if layer == layers - 1 else self.activation(y)
        return x, seen

    def gradients(self, x, targets, loss):
        logits, seen = self.forward(x)
        dy = loss.value_and_grad(logits, targets)[1]["logits"]
        gradients = []
        for layer in reversed(range(len(seen))):
            x, _ = seen[layer]
            gradients = [dy.T @ x, dy.sum(axis=0), *gradients]
            if layer:
                dy = self.activation.vjp(seen[layer - 1][1], dy @ self.parameters[2 * layer])
        return gradients

    def train(self, x, y, epochs):
        loss, optimizer = CONTEXT.loss("cross_entropy"), CONTEXT.optimizer("adam", learning_rate=0.003)
        for _ in range(epochs):
            order = self.rng.permutation(len(x))
            for start in range(0, len(x), 128):
                batch = order[start : start + 128]
                optimizer.step(self.parameters, self.gradients(x[batch], y[batch], loss))

    def accuracy(self, x, y):
        return (self.forward(x)[0].argmax(axis=1) == y).mean()


@experiment(
    "quantized_noise_activation_study",
    area="quant",
    summary="Compares smooth and rectified activations where every layer's result is rounded to few bits. What is claimed "
    "of slopes holds; the accuracy claimed holds at 3 bits and not at 4.",
    reference=Reference(
        "Shah and Youssef",
        2024,
        "Leveraging Continuously Differentiable Activation Functions for Learning in Quantized Noisy Environments",
        "2402.02593",
    ),
    seeds="Networks of each activation and number of bits.",
    epochs="Of each training.",
    noise="Standard deviation of the noise beside the rounding, in parts of the range.",
)
def quantized_noise_activation_study(seeds: int = 5, epochs: int = 30, noise: float = 0.0):
    rng = np.random.default_rng(0)
    x, d = np.array([0.001]), np.array([-0.005])
    error = {name: abs(slope(name, x + d) - slope(name, x))[0] for name in ACTIVATIONS}
    yield Finding(
        "Where rounding by -0.005 takes 0.001 across zero, ReLU's slope is wrong by 1 and GELU's by about 0.004.",
        f"ReLU {error['relu']:.4f}, GELU {error['gelu']:.4f}, SiLU {error['silu']:.4f}",
        error["relu"] == 1 and abs(error["gelu"] - 0.798 * 0.005) < 2e-4,
    )

    # Half way between the levels around zero of 8 bits over [-3, 4] lies 0.0057: smaller values change their sign.
    x = np.concatenate([[-3, 4], rng.uniform(-0.05, 0.05, 100_000)])
    rounded = reduce_precision(x, 8)
    crossed = np.sign(x) != np.sign(rounded)
    error = {name: abs(slope(name, rounded) - slope(name, x)) for name in ACTIVATIONS}
    bound = np.sqrt(2 / np.pi) * abs(rounded - x).max()
    ratio = error["relu"][crossed].mean() / error["gelu"][crossed].mean()
    yield Finding(
        "With 8 bits over [-3, 4], a slope of GELU near zero is wrong by at most 0.798 |d|; where the sign flips, "
        "ReLU's is wrong by about a hundred times as much.",
        f"GELU at most {error['gelu'].max():.4f} of {bound:.4f}; {100 * crossed.mean():.1f}% flip, there {ratio:.0f} "
        "times as much",
        error["gelu"].max() <= bound and ratio > 50,
    )

    (x, y), test = digits.load(digits.find())
    for bits in (3, 4):
        accuracy = {name: [] for name in ACTIVATIONS}
        for name in ACTIVATIONS:
            for seed in range(seeds):
                network = Network(name, bits, noise, seed)
                network.train(x, y, epochs)
                accuracy[name].append(network.accuracy(*test))
        means = {name: np.mean(values) for name, values in accuracy.items()}
        yield Finding(
            f"Digits, {bits} bits after every layer: test accuracy of GELU and of SiLU is at least ReLU's, in the mean "
            f"of {seeds} seeds.",
            ", ".join(f"{name} {100 * value:.1f}%" for name, value in means.items()),
            min(means["gelu"], means["silu"]) >= means["relu"],
        )
