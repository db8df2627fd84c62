"""Losses."""

from __future__ import annotations

import ctypes
import functools
import json
from typing import TYPE_CHECKING

import numpy as np

from . import errors
from ._arrays import Borrow, gather, writable
from ._handles import Handle
from ._library import library
from ._methods import Method, call_signature, documentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from ._operators import Operator
    from ._types import Array, LossLike, Out, Result, ScheduleLike

    Terms = Mapping[str, tuple[float, LossLike]] | Iterable[tuple[float, LossLike]]

_REDUCTIONS = {
    name.removeprefix("TEMPER_REDUCTION_").lower(): number
    for name, number in library.constants.items()
    if name.startswith("TEMPER_REDUCTION_")
}
_CLOCKS = {
    name.removeprefix("TEMPER_CLOCK_").lower(): number
    for name, number in library.constants.items()
    if name.startswith("TEMPER_CLOCK_")
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

    # Composition: each makes a new loss, whose parameters are those of its parts under "part.name".

    def through(self, op: Operator | str, input: str = "logits") -> Loss:
        """This loss with one of its inputs changed by an operator first: loss.through(temper.op("logit_clip")), or by
        the name of one: loss.through("logit_clip")."""
        op = self._context.op(op) if isinstance(op, str) else op
        pointer = library.handle(library.loss_through, self, input.encode(), op)
        return Loss._composed(self._context, pointer, f"{self!r}.through({op!r}, {input!r})")

    def scheduled(self, parameter: str, schedule: ScheduleLike, by: Literal["step", "epoch"] = "step") -> Loss:
        """This loss with a parameter that follows a schedule of the steps, or epochs, done while a Trainer trains.

        Calls of its own, and the measuring of validation and test sets, take the value that the loss was made with. The
        weights of a sum move at no cost; where another parameter moves, the trainer makes its plan anew. A whole number
        goes from one to the next half-way.
        """
        if by not in _CLOCKS:
            raise errors.InvalidArgument(f"A schedule goes by {' or '.join(_CLOCKS)}; {by!r} came.")
        schedule = self._context.schedule(schedule) if isinstance(schedule, str) else schedule
        pointer = library.handle(library.loss_schedule, self, parameter.encode(), schedule, _CLOCKS[by])
        return Loss._composed(self._context, pointer, f"{self!r}.scheduled({parameter!r}, {schedule!r}, {by!r})")

    def at(self, steps: int = 0, epochs: int = 0) -> Loss:
        """This loss with the parameters that its schedules give after so many steps and epochs."""
        pointer = library.handle(library.loss_at, self, steps, epochs)
        return Loss._composed(self._context, pointer, f"{self!r}.at({steps}, {epochs})")

    @classmethod
    def weighted_sum(cls, context, terms: Terms) -> Loss:
        """See temper.weighted_sum."""
        named = terms.items() if hasattr(terms, "items") else [(None, term) for term in terms]
        parts = []
        for name, term in named:
            pair = tuple(term) if isinstance(term, (tuple, list)) else ()
            if len(pair) != 2:
                raise errors.InvalidArgument(f'A term of a sum is a weight and a loss, as (0.5, "mae"); {term!r} came.')
            weight, loss = pair
            parts.append((name, weight, context.loss(loss) if isinstance(loss, str) else loss))
        array, count = library.array(
            "loss_term", [(None if n is None else n.encode(), w, loss._as_parameter_) for n, w, loss in parts]
        )
        shown = ", ".join((f"{name!r}: " if name else "") + f"({weight}, {loss!r})" for name, weight, loss in parts)
        shown = f"{{{shown}}}" if hasattr(terms, "items") else f"[{shown}]"
        return cls._composed(context, library.handle(library.loss_sum, array, count), f"temper.weighted_sum({shown})")

    @classmethod
    def _composed(cls, context, pointer, shown):
        loss = cls.__new__(cls)
        Handle.__init__(loss, pointer)
        loss._context, loss._shown = context, shown
        loss.parameters = {entry["name"]: entry["default"] for entry in loss.record["parameters"]}
        return loss

    @functools.cached_property
    def record(self):
        """The record of the loss, as a dict: also of a composed one, which is in no catalogue."""
        return json.loads(library.text(library.loss_describe, self, library.constants["TEMPER_FORMAT_JSON"]))

    _shown = None

    def _describe(self):
        return library.text(library.loss_describe, self, library.constants["TEMPER_FORMAT_TEXT"])

    def __repr__(self):
        return self._shown or super().__repr__()

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
        raise errors.InvalidArgument(
            f"A reduction is one of {', '.join(_REDUCTIONS)}; {name!r} came. The loss called gives a value by sample."
        )
    return _REDUCTIONS[name]
