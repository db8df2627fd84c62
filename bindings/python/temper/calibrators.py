"""Every calibrator of the catalogue as a function of its parameters."""

from ._catalogue import calibrator, namespace

__getattr__, __dir__ = namespace(calibrator, "calibrator")
