"""What do quantizers cost on small networks? Two of digits, and a transformer that predicts the next letter.

mlp: 64-128-128-10 on digits; conv: two convolutions and a dense layer on digits; letters: a causal transformer over the
texts that come with Python (the documentation strings of its standard library). Each is trained in float32, then every
quantizer of the catalogue packs all of its matrices, at 8, 4, 3, 2 and 1 bits or at the bits that it has, with its
default parameters and the same calibration inputs; none is tuned. Methods that learn take fewer steps (SHORTER). The
networks of digits are also trained with few bits from the start (low_bits.py). Accuracy on held-out digits; perplexity,
and share of letters predicted, on held-out text. Bytes are those of the whole model, biases and tables included; seconds
those of packing it, or of the training that rounds, on one thread: a process for each processor takes networks and seeds
in turn.
"""

import csv
import pathlib
import pkgutil
import sys
import time

import numpy as np

import temper

from . import digits, low_bits, picture
from .results import interval
from .runs import in_parallel

BITS = (8, 4, 3, 2, 1)
FLOAT = "float32"
STEPS, LENGTH, BATCH = 64, 250_000, 32
MLP = [{"dense": 128}, "relu", {"dense": 128}, "relu", {"dense": digits.CLASSES}]
CONV = [
    {"conv2d": {"channels": 16, "padding": "same"}}, "relu", {"max_pool": 2},
    {"conv2d": {"channels": 32, "padding": "same"}}, "relu", {"max_pool": 2}, "flatten", {"dense": digits.CLASSES},
]  # fmt: skip


def transformer(entries, width=128, blocks=4, heads=4, normaliser="softmax"):
    attention = {"heads": heads, "causal": True, "normaliser": normaliser}
    block = [
        {"residual": ["layer_norm", {"multi_head_attention": attention}]},
        {"residual": ["layer_norm", {"dense": 4 * width}, "gelu", {"dense": width}]},
    ]
    start = {"embedding": {"entries": entries, "size": width, "initializer": {"normal": {"std": 0.1}}}}
    return [start, "positional_embedding", *block * blocks, "layer_norm", {"dense": entries}]


def text(length=LENGTH):
    """Documentation strings of the standard library, in the order of the modules' names, up to so many letters."""
    found, total = [], 0
    for entry in sorted(pkgutil.iter_modules([str(pathlib.Path(pathlib.__file__).parent)]), key=lambda e: e.name):
        spec = entry.module_finder.find_spec(entry.name)
        if not spec or not spec.origin or not spec.origin.endswith(".py"):
            continue
        tree = _parsed(pathlib.Path(spec.origin))
        if tree:
            found.append(tree)
            total += len(tree)
        if total >= length:
            break
    return "\n".join(found)[:length]


def _parsed(path):
    import ast

    try:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    except (SyntaxError, UnicodeDecodeError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return "\n".join(filter(None, (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))))


