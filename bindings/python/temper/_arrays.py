"""Arrays in and out of the library: NumPy views of whatever came, borrowed for one call, never copied without need.

What comes in may have DLPack (PyTorch, JAX), the buffer protocol (array.array, memoryview), or be lists of numbers.
"""

import ctypes

import numpy as np

from . import errors
from ._handles import Handle
from ._library import library

_NAMES = ("float32", "float64", "int32", "int64", "uint8", "bool", "int8")
_BY_NAME = {name: np.dtype(name) for name in _NAMES}
# By type and byte order: an array in the other order is not among them.
_CODES = {dtype: library.constants["TEMPER_" + name.upper()] for name, dtype in _BY_NAME.items()}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
_ndarray = np.ndarray
_FLOAT64 = _BY_NAME["float64"]
_Buffer = library.header.structs["temper_buffer"]
_NamedTensor = library.header.structs["temper_named_tensor"]
_READ_ONLY = library.constants["TEMPER_BUFFER_READ_ONLY"]
# Element types that methods do not take, and the next wider one that holds their values.
_WIDER = {"float16": "float32", "int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
_READABLE = {dtype for dtype in _CODES if dtype.name not in _WIDER}


def is_plain(value):
    """Numbers and lists of them: they have no element type of their own and take that of the arrays beside them."""
    return isinstance(value, (list, tuple, int, float))


def view(value):
    """A NumPy view of the memory of `value`."""
    if isinstance(value, _ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        if getattr(value, "requires_grad", False):
            value = value.detach()
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise errors.InvalidType(
                f"An array on the CPU with one of the element types {', '.join(_NAMES)} is needed; "
                f"this {type(value).__module__}.{type(value).__qualname__} cannot be viewed: {error}"
            ) from error
    return np.asarray(value)


def readable(value):
    """An array to read from, in an element type of the library."""
    array = view(value)
    dtype = array.dtype
    if dtype in _READABLE and (array.flags.forc or _has_whole_steps(array)):
        return array
    name = dtype.name
    if name == "uint64":
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise errors.OutOfRange(f"Integers up to 2^63 - 1 may come; {array.max()} came.")
        return array.astype(np.int64)
    if name in _NAMES or name in _WIDER:
        return array.astype(_WIDER.get(name, name))
    raise errors.InvalidType(f"An array of numbers is needed; elements of type {dtype} came.")


def words(value):
    """Texts as rows of bytes, padded with zeros to one length; what is no text stays what it is."""
    array = view(value)
    if array.dtype.kind != "U":
        return array
    encoded = np.char.encode(array, "utf-8")
    return np.frombuffer(encoded.tobytes(), np.uint8).reshape(*array.shape, encoded.itemsize)


def _has_whole_steps(array):
    """Whether strides are whole elements, as the library counts them; those of a field of a record may not be."""
    return not any(stride % array.itemsize for stride in array.strides)


def writable(value):
    """An array to write results to: the memory of `value` itself."""
    if isinstance(value, _ndarray):
        array = value
    elif is_plain(value):
        raise errors.InvalidType(f"Results are written to an array; a {type(value).__name__} came.")
    else:
        array = view(value)
    if array.dtype not in _CODES:
        raise errors.InvalidType(f"Results are written as float32 or float64; an array of {array.dtype} came.")
    if not (array.flags.forc or _has_whole_steps(array)):
        raise errors.InvalidShape(f"Results are written in steps of whole elements; strides {array.strides} came.")
    return array


def exact(value, name):
    """An array to read from whose elements must be of one type already."""
    array = value if isinstance(value, _ndarray) else view(value)
    if array.dtype != _BY_NAME[name]:
        raise errors.InvalidType(f"An array of {name} is needed; elements of type {array.dtype} came.")
    return array if array.flags.forc or _has_whole_steps(array) else np.ascontiguousarray(array)


def gather(values):
    """Arrays to read from by name, and the type that floating results have: float64 if any floating array has it.

    Plain numbers take the floating type of the arrays beside them. Without any it is float64.
    """
    arrays, plain, dtype = {}, [], None
    for name, value in values.items():
        array = arrays[name] = readable(value)
        if array.dtype.kind == "f":
            if is_plain(value):
                plain.append(name)
            elif dtype is None or dtype.itemsize < array.dtype.itemsize:
                dtype = array.dtype
    if dtype is None:
        return arrays, _FLOAT64
    for name in plain:
        arrays[name] = arrays[name].astype(dtype)
    return arrays, dtype


# Handles that no call uses, by what they are over, the latest last: borrowing anew takes three times as long. Nobody looks
# into them here, so that their memory may be gone.
_resting = {}
_MOST_RESTING = 256

_address, _bytes_of = ctypes.addressof, (ctypes.c_char * 0).from_buffer


def _description(array):
    """Where an array is, its shape and type; unless it is dense and may be written, how its elements lie."""
    flags = array.flags
    if flags.carray:  # dense by rows, writable: the ways of this and the next line take a third of the last one's time
        return _address(_bytes_of(array)), array.shape, array.dtype
    if flags.fnc and flags.writeable:
        return _address(_bytes_of(array.T)), array.shape, array.dtype, "by columns"
    start, is_read_only = array.__array_interface__["data"]
    return start, array.shape, array.dtype, is_read_only, array.strides


def _borrow(array, start):
    rank, flags = array.ndim, array.flags
    sizes = (ctypes.c_int64 * rank)(*array.shape)
    if flags.c_contiguous:
        low, length, strides = start, array.nbytes, None
    else:
        low, high = np.lib.array_utils.byte_bounds(array)
        length = high - low
        strides = (ctypes.c_int64 * rank)(*(stride // array.itemsize for stride in array.strides))
    buffer = _Buffer(
        ctypes.sizeof(_Buffer),
        _CODES[array.dtype],
        rank,
        0 if flags.writeable else _READ_ONLY,
        low,
        length,
        start - low,
        sizes,
        strides,
    )
    return library.handle(library.tensor_borrow, ctypes.byref(buffer)).value


class Borrow:
    """Tensors over arrays for the length of one call. The arrays must outlive the `with` block."""

    __slots__ = ("_used",)

    def __enter__(self):
        self._used = {}
        return self

    def __exit__(self, *_):
        for description, pointer in self._used.items():
            if _resting.setdefault(description, pointer) is not pointer:
                library.tensor_free(pointer)  # another call used the same array meanwhile
        if len(_resting) > _MOST_RESTING:
            _thin_out()

    def tensor(self, array):
        """A handle to the memory of a NumPy array, or None for None."""
        if array is None:
            return None
        description = _description(array)
        pointer = self._used.get(description) or _resting.pop(description, None) or _borrow(array, description[0])
        self._used[description] = pointer
        return pointer

    def tensors(self, arrays):
        """A C array of handles."""
        return (ctypes.c_void_p * len(arrays))(*map(self.tensor, arrays))

    def named(self, arrays):
        """A C array of named tensors, and its length."""
        if not arrays:
            return None, 0
        named = (_NamedTensor * len(arrays))()
        for entry, name in zip(named, arrays):
            entry.name, entry.tensor = name.encode(), self.tensor(arrays[name])
        return named, len(arrays)

    def samples(self, x, y, inputs, name=None):
        """A struct of samples."""
        named, count = self.named(inputs)
        return library.struct(
            "samples", name=name and name.encode(), x=self.tensor(x), y=self.tensor(y), inputs=named, input_count=count
        )


def _thin_out():
    """Gives back the oldest quarter. Other threads may take and leave handles meanwhile."""
    for description in list(_resting)[: len(_resting) - _MOST_RESTING * 3 // 4]:
        if pointer := _resting.pop(description, None):
            library.tensor_free(pointer)


class _Memory(Handle):
    """A tensor of the library, for NumPy to view; NumPy keeps it alive as long as a view needs it."""

    _kind = "tensor"

    @property
    def __array_interface__(self):
        info = library.struct("tensor_info")
        library.tensor_get_info(ctypes.byref(info), self)
        dtype = _DTYPES[info.dtype]
        read_only = bool(info.flags & library.constants["TEMPER_TENSOR_READ_ONLY"])
        return {
            "version": 3,
            "typestr": dtype.str,
            "shape": tuple(info.sizes[: info.rank]),
            "strides": tuple(stride * dtype.itemsize for stride in info.strides[: info.rank]),
            "data": (info.data or 0, read_only),
        }


def owned(pointer):
    """A tensor of the library as an array."""
    return np.asarray(_Memory(pointer))


def mapped(pointer):
    """The arrays of a tensor map by name, as views of its memory. The map is given back."""
    try:
        count, arrays = ctypes.c_uint64(), {}
        library.tensor_map_count(ctypes.byref(count), pointer)
        for index in range(count.value):
            name, tensor = ctypes.c_char_p(), ctypes.c_void_p()
            library.tensor_map_get(ctypes.byref(name), ctypes.byref(tensor), pointer, index)
            arrays[name.value.decode()] = np.asarray(_Memory(tensor))
        return arrays
    finally:
        library.tensor_map_free(pointer)
