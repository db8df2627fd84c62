"""Every generator of the catalogue as a function of its parameters."""

from ._catalogue import generator, namespace

__getattr__, __dir__ = namespace(generator, "generator")
