"""Contexts: threads, seed, log, and a catalogue with the plug-ins loaded into it."""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import os
from typing import TYPE_CHECKING

from . import errors, experiments
from ._array_methods import Calibrator, Detector, Generator, Sampler
from ._handles import Handle
from ._library import library, pending
from ._losses import Loss
from ._operators import Operator
from ._optimizers import Optimizer, Schedule
from ._procedures import Procedure
from ._quantizers import Quantizer
from ._values import Decoder, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._losses import Terms
    from ._types import Parameter, Path


class Context(Handle):
    """What methods are made from: threads, seed, log, and the catalogue with its plug-ins.

    threads: how many threads share the work, None: one for each processor. seed: the seed wherever 0 is passed.
    plugin_directories: where plug-ins may be loaded from; with none, any path given may be loaded. log: a function of
    (level, text) for what the library has to say.

    loss, op, decoder, metric, optimizer, schedule, procedure, quantizer, sampler, generator, detector, calibrator,
    catalog and describe are those of the module `temper`, which has a context of its own; temper.Model, load and
    load_plugin take `context=`.
    """

    _kind = "context"

    def __init__(
        self,
        threads: int | None = None,
        seed: int = 0,
        plugin_directories: Sequence[Path] = (),
        log: Callable[[int, str], object] | None = None,
    ):
        directories = [os.fsencode(directory) for directory in plugin_directories]
        options = library.struct("context_options", threads=threads or 0, seed=seed)
        options.plugin_directories = (ctypes.c_char_p * len(directories))(*directories)
        options.plugin_directory_count = len(directories)
        if log is not None:
            options.log, options.log_user, options.log_destroy = _kept(log)
        try:
            super().__init__(library.handle(library.context_create, ctypes.byref(options)))
        except BaseException:
            _drop(options.log_user)
            raise
        self._records = {}

    @property
    def threads(self) -> int:
        """How many threads work is shared among, the caller's included."""
        out = ctypes.c_int32()
        library.context_threads(ctypes.byref(out), self)
        return out.value

    def loss(self, name: str, /, **parameters: Parameter) -> Loss:
        """The loss of this name."""
        return Loss(self, name, parameters)

    def weighted_sum(self, terms: Terms) -> Loss:
        """See temper.weighted_sum."""
        return Loss.weighted_sum(self, terms)

    def op(self, name: str, /, **parameters: Parameter) -> Operator:
        """The operator or activation of this name."""
        return Operator(self, name, parameters)

    def decoder(self, name: str, /, **parameters: Parameter) -> Decoder:
        """The decoder of this name."""
        return Decoder(self, name, parameters)

    def metric(self, name: str, /, **parameters: Parameter) -> Metric:
        """The metric of this name."""
        return Metric(self, name, parameters)

    def optimizer(self, name: str, /, **parameters: Parameter) -> Optimizer:
        """The optimizer of this name."""
        return Optimizer(self, name, parameters)

    def schedule(self, name: str, /, **parameters: Parameter) -> Schedule:
        """The schedule of this name."""
        return Schedule(self, name, parameters)

    def procedure(self, name: str, /, **parameters: Parameter) -> Procedure:
        """The training procedure of this name."""
        return Procedure(self, name, parameters)

    def quantizer(self, name: str, /, **parameters: Parameter) -> Quantizer:
        """The quantizer of this name."""
        return Quantizer(self, name, parameters)

    def sampler(self, name: str, /, **parameters: Parameter) -> Sampler:
        """The sampler of this name."""
        return Sampler(self, name, parameters)

    def generator(self, name: str, /, **parameters: Parameter) -> Generator:
        """The generator of this name."""
        return Generator(self, name, parameters)

    def detector(self, name: str, /, **parameters: Parameter) -> Detector:
        """The detector of this name."""
        return Detector(self, name, parameters)

    def calibrator(self, name: str, /, **parameters: Parameter) -> Calibrator:
        """The calibrator of this name."""
        return Calibrator(self, name, parameters)

    def find(self, kind: str | None, name: str) -> str:
        """The name of the method of this kind that a name or alias stands for."""
        return library.text(library.catalogue_find, self, kind and kind.encode(), name.encode())

    def names(self, kind: str | None = None) -> list[str]:
        """The names of all methods of a kind, in alphabetical order."""
        code, count = kind and kind.encode(), ctypes.c_uint64()
        library.catalogue_count(ctypes.byref(count), self, code)
        names = [library.text(library.catalogue_name, self, code, index) for index in range(count.value)]
        if kind in (None, "experiment"):
            names = sorted(names + [record["name"] for record in experiments.records()])
        return names

    def record(self, name: str) -> dict:
        """The record of one method, as a dict."""
        if found := experiments.find(name):
            return found.record
        if name not in self._records:
            self._records[name] = json.loads(
                library.text(library.catalogue_describe, self, name.encode(), library.constants["TEMPER_FORMAT_JSON"])
            )
        return self._records[name]

    def describe(self, name: str) -> str:
        """What a method is, its parameters, inputs and source, as text."""
        if found := experiments.find(name):
            return found.describe()
        return library.text(library.catalogue_describe, self, name.encode(), library.constants["TEMPER_FORMAT_TEXT"])

    def catalog(self, kind: str | None = None, area: str | None = None) -> list[dict]:
        """The records of all methods, as a list of dicts with name, aliases, kind, area, summary, parameters, inputs,
        reference and more; with `kind` or `area` only those."""
        records = json.loads(
            library.text(library.catalogue_describe, self, None, library.constants["TEMPER_FORMAT_JSON"])
        )
        records = sorted(records + experiments.records(), key=lambda record: record["name"])
        for key, wanted in (("kind", kind), ("area", area)):
            known = sorted({record[key] for record in records})
            if wanted not in (None, *known):
                raise errors.UnknownName(f'There is no {key} "{wanted}"; there are: {", ".join(known)}.')
        return [r for r in records if kind in (None, r["kind"]) and area in (None, r["area"])]


# Log functions by the number that the library knows them under, until it says that nothing needs them any more.
_logs = {}
_numbers = itertools.count(1)


def _kept(log):
    number = next(_numbers)
    _logs[number] = log
    return _receive, number, _destroy


def _receive(number, level, text):
    try:
        _logs[number](level, text.decode(errors="replace"))
    except BaseException as exception:
        pending.exceptions.append(exception)
    return 0


def _drop(number):
    _logs.pop(number, None)


_receive = library.callback("log_function", _receive)
_destroy = library.callback("destroy_function", _drop)


@functools.cache
def default():
    """The context of the functions of the module `temper`."""
    return Context()
