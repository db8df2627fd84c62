"""Optimizers and schedules."""

from __future__ import annotations

import ctypes
import json
import math
import operator
import os
import weakref
from typing import TYPE_CHECKING

import numpy as np

from . import errors
from ._arrays import Borrow, mapped, owned, readable, writable
from ._library import library, pending
from ._methods import Method, documentation
from ._parameters import params as values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._types import Array, Out, Parameter, Path, Result


class _Kept:
    """The arrays of the last step, borrowed until other ones come: for many small ones that takes longer than a step.

    NumPy arrays are known again by themselves, those of PyTorch by their address too.
    """

    def __init__(self, params, grads, parameters, gradients):
        self._borrow = Borrow().__enter__()
        weakref.finalize(self, self._borrow.__exit__).atexit = False
        self._params, self._grads = [*params], [*grads]
        places = [_address(value, view) for value, view in zip([*params, *grads], [*parameters, *gradients])]
        self._stay = None not in places
        self._movable = [pair for pair in zip([*params, *grads], places) if pair[1]]
        self.pointers = self._borrow.tensors(parameters), self._borrow.tensors(gradients), len(parameters)

    def are(self, params, grads):
        """Whether these lists hold the same arrays at the same places."""
        return (
            self._stay
            and len(params) == len(self._params)
            and len(grads) == len(self._grads)
            and all(map(operator.is_, params, self._params))
            and all(map(operator.is_, grads, self._grads))
            and all(value.data_ptr() == place for value, place in self._movable)
        )


def _address(value, view):
    """Where a PyTorch tensor lies; 0 for a NumPy array, which does not move; None for what may, or was copied."""
    if type(value) is np.ndarray:
        return 0 if view is value else None
    start = view.__array_interface__["data"][0]
    return start if hasattr(value, "data_ptr") and value.data_ptr() == start else None


