"""All experiments, found in the modules of this folder when first asked for."""

import functools
import importlib
import pkgutil

from ._experiment import Experiment


@functools.cache
def _all():
    """Name or alias: experiment."""
    package, found = __name__.rpartition(".")[0], {}
    for entry in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if entry.name.startswith("_"):
            continue
        for value in vars(importlib.import_module(f"{package}.{entry.name}")).values():
            if isinstance(value, Experiment):
                for name in [value.name, *value.record["aliases"]]:
                    if found.setdefault(name, value) is not value:
                        raise TypeError(f"two experiments are called {name}")
    return found


def find(name: str) -> Experiment | None:
    """The experiment of this name or alias, or None."""
    return _all().get(name)


def records() -> list[dict]:
    """The records of all experiments."""
    return [value.record for name, value in _all().items() if name == value.name]
