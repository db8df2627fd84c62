"""Every detector of the catalogue as a function of its parameters."""

from ._catalogue import detector, namespace

__getattr__, __dir__ = namespace(detector, "detector")
