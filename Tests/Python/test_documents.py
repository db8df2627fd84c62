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


def blocks(language, page="README.md"):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


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


def test_the_automatic_mode_of_the_readme(tmp_path):
    (first,), (code,) = blocks("python"), blocks("python automatic")
    text = run(sys.executable, "-c", first + code, folder=tmp_path)
    assert "600 samples with 4 features" in text
    assert {"losses.svg", "labels.svg"} == {path.name for path in (tmp_path / "found").iterdir()}


def test_arrays_of_the_readme(tmp_path):
    (code,) = blocks("python arrays")
    found, counts, temperature, *rest = run(sys.executable, "-c", code, folder=tmp_path).splitlines()
    right, wrong, all_found = (int(word) for word in found.split() if word.isdigit())
    assert right > 0.8 * wrong and right > 0.9 * all_found
    assert counts == "[300 300 300]" and float(temperature) > 0 and rest[0].startswith("tomek_links")


def test_files_of_the_readme(tmp_path):
    (code,) = blocks("python files")
    text = run(sys.executable, "-c", code, folder=tmp_path)
    assert "'made.by': 'me'" in text and "Q8_0" in text and "(4, 64)" in text
    assert {path.name for path in tmp_path.iterdir()} == {"model.gguf", "model.onnx", "packed.onnx", "w.gguf"}


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
    (line,) = re.findall(r"`(temper\.register_loss\(.*?\))`", (ROOT / "README.md").read_text())
    formula = f'import temper; {line}; print(temper.loss("mine.brier")([[1.0, 0.0]], [0])[0])'
    values = [float(run(sys.executable, "-c", code, folder=tmp_path)) for code in (formula, show)]
    assert values[0] == pytest.approx(values[1])
    # p = 1 / (1 + 1/e): both classes are off by 1 - p.
    assert float(run(sys.executable, "-c", show, folder=tmp_path)) == pytest.approx(
        (1 - 1 / (1 + 2.718281828**-1)) ** 2
    )


# What a reader of bindings/losses.md does with each block: the files it becomes, and how the loss is loaded.
FORMS = {
    "python formula": ({}, None),
    "toml formula": ({"welsch.toml": "toml formula"}, 'temper.load_plugin("welsch.toml")'),
    "c composed": ({"welsch.c": "c composed"}, 'temper.load_plugin("welsch.so")'),
    "c function": ({"welsch.c": "c function"}, 'temper.load_plugin("welsch.so")'),
    "toml foreign": ({"legacy.c": "c foreign", "welsch.toml": "toml foreign"}, 'temper.load_plugin("welsch.toml")'),
    "python file": ({"welsch.py": "python file"}, 'temper.load_plugin("welsch.py")'),
    "python torch": ({}, None),
    "python isolated": ({"welsch.c": "c function"}, None),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_loss(tmp_path, form):
    if "torch" in form:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    files, load = FORMS[form]
    for name, block in files.items():
        (code,) = blocks(block, "bindings/losses.md")
        (tmp_path / name).write_text(code)
        if name.endswith(".c"):
            relaxed = ["-Wno-missing-prototypes"] if "foreign" in block else []
            compile_c(tmp_path / name, tmp_path / name.replace(".c", ".so"), "-shared", "-fPIC", *relaxed)
    if load is None:
        (load,) = blocks(form, "bindings/losses.md")
    show = (
        f"import temper\n{load}\nloss = temper.loss('mine.welsch', scale=2.0)\n"
        "value, gradients = loss.value_and_grad([[3.0, 1.0]], [[1.0, 1.0]])\nprint(value, *gradients['predictions'][0])"
    )
    value, first, second = map(float, run(sys.executable, "-c", show, folder=tmp_path).split())
    # z = (1, 0): (1 - exp(-1/2)) / 2, and exp(-1/2) * 1 / (2 * 2).
    assert value == pytest.approx(0.1967346701, rel=1e-6)
    assert first == pytest.approx(0.1516326649, rel=1e-6) and second == 0


def test_training_in_c(tmp_path):
    compile_c(ROOT / "examples/c/train.c", tmp_path / "train")
    assert "of 300 points" in run(tmp_path / "train", folder=tmp_path)
    assert (tmp_path / "model.safetensors").exists()


def test_data_larger_than_memory(tmp_path):
    text = run(sys.executable, ROOT / "examples/python/large.py", tmp_path, folder=tmp_path)
    assert len({line.split()[-1] for line in text.splitlines()}) == 1 and len(text.splitlines()) == 5
    compile_c(ROOT / "examples/c/large.c", tmp_path / "large")
    assert "from the callback" in run(tmp_path / "large", tmp_path / "large.npy", folder=tmp_path)


HOST = r"""
#include <stdio.h>
#include <temper.h>
int main(int count, char **arguments) {
  temper_error error;
  temper_context *context;
  temper_plugin *plugin;
  temper_loss *loss;
  temper_tensor *x, *y, *g;
  const int64_t sizes[] = {1, 2};
  const char *const folders[] = {arguments[2]};
  const temper_plugin_options options = {
      .struct_size = sizeof options, .python_folders = folders, .python_folder_count = count - 2};
  double value;
  if (temper_context_create(&context, NULL, &error) ||
      temper_plugin_load(&plugin, context, arguments[1], &options, &error) ||
      temper_loss_create(&loss, context, "log_cosh", NULL, 0, &error) ||
      temper_tensor_create(&x, TEMPER_FLOAT64, 2, sizes, &error) ||
      temper_tensor_create(&y, TEMPER_FLOAT64, 2, sizes, &error) ||
      temper_tensor_create(&g, TEMPER_FLOAT64, 2, sizes, &error))
    return puts(error.message), 1;
  ((double *)temper_tensor_data(x))[0] = 1;
  const temper_named_tensor inputs[] = {{"predictions", x}, {"targets", y}}, wanted[] = {{"predictions", g}};
  if (temper_loss_value_and_grad(&value, wanted, 1, loss, inputs, 2, TEMPER_REDUCTION_MEAN, &error))
    return puts(error.message), 1;
  printf("%.12g %.12g\n", value, ((double *)temper_tensor_data(g))[0]);
  return 0;
}
"""


def test_a_c_program_hosts_a_file_with_numpy(tmp_path):
    """NumPy of this environment, in the libpython3 that the system has; they must be of one version."""
    import ctypes.util

    import numpy

    if not ctypes.util.find_library(f"python{sys.version_info.major}.{sys.version_info.minor}"):
        pytest.skip("the system has no libpython3 of this Python's version")
    (tmp_path / "host.c").write_text(HOST)
    compile_c(tmp_path / "host.c", tmp_path / "host")
    packages = pathlib.Path(numpy.__file__).parents[1]
    printed = run(tmp_path / "host", ROOT / "examples/plugins/log_cosh.py", packages, folder=tmp_path)
    value, slope = map(float, printed.split())
    assert (value, slope) == pytest.approx((numpy.log(numpy.cosh(1)) / 2, numpy.tanh(1) / 2), rel=1e-10)
