"""The table of functions that the binding reads from temper.h, held against the header and the library."""

import ctypes
import re
import shutil
import subprocess
import textwrap

import pytest

from temper._header import Header, HeaderError
from temper._library import _find, library

LIBRARY, HEADER = _find()


def test_every_function_of_the_header_is_read_and_exported():
    declared = re.findall(r"^(?:[\w ]+[ *])(temper_\w+)\([^)]", HEADER.read_text(), flags=re.M)
    declared = {name for name in declared if not name.endswith("_function")}
    inline = {"temper_none", "temper_boolean", "temper_integer", "temper_real", "temper_text"}
    assert set(library.header.functions) == declared - inline
    for name in library.header.functions:
        assert callable(getattr(library, name.removeprefix("temper_")))


@pytest.mark.skipif(not shutil.which("nm"), reason="nm, which lists exported symbols, is not installed")
def test_nothing_else_is_exported():
    listing = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True)
    exported = {line.split()[-1].split("@")[0] for line in listing.stdout.splitlines() if " T " in line}
    assert exported == set(library.header.functions)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler to ask for the layout of structs")
def test_structs_lie_in_memory_as_the_compiler_lays_them(tmp_path):
    lines, expected = [], []
    for name, kind in library.header.structs.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        expected.append(ctypes.sizeof(kind))
        for field, _ in kind._fields_:
            lines.append(f'printf("%zu\\n", offsetof({name}, {field}));')
            expected.append(getattr(kind, field).offset)
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "temper.h"\nint main(void) {\n' + "\n".join(lines) + "}\n"
    )
    program = tmp_path / "layout"
    subprocess.run(["cc", "-I", HEADER.parent, source, "-o", program], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert list(map(int, printed.split())) == expected


def test_types():
    header = Header(
        textwrap.dedent("""\
        #define TEMPER_ROOM 3
        struct temper_table;
        typedef struct temper_thing temper_thing; /* int32_t temper_not(void); */
        typedef struct temper_pair {
          const char *name;
          double values[TEMPER_ROOM];
          temper_thing *const *things;
        } temper_pair;
        typedef int32_t (*temper_tell)(void *user, const temper_pair *pair);
        int32_t temper_thing_make(temper_thing **out, const temper_pair *pairs, uint64_t count, temper_tell tell);
        const char *temper_word(void);
        """)
    )
    pair, make = header.structs["temper_pair"], header.functions["temper_thing_make"]
    assert [kind for _, kind in pair._fields_] == [
        ctypes.c_char_p, ctypes.c_double * 3, ctypes.POINTER(ctypes.c_void_p)
    ]  # fmt: skip
    assert make.result is ctypes.c_int32
    assert make.types == [
        ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(pair), ctypes.c_uint64, header.callbacks["temper_tell"]
    ]  # fmt: skip
    assert make.names == ["out", "pairs", "count", "tell"]
    assert header.functions["temper_word"].result is ctypes.c_char_p
    assert header.functions["temper_word"].types == []
    assert set(header.functions) == {"temper_thing_make", "temper_word"}


@pytest.mark.parametrize(
    "text",
    [
        "int32_t temper_f(unknown_t x);",
        "short temper_f(void);",
        "int32_t temper_f(int32_t);",
        "typedef union temper_u { int32_t x; } temper_u;",
        "typedef struct temper_s { int32_t x : 3; } temper_s;",
        "typedef struct temper_s { int32_t x[TEMPER_NOWHERE]; } temper_s;",
        "int32_t global;",
        "int32_t temper_f(void)",
    ],
)
def test_what_the_parser_does_not_know_is_an_error(text):
    with pytest.raises(HeaderError):
        Header(text)
