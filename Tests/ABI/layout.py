#!/usr/bin/env python3
"""Sizes and offsets of the public structs, as a C program that prints them: layout.py | cc -x c - && ./a.out"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ["temper.h", "temper_plugin.h", "temper_dlpack.h", "temper_api.h"]


def structs(text):
  """(name, fields) of every struct with a body, in order."""
  text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
  for body, name in re.findall(r"typedef struct\s*\w*\s*\{([^{}]*)\}\s*(\w+)\s*;", text):
    fields = []
    for declaration in body.split(";"):
      if function := re.search(r"\(\*\s*(\w+)\)", declaration):
        fields.append(function[1])
        continue
      for part in declaration.split(","):
        if field := re.search(r"(\w+)\s*(?:\[\w+\])*\s*$", part):
          fields.append(field[1])
    yield name, fields


def main():
  print("#include <stddef.h>\n#include <stdio.h>")
  for header in HEADERS:
    print(f'#include "{header}"')
  print("int main(void) {")
  for header in HEADERS:
    for name, fields in structs((ROOT / "include" / header).read_text()):
      print(f'  printf("{name} %zu\\n", sizeof({name}));')
      for field in fields:
        print(f'  printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
  print("  return 0;\n}")


if __name__ == "__main__":
  main()
