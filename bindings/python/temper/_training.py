"""Trainers."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from . import _sources, errors
from ._arrays import Borrow, mapped
from ._handles import Handle
from ._interrupts import Interrupts
from ._library import library, pending
from ._losses import Loss
from ._models import Model
from ._optimizers import Optimizer, Schedule
from ._procedures import Combination, Procedure
from ._progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from ._types import Array, Data, LossLike, OptimizerLike, Path, ProcedureLike, Result, Samples, ScheduleLike

_MONITORS = {
    name.removeprefix("TEMPER_MONITOR_").lower(): number
    for name, number in library.constants.items()
    if name.startswith("TEMPER_MONITOR_")
}


class Trainer(Handle):
    """Trains a model, whose parameters it changes.

    loss, optimizer, schedule: a name of the catalogue, or what temper.loss, temper.optimizer and temper.schedule make.
    The schedule gives the learning rate of each step; without it the optimizer's own is constant. Groups of the optimizer
    (Optimizer.group) count the parameters that the model trains, in the order of model.parameters(). Validation and
    evaluate look at the model where its optimizer wants it used: at the average of ema, swa or schedule_free_adamw, say.
    seed: of shuffling and dropout. threads: that share the work; None: those of the model's context; the results are
    the same bits with any number. clip_value: every element of a gradient goes into [-clip_value, clip_value].
    clip_norm: the norm over all gradients is at most this. drop_last: leave out a last batch with fewer samples.
    skip_non_finite: a step with NaN or infinity changes nothing, instead of ending in an error.
    allow_non_finite: data with NaN or infinity is let through, instead of being an error.
    procedure: what is done otherwise than in plain training: a name, what temper.procedure makes, or a list of several
    that are used together. What it asks for beside x and y is passed to fit by name. peers: the models that a procedure
    trains beside `model`; without them as many as it needs are made like it.
    """

    _kind = "trainer"

    def __init__(
        self,
        model: Model,
        loss: LossLike = "cross_entropy",
        optimizer: OptimizerLike = "adam",
        schedule: ScheduleLike | None = None,
        procedure: ProcedureLike | None = None,
        batch_size: int = 128,
        seed: int = 0,
        threads: int | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        drop_last: bool = False,
        skip_non_finite: bool = False,
        allow_non_finite: bool = False,
        peers: Sequence[Model] = (),
    ):
        if not isinstance(model, Model):
            raise errors.InvalidType(f"A temper.Model is needed; a {type(model).__name__} came.")
        options = library.struct(
            "trainer_options", batch_size=batch_size, seed=seed, clip_value=clip_value or 0, clip_norm=clip_norm or 0,
            drop_last=drop_last, skip_non_finite=skip_non_finite, allow_non_finite=allow_non_finite,
            threads=threads or 0,
        )  # fmt: skip
        context = model._context
        if procedure is not None:
            procedure = _procedure(context, procedure)
            options.procedure = procedure._as_parameter_
        if peers:
            options.peers = (ctypes.c_void_p * len(peers))(*(peer._as_parameter_ for peer in peers))
            options.peer_count = len(peers)
        with model._lock:
            pointer = library.handle(
                library.trainer_create, model, _made(Loss, context, loss), _made(Optimizer, context, optimizer),
                schedule and _made(Schedule, context, schedule), ctypes.byref(options),
            )  # fmt: skip
        # The trainer writes to the model: one of the two at a time.
        super().__init__(pointer, lock=model._lock)
        self.model = model

    def fit(
        self,
        x: Data,
        y: Array | Path | None = None,
        epochs: int = 1,
        validation: Samples | None = None,
        tests: Mapping[str, Samples] | None = None,
        monitor: Literal["training_loss", "validation_loss", "validation_accuracy"] | None = None,
        patience: int = 0,
        minimum_delta: float = 0.0,
        restore_best: bool = False,
        progress: bool | str = False,
        callback: Callable[[dict[str, float]], object] | None = None,
        checkpoint: Path | None = None,
        checkpoint_every: int = 1,
        **inputs: Array | Path | None,
    ) -> dict[str, Result]:
        """Trains on x (N, ...) and y until `epochs` are done in all, and returns the history: {name: array}.

        x may be larger than memory: an array that NumPy has mapped (np.load(path, mmap_mode="r")), which is not copied
        if its elements are the model's; the path of a .npy file, which the library maps; anything else with len() and
        [], whose items x[i], or (x, y) where y is None, are read when they are needed; or an iterable of batches
        (x, y), such as a DataLoader of PyTorch, which goes once through a file in the folder for temporary files
        (TMPDIR). A sample's id is its row, its index, or its place in the order of the batches: what losses and
        procedures keep hangs on it. The bits are those of arrays in memory. y and inputs stay in memory; they may be
        paths too. An exception of an item ends the call, and fit may be called again to go on.

        validation: (x, y), measured after each epoch. tests: {name: (x, y)}, measured too and never looked at by
        training. monitor: "training_loss", "validation_loss" or "validation_accuracy"; with it training stops after
        `patience` epochs without an improvement larger than minimum_delta, and restore_best puts the parameters of the
        best epoch back. progress: True, or a title, draws a bar on stderr. callback: called after each epoch with a
        dict of its numbers; a true result stops training. checkpoint: a path to save to after every checkpoint_every
        epochs. inputs: further inputs of loss and model by name, (N, ...) for each sample or as a whole; validation and
        tests take theirs as a third element, (x, y, {name: array}).

        Control-C stops between two steps: finished steps stay, and fit may be called again to go on.
        """
        tests = tests or {}
        x, y, inputs = _sources.training(x, y, inputs)
        source = x.source() if isinstance(x, _sources.Items) else None
        arrays = [(None if source else x, y, inputs), *(_sources.arrays(*s) for s in tests.values())]
        validation = validation and _sources.arrays(*validation)
        with self._lock, Borrow() as borrow, Interrupts() as interrupts, Bar(progress) as bar:
            data, *others = (borrow.samples(*s, name=name) for name, s in zip([None, *tests], arrays))
            measured = validation and borrow.samples(*validation)
            others, other_count = library.array("samples", others)
            receive = library.callback("progress_function", _receiving(interrupts, bar, callback, list(tests)))
            options = library.struct(
                "fit_options", epochs=epochs, validation=measured and ctypes.pointer(measured), tests=others,
                test_count=other_count, monitor=_monitor(monitor), patience=patience, minimum_delta=minimum_delta,
                restore_best=restore_best, every_step=1, progress=receive,
                checkpoint_path=checkpoint and os.fsencode(checkpoint), checkpoint_every=checkpoint_every,
                source=source and ctypes.pointer(source),
            )  # fmt: skip
            try:
                library.trainer_fit(self, ctypes.byref(data), ctypes.byref(options))
            except errors.Cancelled:
                pass  # by the callback, which wanted it; or by an interrupt, which is raised on leaving
        return self.history

    def evaluate(self, x: Data, y: Array | Path | None = None, **inputs: Array | Path | None) -> dict[str, float]:
        """Mean loss and accuracy on a set of samples: {"loss": float, "accuracy": float}; changes nothing.

        x, y and inputs come in all forms of fit.
        """
        out = library.struct("measurement")
        arrays = _sources.arrays(x, y, inputs)
        with self._lock, Borrow() as borrow:
            library.trainer_evaluate(ctypes.byref(out), self, ctypes.byref(borrow.samples(*arrays)))
        return {"loss": out.loss, "accuracy": out.accuracy}

    @property
    def history(self) -> dict[str, Result]:
        """The epochs so far as arrays by name: training_loss, learning_rate, seconds, multiplications (of matrix products,
        convolutions and solving with matrices), and what else was measured."""
        with self._lock:
            return mapped(library.handle(library.trainer_history, self))

    @property
    def networks(self) -> list[Model]:
        """The model, and those that the procedure trains beside it."""
        others = (
            library.handle(library.trainer_network, self, index) for index in range(1, self._info().network_count)
        )
        return [self.model, *(Model._from(self.model._context, pointer, self._lock) for pointer in others)]

    @property
    def state(self) -> dict[str, Result]:
        """What loss and procedure keep, as copies by name: rows by sample, an estimated transition matrix."""
        with self._lock:
            return mapped(library.handle(library.trainer_state, self))

    @property
    def epochs(self) -> int:
        """How many epochs are done in all."""
        return self._info().epochs

    @property
    def best_epoch(self) -> int | None:
        """The best epoch so far by what is monitored, from 1; None while nothing is."""
        return self._info().best_epoch or None

    def save(self, path: Path) -> None:
        """Writes a checkpoint: parameters, optimizer, loss and place in the data. Whole or not at all."""
        with self._lock:
            library.trainer_save(self, os.fsencode(path))

    def resume(self, path: Path) -> None:
        """Goes back to a checkpoint of a trainer of the same making: fit goes on with the same bits."""
        with self._lock:
            library.trainer_resume(self, os.fsencode(path))

    def _info(self):
        info = library.struct("trainer_info")
        library.trainer_get_info(ctypes.byref(info), self)
        return info


def _made(kind, context, method):
    """A method that came as an object or by name."""
    if isinstance(method, kind):
        return method
    if isinstance(method, str):
        return kind(context, method, {})
    raise errors.InvalidType(
        f"A name of the catalogue or what temper.{kind._kind} makes is needed; a {type(method).__name__} came."
    )


def _procedure(context, method):
    """A procedure, or the combination of those of a list."""
    if isinstance(method, (list, tuple)):
        return Combination([_made(Procedure, context, part) for part in method])
    return _made(Procedure, context, method)


def _monitor(name):
    name = name or "none"
    if name not in _MONITORS:
        raise errors.InvalidArgument(f"What is monitored is one of {', '.join(_MONITORS)}; {name!r} came.")
    return _MONITORS[name]


def _receiving(interrupts, bar, callback, tests):
    """What the library calls after each step: 1 stops. Exceptions wait until its call returns."""

    def receive(_, progress):
        try:
            if interrupts.came:
                return 1
            progress = progress.contents
            if not progress.is_epoch_end:
                bar.step(progress.epoch, progress.epochs, progress.step, progress.steps)
                return 0
            numbers = _numbers(progress, tests)
            bar.epoch(numbers)
            return 1 if callback is not None and callback(numbers) else 0
        except BaseException as exception:
            pending.exceptions.append(exception)
            return 1

    return receive


def _numbers(progress, tests):
    """The numbers of an epoch, under the names of the history."""
    numbers = {
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "training_loss": progress.loss,
        "learning_rate": progress.learning_rate,
        "seconds": progress.seconds,
    }
    measured = {"validation": progress.validation, **dict(zip(tests, progress.tests[: progress.test_count]))}
    for name, measurement in measured.items():
        for field, value in (("loss", measurement.loss), ("accuracy", measurement.accuracy)):
            if value == value:  # NaN stands for what there is not
                numbers[f"{name}_{field}"] = value
    return numbers
