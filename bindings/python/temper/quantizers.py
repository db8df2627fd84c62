"""Every quantizer of the catalogue as a function of its parameters."""

from ._catalogue import namespace, quantizer

__getattr__, __dir__ = namespace(quantizer, "quantizer")
