"""Every operator and activation of the catalogue as a function of its parameters."""

from ._catalogue import namespace, op

__getattr__, __dir__ = namespace(op, "op", "activation")
