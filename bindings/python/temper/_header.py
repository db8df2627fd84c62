"""Reads temper.h: its constants, structs, callback types and functions, as ctypes needs them.

The header is the only description of the C interface; it is parsed at import (in about two milliseconds), so that
nothing generated can go stale. It is plain C in one style, so a few patterns are a whole parser; a declaration that
does not fit them is an error, never skipped.
"""

import ctypes
import re

_SCALARS = {
    "char": ctypes.c_char,
    "double": ctypes.c_double,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


class HeaderError(Exception):
    """The header has a declaration that the parser does not know."""


class Function:
    """A declared function: its name, the ctypes of its result and parameters, and the parameters' names."""

    def __init__(self, name, result, types, names):
        self.name, self.result, self.types, self.names = name, result, types, names

    @property
    def returns_status(self):
        """Whether it answers with a status and fills a temper_error that comes last."""
        return self.names[-1:] == ["error"]


class Header:
    """What temper.h declares. Structs that the header leaves open are handles: plain pointers."""

    def __init__(self, text):
        self.constants = {}
        self.structs = {}
        self.callbacks = {}
        self.functions = {}
        for name, value in re.findall(r"^#define (TEMPER_\w+) (-?\d+)u?\b", text, flags=re.M):
            self.constants[name] = int(value)
        rest, end = _declarations(text), 0
        for match in re.finditer(r"([^;{}]*)(\{[^{}]*\})?([^;{}]*);", rest):
            if match.start() != end:
                raise HeaderError(f"not a declaration of temper.h: {rest[end : match.start()].strip()}")
            end = match.end()
            self._declare(" ".join(match[1].split()), match[2], match[3].strip())
        if rest[end:].strip():
            raise HeaderError(f"not a declaration of temper.h: {rest[end:].strip()}")

    def _declare(self, head, body, tail):
        if body is not None:
            if head != "typedef struct " + tail:
                raise HeaderError(f"not a struct of temper.h: {head} {{...}} {tail}")
            return self._declare_struct(tail, body)
        if re.fullmatch(r"(typedef )?struct \w+( \w+)?", head):
            return None
        callback = re.fullmatch(r"typedef (.+?)\(\*(\w+)\)\((.*)\)", head)
        if callback:
            types, _ = self._parameters(callback[3])
            self.callbacks[callback[2]] = ctypes.CFUNCTYPE(self._type(callback[1]), *types)
            return None
        function = re.fullmatch(r"(.+?)(temper_\w+)\((.*)\)", head)
        if not function:
            raise HeaderError(f"not a declaration of temper.h: {head}")
        self.functions[function[2]] = Function(function[2], self._type(function[1]), *self._parameters(function[3]))

    def _declare_struct(self, name, body):
        fields = []
        for field in body.strip("{}").split(";"):
            field = " ".join(field.split())
            if not field:
                continue
            match = re.fullmatch(r"(.+?)(\w+)(?:\[(\w+)\])?", field)
            if not match:
                raise HeaderError(f"not a field of temper.h: {field}")
            kind = self._type(match[1])
            if match[3]:
                kind = kind * self._count(match[3])
            fields.append((match[2], kind))
        self.structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields, "__slots__": ()})

    def _count(self, text):
        if not text.isdigit() and text not in self.constants:
            raise HeaderError(f"not a constant of temper.h: {text}")
        return int(text) if text.isdigit() else self.constants[text]

    def _parameters(self, text):
        if text.strip() == "void":
            return [], []
        types, names = [], []
        for parameter in text.split(","):
            match = re.fullmatch(r"\s*(.+?)(\w+)\s*", parameter)
            if not match:
                raise HeaderError(f"not a parameter of temper.h: {parameter}")
            types.append(self._type(match[1]))
            names.append(match[2])
        return types, names

    def _type(self, text):
        text = text.replace("const", " ").replace("struct ", " ")
        name, stars = text.replace("*", "").strip(), text.count("*")
        if name == "char" and stars:
            kind, stars = ctypes.c_char_p, stars - 1
        elif name in _SCALARS:
            kind = _SCALARS[name]
        elif name in self.structs:
            kind = self.structs[name]
        elif name in self.callbacks and not stars:
            return self.callbacks[name]
        elif name == "void" and not stars:
            return None
        elif re.fullmatch(r"void|temper_\w+|DL\w+", name) and stars:
            kind, stars = ctypes.c_void_p, stars - 1
        else:
            raise HeaderError(f"not a type of temper.h: {text}")
        for _ in range(stars):
            kind = ctypes.POINTER(kind)
        return kind


def _declarations(text):
    """The header without comments, directives, inline functions and the C++ brackets."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.M)
    text = re.sub(r"static inline[^{]*\{.*?\n\}", "", text, flags=re.S)
    return text.replace('extern "C" {', "").rstrip().removesuffix("}")