class Letters:
    """The text as ids of its letters; those that are not ASCII are one id. The last tenth is for the test."""

    def __init__(self, length):
        ids = np.minimum(np.frombuffer(text(length).encode("latin-1", "replace"), np.uint8), 127)
        self.alphabet, ids = np.unique(ids, return_inverse=True)
        cut = len(ids) * 9 // 10
        self.train, self.test = ids[:cut].astype(np.int32), ids[cut:].astype(np.int32)

    def batch(self, rng, count=BATCH):
        """(x, y): each letter's next one."""
        starts = rng.integers(0, len(self.train) - STEPS - 1, count)
        windows = self.train[starts[:, None] + np.arange(STEPS + 1)]
        return windows[:, :-1], windows[:, 1:]

    def held_out(self, count=64):
        count = min(count, len(self.test) // (STEPS + 1))
        windows = self.test[: count * (STEPS + 1)].reshape(count, STEPS + 1)
        return windows[:, :-1], windows[:, 1:]


class Setting:
    """A trained network, what it is measured on, and inputs to calibrate with."""

    def __init__(self, name, model, calibration, measure):
        self.name, self.model, self.calibration, self.measure = name, model, calibration, measure


def _digits(context, name, layers, shape, epochs, seed):
    (x, y), (test_x, test_y) = digits.load(digits.find())
    x, test_x = x.reshape(-1, *shape), test_x.reshape(-1, *shape)
    model = temper.Model(layers, input=shape, seed=seed, context=context)
    optimizer = context.optimizer("adam", learning_rate=0.003)
    temper.Trainer(model, loss=context.loss("cross_entropy"), optimizer=optimizer, seed=seed).fit(x, y, epochs=epochs)

    def measure(model):
        return {"accuracy": float((model.predict(test_x).argmax(axis=1) == test_y).mean())}

    return Setting(name, model, x[:512], measure)


def _letters(context, letters, steps, seed, windows=16, layers=transformer):
    rng = np.random.default_rng([seed, 1])
    model = temper.Model(layers(len(letters.alphabet)), input=(STEPS,), seed=seed, context=context)
    parameters = model.parameters()
    loss = context.loss("cross_entropy")
    optimizer = context.optimizer("adamw", learning_rate=0.001)

    def loss_of(logits, y):
        return loss.value_and_grad(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))

    for _ in range(steps):
        x, y = letters.batch(rng)
        logits = model.predict(x)
        _, gradients = loss_of(logits, y)
        dy = gradients["logits"].reshape(logits.shape)
        made = model.vjp(x, dy, wrt=list(parameters))
        optimizer.step(list(parameters.values()), [made[name] for name in parameters])

    def measure(model):
        x, y = letters.held_out()
        logits = model.predict(x)
        right = float((logits.argmax(axis=-1) == y).mean())
        return {"accuracy": right, "perplexity": float(np.exp(min(loss_of(logits, y)[0], 50)))}

    return Setting("letters", model, letters.batch(rng, windows)[0], measure)


# What methods that learn or search are given here; on letters, whose matrices are larger, less.
SHORTER = {
    "pd_quant": {"iters": 300, "correction_iters": 100},
    "metaaug_ptq": {"iters": 300, "alternating_iters": 50},
    "evopress": {"generations": 30, "offspring": 32, "survivors": "8,2,1", "tokens": "64,128,512"},
}
SHORTER_ON_LETTERS = {
    "adaround": {"iterations": 60},
    "adaquant": {"iters": 60},
    "additive_codebooks": {"iterations": 2, "codebook_bits": 6},
    "multi_codebook_vq": {"iterations": 3},
    "saliency_regularized_quantization": {"iterations": 40},
    "evopress": {"generations": 4, "offspring": 8, "survivors": "2,1", "tokens": "128,512"},
    "pd_quant": {"iters": 20, "batch": 8, "correction_iters": 0},
}
# Would take most of the study's time there: these bits alone, or none.
BITS_ON_LETTERS = {"pd_quant": (4, 2), "adaround": (4, 2), "adaquant": (4, 2), "optimal_brain_quantization": ()}
# Packs features, not weights; changes inputs, which are ids in the case of letters.
NOT_HERE = {"mlp": {"sigma_delta_rff"}, "conv": {"sigma_delta_rff"}, "letters": {"sigma_delta_rff", "metaaug_ptq"}}


def methods(setting=""):
    """(name, bits or None, parameters): every quantizer at every number of bits it has."""
    for record in temper.catalog("quantizer"):
        name = record["name"]
        if name in NOT_HERE.get(setting, ()):
            continue
        short = {**SHORTER.get(name, {}), **(SHORTER_ON_LETTERS.get(name, {}) if setting == "letters" else {})}
        bits = next((p for p in record["parameters"] if "bits" in (p["name"], *p["aliases"])), None)
        if bits is None or bits["type"] != "integer":
            yield name, None, short
            continue
        for count in BITS_ON_LETTERS.get(name, BITS) if setting == "letters" else BITS:
            if bits.get("minimum", 1) <= count <= bits.get("maximum", 8):
                yield name, count, {**short, "bits": count}


