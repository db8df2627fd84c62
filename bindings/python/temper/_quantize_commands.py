"""python -m temper quantize: a saved model, or any file of weights, in few bits."""

import fnmatch
import json
import pathlib
import sys
import time

import numpy as np

from . import _context, errors
from ._files import open_file, save_file
from ._models import load
from ._progress import Work
from .study import picture

SAMPLES = 256  # of stand-in calibration inputs
BATCH = 512  # calibration inputs in memory at a time
RUN_THROUGH = 1024  # at most, for methods that run the whole model over them


def add(commands):
    quantize = commands.add_parser("quantize", help="put a saved model, or a file of weights, into few bits")
    quantize.add_argument("input", help="a .safetensors or .gguf file with a Temper model or plain tensors, or a model as .onnx")
    quantize.add_argument("--out", required=True, metavar="PATH", help=".gguf, .safetensors, or .onnx for models")
    quantize.add_argument("--method", metavar="NAME", help="a quantizer of the catalogue (round_to_nearest)")
    quantize.add_argument("--bits", type=int)
    quantize.add_argument("--group-size", type=int, metavar="N", help="weights that share a scale")
    quantize.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another parameter")
    quantize.add_argument("--type", metavar="NAME", help="a GGUF type, such as Q4_K; without --method, by search alone")
    quantize.add_argument("--calibration", metavar="PATH", help="inputs of the model, as .npy")
    quantize.add_argument("--skip", action="append", default=[], metavar="PATTERN", help="tensors that stay floats")
    quantize.add_argument("--picture", metavar="PATH", help="the errors as SVG (beside --out)")
    quantize.add_argument("--quiet", action="store_true", help="no bar and no table")
    quantize.set_defaults(run=_run)


def _run(options):
    try:
        rows, seconds = _quantize(options)
    except (KeyboardInterrupt, errors.Cancelled):
        aside = _aside(options.out)
        kept = f"; {aside} holds what is finished, and the same command goes on from there" if aside.exists() else ""
        print(f"\ncancelled; {options.out} was not written{kept}", file=sys.stderr)
        sys.exit(130)
    if options.quiet:
        return
    width = max(len("tensor"), *(len(row.name) for row in rows)) if rows else 6
    outputs = f"  {'of outputs':>10}" if any(row.output_error is not None for row in rows) else ""
    print(f"{'tensor':{width}}  {'shape':>14}  {'type':>18}  {'bytes':>11}  {'bits':>5}  {'relative error':>14}  {'dB':>5}{outputs}")
    for row in rows:
        print(row.line(width))
    before, after = sum(row.before for row in rows), sum(row.nbytes for row in rows)
    print(f"{before} bytes in float32 became {after}, {100 * after / max(before, 1):.1f}%; {seconds:.1f} seconds")
    measured = [row for row in rows if row.error is not None]
    if measured:
        path = pathlib.Path(options.picture or pathlib.Path(options.out).with_suffix(".svg"))
        bars = [(row.name, -_decibels(row.error), f"{-_decibels(row.error):.1f} dB") for row in measured]
        picture.bars(path, "signal over quantization noise", bars)
        print(f"{options.out} and {path}")


def _aside(out):
    """Where what a cancelled run has finished is kept."""
    return pathlib.Path(f"{out}.partial")


class _Row:
    """What became of one tensor. error: of its weights, relative; None where none were rounded. output_error: of what
    the layer makes of its calibration inputs, None without such."""

    def __init__(self, name, shape, kind, nbytes, error, output_error=None):
        self.name, self.shape, self.kind, self.nbytes = name, shape, kind, nbytes
        self.error, self.output_error = error, output_error

    before = property(lambda self: 4 * int(np.prod(self.shape)))

    def line(self, width):
        shape = "x".join(map(str, self.shape))
        bits = 32 * self.nbytes / max(self.before, 1)
        text = f"{self.name:{width}}  {shape:>14}  {self.kind:>18}  {self.nbytes:>11}  {bits:>5.2f}"
        if self.error is None:
            return text
        outputs = "" if self.output_error is None else f"  {self.output_error:>10.3e}"
        return f"{text}  {self.error:>14.3e}  {-_decibels(self.error):>5.1f}{outputs}"


