"""Every metric of the catalogue as a function of its parameters."""

from ._catalogue import metric, namespace

__getattr__, __dir__ = namespace(metric, "metric")
