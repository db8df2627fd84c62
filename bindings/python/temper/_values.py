"""Methods that are called for their values alone: decoders and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arrays import Borrow, gather, writable
from ._library import library
from ._methods import Method, call_signature, documentation

if TYPE_CHECKING:
    from ._types import Array, Out, Result


class _ValueMethod(Method):
    __signature__ = call_signature(("out", None))

    def _evaluate(self, inputs, named, out):
        arrays, dtype = gather(self._named(inputs, named))
        with self._lock, Borrow() as borrow:
            given = borrow.named(arrays)
            if out is None:
                if "whole" in self.record["properties"]:
                    dtype = np.dtype("int64")
                shape = library.shape(getattr(library, self._kind + "_result_shape"), self, *given)
                out = result = np.empty(shape, dtype)
            else:
                result = writable(out)
            getattr(library, self._kind + "_evaluate")(borrow.tensor(result), self, *given)
        return out


class Decoder(_ValueMethod):
    __doc__ = documentation("""A decoder with its parameters: made by temper.decoder(name, **parameters).

    Inputs come by name, or by position in the order of the record; it works along their last axis.""")
    _kind = "decoder"

    def __call__(self, *inputs: Array | None, out: Out | None = None, **named: Array | None) -> Result:
        """Scores, probabilities, or tokens as integers. `out` receives it."""
        return self._evaluate(inputs, named, out)


class Metric(_ValueMethod):
    __doc__ = documentation("""A metric with its parameters: made by temper.metric(name, **parameters).

    Inputs come by name, or by position in the order of the record.""")
    _kind = "metric"

    def __call__(self, *inputs: Array | None, out: Out | None = None, **named: Array | None) -> float | Result:
        """A float, or an array where the metric has more than one value. `out` receives it."""
        result = self._evaluate(inputs, named, out)
        return float(result) if out is None and result.shape == () else result