def _bits(packed, model):
    """Bits of a number over the packed matrices, scales included; biases, norms and tables of floats as they are."""
    rest = sum(4 * value.size for value in model.parameters().values() if value.ndim < 2)
    weights = sum(value.size for value in model.parameters().values() if value.ndim >= 2)
    return 8 * (packed.nbytes - rest) / max(weights, 1)


def rows(context, setting, seed, only, say):
    """(setting, method, bits asked for, seed, bits measured, accuracy, perplexity, bytes, seconds) for each method."""

    def row(name, bits, model, seconds):
        measured = setting.measure(model)
        return [setting.name, name, bits or "", seed, round(_bits(model, setting.model), 3), measured["accuracy"],
                measured.get("perplexity", ""), model.nbytes, round(seconds, 3)]  # fmt: skip

    yield row(FLOAT, 32, setting.model, 0)
    for name, bits, parameters in methods(setting.name):
        if only and name not in only:
            continue
        say(f"seed {seed}: {setting.name}, {name} {bits or ''}")
        start = time.perf_counter()
        try:
            packed = context.quantizer(name, **parameters).quantize_model(setting.model, setting.calibration)
        except temper.Error as error:
            print(f"{setting.name}, {name} {bits or ''}: {error}", file=sys.stderr)
            continue
        yield row(name, bits, packed, time.perf_counter() - start)


HEAD = ("setting", "method", "bits", "seed", "measured_bits", "accuracy", "perplexity", "bytes", "seconds")


def table(found, setting):
    """Lines of text: a line for each method, a column for each number of bits."""
    measure = 6 if any(row[6] != "" for row in found if row[0] == setting) else 5
    of = {}
    for row in found:
        if row[0] == setting:
            of.setdefault((row[1], row[2]), []).append(row)
    # A method that has bits of its own stands in the column of the number next to those measured.
    cells = {}
    for (name, bits), runs in of.items():
        column = bits or min(BITS, key=lambda count: abs(count - runs[0][4]))
        mean, half = interval([run[measure] for run in runs])
        factor, places = (100, 1) if measure == 5 else (1, 2)
        cells[name, column] = f"{factor * mean:.{places}f}" + (f" ± {factor * half:.{places}f}" if half == half else "")
    names = list(dict.fromkeys(name for name, _ in cells if name != FLOAT))
    width = max(map(len, [*names, "method"]))
    what = "accuracy in percent" if measure == 5 else "perplexity"
    head = cells.get((FLOAT, 32), "")
    lines = ["", f"{setting}: {what}; in float32 {head}, {of[FLOAT, 32][0][7]} bytes"]
    lines.append(f"{'method':{width}}" + "".join(f"{f'{bits} bits':>16}" for bits in BITS))
    for name in names:
        lines.append(f"{name:{width}}" + "".join(f"{cells.get((name, bits), '-'):>16}" for bits in BITS))
    return lines


def panels(found, settings):
    for setting in settings:
        of = {}
        for row in found:
            if row[0] == setting:
                of.setdefault(f"{row[1]} {row[2]}".strip(), []).append(row[5])
        points = [(FLOAT if label == f"{FLOAT} 32" else label, *interval(values)) for label, values in of.items()]
        yield f"{setting}: accuracy", sorted(points, key=lambda point: -point[1])


def sentences(found, settings):
    """What the tables say: the best method at 4 bits, and what training at 2 bits gains over rounding to nearest."""
    for setting in settings:
        if setting == "letters":
            continue
        means = {}
        for row in found:
            if row[0] == setting:
                means.setdefault((row[1], row[2]), []).append(row[5])
        means = {key: 100 * sum(values) / len(values) for key, values in means.items()}
        whole = means[FLOAT, 32]
        four = {name: value for (name, bits), value in means.items() if bits == 4 and not name.startswith(low_bits.TRAINED)}
        if four:
            best = max(four, key=four.get)
            yield f"{setting}: at 4 bits {best} is best, {four[best] - whole:+.2f} points from float32."
        trained = {n: v for (n, bits), v in means.items() if bits == 2 and n.startswith(low_bits.TRAINED)}
        nearest = means.get(("round_to_nearest", 2))
        if trained and nearest is not None:
            best = max(trained, key=trained.get)
            yield f"{setting}: at 2 bits {best} is {trained[best] - nearest:.1f} points above rounding to nearest."


