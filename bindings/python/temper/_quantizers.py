"""Quantizers and what they make."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import numpy as np

from . import errors
from ._arrays import Borrow, readable, writable
from ._handles import Handle
from ._interrupts import Interrupts
from ._library import library, pending
from ._methods import Method, documentation
from ._models import Model
from ._progress import Work
from ._reports import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._types import Array, Out, Path, Result


class Quantizer(Method):
    __doc__ = documentation("""A quantizer with its parameters: made by temper.quantizer(name, **parameters).""")
    _kind = "quantizer"

    def quantize(self, weight: Array, calibration: Array | Iterable[Array] | None = None) -> Quantized:
        """Packs a matrix (outputs, inputs). calibration: inputs (samples, inputs) for methods that look at data; an
        iterable of such arrays is taken in one after the other."""
        weight, calibration = readable(weight), self._streamed(calibration)
        with self._lock, Borrow() as borrow:
            return Quantized(
                library.handle(library.quantizer_quantize, self, borrow.tensor(weight), borrow.tensor(calibration))
            )

    def observe(self, x: Array, model: Model | None = None) -> None:
        """Takes in calibration inputs ahead of the next call without calibration: (samples, inputs) of a matrix, or
        inputs of `model`. May be called many times."""
        x = readable(x)
        with self._lock, Borrow() as borrow:
            library.quantizer_observe(self, model, borrow.tensor(x))

    def quantize_model(
        self,
        model: Model,
        calibration: Array | Iterable[Array] | None = None,
        targets: Array | None = None,
        skip: Sequence[str] = (),
        progress: bool | str = False,
        callback: Callable[[dict[str, object]], object] | None = None,
    ) -> Model:
        """A model with packed weights, made from `model`, which stays as it is; its `quantization` says what each
        weight cost.

        calibration: inputs of the model, or an iterable of such arrays, taken in one after the other. targets: class
        ids for methods that look at the loss. skip: layers or parameters that stay floats ("0", "2.weight"). progress:
        True, or a title, draws a bar on stderr. callback: called after each weight with what it cost, and after each
        round of methods that search; a true result stops with temper.Cancelled, and the next call for the same model
        goes on after the weights that are finished.
        """
        calibration = self._streamed(calibration, model)
        targets = None if targets is None else readable(targets)
        names = (ctypes.c_char_p * len(skip))(*(name.encode() for name in skip))
        with self._lock, model._lock, Borrow() as borrow, Interrupts() as interrupts, Work(progress) as bar:
            receive = library.callback("quantization_progress_function", _receiving(interrupts, bar, callback))
            options = library.struct(
                "quantization_options", calibration=borrow.tensor(calibration), targets=borrow.tensor(targets),
                skip=names, skip_count=len(skip), progress=receive,
            )  # fmt: skip
            return Model._from(
                model._context, library.handle(library.quantizer_run, self, model, ctypes.byref(options))
            )

    def quantize_file(
        self,
        source: Path,
        target: Path,
        callback: Callable[[dict], object] | None = None,
        skip: Sequence[str] = (),
    ) -> list[dict]:
        """Quantizes the weights of a safetensors or GGUF file into another file, one after the other: only one is in
        memory at a time. Of a model all weights that quantize_model packs, else all of at least two dimensions; the
        rest is copied, and so are the tensors named in skip. A target that ends in .gguf becomes a GGUF file.

        For methods that look at the weights alone. Returns a dict for each tensor, of what the new file holds: name,
        is_quantized, byte_count, float_byte_count, relative_error. callback: called with each as it is done, and with done and count; a true
        result stops with temper.Cancelled, and so does Ctrl-C with KeyboardInterrupt. What is finished stays in
        "target.partial", and the next such call goes on from there, to the same bytes.
        """
        rows: list[dict] = []
        names = (ctypes.c_char_p * len(skip))(*(name.encode() for name in skip))
        with self._lock, Interrupts() as interrupts:
            receive = library.callback("quantize_function", _rows(interrupts, callback, rows))
            try:
                library.quantizer_quantize_file_except(
                    self, os.fsencode(source), os.fsencode(target), names, len(skip), receive, None
                )
            except errors.Cancelled:
                if not interrupts.came:
                    raise
        return rows

    def save_progress(self, path: Path) -> None:
        """Writes what quantize_model finished before it was cancelled: load_progress goes on with it in another
        program."""
        with self._lock:
            library.quantizer_save(self, os.fsencode(path))

    def load_progress(self, path: Path, model: Model) -> None:
        """Takes over what save_progress wrote for the same quantizer and the same model: the next quantize_model of it
        goes on after the weights that are finished."""
        with self._lock, model._lock:
            library.quantizer_load(self, model, os.fsencode(path))

    def _streamed(self, calibration, model=None):
        """An array as it is; arrays one after the other are taken in, and nothing is left to hand over."""
        if calibration is None or hasattr(calibration, "shape") or hasattr(calibration, "__dlpack__"):
            return None if calibration is None else readable(calibration)
        if isinstance(calibration, (list, tuple)) and not any(hasattr(part, "shape") for part in calibration):
            return readable(calibration)
        for part in calibration:
            self.observe(part, model)
        return None


def _rows(interrupts, callback, rows):
    """What the library calls after each tensor: 1 stops. Exceptions wait until its call returns."""

    def receive(_, step):
        try:
            if interrupts.came:
                return 1
            step = step.contents
            rows.append({
                "name": step.name.decode(), "is_quantized": bool(step.is_quantized), "byte_count": step.byte_count,
                "float_byte_count": step.float_byte_count, "relative_error": step.relative_error,
            })  # fmt: skip
            told = {**rows[-1], "done": step.done, "count": step.count}
            return 1 if callback is not None and callback(told) else 0
        except BaseException as exception:
            pending.exceptions.append(exception)
            return 1

    return receive


def _receiving(interrupts, bar, callback):
    """What the library calls after each weight: 1 stops. Exceptions wait until its call returns."""

    def receive(_, progress):
        try:
            if interrupts.came:
                return 1
            progress = progress.contents
            what = progress.what.decode()
            bar.show(progress.done / max(progress.count, 1), what)
            if callback is None:
                return 0
            told = {"what": what, "done": progress.done, "count": progress.count}
            if progress.report:
                told |= numbers(progress.report.contents)
            return 1 if callback(told) else 0
        except BaseException as exception:
            pending.exceptions.append(exception)
            return 1

    return receive


class Quantized(Handle):
    """A quantized matrix, packed: made by Quantizer.quantize."""

    _kind = "quantized"

    def dequantize(self, out: Out | None = None) -> Result:
        """The matrix (outputs, inputs) as floats. `out` receives it."""
        out = np.empty(self.shape, np.float32) if out is None else out
        with Borrow() as borrow:
            library.quantized_dequantize(borrow.tensor(writable(out)), self)
        return out

    def matmul(self, x: Array, out: Out | None = None, activations: str = "float") -> Result:
        """x (M, inputs) times the transposed matrix: (M, outputs), straight from the packed weights.

        activations "int8": each row of x is rounded to whole numbers from -127 to 127 with a scale of its own, and the
        products are sums of integers; for whole levels, one code a weight.
        """
        if activations not in ("float", "int8"):
            raise errors.InvalidArgument(f'activations are "float" or "int8"; {activations!r} came.')
        x = readable(x)
        out = np.empty((len(x) if x.ndim else 1, self.shape[0]), np.float32) if out is None else out
        multiply = library.quantized_matmul_int8 if activations == "int8" else library.quantized_matmul
        with self._lock, Borrow() as borrow:
            multiply(borrow.tensor(writable(out)), self, borrow.tensor(x))
        return out

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)"""
        info = self._info()
        return info.outputs, info.inputs

    @property
    def bits(self) -> int:
        """Bits of one weight."""
        return self._info().bits

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights with their scales and zero points."""
        return self._info().byte_count

    @property
    def report(self) -> dict[str, float]:
        """Bits, bytes and errors: bits, effective_bits, byte_count, float_byte_count, mean_squared_error,
        largest_error, relative_error, and output_error where there were calibration inputs."""
        report = library.struct("quantization_report")
        library.quantized_get_report(ctypes.byref(report), self)
        return numbers(report)

    def __repr__(self):
        return f"<temper.Quantized: {self.shape[0]} x {self.shape[1]}, {self.bits} bits, {self.nbytes} bytes>"

    def _info(self):
        info = library.struct("quantized_info")
        library.quantized_get_info(ctypes.byref(info), self)
        return info
