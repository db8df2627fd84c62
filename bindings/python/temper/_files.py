"""Files of named tensors: GGUF and safetensors."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from . import _context, errors
from ._arrays import Borrow, owned, readable
from ._handles import Handle
from ._library import library
from ._parameters import params
from ._quantizers import Quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._types import Array, Parameter, Path, Result


class StoredTensor(NamedTuple):
    """What a file says of a tensor: its stored type, such as "Q4_K" or "F32", its shape, and its bytes in the file."""

    type: str
    shape: tuple[int, ...]
    nbytes: int


class File(Handle):
    """A GGUF or safetensors file, open for reading: its header is read and checked, its data when it is asked for.

        file = temper.open_file("model.gguf")
        file.metadata["general.architecture"], file.tensors["blk.0.attn_q.weight"].type
        weights = file["blk.0.attn_q.weight"]  # decoded, float32

    Made by temper.open_file.
    """

    _kind = "file"

    def __init__(self, path: Path, context: _context.Context | None = None):
        context = context or _context.default()
        super().__init__(library.handle(library.file_open, context, os.fsencode(path)))
        described = json.loads(library.text(library.file_describe, self, library.constants["TEMPER_FORMAT_JSON"]))
        self._context = context
        self.format: str = described["format"]
        """gguf or safetensors"""
        self.metadata: dict = described["metadata"]
        self.tensors: dict[str, StoredTensor] = {
            entry["name"]: StoredTensor(entry["type"], tuple(entry["shape"]), entry["byte_count"])
            for entry in described["tensors"]
        }

    def __getitem__(self, name: str) -> Result:
        """The numbers of a tensor, decoded: float32 for all types of few bits and of half precision."""
        return owned(library.handle(library.file_tensor, self, name.encode()))

    def __contains__(self, name):
        return name in self.tensors

    def __iter__(self):
        return iter(self.tensors)

    def __len__(self):
        return len(self.tensors)

    def keys(self):
        """The names of the tensors; with it, dict(file) has all of them decoded."""
        return self.tensors.keys()

    def __repr__(self):
        return f"<temper.File: {self.format}, {len(self)} tensors>"


def open_file(path: Path, context: _context.Context | None = None) -> File:
    """Opens a GGUF or safetensors file: names, types and shapes of its tensors, and its metadata."""
    return File(path, context)


def save_file(
    tensors: Mapping[str, Array | Quantized],
    path: Path,
    metadata: Mapping[str, Parameter] | None = None,
    types: Mapping[str, str] | str | None = None,
    context: _context.Context | None = None,
) -> None:
    """Writes arrays and quantized matrices: GGUF where the path ends in .gguf, else safetensors.

        temper.save_file({"weight": w, "bias": b}, "model.gguf", types={"weight": "Q4_K"})

    types: for GGUF, the type of each tensor by name, or one for all of at least two dimensions; blocks are found by a
    search of least squared error. Without it arrays keep their type, and quantized matrices the one that holds their
    codes, with scales in float16. metadata: numbers, truth values and texts; for safetensors only texts. The file
    appears whole or not at all.
    """
    if isinstance(types, str):
        types = {name: types for name, value in tensors.items() if getattr(value, "ndim", 2) > 1}
    types = {name: value for name, value in (types or {}).items() if value is not None}
    if unknown := types.keys() - tensors.keys():
        raise errors.UnknownName(f"types names {', '.join(sorted(unknown))}, which tensors does not have.")
    context = context or _context.default()
    with Borrow() as borrow:
        arrays = {name: v if isinstance(v, Quantized) else readable(v) for name, v in tensors.items()}
        entries = []
        for name, value in arrays.items():
            kind = name in types and types[name].encode() or None
            if isinstance(value, Quantized):
                entries.append((name.encode(), None, value._as_parameter_, kind))
            else:
                entries.append((name.encode(), borrow.tensor(value), None, kind))
        stored = library.array("stored_tensor", entries)
        library.file_write(context, os.fsencode(path), *stored, *params(metadata or {}))
