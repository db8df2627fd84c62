"""What the study of quantization measures besides packing: training with few bits, softpick, optimizers, activations."""

import pathlib
import tempfile
import time

import numpy as np

import temper

from . import digits

TRAINED = "trained: "
# Layers that train with rounded weights, and the bits they are tried at.
LAYERS = {"fake_quantized": (4, 3, 2), "lsq": (4, 3, 2), "dorefa": (4, 3, 2, 1), "binary_connect": (1,)}
DEPTH = 6
OPTIMIZERS = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.9}, "adamw": {"learning_rate": 0.002}, "muon": {"learning_rate": 0.01},
    "shampoo": {"learning_rate": 0.05}, "soap": {"learning_rate": 0.002},
}  # fmt: skip
OPTIMIZER_BITS = (4, 3)


def trained(context, setting, layers, shape, epochs, seed):
    """Rows like those of packed models, for networks whose weights were rounded while they were trained."""
    (x, y), _ = digits.load(digits.find())
    x = x.reshape(-1, *shape)
    sizes = [value.size for value in setting.model.parameters().values() if value.ndim > 1]
    rest = sum(4 * value.size for value in setting.model.parameters().values() if value.ndim < 2)

    def row(name, bits, model, seconds, of_matrix):
        count = sum(size * bits / 8 + of_matrix for size in sizes)
        measured = 8 * count / sum(sizes)
        accuracy = setting.measure(model)["accuracy"]
        return [setting.name, TRAINED + name, bits, seed, round(measured, 3), accuracy, "", int(count) + rest, round(seconds, 3)]

    def fit(model, optimizer, epochs):
        start = time.perf_counter()
        trainer = temper.Trainer(model, loss=context.loss("cross_entropy"), optimizer=optimizer, seed=seed)
        trainer.fit(x, y, epochs=epochs)
        return time.perf_counter() - start

    for name, counts in LAYERS.items():
        for bits in counts:
            held = {"layers": layers} if name == "binary_connect" else {"layers": layers, "bits": bits}
            model = temper.Model([{name: held}], input=shape, seed=seed, context=context)
            seconds = fit(model, context.optimizer("adam", learning_rate=0.003), epochs)
            yield row(name, bits, model, seconds, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "float.safetensors"
        setting.model.save(path)
        for bits in (4, 3, 2, 1):
            model = temper.load(path, context)
            optimizer = context.optimizer("pv_tuning", codebook_bits=bits, max_code_change_per_step=0.05)
            seconds = fit(model, optimizer, max(1, epochs // 3))
            yield row("pv_tuning", bits, model, seconds, 4 * 2**bits)


def softpick(context, setting, make, transformer):
    """(normaliser, bits, perplexity) of the transformer with softmax, that it is, and trained anew with softpick."""
    other = make(lambda entries: transformer(entries, normaliser="softpick"))
    for name, each in (("softmax", setting), ("softpick", other)):
        yield name, 32, each.measure(each.model)["perplexity"]
        for bits in (8, 4, 3, 2):
            packed = context.quantizer("round_to_nearest", bits=bits).quantize_model(each.model)
            yield name, bits, each.measure(packed)["perplexity"]


def softpick_lines(found):
    means = {}
    for name, bits, value in found:
        means.setdefault((name, bits), []).append(value)
    means = {key: np.mean(values) for key, values in means.items()}
    yield ""
    yield "letters, weights rounded to nearest: perplexity, and that over float32's"
    for name in ("softmax", "softpick"):
        cells = [f"{bits} bits {means[name, bits]:.2f} (x {means[name, bits] / means[name, 32]:.3f})" for bits in (8, 4, 3, 2)]
        yield f"{name:9} float32 {means[name, 32]:.2f}, " + ", ".join(cells)
    wins = [b for b in (8, 4, 3, 2) if means["softpick", b] / means["softpick", 32] < means["softmax", b] / means["softmax", 32]]
    yield f"softpick loses less than softmax at {', '.join(map(str, wins)) or 'no number of'} bits."


def ranks(values):
    """From 0, equal values share their mean."""
    values = np.asarray(values, float)
    return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def propagated(model, rounded, x):
    """R at the last layer of a chain of dense layers, and the mean over layers of max |h| / mean |h|."""
    metric, outliers = temper.metric("abc_error_propagation"), temper.metric("max_to_mean_ratio")
    clean, both, ratios = x, x, []
    for layer in range(DEPTH):
        (w, b), q = (model[f"{2 * layer}.{part}"] for part in ("weight", "bias")), rounded[f"{2 * layer}.weight"]
        def pass_through(h, weight):
            y = h @ weight.T + b
            return y if layer == DEPTH - 1 else np.maximum(y, 0)
        f_h, f_hq, fq_h, fq_hq = (pass_through(h, weight) for weight, h in ((w, clean), (w, both), (q, clean), (q, both)))
        kept = np.square(f_h).sum(axis=1) > 0
        r = np.ravel(metric(f_h=f_h[kept], f_hq=f_hq[kept], fq_h=fq_h[kept], fq_hq=fq_hq[kept]))[0]
        ratios.append(float(np.mean(outliers(f_h[kept]))))
        clean, both = f_h, fq_hq
    return float(r), float(np.mean(ratios))


def optimizers(context, seeds, epochs):
    """Six dense layers, five optimizers, rounded rows: does R of the last layer rank the losses of accuracy, and which
    optimizer loses least where weights are rounded while they are trained?"""
    (x, y), (test_x, test_y) = digits.load(digits.find())
    layers = [layer for _ in range(DEPTH - 1) for layer in ({"dense": 48}, "relu")] + [{"dense": digits.CLASSES}]
    found = {bits: [] for bits in OPTIMIZER_BITS}
    yield ""
    yield f"{DEPTH} dense layers on digits, {epochs} epochs, rows rounded to nearest after training; means of {seeds} seeds"
    bits = "".join(f" {f'{bits} bits':>8} {'R':>7}" for bits in OPTIMIZER_BITS)
    yield f"{'optimizer':10} {'float32':>8}{bits} {'max/mean':>9} {f'trained at {min(OPTIMIZER_BITS)}':>13}"
    rounding = [{"fake_quantized": {"layers": layers, "bits": min(OPTIMIZER_BITS)}}]
    for name, settings in OPTIMIZERS.items():
        runs = []
        for seed in range(1, seeds + 1):
            def fitted(layers, seed=seed):
                model = temper.Model(layers, input=(64,), seed=seed, context=context)
                optimizer = context.optimizer(name, **settings)
                temper.Trainer(model, loss=context.loss("cross_entropy"), optimizer=optimizer, seed=seed).fit(x, y, epochs=epochs)
                return model, float((model.predict(test_x).argmax(axis=1) == test_y).mean())

            model, whole = fitted(layers)
            run = [whole]
            for bits in OPTIMIZER_BITS:
                packed = context.quantizer("round_to_nearest", bits=bits).quantize_model(model)
                accuracy = float((packed.predict(test_x).argmax(axis=1) == test_y).mean())
                r, ratio = propagated(model.parameters(), packed.parameters(), test_x)
                found[bits].append((whole - accuracy, r, ratio))
                run += [accuracy, r]
            runs.append([*run, ratio, fitted(rounding)[1]])
        mean = np.mean(runs, axis=0)
        cells = "".join(f" {100 * mean[1 + 2 * i]:8.1f} {mean[2 + 2 * i]:7.3f}" for i in range(len(OPTIMIZER_BITS)))
        yield f"{name:10} {100 * mean[0]:8.1f}{cells} {mean[-2]:9.1f} {100 * mean[-1]:13.1f}"
    for bits, rows in found.items():
        drop, r, ratio = zip(*rows)
        yield f"{bits} bits: rank correlation of lost accuracy with R {spearman(drop, r):+.2f}, with max/mean {spearman(drop, ratio):+.2f}."


def activations(seeds, epochs):
    """The claims of quantized_noise_activation_study."""
    from ..experiments import quantized_noise

    yield ""
    for finding in quantized_noise.quantized_noise_activation_study(seeds=seeds, epochs=epochs):
        yield f"{'holds' if finding.holds else 'does not hold'}: {finding.claim} {finding.measured}"
