"""Builds the wheel: the Python files, and beside them the headers and libtemper.so.

The library is the one that TEMPER_LIBRARY names; otherwise it is built from this repository.
"""

import os
import pathlib
import re
import shutil
import subprocess

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Data of the studies.
STUDIED = ("digits.bin", "breast_cancer.csv", "diabetes.csv")


def version():
    header = (ROOT / "include/temper.h").read_text()
    return ".".join(
        re.search(rf"#define TEMPER_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")
    )


def library():
    if os.environ.get("TEMPER_LIBRARY"):
        return pathlib.Path(os.environ["TEMPER_LIBRARY"])
    # Quick when nothing has changed, so that an old library is never packed.
    subprocess.run(["swift", "build", "-c", "release", "--product", "temper"], cwd=ROOT, check=True)
    return ROOT / ".build/release/libtemper.so"


class BuildWithLibrary(build_py):
    def run(self):
        package = pathlib.Path(self.build_lib, "temper")
        shutil.rmtree(package, ignore_errors=True)  # nothing of an earlier build may slip in
        super().run()
        (package / "include").mkdir(exist_ok=True)
        for header in (ROOT / "include").glob("*.h"):
            shutil.copy(header, package / "include")
        for name in STUDIED:
            shutil.copy(ROOT / "examples/data" / name, package / "study")
        shutil.copy(library(), package / "libtemper.so")
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", package / "libtemper.so"], check=True)

    def get_outputs(self, include_bytecode=True):
        package = pathlib.Path(self.build_lib, "temper")
        headers = [str(package / "include" / header.name) for header in (ROOT / "include").glob("*.h")]
        return super().get_outputs(include_bytecode) + [
            str(package / "libtemper.so"), *(str(package / "study" / name) for name in STUDIED), *headers
        ]


class PlatformWheel(bdist_wheel):
    """Any Python 3, but only this platform: the library is native and the rest is not compiled."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class NativeDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(
    version=version(),
    distclass=NativeDistribution,
    package_data={"temper": ["py.typed"]},
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
)
