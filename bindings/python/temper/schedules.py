"""Every schedule of the catalogue as a function of its parameters."""

from ._catalogue import namespace, schedule

__getattr__, __dir__ = namespace(schedule, "schedule")
