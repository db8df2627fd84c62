"""Every schedule of the catalogue as a function of its parameters."""

from ._catalogue import schedule, namespace

__getattr__, __dir__ = namespace(schedule, "schedule")
