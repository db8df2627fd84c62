"""Operators and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arrays import Borrow, gather, readable, writable
from ._library import library
from ._methods import Method, call_signature, documentation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._types import Array, Out, Result


class Operator(Method):
    __doc__ = documentation("""An operator or activation with its parameters: made by temper.op(name, **parameters).

    Inputs come by name, or by position in the order of the record. One with a single input works along `axis`.""")
    __signature__ = call_signature(("axis", -1), ("out", None))
    _kind = "op"

    def __call__(self, *inputs: Array | None, axis: int = -1, out: Out | None = None, **named: Array | None) -> Result:
        """The result. `out` receives it."""
        arrays, dtype = gather(self._named(inputs, named))
        with self._lock, Borrow() as borrow:
            given = borrow.named(arrays)
            if out is None:
                if "whole" in self.record["properties"]:
                    dtype = np.dtype("int64")
                out = result = np.empty(library.shape(library.op_result_shape, self, *given, axis), dtype)
            else:
                result = writable(out)
            library.op_evaluate(borrow.tensor(result), self, *given, axis)
        return out

    def vjp(
        self,
        *inputs: Array | None,
        dy: Array | None = None,
        axis: int = -1,
        wrt: str | Sequence[str] | None = None,
        out: Out | Mapping[str, Out] | None = None,
        **named: Array | None,
    ) -> Result | dict[str, Result]:
        """The gradient of sum(dy * result): for an operator of one input an array, vjp(x, dy); for others by name,
        vjp(dy=..., **inputs) -> {name: array}.

        wrt: the names of the inputs to differentiate by; without it all that have a gradient. out: receives the
        gradient, or by name the gradients.
        """
        if dy is None and inputs:
            *inputs, dy = inputs
        if dy is None:
            raise TypeError(f"vjp of {self.name} needs dy, the gradient of what follows by the result")
        arrays, dtype = gather(self._named(inputs, named))
        names = self._differentiated(wrt, arrays)
        if not names:
            raise TypeError(f"{self.name} has no gradient by any of {', '.join(arrays)}")
        is_single = len(self.record["inputs"]) == 1
        given = {} if out is None else {names[0]: out} if is_single and not isinstance(out, dict) else out
        results = {
            name: given[name] if name in given else np.empty(arrays[name].shape if name in arrays else (), dtype)
            for name in names
        }
        dy = readable(dy)
        with self._lock, Borrow() as borrow:
            gradients = borrow.named({name: writable(array) for name, array in results.items()})
            library.op_vjp(*gradients, self, *borrow.named(arrays), borrow.tensor(dy), axis)
        return results[names[0]] if is_single else results

    def _differentiated(self, wrt, arrays):
        if wrt is not None:
            return [wrt] if isinstance(wrt, str) else list(wrt)
        return [
            name
            for entry in self.record["inputs"]
            for name in [entry["name"], *entry["aliases"]]
            if entry["differentiable"] and name in arrays and arrays[name].dtype.kind == "f"
        ]
