"""Every decoder of the catalogue as a function of its parameters."""

from ._catalogue import decoder, namespace

__getattr__, __dir__ = namespace(decoder, "decoder")
