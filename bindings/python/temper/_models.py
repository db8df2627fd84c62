"""Models."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING

import numpy as np

from . import _context
from ._arrays import _CODES, _DTYPES, Borrow, mapped, readable, writable
from ._handles import Handle
from ._library import library
from ._parameters import params
from ._reports import reports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from ._types import Array, Out, Parameter, Path, Result


class Model(Handle):
    """A network, from a list of layers: each a name or {name: size or options}; lists nest.

        temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), seed=0)

    layers: the list, or the same as JSON text. input: the shape of one sample, without the batch. seed: decides the
    initial parameters. dtype: of parameters and results, "float32" or "float64".
    """

    _kind = "model"

    def __init__(
        self,
        layers: list | str,
        input: int | Sequence[int],
        seed: int = 0,
        dtype: DTypeLike = "float32",
        context: _context.Context | None = None,
    ):
        context = context or _context.default()
        description = layers if isinstance(layers, str) else json.dumps(layers)
        sizes = (input,) if isinstance(input, int) else tuple(input)
        self._adopt(
            context,
            library.handle(
                library.model_create, context, description.encode(), (ctypes.c_int64 * len(sizes))(*sizes), len(sizes),
                _CODES[np.dtype(dtype)], seed,
            ),
        )  # fmt: skip

    def _adopt(self, context, pointer, lock=None):
        super().__init__(pointer, lock)
        self._context = context
        return self

    @classmethod
    def _from(cls, context, pointer, lock=None):
        return cls.__new__(cls)._adopt(context, pointer, lock)

    def predict(self, x: Array, mask: Array | None = None, out: Out | None = None) -> Result:
        """Outputs (such as logits) for inputs x (N, ...), as in evaluation. mask (N, T), 1 where attention may look:
        for models that need one. `out` receives the outputs."""
        x, mask = readable(x), None if mask is None else readable(mask)
        with self._lock, Borrow() as borrow:
            if out is None:
                shape = library.shape(library.model_result_shape, self, len(x) if x.ndim else 1)
                out = result = np.empty(shape, _DTYPES[self._info().dtype])
            else:
                result = writable(out)
            library.model_predict(borrow.tensor(result), self, borrow.tensor(x), borrow.tensor(mask))
        return out

    def vjp(
        self,
        x: Array,
        dy: Array,
        wrt: str | Sequence[str] = ("x",),
        mask: Array | None = None,
        out: Mapping[str, Out] | None = None,
    ) -> dict[str, Result]:
        """The gradient of sum(dy * outputs) by "x" and by parameters, as `wrt` names them: {name: array}.

        With the gradient of a loss by the outputs as dy these are the loss's gradients. `out` receives them.
        """
        names = [wrt] if isinstance(wrt, str) else list(wrt)
        x, dy, mask = readable(x), readable(dy), None if mask is None else readable(mask)
        given = {} if out is None else out
        with self._lock, Borrow() as borrow:
            shaped = {"x": x} if set(names) <= {"x"} else {"x": x, **self.parameters()}
            dtype = _DTYPES[self._info().dtype]
            # One for a name that there is not is of no shape: the library says what is wrong with it.
            results = {
                name: given[name] if name in given else np.empty(shaped[name].shape if name in shaped else (), dtype)
                for name in names
            }
            gradients = borrow.named({name: writable(array) for name, array in results.items()})
            library.model_vjp(*gradients, self, borrow.tensor(x), borrow.tensor(mask), borrow.tensor(dy))
        return results

    def gradient_norms(
        self, x: Array, dy: Array, wrt: str | Sequence[str] | None = None, mask: Array | None = None
    ) -> dict[str, Result]:
        """For each sample the norm of the gradient of the sum of dy[n] * outputs[n] by parameters, {name: (N,)}, without
        the samples' gradients themselves.

        With the gradient of each sample's loss as dy these are the norms of the samples' gradients. `wrt` names the
        parameters; without it all.
        """
        names = list(self.parameters()) if wrt is None else [wrt] if isinstance(wrt, str) else list(wrt)
        x, dy, mask = readable(x), readable(dy), None if mask is None else readable(mask)
        with self._lock, Borrow() as borrow:
            norms = {name: np.empty(len(x), _DTYPES[self._info().dtype]) for name in names}
            library.model_gradient_norms(
                *borrow.named(norms), self, borrow.tensor(x), borrow.tensor(mask), borrow.tensor(dy)
            )
        return norms

    def parameters(self) -> dict[str, Result]:
        """All parameters by name, as arrays that share the model's memory: writing to them changes the model.

        Those of quantized layers are copies, dequantized.
        """
        with self._lock:
            return mapped(library.handle(library.model_parameters, self))

    def save(self, path: Path, **options: Parameter) -> None:
        """Writes the model: as GGUF where the path ends in .gguf, as an ONNX graph where it ends in .onnx, else as
        safetensors. It appears whole or not at all.

        type, for GGUF: how a float model's matrices are stored, such as "Q4_K". A quantized model's are stored in the
        type that holds their codes, with scales in float16.
        """
        with self._lock:
            library.model_export(self, os.fsencode(path), *params(options))

    def load_weights(self, path: Path, names: Mapping[str, str] | None = None) -> None:
        """Fills all parameters and running statistics from a safetensors, GGUF or ONNX file, or changes nothing.

        names: by the model's name the file's, where they differ, {"0.weight": "fc1.weight"}; "fc1.weight^T" for a matrix
        stored as (inputs, outputs), as MatMul of ONNX has it. What else the file holds is not looked at.
        """
        file = library.handle(library.file_open, self._context, os.fsencode(path))
        try:
            with self._lock:
                library.model_fill(self, file, *params(names or {}))
        finally:
            library.file_free(file)

    def summary(self) -> str:
        """A table of layers, shapes and parameters, as text."""
        return library.text(library.model_describe, self, library.constants["TEMPER_FORMAT_TEXT"])

    __str__ = summary

    @property
    def description(self) -> list:
        """The list of layers."""
        return json.loads(library.text(library.model_describe, self, library.constants["TEMPER_FORMAT_JSON"]))

    @property
    def quantization(self) -> dict[str, dict[str, float]]:
        """What each weight cost that a quantizer packed in this program: {name: {"bits", "effective_bits",
        "byte_count", "float_byte_count", "mean_squared_error", "largest_error", "relative_error", and "output_error"
        where there were calibration inputs}}. Empty for other models and those from files."""
        return reports(self)

    @property
    def nbytes(self) -> int:
        """Memory of all parameters as they are held, packed ones packed."""
        return self._info().parameter_bytes

    @property
    def parameter_count(self) -> int:
        """How many numbers training changes."""
        return self._info().parameter_count

    @property
    def is_quantized(self) -> bool:
        """Whether some weights are packed."""
        return bool(self._info().is_quantized)

    def __repr__(self):
        return f"<temper.Model: {self.parameter_count} parameters, {self.nbytes} bytes>"

    def _info(self):
        info = library.struct("model_info")
        library.model_get_info(ctypes.byref(info), self)
        return info


def load(path: Path, context: _context.Context | None = None) -> Model:
    """A model from a file that Model.save wrote, quantized or not; one from a GGUF or ONNX file has float parameters.

    An ONNX file may be another program's: its operators become layers, or an error names the one that cannot.
    """
    context = context or _context.default()
    return Model._from(context, library.handle(library.model_load, context, os.fsencode(path)))
