"""Every loss of the catalogue as a function of its parameters."""

from ._catalogue import loss, namespace

__getattr__, __dir__ = namespace(loss, "loss")
