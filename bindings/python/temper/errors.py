"""What the library answers when it cannot do what was asked: one exception for each status of temper.h.

All derive from `Error`, and from the built-in exception that Python programs expect in its place.
"""

__all__ = ["Error", "from_status"]

_BUILT_IN = {
    "INVALID_ARGUMENT": ValueError,
    "INVALID_SHAPE": ValueError,
    "INVALID_TYPE": TypeError,
    "UNKNOWN_NAME": KeyError,
    "OUT_OF_RANGE": ValueError,
    "NOT_FINITE": ValueError,
    "OUT_OF_MEMORY": MemoryError,
    "INPUT_OUTPUT": OSError,
    "MALFORMED_FILE": ValueError,
    "UNSUPPORTED": NotImplementedError,
}


class Error(Exception):
    """An error of Temper.

    code: its TEMPER_ERROR_* number; argument: index of the argument of the C call at fault, or -1; origin: the method,
    file or plug-in that it comes from, or "".
    """

    code = 0

    def __init__(self, message, argument=-1, origin=""):
        super().__init__(message)
        self.message, self.argument, self.origin = message, argument, origin

    # KeyError and OSError have their own way to print, which would quote or number the sentence.
    def __str__(self):
        return f"{self.origin}: {self.message}" if self.origin else self.message

    def __reduce__(self):
        return type(self), (self.message, self.argument, self.origin)


_classes = {}


def define(constants):
    """One class for each TEMPER_ERROR_* constant: TEMPER_ERROR_NOT_FINITE is errors.NotFinite."""
    for constant, code in constants.items():
        word = constant.removeprefix("TEMPER_ERROR_")
        if word == constant:
            continue
        name = word.title().replace("_", "")
        bases = (Error, _BUILT_IN.get(word, RuntimeError))
        _classes[code] = type(name, bases, {"__module__": __name__, "__doc__": constant + ".", "code": code})
        globals()[name] = _classes[code]
        __all__.append(name)


def from_status(error):
    """The exception for a filled temper_error."""
    kind = _classes.get(error.code, Error)
    return kind(error.message.decode(errors="replace"), error.argument, error.origin.decode(errors="replace"))
