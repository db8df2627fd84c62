"""Matrix products of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _context
from ._arrays import Borrow, exact, writable
from ._library import library

if TYPE_CHECKING:
    from ._types import Array, Out, Result


def matmul_int8(a: Array, b: Array, out: Out | None = None, context: _context.Context | None = None) -> Result:
    """The product of int8 matrices a (M, K) and b (K, N), exact: (M, N) int32. `out` receives it."""
    a, b = exact(a, "int8"), exact(b, "int8")
    if out is None:
        out = np.empty((a.shape[0] if a.ndim else 1, b.shape[-1] if b.ndim else 1), np.int32)
    context = context or _context.default()
    with Borrow() as borrow:
        library.tensor_matmul_int8(borrow.tensor(writable(out)), context, borrow.tensor(a), borrow.tensor(b))
    return out