NETWORKS = ("mlp", "conv", "letters")


def part(what, seed, settings):
    """One piece of the study, in a process of its own: rows of models, what softpick loses, lines of text."""
    context, quick, only = temper.Context(threads=1), settings["quick"], settings["only"]
    epochs, steps = settings["epochs"], settings["steps"]

    def say(words):
        if sys.stderr.isatty():
            print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)

    if what == "optimizers":
        return [], [], list(low_bits.optimizers(context, settings["seeds"], 2 if quick else 40))
    if what == "activations":
        return [], [], list(low_bits.activations(1 if quick else min(settings["seeds"], 2), 1 if quick else 15))
    if what == "letters":
        letters = Letters(settings["length"])
        setting = _letters(context, letters, steps, seed, 2 if quick else 16)
        found = list(rows(context, setting, seed, only, say))
        make = lambda layers: _letters(context, letters, steps, seed, 2, layers)  # noqa: E731
        return found, [] if only else list(low_bits.softpick(context, setting, make, transformer)), []
    layers, shape, epochs = (MLP, (64,), epochs) if what == "mlp" else (CONV, (1, 8, 8), max(1, epochs // 3))
    setting = _digits(context, what, layers, shape, epochs, seed)
    found = list(rows(context, setting, seed, only, say))
    if not only:
        found += low_bits.trained(context, setting, layers, shape, epochs, seed)
    return found, [], []


def run(options):
    start, folder = time.perf_counter(), pathlib.Path(options.output)
    unknown = set(options.only or ()) - {record["name"] for record in temper.catalog("quantizer")}
    if unknown:
        sys.exit(f"The study has no quantizer {', '.join(sorted(unknown))}.")
    seeds = 1 if options.quick else options.seeds or 3
    epochs, steps = (5, 2) if options.quick else (options.epochs or 60, options.steps)
    settings = {
        "quick": options.quick, "only": options.only, "seeds": seeds, "epochs": epochs, "steps": steps,
        "length": 20_000 if options.quick else LENGTH,
    }  # fmt: skip
    # What takes longest first.
    tasks = [("letters", seed, settings) for seed in range(1, seeds + 1)]
    if not options.only:
        tasks += [("optimizers", 0, settings), ("activations", 0, settings)]
    tasks += [(what, seed, settings) for what in ("conv", "mlp") for seed in range(1, seeds + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    results = dict(zip([task[:2] for task in tasks], in_parallel(part, tasks, options.jobs)))
    found = [row for what in NETWORKS for seed in range(1, seeds + 1) for row in results[what, seed][0]]
    with open(folder / "quantization.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEAD, *found])
    picture.write(folder / "quantization.svg", list(panels(found, NETWORKS)), FLOAT)
    letters = len(Letters(settings["length"]).train)
    print(f"{seeds} seeds, ± half a 95% interval; {epochs} epochs on digits, {steps} steps on {letters} letters")
    print("\n".join(line for setting in NETWORKS for line in table(found, setting)))
    print("\n".join(["", *sentences(found, NETWORKS)]))
    if not options.only:
        softer = [each for seed in range(1, seeds + 1) for each in results["letters", seed][1]]
        print("\n".join(low_bits.softpick_lines(softer)))
        for what in ("optimizers", "activations"):
            print("\n".join(results[what, 0][2]))
    files = f"{folder / 'quantization.csv'} and {folder / 'quantization.svg'}"
    print(f"\n{files}; {time.perf_counter() - start:.0f} seconds")
