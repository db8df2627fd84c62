"""Samples that are not arrays in memory: files that are mapped, items that are read when they are needed, batches.

A sample's id is its row, its place among the items, or its place in the order in which batches came: the same in every
epoch, whatever the order of visits.
"""

import ctypes
import os
import tempfile

import numpy as np

from . import errors
from ._arrays import owned, readable
from ._library import library, pending

_CANCELLED = library.constants["TEMPER_ERROR_CANCELLED"]


def array(value):
    """An array to read from: what came, or the file of a path, mapped by the library."""
    if isinstance(value, (str, os.PathLike)):
        return owned(library.handle(library.tensor_open_npy, os.fsencode(value)))
    return readable(value)


def training(x, y=None, inputs=None):
    """(x, y, inputs) as arrays; x may be Items."""
    if isinstance(x, (str, os.PathLike)) or _is_array(x):
        return array(x), None if y is None else array(y), _arrays(inputs)
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        items = Items(x, has_targets=y is None)
        return items, items.y if y is None else array(y), _arrays(inputs)
    if hasattr(x, "__iter__"):
        return _spooled(x, y, inputs)
    raise errors.InvalidType(
        f"An array, the path of a .npy file, items with len() and [], or an iterable of batches is needed; a "
        f"{type(x).__name__} came."
    )


def arrays(x, y=None, inputs=None):
    """(x, y, inputs) as arrays, x too: items go through a file."""
    if _is_array(x) or isinstance(x, (str, os.PathLike)) or not hasattr(x, "__getitem__"):
        return training(x, y, inputs)
    return _spooled(_in_batches(x), y, inputs)


def _arrays(inputs):
    return {name: array(value) for name, value in (inputs or {}).items() if value is not None}


def _is_array(value):
    if isinstance(value, (np.ndarray, np.generic, list, tuple, int, float)):
        return True
    if any(hasattr(value, name) for name in ("__dlpack__", "__array__", "__array_interface__")):
        return True
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def _in_batches(items, size=256):
    for start in range(0, len(items), size):
        chosen = [items[index] for index in range(start, min(start + size, len(items)))]
        if isinstance(chosen[0], tuple):
            yield tuple(np.stack([readable(part) for part in parts]) for parts in zip(*chosen, strict=True))
        else:
            yield np.stack([readable(item) for item in chosen])


class Items:
    """Rows x[id], of one shape and type, of something with len() and [], read as training asks for them.

    has_targets: items are (x, y). y is small beside x, and procedures look at all of it: it is read once, in the
    beginning.
    """

    def __init__(self, items, has_targets):
        if not len(items):
            raise errors.InvalidShape("There are no samples.")
        self._items, self._has_targets = items, has_targets
        first = self._part(0, 0)
        self.shape, self.dtype = (len(items), *first.shape), first.dtype
        self.y = np.stack([self._part(index, 1) for index in range(len(items))]) if has_targets else None

    def _part(self, index, part):
        item = self._items[index]
        if self._has_targets:
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                raise errors.InvalidType(
                    f"Without y every item is a pair (x, y); item {index} is a {type(item).__name__}."
                )
            item = item[part]
        return readable(item)

    def _read(self, _, ids, count, rows, error):
        try:
            size = count * int(np.prod(self.shape[1:])) * self.dtype.itemsize
            memory = np.frombuffer((ctypes.c_char * size).from_address(rows), self.dtype) if size else np.empty(0)
            target = memory.reshape(count, *self.shape[1:])
            for place in range(count):
                target[place] = _fitting(self._part(ids[place], 0), self.shape[1:], self.dtype, f"Item {ids[place]}")
            return 0
        except BaseException as exception:
            pending.exceptions.append(exception)
            return _CANCELLED

    def source(self):
        """The struct of temper.h; it keeps what its callback needs."""
        sizes = (ctypes.c_int64 * len(self.shape[1:]))(*self.shape[1:])
        return library.struct(
            "source", dtype=library.constants["TEMPER_" + self.dtype.name.upper()], count=self.shape[0],
            rank=len(sizes), sizes=sizes, read=library.callback("rows_function", self._read),
        )  # fmt: skip


def _fitting(array, shape, dtype, name):
    if array.shape != shape:
        raise errors.InvalidShape(f"{name} has shape {array.shape}; the first has {shape}.")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise errors.InvalidType(f"{name} is {array.dtype}; the first is {dtype}.")
    return array


def _spooled(batches, y, inputs):
    """Batches x, (x, y) or (x, y, {name: rows}), iterated once. x goes to a nameless file in the folder for temporary
    files (TMPDIR), and is mapped from there: every order of samples is possible, and memory need not hold them."""
    file = tempfile.TemporaryFile()
    rows, dtype, count, targets, further = None, None, 0, [], {}
    for number, batch in enumerate(batches):
        parts = batch if isinstance(batch, (tuple, list)) else (batch,)
        if not 1 <= len(parts) <= 3 or (len(parts) == 1) != (y is not None):
            wanted = "x alone, as y came apart" if y is not None else "(x, y)"
            raise errors.InvalidType(f"Every batch is {wanted}; batch {number} has {len(parts)} parts.")
        x = readable(parts[0])
        if x.ndim == 0:
            raise errors.InvalidShape(f"A batch has a row for each of its samples; batch {number} is one number.")
        if rows is None:
            rows, dtype = x.shape[1:], x.dtype
        _fitting(x, (len(x), *rows), dtype, f"Batch {number}")
        file.write(np.ascontiguousarray(x, dtype).tobytes())
        count += len(x)
        if len(parts) > 1:
            targets.append(readable(parts[1]))
            if len(targets[-1]) != len(x):
                raise errors.InvalidShape(f"Batch {number} has {len(x)} rows of x and {len(targets[-1])} of y.")
        for name, value in (parts[2] if len(parts) > 2 else {}).items():
            further.setdefault(name, []).append(readable(value))
    if not count or not np.prod(rows):
        raise errors.InvalidShape("There are no samples in the batches.")
    file.flush()
    x = np.memmap(file, dtype, "r", shape=(count, *rows))
    y = np.concatenate(targets) if y is None else array(y)
    return x, y, {**{name: np.concatenate(parts) for name, parts in further.items()}, **_arrays(inputs)}