def _decibels(error):
    return 10 * np.log10(max(error, 1e-30))


def _error(weight, packed):
    """Sum of squared errors over the sum of squares."""
    weight, packed = weight.astype(np.float64), packed.astype(np.float64).reshape(weight.shape)
    energy = np.square(weight).sum()
    return float(np.square(weight - packed).sum() / energy) if energy else 0.0


def _quantizer(options):
    name = options.method or ("gguf_blocks" if options.type else "round_to_nearest")
    parameters = {"bits": options.bits, "group_size": options.group_size}
    parameters = {key: value for key, value in parameters.items() if value is not None}
    if name == "gguf_blocks" and options.type:
        parameters["type"] = options.type.upper()
    types = {entry["name"]: entry["type"] for entry in _context.default().record(name)["parameters"]}
    for setting in options.set:
        key, equals, value = setting.partition("=")
        if not equals:
            sys.exit(f"Parameters come as NAME=VALUE; {setting} came.")
        read = {"integer": int, "real": float, "boolean": lambda text: text.lower() == "true"}
        try:
            parameters[key] = read.get(types.get(key), str)(value)
        except ValueError:
            sys.exit(f"{name}: {key} is no {value}.")
    return _context.default().quantizer(name, **parameters)


def _quantize(options):
    """A row for each tensor, and the seconds that it took."""
    start, out = time.perf_counter(), str(options.out)
    quantizer = _quantizer(options)
    if options.type and not out.endswith(".gguf"):
        sys.exit(f"--type is for GGUF files; {out} is none.")
    source = open_file(options.input)
    with Work(not options.quiet and "quantizing") as bar:
        rows = _streamed(options, source, quantizer, out, bar) if _may_stream(options, source, quantizer) else None
        if rows is not None:
            pass
        elif "temper.model" in source.metadata or source.format == "onnx":
            rows = _model(options, source, quantizer, out, bar)
        else:
            rows = _tensors(options, source, quantizer, out, bar)
    return rows, time.perf_counter() - start


def _may_stream(options, source, quantizer):
    """Whether the library may read, pack and write one tensor after the other."""
    if options.calibration or options.out.endswith(".onnx") or _into(options, quantizer):
        return False
    return source.format != "onnx"


def _skipped(options, names):
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in options.skip)]


def _into(options, quantizer):
    """The GGUF type for what the quantizer makes, if that is not one by itself."""
    return options.type if quantizer.name != "gguf_blocks" else None


def _streamed(options, source, quantizer, out, bar):
    """None where the method looks at more than weights."""

    def progress(step):
        bar.show(step["done"] / step["count"], step["name"])

    try:
        done = quantizer.quantize_file(options.input, out, callback=progress, skip=_skipped(options, source.tensors))
    except errors.InvalidArgument as error:
        if "calibration" in str(error):
            return None
        raise
    stored, rows, steps = open_file(out), [], {step["name"]: step for step in done}
    for name, entry in source.tensors.items():
        error = steps[name]["relative_error"] if steps[name]["is_quantized"] else None
        rows.append(_Row(name, entry.shape, *_stored(stored, name), error))
    return rows


def _model(options, source, quantizer, out, bar):
    model = load(options.input)
    if model.is_quantized:
        sys.exit(f"{options.input} is quantized already.")
    if _into(options, quantizer):
        sys.exit(f"A model's weights go into the type that holds the codes of {quantizer.name}; leave --type or --method.")
    packed = _packed(options, source, quantizer, model, bar)
    packed.save(out)
    _aside(out).unlink(missing_ok=True)
    before, rows = model.parameters(), []
    # What the file holds is measured, where it is one that is read.
    stored = None if out.endswith(".onnx") else open_file(out)
    after = (packed if stored is None else load(out)).parameters()
    for name, weight in before.items():
        kind, nbytes = _stored(stored, name) if stored is not None else ("onnx", after[name].nbytes)
        changed = not np.array_equal(weight, after[name])
        error, seen = _error(weight, after[name]) if changed else None, packed.quantization.get(name, {})
        rows.append(_Row(name, weight.shape, kind, nbytes, error, seen.get("output_error")))
    bar.show(1, "written")
    return rows


