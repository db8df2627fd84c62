"""What the library answers when it cannot do what was asked: one exception for each status of temper.h.

All derive from `Error`, and from the built-in exception that Python programs expect in its place.
"""


class Error(Exception):
    """An error of Temper.

    code: its TEMPER_ERROR_* number; argument: index of the argument of the C call at fault, or -1; origin: the method,
    file or plug-in that it comes from, or "".
    """

    code = 0

    def __init__(self, message: str, argument: int = -1, origin: str = ""):
        super().__init__(message)
        self.message, self.argument, self.origin = message, argument, origin

    # KeyError and OSError have their own way to print, which would quote or number the sentence.
    def __str__(self) -> str:
        return f"{self.origin}: {self.message}" if self.origin else self.message

    def __reduce__(self):
        return type(self), (self.message, self.argument, self.origin)


class InvalidArgument(Error, ValueError):
    """Arguments that are missing, unknown constants, or contradict each other."""


class InvalidShape(Error, ValueError):
    """Rank, sizes or strides of an array do not fit."""


class InvalidType(Error, TypeError):
    """Another element type is needed."""


class UnknownName(Error, KeyError):
    """No such method, parameter, input or state."""


class OutOfRange(Error, ValueError):
    """A value, label or size outside what is allowed."""


class NotFinite(Error, ValueError):
    """NaN or infinity where it cannot be worked with."""


class OutOfMemory(Error, MemoryError):
    """The system refused memory."""


class InputOutput(Error, OSError):
    """The system refused a file; the text has its reason."""


class MalformedFile(Error, ValueError):
    """A file that is truncated, damaged or hostile."""


class PluginFailed(Error, RuntimeError):
    """A plug-in was refused or returned an error."""


class Cancelled(Error, RuntimeError):
    """A callback asked to stop; what was done stays usable."""


class WrongState(Error, RuntimeError):
    """The call does not fit what was done so far."""


class Unsupported(Error, NotImplementedError):
    """Well formed, but this version or method does not do it."""


class InvalidHandle(Error, RuntimeError):
    """Not a handle, freed already, or of another kind."""


class Internal(Error, RuntimeError):
    """A fault of Temper itself; please report it."""


_classes: "dict[int, type[Error]]" = {}


def _number(constants):
    """Gives every class the number of its status: TEMPER_ERROR_NOT_FINITE is that of NotFinite."""
    for constant, code in constants.items():
        word = constant.removeprefix("TEMPER_ERROR_")
        if word != constant:
            _classes[code] = globals()[word.title().replace("_", "")]
            _classes[code].code = code


def _from_status(error):
    """The exception for a filled temper_error."""
    kind = _classes.get(error.code, Error)
    return kind(error.message.decode(errors="replace"), error.argument, error.origin.decode(errors="replace"))
