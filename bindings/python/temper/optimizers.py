"""Every optimizer of the catalogue as a function of its parameters."""

from ._catalogue import namespace, optimizer

__getattr__, __dir__ = namespace(optimizer, "optimizer")
