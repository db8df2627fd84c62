"""Every training procedure of the catalogue as a function of its parameters."""

from ._catalogue import namespace, procedure

__getattr__, __dir__ = namespace(procedure, "procedure")
