"""What annotations stand for: read by type checkers, never imported at run time."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from ._losses import Loss
from ._optimizers import Optimizer, Schedule
from ._procedures import Procedure


class SupportsDLPack(Protocol):
    def __dlpack__(self, *args: Any, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...


# Anything with DLPack or the buffer protocol, and numbers in lists.
Array = np.ndarray | SupportsDLPack | Sequence | memoryview | bytearray | bool | int | float
# What results may be written to, and what they are without it.
Out = np.ndarray | SupportsDLPack
Result = np.ndarray
Parameter = bool | int | float | str | None
Path = str | bytes | os.PathLike[str]


class Items(Protocol):
    """Samples by number: x, or (x, y)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


# x of a data set: in memory, in a .npy file, item by item, or in batches x, (x, y), (x, y, {name: rows}).
Data = Array | Path | Items | Iterable[Any]
Samples = tuple[Data] | tuple[Data, Array | Path] | tuple[Data, Array | Path | None, dict[str, Array | Path]]
LossLike = str | Loss
OptimizerLike = str | Optimizer
ScheduleLike = str | Schedule
ProcedureLike = str | Procedure | Sequence[str | Procedure]
