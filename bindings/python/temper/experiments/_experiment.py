"""What an experiment is: a record of the catalogue, and a function that measures."""

from __future__ import annotations

import dataclasses
import inspect
import typing

from .. import errors

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class Finding:
    """One claim, what was measured for it, and whether the claim holds by that."""

    claim: str
    measured: str
    holds: bool


@dataclasses.dataclass(frozen=True)
class Reference:
    """Where the claims were made."""

    authors: str
    year: int
    title: str
    arxiv: str | None = None

    def __str__(self):
        source = f" arXiv {self.arxiv}." if self.arxiv else ""
        return (f"{self.authors}, {self.year}. " if self.authors else "") + f"{self.title}.{source}"


_TYPES = {bool: "boolean", int: "integer", float: "real", str: "text"}
_DOMAINS = {"boolean": "true or false", "integer": "a whole number", "real": "a number", "text": "a text"}


class Experiment:
    """A function that yields findings, with its record. Made by the decorator `experiment`."""

    def __init__(self, function, name, aliases, area, summary, reference, docs):
        self._function = function
        self._defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        if self._defaults.keys() != docs.keys():
            raise TypeError(f"{name} has the parameters {[*self._defaults]} and words on {[*docs]}")
        self.record = {
            "name": name,
            "aliases": list(aliases),
            "kind": "experiment",
            "area": area,
            "summary": summary,
            "parameters": [_parameter(key, value, docs[key]) for key, value in self._defaults.items()],
            "inputs": [],
            "state": [],
            "properties": [],
            "differentiable": [],
            "reference": {**dataclasses.asdict(reference), "text": str(reference)},
            "origin": None,
            "plugin": None,
        }

    name = property(lambda self: self.record["name"])

    def __call__(self, **parameters) -> Iterator[Finding]:
        """Measures with these parameters: findings, one by one."""
        return self._function(**{key: self._value(key, value) for key, value in parameters.items()})

    def _value(self, key, value):
        """A parameter in the type of its default; texts, as a command line has them, are read."""
        if key not in self._defaults:
            known = ", ".join(self._defaults) or "none"
            raise errors.UnknownName(f"{self.name} has no parameter {key}; it has {known}.")
        kind = type(self._defaults[key])
        try:
            if kind is bool and isinstance(value, str):
                return {"true": True, "false": False}[value.lower()]
            if kind is int and int(value) != float(value):
                raise ValueError
            return kind(value)
        except (KeyError, TypeError, ValueError):
            domain = _DOMAINS[_TYPES[kind]]
            raise errors.InvalidArgument(f"{self.name}: {key} is {domain}; {value!r} came.") from None

    def describe(self) -> str:
        """Summary, parameters and source, as the catalogue writes them."""
        text = self.record["summary"] + "\n"
        if self.record["parameters"]:
            text += "\nParameters:\n"
            for entry in self.record["parameters"]:
                text += f"    {entry['name']} = {entry['default']}: {entry['doc']} ({entry['domain']})\n"
        if self.record["aliases"]:
            text += f"\nAlso called: {', '.join(self.record['aliases'])}.\n"
        return text + f"\nReference: {self.record['reference']['text']}\n"


def _parameter(name, default, doc):
    kind = _TYPES[type(default)]
    return {
        "name": name,
        "type": kind,
        "default": default,
        "optional": False,
        "required": False,
        "domain": _DOMAINS[kind],
        "aliases": [],
        "doc": doc,
    }


def experiment(
    name: str, /, *, area: str, summary: str, reference: Reference, aliases: tuple[str, ...] = (), **docs: str
) -> Callable[[Callable[..., Iterator[Finding]]], Experiment]:
    """Makes an experiment of a function that yields findings. docs: a word on each of its parameters."""
    return lambda function: Experiment(function, name, aliases, area, summary, reference, docs)
