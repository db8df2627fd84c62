"""Every sampler of the catalogue as a function of its parameters."""

from ._catalogue import namespace, sampler

__getattr__, __dir__ = namespace(sampler, "sampler")