def _stored(file, name):
    """Type and bytes of a weight in a file: of its tensor, or of the codes, scales and others named after it."""
    if name in file:
        return file.tensors[name].type, file.tensors[name].nbytes
    parts = [entry for key, entry in file.tensors.items() if key.startswith(name + ".")]
    described = json.loads(file.metadata["temper.quantization"])["weights"][name]
    kind = described.get("levels") or described.get("form", "quantized")
    return f"{kind} {described['bits']}" if "bits" in described else kind, sum(part.nbytes for part in parts)


def _packed(options, source, quantizer, model, bar):
    aside = _aside(options.out)

    def progress(step):
        bar.show(min(step["done"] / max(step["count"], 1), 0.99), step["what"])

    def run(calibration):
        if aside.exists():
            try:
                quantizer.load_progress(aside, model)
            except errors.Error as error:
                print(f"{error} It begins anew.", file=sys.stderr)
        try:
            skip = _skipped(options, model.parameters())
            return quantizer.quantize_model(model, calibration, skip=skip, callback=progress)
        except (KeyboardInterrupt, errors.Cancelled):
            try:
                quantizer.save_progress(aside)
            except errors.WrongState:
                pass  # nothing was finished
            raise

    if options.calibration:
        def part(start, count):
            # Mapped anew for each: what was looked at does not stay in memory.
            return np.array(np.load(options.calibration, mmap_mode="r", allow_pickle=False)[start : start + count])

        samples = len(np.load(options.calibration, mmap_mode="r", allow_pickle=False))
        try:
            return run(part(start, BATCH) for start in range(0, samples, BATCH))
        except errors.InvalidArgument as error:
            if "runs the model" not in str(error):
                raise
        return run(part(0, RUN_THROUGH))
    try:
        return run(None)
    except errors.InvalidArgument as error:
        if "calibration" not in str(error):
            raise
    if "temper.model" not in source.metadata:
        sys.exit(f"{quantizer.name} looks at inputs of the model; give them with --calibration.")
    print(f"{quantizer.name} looks at inputs and --calibration gives none: {SAMPLES} random ones stand for them.",
          file=sys.stderr)  # fmt: skip
    return run(_stand_in(source))


def _stand_in(source):
    """Normal numbers, or ids, in the shape of the model's input."""
    described, rng = json.loads(source.metadata["temper.model"]), np.random.default_rng(0)
    shape, first = (SAMPLES, *described["input"]), described["layers"][0]
    entries = first.get("embedding", {}).get("entries") if isinstance(first, dict) else None
    if entries:
        return rng.integers(0, entries, shape, dtype=np.int32)
    return rng.standard_normal(shape).astype(described["dtype"])


def _tensors(options, source, quantizer, out, bar):
    if out.endswith(".onnx"):
        sys.exit("An ONNX file holds a model; this file holds tensors only.")
    tensors, types, errors_of = {}, {}, {}
    skip = set(_skipped(options, source.tensors))
    for index, (name, entry) in enumerate(source.tensors.items()):
        bar.show(index / len(source.tensors), name)
        weight = source[name]
        if weight.ndim != 2 or weight.dtype.kind != "f" or name in skip:
            tensors[name] = weight
            continue
        try:
            tensors[name] = quantizer.quantize(weight)
        except errors.InvalidArgument as error:
            if "calibration" in str(error):
                sys.exit(f"{quantizer.name} looks at the inputs of layers, and only a Temper model has them.")
            raise
        if not out.endswith(".gguf"):
            errors_of[name] = _error(weight, tensors[name].dequantize())
        if _into(options, quantizer):
            types[name] = options.type
    save_file(tensors, out, {} if out.endswith(".gguf") else _texts(source.metadata), types)
    stored, rows = open_file(out), []
    for name, entry in source.tensors.items():
        kind, nbytes = _stored(stored, name)
        error = errors_of.get(name)
        if out.endswith(".gguf") and hasattr(tensors[name], "dequantize"):
            error = _error(source[name], stored[name])
        rows.append(_Row(name, entry.shape, kind, nbytes, error))
    bar.show(1, "written")
    return rows


def _texts(metadata):
    return {key: value for key, value in metadata.items() if isinstance(value, str)}
