"""The main job, from Python: train on digits with 40% wrong labels, with several losses and one from a plug-in; quantize
the best model, save it, load it, and run it from its packed weights.

    python demo.py DIGITS PLUGIN OUTPUT

reads examples/data/digits.bin, loads the plug-in, writes OUTPUT/python.json, the models and OUTPUT/accuracy.png, and
OUTPUT/summary.json with the run from C where there is one.
examples/c/demo.c is the same job and gives the same bits.
"""
import json
import pathlib
import sys
import time

import matplotlib
import numpy as np

import temper

matplotlib.use("Agg")  # a file is wanted, not a window
from matplotlib import pyplot  # noqa: E402

SEEDS, EPOCHS, BATCH = 5, 200, 128
METHODS = {  # the name in the table: the name in the catalogue
    "cross_entropy": "cross_entropy",
    "generalized_cross_entropy": "generalized_cross_entropy",
    "symmetric_cross_entropy": "symmetric_cross_entropy",
    "active_passive_loss": "active_passive_loss",
    "plugin": "example.focal_generalized",
}


def random_numbers(state):
    """SplitMix64 (Steele et al., 2014): the few random choices of this program, the same in both languages."""
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def load(path):
    """Every fifth digit is for the test. Of the labels in training 40% become one of the nine others."""
    records = np.fromfile(path, np.uint8).reshape(-1, 65)
    x, y = records[:, :64].astype(np.float32) / 16, records[:, 64].astype(np.int32)
    test = np.arange(len(y)) % 5 == 0
    random, noisy = random_numbers(2026), y.copy()
    for i in np.flatnonzero(~test):
        if next(random) % 100 < 40:
            noisy[i] = (y[i] + 1 + next(random) % 9) % 10
    return (x[~test], noisy[~test]), (x[test], y[test])


def accuracy_of(model, test):
    return float(np.mean(model.predict(test[0]).argmax(axis=1) == test[1]))


def draw(path, curves):
    """Test accuracy over epochs: what falls after its peak has begun to learn the wrong labels by heart."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, curve in curves.items():
        axes.plot(np.arange(1, len(curve) + 1), curve, label=name)
    axes.set(xlabel="epoch", ylabel="accuracy on clean test digits", title="40% of the training labels are wrong")
    axes.legend(loc="lower left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main(digits, plugin, folder):
    start = time.perf_counter()
    folder = pathlib.Path(folder)
    temper.load_plugin(plugin)
    train, test = load(digits)
    print(f"{len(train[1])} digits to train on, 40% of their labels wrong; {len(test[1])} clean ones to test; {SEEDS} seeds\n")
    print(f"{'from Python':28} {'accuracy':>9} {'spread':>8} {'seconds':>8} {'bytes':>8}")

    accuracy, curves, best, best_accuracy = {}, {}, None, -1
    for name, loss in METHODS.items():
        begin, results, runs = time.perf_counter(), [], []
        for seed in range(1, SEEDS + 1):
            model = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), seed=seed)
            optimizer = temper.optimizer("adam", learning_rate=0.003)
            trainer = temper.Trainer(model, loss=loss, optimizer=optimizer, batch_size=BATCH, seed=seed)
            history = trainer.fit(*train, epochs=EPOCHS, tests={"test": test}, progress=f"{name}, seed {seed}")
            results.append(accuracy_of(model, test))
            runs.append(history["test_accuracy"])
            if results[-1] > best_accuracy:
                best, best_accuracy = model, results[-1]
        accuracy[name], curves[name] = sum(results) / SEEDS, np.mean(runs, axis=0)
        seconds = time.perf_counter() - begin
        print(f"{name:28} {accuracy[name]:9.4f} {max(results) - min(results):8.4f} {seconds:8.2f} {model.nbytes:8}")

    sizes = {"float32": best.nbytes}
    print(f"{'best model, float32':28} {best_accuracy:9.4f} {'':8} {'':8} {best.nbytes:8}")
    begin = time.perf_counter()
    for bits in (8, 4):
        path = folder / f"python-int{bits}.safetensors"
        temper.quantizer("round_to_nearest", bits=bits).quantize_model(best).save(path)
        packed = temper.load(path)
        accuracy[f"int{bits}"], sizes[f"int{bits}"] = accuracy_of(packed, test), packed.nbytes
        seconds = time.perf_counter() - begin
        print(f"{f'best model, int{bits}':28} {accuracy[f'int{bits}']:9.4f} {'':8} {seconds:8.2f} {packed.nbytes:8}")

    draw(folder / "accuracy.png", curves)
    accuracy["best_float32"] = best_accuracy
    summary = {"accuracy": accuracy, "bytes": sizes, "seconds": round(time.perf_counter() - start, 3)}
    (folder / "python.json").write_text(json.dumps(summary))
    if (folder / "c.json").exists():
        compare(folder)


def compare(folder):
    """Puts both runs into one file, and holds the run from C to the one from Python: they are the same bits."""
    runs = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("c", "python")}
    (folder / "summary.json").write_text(json.dumps(runs, indent=1))
    if runs["c"]["accuracy"] != runs["python"]["accuracy"]:
        sys.exit(f"C and Python differ: {runs}")
    print("\nC and Python: identical accuracies")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
