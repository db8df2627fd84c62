"""What papers say of language models with something else in place of the softmax of attention, on letters.

Trained as the papers train: AdamW with beta2 = 0.95 and weight decay 0.1, gradients no longer than 1, a tenth of the steps
to warm up and a cosine down to a tenth of the learning rate, and a mark before every text. TransNormer has its authors'
blocks, with as many parameters: root mean squares without weights, and products of two maps.
"""

import json

import numpy as np

import temper

from ..study import quantization
from ..study.results import interval
from . import Finding, Reference, experiment

CONTEXT = temper.Context(threads=1)  # batches are small
STEPS, WIDTH, HEADS, BATCH, BLOCKS = quantization.STEPS, 48, 4, 16, 2


def attention(normaliser):
    settings = {"heads": HEADS, "causal": True, "positions": "rotary", "bias": False, "normaliser": normaliser}
    return [{"multi_head_attention": settings}] * BLOCKS


# What mixes the steps, by block. Decays become slower by layer, and the first has angles, as its authors have it;
# without -log(window) the sums of sigmoids start at half of the window.
MIXERS = {
    **{name: attention(name) for name in ("softmax", "softpick", "self_adjust_softmax")},
    "decayed_linear_attention": [
        {"decayed_linear_attention": {"heads": HEADS, "layer": at, "layers": BLOCKS, "lrpe": at == 0}}
        for at in range(BLOCKS)
    ],
    "swat_sigmoid_window_attention": [
        {"swat_sigmoid_window_attention": {"heads": HEADS, "window": STEPS, "normalise_bias": True}}
    ]
    * BLOCKS,
}


