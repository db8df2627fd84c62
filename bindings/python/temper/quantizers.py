"""Every quantizer of the catalogue as a function of its parameters."""

from ._catalogue import quantizer, namespace

__getattr__, __dir__ = namespace(quantizer, "quantizer")
