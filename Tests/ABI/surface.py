#!/usr/bin/env python3
"""The exported surface, read from include/temper.h, the only place where it is written by hand.

surface.py --write   writes what follows from the header: temper_api.h, the version script, the table of functions
surface.py           fails if one of them is not what the header says
surface.py --names   prints the names of the functions, sorted; --slots: in the order of their slots
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def functions():
  """(result, name, parameters) of every function that the header declares, in order."""
  text = (ROOT / "include/temper.h").read_text()
  text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
  text = re.sub(r"^\s*#.*?(?<!\\)$", " ", text, flags=re.M)
  text = re.sub(r"static inline[^{]*\{.*?\n\}", " ", text, flags=re.S)
  text = re.sub(r"typedef[^;{]*\([^;]*;", " ", text)
  text = re.sub(r"\{.*?\}", " ", re.sub(r'extern "C" \{', " ", text), flags=re.S)
  found = re.findall(r"([\w ]+?[\s*]+)(temper_\w+)\(([^;]*)\)\s*;", text)
  return in_slot_order([(" ".join(r.split()), n, " ".join(p.split())) for r, n, p in found])


def in_slot_order(declared):
  """Slots are only appended: released ones keep their place, whatever the order in the header."""
  released = (ROOT / "Tests/ABI/released/slots.txt").read_text().split()
  missing = set(released) - {name for _, name, _ in declared}
  if missing:
    sys.exit("released functions are gone from temper.h: " + ", ".join(sorted(missing)))
  place = {name: index for index, name in enumerate(released)}
  return sorted(declared, key=lambda f: place.get(f[1], len(place)))


def slot(result, name, parameters):
  space = "" if result.endswith("*") else " "
  line = f"  {result}{space}(*{name.removeprefix('temper_')})({parameters});"
  if len(line) <= 120:
    return line
  words, lines = line.split(", "), [""]
  for i, word in enumerate(words):
    word += ", " if i + 1 < len(words) else ""
    if len(lines[-1] + word.rstrip()) > 120:
      lines.append("    ")
    lines[-1] += word
  return "\n".join(l.rstrip() for l in lines)


def api_header(all_functions):
  slots = "\n".join(slot(*f) for f in all_functions if f[1] != "temper_get_api")
  return f"""/* temper_api.h: the table that temper_get_api gives to hosts which load the library at run time.
 *
 * Written by Tests/ABI/surface.py from temper.h, which says what each function does. Slots are only appended.
 */
#ifndef TEMPER_API_H
#define TEMPER_API_H

#include "temper.h"

#ifdef __cplusplus
extern "C" {{
#endif

#define TEMPER_API_VERSION 1

typedef struct temper_api {{
  uint32_t struct_size;   /* of the library's table; slots beyond it do not exist */
  uint32_t table_version; /* of the library's table */
{slots}
}} temper_api;

/* The type of temper_get_api, for dlsym. */
typedef const struct temper_api *(*temper_get_api_function)(uint32_t wanted, uint32_t *granted);

#ifdef __cplusplus
}}
#endif
#endif
"""


def version_script(all_functions):
  names = "\n".join(f"    {name};" for _, name, _ in all_functions)
  return f"/* Written by Tests/ABI/surface.py from include/temper.h. */\nTEMPER_1 {{\n  global:\n{names}\n  local: *;\n}};\n"


def table(all_functions):
  slots = "\n".join(f"    {name}," for _, name, _ in all_functions if name != "temper_get_api")
  return f"""// Written by Tests/ABI/surface.py from include/temper.h.
#include "temper_api.h"

static const temper_api api = {{
    sizeof(temper_api),
    TEMPER_API_VERSION,
{slots}
}};

const struct temper_api *temper_get_api(uint32_t wanted, uint32_t *granted) {{
  if (wanted == 0) {{
    if (granted) *granted = 0;
    return 0;
  }}
  if (granted) *granted = wanted < TEMPER_API_VERSION ? wanted : TEMPER_API_VERSION;
  return &api;
}}
"""


def main():
  all_functions = functions()
  if "--slots" in sys.argv:
    print("\n".join(name for _, name, _ in all_functions))
    return 0
  if "--names" in sys.argv:
    print("\n".join(sorted(name for _, name, _ in all_functions)))
    return 0
  made = {
    "include/temper_api.h": api_header(all_functions),
    "Sources/Temper/temper.map": version_script(all_functions),
    "Sources/TemperEdge/table.c": table(all_functions),
  }
  wrong = []
  for path, text in made.items():
    file = ROOT / path
    if "--write" in sys.argv:
      if not file.exists() or file.read_text() != text:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
      wrong.append(path)
  if wrong:
    print("not what include/temper.h says (run Tests/ABI/surface.py --write): " + ", ".join(wrong))
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
