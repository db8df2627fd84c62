"""Optimizers and schedules."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING

from . import errors
from ._arrays import Borrow, mapped, readable, writable
from ._library import library
from ._methods import Method, documentation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._types import Array, Out, Result


class Optimizer(Method):
    __doc__ = documentation(
        """An optimizer with its parameters and state: made by temper.optimizer(name, **parameters)."""
    )
    _kind = "optimizer"

    def step(self, params: Sequence[Out], grads: Sequence[Array], learning_rate: float | None = None) -> None:
        """One step, in place, on lists of arrays: params[i] is updated from grads[i].

        The first step fixes how many there are and their shapes. `learning_rate`: of this step, in place of the
        optimizer's own.
        """
        parameters, gradients = [writable(array) for array in params], [readable(array) for array in grads]
        if len(parameters) != len(gradients):
            raise errors.InvalidArgument(
                f"There must be one gradient for each parameter; {len(parameters)} parameters and "
                f"{len(gradients)} gradients came."
            )
        rate = math.nan if learning_rate is None else learning_rate
        with self._lock, Borrow() as borrow:
            library.optimizer_step(self, borrow.tensors(parameters), borrow.tensors(gradients), len(parameters), rate)

    def state_dict(self) -> dict[str, Result]:
        """The state as copies by name: "step", and "<position>.<state>"; empty before the first step."""
        with self._lock:
            return mapped(library.handle(library.optimizer_get_state, self))

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Puts a state back that state_dict() gave: the next step goes on with the same bits."""
        arrays = {name: readable(array) for name, array in state.items()}
        with self._lock, Borrow() as borrow:
            library.optimizer_set_state(self, *borrow.named(arrays))


class Schedule(Method):
    __doc__ = documentation("""A schedule with its parameters: made by temper.schedule(name, **parameters).""")
    _kind = "schedule"

    def __call__(self, step: float) -> float:
        """The value at a step; 0 is the first."""
        out = ctypes.c_double()
        library.schedule_value(ctypes.byref(out), self, step)
        return out.value
