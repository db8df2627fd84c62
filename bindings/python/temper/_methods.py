"""What all methods of the catalogue have in common: they are made by name, and documented by their record."""

import functools
import inspect

from ._arrays import words
from ._handles import Handle, PerInstance
from ._library import library
from ._parameters import params

_NO_DEFAULT = inspect.Parameter.empty


class Method(Handle):
    """A method of the catalogue with its parameters."""

    def __init__(self, context, name, parameters):
        make = getattr(library, self._kind + "_create")
        super().__init__(library.handle(make, context, name.encode(), *params(parameters)))
        self._context = context
        self._given = name
        self.parameters = parameters

    @property
    def name(self):
        """The name in the catalogue."""
        return self.record["name"]

    @functools.cached_property
    def record(self):
        """The record in the catalogue, as a dict."""
        return self._context.record(self._given)

    def _describe(self):
        return self._context.describe(self._given)

    def __repr__(self):
        settings = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        return f"temper.{self._kind}({self._given!r}{settings})"

    @functools.cached_property
    def _input_names(self):
        return [entry["name"] for entry in self.record["inputs"]]

    @functools.cached_property
    def _texts(self):
        return [entry["name"] for entry in self.record["inputs"] if entry.get("text")]

    def _named(self, positional, named, call=None):
        """Inputs by name: by position they are in the order of the call (else the record). None stands for no input."""
        names = call["inputs"] if call else self._input_names
        if len(positional) > len(names):
            what = f"{call['name']} of {self.name}" if call else self.name
            raise TypeError(
                f"{what} takes at most {len(names)} inputs by position ({', '.join(names)}); {len(positional)} came"
            )
        by_name = dict(zip(names, positional))
        if named:
            if twice := by_name.keys() & named.keys():
                raise TypeError(f"{self.name} got {', '.join(sorted(twice))} by position and by name")
            by_name.update(named)
        for name in self._texts:
            if by_name.get(name) is not None:
                by_name[name] = words(by_name[name])
        return {name: value for name, value in by_name.items() if value is not None}


def documentation(of_class):
    """The `__doc__` of a class of methods, and of its instances: what the catalogue says."""
    return PerInstance(lambda method: method._describe(), of_class)


def call_signature(*options):
    """The `__signature__` of instances: the record's inputs by position or name, then the options of the call."""

    def signature(method):
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        inputs = sorted(method.record["inputs"], key=lambda entry: entry["optional"])
        parameters = [
            inspect.Parameter(entry["name"], kind, default=None if entry["optional"] else _NO_DEFAULT)
            for entry in inputs
        ]
        return inspect.Signature(
            parameters
            + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in options]
        )

    return PerInstance(signature)


def constructor_signature(record):
    """The signature of a function that makes this method: its parameters with their defaults."""
    return inspect.Signature(
        [
            inspect.Parameter(entry["name"], inspect.Parameter.KEYWORD_ONLY, default=_default(entry))
            for entry in record["parameters"]
            if entry["name"].isidentifier()
        ]
    )


def _default(entry):
    """The default as a Python value; infinity comes as text, for which JSON has no word."""
    value = _NO_DEFAULT if entry["required"] else entry["default"]
    return float(value) if value in ("inf", "-inf", "nan") else value
