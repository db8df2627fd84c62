#!/usr/bin/env python3
"""Looks for what the compiler (Swift 6.3.1, x86-64) gets wrong: a function that throws and ends in a copy of memory.

Such a function jumps to memcpy, memmove or memset without restoring r12, the register that tells its caller whether
there was an error; the caller then reads an error that nobody wrote. The remedy is to put the copy into a function of
its own, marked @inline(never).

tail_copies.py LIBRARY    the library, not stripped; fails if there is one
"""
import re
import subprocess
import sys


def functions_that_end_in_copies(library):
  listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True)
  name, found = None, set()
  for line in listing.stdout.splitlines():
    start = re.fullmatch(r"[0-9a-f]+ <(.+)>:", line)
    if start:
      name = start[1]
    elif re.search(r"\bjmp\s.*<(memcpy|memmove|memset|bzero)@plt>", line):
      found.add(name)
  return sorted(found)


def main():
  names = functions_that_end_in_copies(sys.argv[1])
  if not names:
    print("no function ends in a copy of memory: is the library stripped, or not for x86-64?")
    return 1
  demangled = subprocess.run(["swift", "demangle", "-compact"], input="\n".join(names), capture_output=True, text=True,
                             check=True).stdout.splitlines()
  # Of a closure, what stands before " in " is its own type; what follows is the function around it.
  throwing = [name for name in demangled if "throws" in name.split(" in ")[0]]
  for name in throwing:
    print("throws and ends in a copy of memory:", name)
  return 1 if throwing else 0


if __name__ == "__main__":
  sys.exit(main())