def layers(name, entries):
    norm, feed = "layer_norm", [{"dense": 4 * WIDTH}, "gelu", {"dense": WIDTH}]
    if name == "decayed_linear_attention":
        norm = {"rms_norm": {"affine": False}}
        feed = [{"bilinear_glu": {"size": 7 * WIDTH // 3, "bias": False}}, {"dense": {"size": WIDTH, "bias": False}}]
    found = [{"embedding": {"entries": entries, "size": WIDTH, "initializer": {"normal": {"std": 0.1}}}}]
    for mixer in MIXERS[name]:
        found += [{"residual": [norm, mixer]}, {"residual": [norm, *feed]}]
    return [*found, norm, {"dense": entries}]


def marked(letters, x):
    """The texts with the mark of their beginning in place of the first letter."""
    return np.concatenate([np.full_like(x[:, :1], len(letters.alphabet)), x[:, 1:]], 1)


def shortened(gradients):
    """All together no longer than 1."""
    length = np.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    return [g / np.float32(max(length, 1)) for g in gradients]


def schedule(steps):
    parts = [
        {"linear_warmup": {"learning_rate": 1.0, "warmup_steps": max(steps // 10, 1)}},
        {"cosine": {"learning_rate": 1.0, "total_steps": steps, "minimum": 0.1}},
    ]
    return CONTEXT.schedule("product", learning_rate=0.003, schedules=json.dumps(parts))


def trained(letters, name, steps, seed):
    """A model after so many steps, and its cross-entropy on held-out letters."""
    rng, entries = np.random.default_rng([seed, 2]), len(letters.alphabet) + 1
    model = temper.Model(layers(name, entries), input=(STEPS,), seed=seed, context=CONTEXT)
    parameters, loss = model.parameters(), CONTEXT.loss("cross_entropy")
    optimizer = CONTEXT.optimizer("adamw", learning_rate=0.003, beta2=0.95, weight_decay=0.1)
    optimizer.group(range(len(parameters)), schedule(steps))
    for _ in range(steps):
        x, y = letters.batch(rng, BATCH)
        x = marked(letters, x)
        logits = model.predict(x)
        gradients = loss.value_and_grad(logits.reshape(-1, entries), y.reshape(-1))[1]
        made = model.vjp(x, gradients["logits"].reshape(logits.shape), wrt=list(parameters))
        optimizer.step(list(parameters.values()), shortened([made[key] for key in parameters]))
    x, y = letters.held_out()
    x = marked(letters, x)
    return model, float(loss(model.predict(x).reshape(-1, entries), y.reshape(-1)).mean())


def rotated(x, base=10000.0):
    """Rotary positions of (..., steps, d): neighbouring pairs are turned."""
    d = x.shape[-1]
    angle = np.arange(x.shape[-2])[:, None] * base ** (-2 * np.arange(d // 2) / d)
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def weights(model, name, x):
    """The weights of the second block's attention, (samples, heads, steps, steps)."""
    entries = model.parameters()["0.weight"].shape[0]
    before = temper.Model([*layers(name, entries)[:3], "layer_norm"], input=(STEPS,), seed=0, context=CONTEXT)
    known = model.parameters()
    for key, value in before.parameters().items():
        value[...] = known[key.replace("3.", "3.0.", 1) if key.startswith("3.") else key]
    q, k = np.split(before.predict(x) @ known["3.1.in_proj_weight"].T, 3, axis=-1)[:2]
    q, k = (rotated(z.reshape(*z.shape[:2], HEADS, -1).swapaxes(1, 2)) for z in (q, k))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    unseen = np.triu(np.ones((STEPS, STEPS), bool), 1)
    if name == "swat_sigmoid_window_attention":
        slope = 2.0 ** (-8 * np.arange(1, HEADS // 2 + 1) / HEADS)
        apart = np.arange(STEPS)[:, None] - np.arange(STEPS)
        scores = scores + np.concatenate([-slope, slope])[:, None, None] * apart
        return np.where(unseen, 0, 1 / (1 + np.exp(np.log(STEPS) - scores)))
    return CONTEXT.op(name)(np.where(unseen, -np.inf, scores).astype(np.float32))


def kurtosis(model, name, x):
    """Of what the blocks give for these letters: of E (x - mean)^4 / variance^2 over the width, the mean."""
    entries = model.parameters()["0.weight"].shape[0]
    before = temper.Model(layers(name, entries)[:-2], input=(STEPS,), seed=0, context=CONTEXT)
    for key, value in before.parameters().items():
        value[...] = model.parameters()[key]
    hidden = before.predict(x).astype(np.float64)
    centred = hidden - hidden.mean(-1, keepdims=True)
    return float(((centred**4).mean(-1) / np.square((centred**2).mean(-1))).mean())


def spread(percents, sign=""):
    mean, half = interval(percents)
    return f"{mean:{sign}.1f} ± {half:.1f}%"


def on_first(w):
    """The share of all weight that the mark gets, of those who see at least as many as a quarter."""
    late = w[:, :, STEPS // 4 :]
    return float((late[..., 0] / np.maximum(late.sum(-1), 1e-9)).mean())


@experiment(
    "language_softmax_study",
    area="softmax",
    summary="Small transformers that predict the next letter, with other things in place of attention's softmax.",
    reference=Reference(
        "Zuhri, Fuadi and Aji",
        2025,
        "Softpick: No Attention Sink, No Massive Activations with Rectified Softmax",
        "2504.20966",
    ),
    seeds="Networks of each kind.",
    steps="Of each training.",
    length="Letters of the text, a tenth of them held out.",
)
def language_softmax_study(seeds: int = 3, steps: int = 600, length: int = 100_000):
    letters = quantization.Letters(length)
    losses, first, zeros, peaks = {name: [] for name in MIXERS}, {}, [], {}
    for seed in range(1, seeds + 1):
        for name in MIXERS:
            model, value = trained(letters, name, steps, seed)
            losses[name].append(value)
            if name in ("softmax", "softpick", "swat_sigmoid_window_attention"):
                x = marked(letters, letters.held_out()[0])
                w = weights(model, name, x)
                first.setdefault(name, []).append(on_first(w))
                peaks.setdefault(name, []).append(kurtosis(model, name, x))
                if name == "softpick":
                    zeros.append((w == 0)[..., np.tril(np.ones((STEPS, STEPS), bool))].mean())
    plain = np.array(losses["softmax"])

    def within(name, percent):
        above = 100 * (np.array(losses[name]) / plain - 1)
        return Finding(
            f"The loss with {name} is within {percent}% of that with softmax.",
            f"{np.mean(losses[name]):.3f} beside {plain.mean():.3f}: {spread(above, '+')}",
            bool(above.mean() < percent),
        )

    def sinks_less(name):
        mine, theirs = (100 * np.array(first[key]) for key in (name, "softmax"))
        return Finding(
            f"With {name} the mark of the beginning gets less of the weight.",
            f"{spread(mine)} beside {spread(theirs)}",
            bool(mine.mean() < theirs.mean()),
        )

    yield within("decayed_linear_attention", 5)
    yield within("softpick", 3)
    yield sinks_less("softpick")
    yield Finding(
        "More than a fifth of softpick's weights are exactly 0.",
        spread(100 * np.array(zeros)),
        bool(np.mean(zeros) > 0.2),
    )
    (mine, mine_half), (theirs, theirs_half) = interval(peaks["softpick"]), interval(peaks["softmax"])
    yield Finding(
        "With softpick the kurtosis of what the blocks give is not above that with softmax by more than a tenth.",
        f"{mine:.2f} ± {mine_half:.2f} beside {theirs:.2f} ± {theirs_half:.2f}",
        bool(mine < 1.1 * theirs),
    )
    yield within("self_adjust_softmax", 2)
    yield within("swat_sigmoid_window_attention", 3)
    yield sinks_less("swat_sigmoid_window_attention")
