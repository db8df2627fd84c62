"""Training procedures."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from ._handles import Handle
from ._library import library
from ._methods import Method, documentation

if TYPE_CHECKING:
    from collections.abc import Sequence


class Procedure(Method):
    __doc__ = documentation(
        """A training procedure with its parameters, for temper.Trainer: made by temper.procedure(name, **parameters)."""
    )
    _kind = "procedure"


class Combination(Handle):
    """Several procedures used together."""

    _kind = "procedure"

    def __init__(self, procedures: Sequence[Procedure]):
        handles = (ctypes.c_void_p * len(procedures))(*(part._as_parameter_ for part in procedures))
        super().__init__(library.handle(library.procedure_combine, handles, len(procedures)))