class Optimizer(Method):
    __doc__ = documentation(
        """An optimizer with its parameters and state: made by temper.optimizer(name, **parameters)."""
    )
    _kind = "optimizer"
    _kept: _Kept | None = None

    def step(
        self,
        params: Sequence[Out],
        grads: Sequence[Array] | Callable[[], object] | None = None,
        learning_rate: float | None = None,
        closure: Callable[[], object] | None = None,
    ) -> float | None:
        """One step, in place, on lists of arrays: params[i] is updated from grads[i].

        The first step fixes how many there are and their shapes. `learning_rate`: of this step, in place of the
        optimizer's own.

        Methods that take losses or gradients at several points (sam, lbfgs) need a closure, any other takes one too,
        alone or in the place of grads. It computes the loss and its gradients at `params` as they stand and returns
        (loss, gradients), or the gradients alone, or, when it has written the gradients into `grads`, the loss or
        nothing. The step then returns the loss at the first point.
        """
        if callable(grads):
            grads, closure = None, grads
        if closure is not None:
            return self._step_closure([writable(array) for array in params], grads, learning_rate, closure)
        if grads is None:
            raise errors.InvalidArgument("A step needs gradients, or a closure that computes them.")
        rate = math.nan if learning_rate is None else learning_rate
        if self._kept is not None and self._kept.are(params, grads):
            with self._lock:
                library.optimizer_step(self, *self._kept.pointers, rate)
            return None
        parameters = [writable(array) for array in params]
        gradients = [readable(array) for array in grads]
        if len(parameters) != len(gradients):
            raise errors.InvalidArgument(
                f"There must be one gradient for each parameter; {len(parameters)} parameters and "
                f"{len(gradients)} gradients came."
            )
        kept = _Kept(params, grads, parameters, gradients)
        with self._lock:
            library.optimizer_step(self, *kept.pointers, rate)
            self._kept = kept if kept.are(params, grads) else None
        return None

    def _step_closure(self, parameters, grads, learning_rate, closure):
        if grads is None:
            gradients = [np.empty_like(array) for array in parameters]
        else:
            gradients = [writable(array) for array in grads]
        if len(parameters) != len(gradients):
            raise errors.InvalidArgument(
                f"There must be one gradient for each parameter; {len(parameters)} parameters and "
                f"{len(gradients)} gradients came."
            )

        def call(_, out):
            try:
                loss, new = _parts(closure(), are_written=grads is not None)
                if new is not None:
                    if len(new) != len(gradients):
                        raise errors.InvalidArgument(
                            f"The closure must give one gradient for each of {len(gradients)} parameters; "
                            f"{len(new)} came."
                        )
                    for gradient, value in zip(gradients, new):
                        np.copyto(gradient, readable(value))
                out[0] = loss
                return 0
            except BaseException as exception:
                pending.exceptions.append(exception)
                return 1

        loss, rate = ctypes.c_double(), math.nan if learning_rate is None else learning_rate
        with self._lock, Borrow() as borrow:
            library.optimizer_step_closure(
                ctypes.byref(loss), self, borrow.tensors(parameters), borrow.tensors(gradients), len(parameters), rate,
                library.callback("closure_function", call), None,
            )  # fmt: skip
        return loss.value

    def group(
        self, positions: Sequence[int], schedule: Schedule | str | None = None, /, **parameters: Parameter
    ) -> Optimizer:
        """Before the first step: the parameters at these positions of the lists follow other values of the method's
        parameters and, if there is one, the learning rates of a schedule of their own. Returns the optimizer."""
        if isinstance(schedule, str):
            schedule = Schedule(self._context, schedule, {})
        places = (ctypes.c_uint64 * len(positions))(*positions)
        with self._lock:
            library.optimizer_add_group(self, places, len(positions), *values(parameters), schedule)
        return self

    def schedule(self, parameter: str, schedule: Schedule | str, /) -> Optimizer:
        """Before groups and the first step: this parameter of the method (momentum, beta1, weight_decay, ...) is at
        each step what the schedule gives for it. Returns the optimizer.

        A one-cycle momentum, 0.95 to 0.85 and back while the learning rate rises and falls:
        optimizer.schedule("momentum", temper.schedule("one_cycle", learning_rate=0.85, div_factor=0.85 / 0.95,
        final_div_factor=1, total_steps=1000)).
        """
        if isinstance(schedule, str):
            schedule = Schedule(self._context, schedule, {})
        with self._lock:
            library.optimizer_schedule(self, parameter.encode(), schedule)
        return self

    def evaluation_point(self, params: Sequence[Out]) -> list[Result]:
        """Where the model should be evaluated, as new arrays: the average that the method keeps (ema, swa, lookahead,
        schedule_free_adamw), or the parameters themselves."""
        parameters = [writable(array) for array in params]
        results = [np.empty_like(array) for array in parameters]
        with self._lock, Borrow() as borrow:
            library.optimizer_evaluation_point(
                borrow.tensors(results), self, borrow.tensors(parameters), len(parameters)
            )
        return results

    @property
    def needs_closure(self) -> bool:
        """Whether a step takes losses or gradients at several points."""
        info = library.struct("optimizer_info")
        with self._lock:
            library.optimizer_get_info(ctypes.byref(info), self)
        return bool(info.needs_closure)

    def save(self, path: Path) -> None:
        """Writes the state to a safetensors file. Whole or not at all."""
        with self._lock:
            library.optimizer_save(self, os.fsencode(path))

    def load(self, path: Path) -> None:
        """Puts the state of a file back: the next step goes on with the same bits."""
        with self._lock:
            library.optimizer_load(self, os.fsencode(path))

    def state_dict(self) -> dict[str, Result]:
        """The state as copies by name: "step", "<position>.<state>" and "scalar.<name>"; empty before the first step."""
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

    def observe(self, **measurements: float) -> None:
        """Takes in a measurement, for schedules that follow one: plateau.observe(loss=0.3)."""
        with self._lock:
            for name, value in measurements.items():
                library.schedule_observe(self, name.encode(), value)

    def state_dict(self) -> dict[str, Result]:
        """What observations have left: {"state": array}."""
        with self._lock:
            return {"state": owned(library.handle(library.schedule_get_state, self))}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Puts a state back that state_dict() gave."""
        with self._lock, Borrow() as borrow:
            library.schedule_set_state(self, borrow.tensor(readable(state["state"])))


def _parts(result, are_written):
    """(loss, gradients or None) of what a closure returned."""
    if isinstance(result, tuple) and len(result) == 2 and np.ndim(_number(result[0])) == 0 and not are_written:
        return float(_number(result[0])), list(result[1])
    if are_written or result is None:
        if not are_written:
            raise errors.InvalidArgument("The closure must return the gradients, or (loss, gradients).")
        if isinstance(result, tuple):
            return float(_number(result[0])), list(result[1])
        return math.nan if result is None else float(_number(result)), None
    return math.nan, list(result)


def _number(value):
    """A number of PyTorch without its graph; anything else as it is."""
    return value.detach() if hasattr(value, "detach") else value
