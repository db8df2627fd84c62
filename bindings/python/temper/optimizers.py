"""Every optimizer of the catalogue as a function of its parameters."""

from ._catalogue import optimizer, namespace

__getattr__, __dir__ = namespace(optimizer, "optimizer")
