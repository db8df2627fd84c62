"""python -m temper plugin: writes skeletons of plug-ins, checks plug-ins, lists them."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from . import _skeletons, errors
from ._context import Context
from ._library import _find
from ._models import Model
from ._plugins import list_plugins, load_plugin
from ._training import Trainer

SIZES = ((32, 10), (1024, 10), (65536, 10))


def add(commands):
    plugin = commands.add_parser("plugin", help="write, check and list losses of one's own")
    actions = plugin.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="write a skeleton that works")
    new.add_argument("name", metavar="NAME", help="namespace.loss, or loss")
    new.add_argument("--language", choices=_skeletons.LANGUAGES, default="c")
    new.add_argument("--folder", default=".", help="where to write; the current folder without it")
    new.set_defaults(run=_new)
    check = actions.add_parser("check", help="probe a plug-in, measure it, train with it")
    check.add_argument("path", help="a .so, .toml, .json or .py file, or a source: .c, .cc, .cpp, .swift")
    check.add_argument("--isolated", action="store_true", help="in a process of its own")
    check.add_argument("--time-limit", type=float, help="seconds for each loss in the probe")
    check.set_defaults(run=_check)
    listing = actions.add_parser("list", help="list the plug-ins in folders, without running them")
    listing.add_argument("folder", nargs="+")
    listing.set_defaults(run=_list)


def _list(options):
    for entry in list_plugins(Context(threads=1, plugin_directories=options.folder)):
        if "error" in entry:
            print(f"{entry['path']}\n  {entry['error']}")
            continue
        print(f"{entry['path']}\n  {entry['name']} {entry['version']} ({entry['licence']}) {entry['summary']}".rstrip())
        for loss, form in zip(entry["losses"], entry["forms"]):
            print(f"  {loss['name']} ({form}): {loss['summary']}")


def _new(options):
    space, dot, name = options.name.rpartition(".")
    files, commands, product = _skeletons.make(options.language, space if dot else "mine", name)
    folder = pathlib.Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        if (folder / path).exists():
            sys.exit(f"{folder / path} exists already; nothing was written.")
    for path, text in files.items():
        (folder / path).write_text(text)
        print(f"wrote {folder / path}")
    headers = _find()[1].parent
    for command in commands:
        print("  " + command.format(include=headers))
    print(f"  python -m temper plugin check {folder / product}")


def _compiled(path, folder):
    """A library made of a source file, or the file itself."""
    headers, product = _find()[1].parent, pathlib.Path(folder, path.stem + ".so")
    shared = ["-O2", "-fPIC", "-shared", "-I", headers, path, "-o", product, "-lm"]
    if path.suffix == ".c":
        commands = [["cc", *shared]]
    elif path.suffix in (".cc", ".cpp"):
        commands = [["c++", "-std=c++20", *shared]]
    elif path.suffix == ".swift":
        descriptor = path.with_name(path.stem + "_descriptor.c")
        target = product.with_suffix(".o")
        commands = [
            ["cc", "-O2", "-fPIC", "-c", "-I", headers, descriptor, "-o", target],
            ["swiftc", "-O", "-parse-as-library", "-emit-library", "-static-stdlib", "-import-objc-header",
             headers / "temper_plugin.h", path, target, "-o", product],
        ]  # fmt: skip
    else:
        return path
    for command in commands:
        if not shutil.which(command[0]):
            sys.exit(f"{path} is compiled by {command[0]}, which is not installed.")
        print(" ".join(map(str, command)))
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{path} does not compile.")
    return product


def _check(options):
    context = Context()
    with tempfile.TemporaryDirectory() as folder:
        path = _compiled(pathlib.Path(options.path), folder)
        plugin = load_plugin(path, options.time_limit, context, isolated=options.isolated)
        print(plugin.report())
        for record in context.catalog("loss"):
            if record["plugin"]:
                _measure(context, record)


def _inputs(record, rows, columns, rng):
    """Ordinary inputs for a loss."""
    sizes = {"N": rows, "C": columns, "D": columns}
    made = {}
    for entry in record["inputs"]:
        form = entry["forms"][0]
        shape = [int(letter) if letter.isdigit() else sizes.get(letter, 4) for letter in form["shape"]]
        if form["dtype"] == "int":
            below = form.get("below", "2")
            made[entry["name"]] = rng.integers(0, int(below) if below.isdigit() else sizes.get(below, 4), shape)
        elif form["dtype"] == "bool":
            made[entry["name"]] = rng.random(shape) < 0.75
        else:
            made[entry["name"]] = rng.random(shape, np.float32)
    return made


def _measure(context, record):
    rng, loss = np.random.default_rng(0), context.loss(record["name"])
    print(f"{record['name']}: value and gradient, float32")
    for rows, columns in SIZES:
        inputs = _inputs(record, rows, columns, rng)
        out = {record["differentiable"][0]: np.empty_like(inputs[record["differentiable"][0]])}
        best, end = float("inf"), time.perf_counter() + 0.3
        while time.perf_counter() < end or best == float("inf"):
            start = time.perf_counter()
            loss.value_and_grad(**inputs, out=out)
            best = min(best, time.perf_counter() - start)
        print(f"  {rows:6} x {columns}: {best * 1e6:10.1f} us, {best * 1e9 / (rows * columns):8.2f} ns an element")
    _train(context, record, loss, rng)


def _train(context, record, loss, rng):
    """A small network, for a few epochs, where the loss takes what a trainer has."""
    needed = [entry["name"] for entry in record["inputs"] if not entry["optional"]]
    x = rng.standard_normal((512, 4), np.float32)
    if needed == ["logits", "targets"]:
        y, outputs = (x[:, 0] * x[:, 1] > 0).astype(np.int32), 2
    elif needed == ["predictions", "targets"]:
        y, outputs = np.stack([x[:, 0] * x[:, 1], x[:, 2]], 1), 2
    else:
        print(f"  training is left out: it takes logits or predictions and targets, not {', '.join(needed)}")
        return
    model = Model([{"dense": 16}, "tanh", {"dense": outputs}], input=4, seed=1, context=context)
    trainer = Trainer(model, loss=loss, optimizer=context.optimizer("adam", learning_rate=0.01), batch_size=32)
    history = trainer.fit(x, y, epochs=10)
    first, last = history["training_loss"][0], history["training_loss"][-1]
    print(f"  training: loss {first:.4f} in the first epoch, {last:.4f} in the tenth")
    if not last < first:
        raise errors.PluginFailed(f"Training with {record['name']} did not make it smaller: {first} became {last}.")
