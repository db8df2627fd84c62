"""Losses."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from . import errors
from ._arrays import Borrow, gather, writable
from ._library import library
from ._methods import Method, call_signature, documentation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from ._types import Array, Out, Result

_REDUCTIONS = {
    name.removeprefix("TEMPER_REDUCTION_").lower(): number
    for name, number in library.constants.items()
    if name.startswith("TEMPER_REDUCTION_")
}


class Loss(Method):
    __doc__ = documentation("""A loss with its parameters: made by temper.loss(name, **parameters).

    Inputs come by name, or by position in the order of the record; they are arrays or lists of numbers. The work is
    done in float64 if any floating array is float64, else in float32.""")
    __signature__ = call_signature(("out", None))
    _kind = "loss"

    def __call__(self, *inputs: Array | None, out: Out | None = None, **named: Array | None) -> Result:
        """The values, without reduction: (N,), or (1,) for a loss of the whole batch. `out` receives them."""
        arrays, dtype = gather(self._named(inputs, named))
        with self._lock, Borrow() as borrow:
            given = borrow.named(arrays)
            if out is None:
                count = ctypes.c_int64()
                library.loss_value_count(ctypes.byref(count), self, *given)
                out = values = np.empty(count.value, dtype)
            else:
                values = writable(out)
            library.loss_evaluate(borrow.tensor(values), self, *given)
        return out

    def value_and_grad(
        self,
        *inputs: Array | None,
        reduction: Literal["mean", "sum"] = "mean",
        wrt: str | Sequence[str] | None = None,
        out: Mapping[str, Out] | None = None,
        **named: Array | None,
    ) -> tuple[float, dict[str, Result]]:
        """The reduced value, and its gradients by name: (float, {name: array}).

        reduction: "mean" or "sum". wrt: the names of the inputs to differentiate by; without it the first that has a
        gradient (logits). out: arrays by name that receive the gradients.
        """
        arrays, dtype = gather(self._named(inputs, named))
        names = self._differentiated(wrt)
        results = self._results(names, arrays, dtype, out)
        value = ctypes.c_double()
        with self._lock, Borrow() as borrow:
            gradients = borrow.named({name: writable(array) for name, array in results.items()})
            library.loss_value_and_grad(
                ctypes.byref(value), *gradients, self, *borrow.named(arrays), _reduction(reduction)
            )
        return value.value, results

    def hessian_product(
        self,
        *inputs: Array | None,
        directions: Mapping[str, Array],
        reduction: Literal["mean", "sum"] = "mean",
        out: Mapping[str, Out] | None = None,
        **named: Array | None,
    ) -> dict[str, Result]:
        """The Hessian of the reduced value times `directions`, arrays by name in the inputs' shapes: {name: array}."""
        arrays, dtype = gather(self._named(inputs, named))
        directions, _ = gather(directions)
        results = self._results(list(directions), arrays, dtype, out)
        with self._lock, Borrow() as borrow:
            products, count = borrow.named({name: writable(array) for name, array in results.items()})
            along, _ = borrow.named(directions)
            library.loss_hessian_product(products, along, count, self, *borrow.named(arrays), _reduction(reduction))
        return results

    def _differentiated(self, wrt):
        if wrt is None:
            return self.record["differentiable"][:1]
        return [wrt] if isinstance(wrt, str) else list(wrt)

    def _results(self, names, arrays, dtype, out):
        """Arrays for results in the inputs' shapes. One for a name that did not come is of no shape: the library says
        what is wrong with it."""
        out = {} if out is None else out
        return {
            name: out[name] if name in out else np.empty(arrays[name].shape if name in arrays else (), dtype)
            for name in names
        }


def _reduction(name):
    if name not in _REDUCTIONS:
        raise errors.InvalidArgument(f"A reduction is one of {', '.join(_REDUCTIONS)}; {name!r} came.")
    return _REDUCTIONS[name]
