"""The loaded library: its functions under their names without `temper_`, checked and raising.

ctypes, because it needs no compiler and no package, and because the functions run in microseconds: the time goes into
arrays that are borrowed, not copied.
"""

import ctypes
import os
import pathlib
import threading

from . import errors
from ._header import Header

_HERE = pathlib.Path(__file__).resolve().parent


def _find():
    """(library, header): those of TEMPER_LIBRARY, of the installed package, or of the source tree around it."""
    source = _HERE.parents[2]
    headers = [_HERE / "include/temper.h", source / "include/temper.h"]
    header = next((path for path in headers if path.is_file()), None)
    if header is None:
        raise ImportError("temper.h is missing: neither " + " nor ".join(map(str, headers)) + " exists.")
    chosen = os.environ.get("TEMPER_LIBRARY")
    places = (
        [pathlib.Path(chosen)]
        if chosen
        else [_HERE / "libtemper.so", source / ".build/release/libtemper.so", source / ".build/debug/libtemper.so"]
    )
    library = next((path for path in places if path.is_file()), None)
    if library is None:
        raise ImportError(
            "libtemper.so is missing: " + ", ".join(map(str, places)) + ". Build it with "
            "`swift build -c release --product temper`, or say where it is in TEMPER_LIBRARY."
        )
    return library, header


class _Pending(threading.local):
    """Exceptions that callbacks of this thread raised, until the call that ran them returns."""

    def __init__(self):
        self.exceptions = []


pending = _Pending()


class Library:
    """Functions as methods: results first, as in temper.h, without the last argument, whose error is raised.

    A function is bound at its first use.
    """

    def __init__(self, path, header):
        self.path = path
        self.header = header
        self.constants = header.constants
        self._loaded = ctypes.CDLL(str(path))
        self._check_version()

    def _check_version(self):
        major, minor = self.version() >> 16, self.version() >> 8 & 0xFF
        wanted = self.constants["TEMPER_VERSION_MAJOR"], self.constants["TEMPER_VERSION_MINOR"]
        if major != wanted[0] or minor < wanted[1]:
            raise ImportError(f"{self.path} is Temper {major}.{minor}; this package needs {wanted[0]}.{wanted[1]}.")

    def __getattr__(self, name):
        declared = self.header.functions.get("temper_" + name)
        if declared is None:
            raise AttributeError(f"temper.h declares no temper_{name}")
        symbol = getattr(self._loaded, declared.name)
        symbol.argtypes, symbol.restype = declared.types, declared.result
        function = self._checked(symbol) if declared.returns_status else symbol
        setattr(self, name, function)
        return function

    def _checked(self, symbol):
        """Without an error of its own for every call: that of the last one that failed is this thread's."""

        def call(*arguments):
            if symbol(*arguments, None) or pending.exceptions:
                raise self._failure()

        return call

    def _failure(self):
        if not pending.exceptions:
            return errors._from_status(self._last_error().contents)
        exception = pending.exceptions[0]
        pending.exceptions.clear()
        return exception

    def _last_error(self):
        function = self._loaded.temper_last_error
        function.restype = ctypes.POINTER(self.header.structs["temper_error"])
        return function()

    def struct(self, name, /, **fields):
        """A struct of temper.h with these fields and its size."""
        kind = self.header.structs["temper_" + name]
        value = kind(**fields)
        if kind._fields_[0][0] == "struct_size":
            value.struct_size = ctypes.sizeof(kind)
        return value

    def array(self, name, items):
        """A C array of structs, or None where there are none, and its length."""
        return (self.header.structs["temper_" + name] * len(items))(*items) if items else None, len(items)

    def callback(self, name, function):
        return self.header.callbacks["temper_" + name](function)

    def handle(self, function, *arguments):
        """The handle that a function gives as its first result."""
        out = ctypes.c_void_p()
        function(ctypes.byref(out), *arguments)
        return out

    def text(self, function, *arguments):
        """The text that a function writes: with room guessed first, then with the room that it asks for."""
        length, capacity = ctypes.c_uint64(), 4096
        while True:
            buffer = ctypes.create_string_buffer(capacity)
            try:
                function(buffer, capacity, ctypes.byref(length), *arguments)
                return buffer.raw[: length.value].decode()
            except errors.OutOfRange:
                if length.value < capacity:
                    raise
                capacity = length.value + 1

    def shape(self, function, *arguments):
        """The shape that a function tells as rank and sizes."""
        rank, sizes = ctypes.c_int32(), (ctypes.c_int64 * self.constants["TEMPER_MAXIMUM_RANK"])()
        function(ctypes.byref(rank), sizes, *arguments)
        return tuple(sizes[: rank.value])


def _load():
    path, header = _find()
    header = Header(header.read_text())
    errors._number(header.constants)
    return Library(path, header)


library = _load()
