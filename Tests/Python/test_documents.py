"""What README and the examples show is run as a reader would run it."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STAGE = ROOT / ".build/stage"

pytestmark = pytest.mark.skipif(
    not (STAGE / "lib/libtemper.so").exists(), reason="needs the installation of `make stage`"
)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def compile_c(source, output, *options):
    environment = os.environ | {"PKG_CONFIG_PATH": str(STAGE / "lib/pkgconfig")}
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "temper"], env=environment, text=True).split()
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["cc", *strict, *options, source, *flags, "-lm", f"-Wl,-rpath,{STAGE}/lib", "-o", output], check=True
    )


def run(*command, folder):
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_python_of_the_readme(tmp_path):
    (code,) = blocks("python")
    lines = run(sys.executable, "-c", code, folder=tmp_path).splitlines()
    assert float(lines[0]) > 0.9
    assert "(8, 3)" in lines[-1]


def test_c_of_the_readme(tmp_path):
    (code,) = blocks("c")
    (tmp_path / "first.c").write_text(code)
    compile_c(tmp_path / "first.c", tmp_path / "first")
    # (1 - p^0.7) / 0.7 at p = e^2 / (e^2 + 2) and p = 1/3.
    assert run(tmp_path / "first", folder=tmp_path).startswith("value 0.493510")


def test_plugin_of_the_readme(tmp_path):
    (code,) = blocks("c plugin")
    (tmp_path / "brier.c").write_text(code)
    compile_c(tmp_path / "brier.c", tmp_path / "brier.so", "-shared", "-fPIC")
    show = 'import temper; temper.load_plugin("brier.so"); print(temper.loss("mine.brier_mean")([[1.0, 0.0]], [0])[0])'
    # p = 1 / (1 + 1/e): both classes are off by 1 - p.
    assert float(run(sys.executable, "-c", show, folder=tmp_path)) == pytest.approx(
        (1 - 1 / (1 + 2.718281828**-1)) ** 2
    )


def test_training_in_c(tmp_path):
    compile_c(ROOT / "examples/c/train.c", tmp_path / "train")
    assert "of 300 points" in run(tmp_path / "train", folder=tmp_path)
    assert (tmp_path / "model.safetensors").exists()
