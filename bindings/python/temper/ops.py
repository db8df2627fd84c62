"""Every operator and activation of the catalogue as a function of its parameters."""

from ._catalogue import op, namespace

__getattr__, __dir__ = namespace(op, "op", "activation")
