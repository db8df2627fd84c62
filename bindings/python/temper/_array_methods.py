"""Methods over arrays: samplers, generators, detectors and calibrators."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import errors
from ._arrays import Borrow, gather, mapped
from ._library import library
from ._methods import Method, documentation

if TYPE_CHECKING:
    from ._types import Array, Path, Result


class _ArrayMethod(Method):
    def _call(self, name):
        """What the record says of a call."""
        calls = {call["name"]: call for call in self.record["calls"]}
        if name not in calls:
            raise errors.Unsupported(f"{self.name} has no {name}; it has {', '.join(calls)}.")
        return calls[name]

    def _arrays(self, name, inputs, named):
        """The arrays of a call, by name."""
        return gather(self._named(inputs, named, self._call(name)))[0]

    def _perform(self, name, inputs, named, *options):
        """The results of a call by name, texts as lists of str."""
        arrays = self._arrays(name, inputs, named)
        with self._lock, Borrow() as borrow:
            pointer = library.handle(getattr(library, f"{self._kind}_{name}"), self, *borrow.named(arrays), *options)
        results = mapped(pointer)
        for result in self._call(name)["results"]:
            if result["text"] and result["name"] in results:
                rows = results[result["name"]]
                results[result["name"]] = [row.tobytes().rstrip(b"\0").decode() for row in rows]
        return results


class _Stateful(_ArrayMethod):
    """What is kept between calls, in memory and in files."""

    @property
    def state(self) -> dict[str, Result]:
        """What is kept, by name; empty before a fit."""
        with self._lock:
            return mapped(library.handle(getattr(library, f"{self._kind}_state"), self))

    def save(self, path: Path) -> None:
        """What is kept, as a safetensors file."""
        with self._lock:
            getattr(library, f"{self._kind}_save")(self, os.fsencode(path))

    def load(self, path: Path):
        """Takes over what a file of the same method holds. Returns the method itself."""
        with self._lock:
            getattr(library, f"{self._kind}_load")(self, os.fsencode(path))
        return self


class _Fitted(_Stateful):
    def fit(self, *inputs: Array | None, **named: Array | None):
        """Learns from the inputs, by name or in the order of the record. Returns the method itself."""
        arrays = self._arrays("fit", inputs, named)
        with self._lock, Borrow() as borrow:
            getattr(library, f"{self._kind}_fit")(self, *borrow.named(arrays))
        return self


class Sampler(_Stateful):
    __doc__ = documentation("""A sampler with its parameters: made by temper.sampler(name, **parameters).

    Inputs come by name, or by position in the order of the call. seed decides every random number; 0 stands for the
    context's.""")
    _kind = "sampler"

    def __init__(self, context, name, parameters):
        super().__init__(context, name, parameters)
        self.details: dict[str, Result] = {}

    def resample(self, *inputs: Array | None, seed: int = 0, **named: Array | None) -> tuple[Result, Result]:
        """Samples anew: (x, y). What tells how they were made is in `details`."""
        results = self._perform("resample", inputs, named, seed)
        x, y = results.pop("x"), results.pop("y")
        self.details = results
        return x, y

    def indices(self, *inputs: Array | None, seed: int = 0, **named: Array | None) -> Result:
        """The numbers of the samples to take."""
        self.details = self._perform("indices", inputs, named, seed)
        return self.details.pop("indices")

    def weights(self, *inputs: Array | None, **named: Array | None) -> Result:
        """The chance of each sample to be taken."""
        self.details = self._perform("weights", inputs, named)
        return self.details.pop("weights")


class Generator(_ArrayMethod):
    __doc__ = documentation("""A generator with its parameters: made by temper.generator(name, **parameters).

    Inputs come by name, or by position in the order of the record.""")
    _kind = "generator"

    def __call__(self, *inputs: Array | None, seed: int = 0, **named: Array | None) -> dict[str, Result | list[str]]:
        """The arrays that it makes, by name; texts as lists of str. seed decides every random number; 0 stands for the
        context's."""
        return self._perform("generate", inputs, named, seed)


class Detector(_Fitted):
    __doc__ = documentation("""A detector with its parameters: made by temper.detector(name, **parameters).

    Inputs come by name, or by position in the order of the call.""")
    _kind = "detector"

    def __init__(self, context, name, parameters):
        super().__init__(context, name, parameters)
        self.details: dict[str, Result] = {}

    def score(self, *inputs: Array | None, **named: Array | None) -> Result:
        """A number for each sample, larger for what is more abnormal. What else was found is in `details`."""
        self.details = self._perform("score", inputs, named)
        return self.details.pop("scores")


class Calibrator(_Fitted):
    __doc__ = documentation("""A calibrator with its parameters: made by temper.calibrator(name, **parameters).

    Inputs come by name, or by position in the order of the call.""")
    _kind = "calibrator"

    def transform(self, *inputs: Array | None, **named: Array | None) -> Result:
        """What the model should have said."""
        (result,) = self._perform("transform", inputs, named).values()
        return result
