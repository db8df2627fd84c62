"""Decoders: what becomes of a language model's scores, and marks of its texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arrays import Borrow, gather, writable
from ._library import library
from ._methods import Method, call_signature, documentation

if TYPE_CHECKING:
    from ._types import Array, Out, Result


class Decoder(Method):
    __doc__ = documentation("""A decoder with its parameters: made by temper.decoder(name, **parameters).

    Inputs come by name, or by position in the order of the record; it works along their last axis.""")
    __signature__ = call_signature(("out", None))
    _kind = "decoder"

    def __call__(self, *inputs: Array | None, out: Out | None = None, **named: Array | None) -> Result:
        """Scores, probabilities, or tokens as integers. `out` receives it."""
        arrays, dtype = gather(self._named(inputs, named))
        with self._lock, Borrow() as borrow:
            given = borrow.named(arrays)
            if out is None:
                if "whole" in self.record["properties"]:
                    dtype = np.dtype("int64")
                out = result = np.empty(library.shape(library.decoder_result_shape, self, *given), dtype)
            else:
                result = writable(out)
            library.decoder_evaluate(borrow.tensor(result), self, *given)
        return out
