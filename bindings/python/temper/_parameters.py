"""Python values as parameters of methods."""

import numbers

from . import errors
from ._library import library

_CONSTANTS = library.constants


def _param(name, value):
    fields = {"name": name.encode()}
    if getattr(value, "shape", None) == ():  # a number of NumPy or PyTorch
        value = value.item()
    if value is None:
        fields["type"] = _CONSTANTS["TEMPER_PARAM_NONE"]
    elif isinstance(value, bool):
        fields.update(type=_CONSTANTS["TEMPER_PARAM_BOOLEAN"], boolean=value)
    elif isinstance(value, numbers.Integral):
        if not -(2**63) <= value < 2**63:
            raise errors.OutOfRange(f"Parameter {name} takes a whole number of 64 bits; {value} came.")
        fields.update(type=_CONSTANTS["TEMPER_PARAM_INTEGER"], integer=int(value))
    elif isinstance(value, numbers.Real):
        fields.update(type=_CONSTANTS["TEMPER_PARAM_REAL"], real=float(value))
    elif isinstance(value, str):
        fields.update(type=_CONSTANTS["TEMPER_PARAM_TEXT"], text=value.encode())
    else:
        raise errors.InvalidType(
            f"Parameter {name} takes a number, True or False, a text or None; a {type(value).__name__} came."
        )
    return library.struct("param", **fields)


def params(values):
    """A C array of temper_param, and its length."""
    return library.array("param", [_param(name, value) for name, value in values.items()])
