"""python -m temper quantize: models and plain tensors, into GGUF and safetensors."""

import subprocess
import sys
import xml.etree.ElementTree as xml

import numpy as np
import pytest

import temper

CONTEXT = temper.Context(threads=1)


def run(*arguments):
    command = [sys.executable, "-m", "temper", "quantize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def model(tmp_path):
    model = temper.Model([{"dense": 64}, "relu", {"dense": 10}], input=(32,), seed=1, context=CONTEXT)
    model.save(tmp_path / "model.safetensors")
    return model


@pytest.mark.parametrize("end", ["gguf", "safetensors"])
@pytest.mark.parametrize("method", ["round_to_nearest", "gptq"])
def test_models(model, method, end, tmp_path, rng):
    out, inputs = tmp_path / f"out.{end}", rng.standard_normal((200, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", inputs)
    result = run(tmp_path / "model.safetensors", "--bits", 4, "--method", method, "--group-size", 32, "--out", out,
                 "--calibration", tmp_path / "x.npy")  # fmt: skip
    assert result.returncode == 0, result.stderr
    loaded = temper.load(out, CONTEXT)
    difference = loaded.predict(inputs) - model.predict(inputs)
    assert 0 < np.sqrt((difference**2).mean()) < 0.05 * model.predict(inputs).std() * 4
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if ".weight" in line or ".bias" in line}
    assert set(rows) == set(model.parameters())
    before, after = model.parameters()["0.weight"], loaded.parameters()["0.weight"]
    expected = ((before - after).astype(float) ** 2).sum() / (before.astype(float) ** 2).sum()
    assert float(rows["0.weight"][-3]) == pytest.approx(expected, rel=2e-3)
    assert "quantizing" in result.stderr and "100%" in result.stderr
    assert "of outputs" in result.stdout and float(rows["0.weight"][-1]) < 0.05  # what calibration inputs feel of it
    texts = [node.text for node in xml.parse(tmp_path / "out.svg").iter() if node.tag.endswith("text")]
    assert {"0.weight", "2.weight"} <= set(texts) and "0.bias" not in texts


def interrupted(after, *arguments):
    """The command in a process that Control-C reaches after so many weights."""
    code = (
        "import signal, sys, temper, temper.__main__ as command, temper._progress as progress\n"
        "count, show = 0, progress.Work.show\n"
        "def counted(self, share, what):\n"
        "    global count\n"
        "    count += 1\n"
        f"    if count == {after}: signal.raise_signal(signal.SIGINT)\n"
        "    show(self, share, what)\n"
        "progress.Work.show = counted\n"
        "sys.argv = ['temper', 'quantize', *sys.argv[1:]]\n"
        "command.main()"
    )
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("method, end", [("round_to_nearest", "safetensors"), ("round_to_nearest", "gguf"),
                                         ("gptq", "safetensors"), ("gptq", "gguf"), ("gguf_blocks", "gguf")])  # fmt: skip
def test_what_was_interrupted_goes_on_to_the_same_bytes(method, end, tmp_path, rng):
    temper.Model([{"dense": 32}, "relu", {"dense": 32}, "relu", {"dense": 32}], input=(32,), seed=1, context=CONTEXT).save(
        tmp_path / "model.safetensors")  # fmt: skip
    np.save(tmp_path / "x.npy", rng.standard_normal((700, 32)).astype(np.float32))
    out, whole = tmp_path / f"out.{end}", tmp_path / f"whole.{end}"
    common = (tmp_path / "model.safetensors", "--bits", 4, "--method", method)
    if method == "gguf_blocks":
        common = (tmp_path / "model.safetensors", "--type", "Q4_1")
    if method == "gptq":
        common += ("--calibration", tmp_path / "x.npy")
    stopped = interrupted(1, *common, "--out", out)
    assert stopped.returncode == 130 and "goes on from there" in stopped.stderr, stopped.stderr
    assert not out.exists() and (tmp_path / f"out.{end}.partial").exists()
    for target in (out, whole):
        result = run(*common, "--out", target)
        assert result.returncode == 0, result.stderr
    assert out.read_bytes() == whole.read_bytes() and not (tmp_path / f"out.{end}.partial").exists()
    assert "anew" not in result.stderr


SIZE, COUNT = (2048, 2048), 4


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four matrices of 16 MB, in files of either kind."""
    folder, weight = tmp_path_factory.mktemp("large"), np.random.default_rng(0).standard_normal(SIZE, np.float32)
    tensors = {f"w{i}": weight for i in range(COUNT)}
    temper.save_file(tensors, folder / "in.safetensors", context=CONTEXT)
    temper.save_file(tensors, folder / "in.gguf", types=dict.fromkeys(tensors, "F16"), context=CONTEXT)
    return folder


def grown(code, *arguments):
    """By how many bytes a program grows while it runs `code`, beyond what it has once the library is there."""
    program = (
        "import resource, sys, numpy as np, temper, temper.__main__ as command\n"
        "context = temper.Context(threads=1)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        f"{code}\n"
        "print('grown', peak() - before)"
    )
    result = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1]) * 1024


COMMAND = "sys.argv = ['temper', 'quantize', *sys.argv[1:]]\ncommand.main()"


@pytest.mark.parametrize("source, end, options", [
    ("safetensors", "safetensors", ("--bits", 4)), ("safetensors", "gguf", ("--bits", 8)),
    ("safetensors", "gguf", ("--type", "Q8_0")), ("safetensors", "safetensors", ("--method", "float16")),
    ("safetensors", "gguf", ("--bits", 4, "--skip", "w[12]")), ("gguf", "gguf", ("--bits", 4)),
], ids=str)  # fmt: skip
def test_memory_is_that_of_the_largest_layer(source, end, options, large, tmp_path):
    """One matrix after the other: quantizing takes less than two of them beyond what the program has."""
    assert grown(COMMAND, large / f"in.{source}", *options, "--out", tmp_path / f"out.{end}") < 2 * 4 * np.prod(SIZE)


def test_calibration_need_not_fit_in_memory(tmp_path):
    """42 MB of inputs, from an iterable and from a file, take less than 12 more; the sums over them about 1."""
    temper.Model([{"dense": 32}, "relu", {"dense": 8}], input=(256,), seed=1, context=CONTEXT).save(tmp_path / "m.safetensors")
    part = np.random.default_rng(0).standard_normal((2048, 256)).astype(np.float32)
    code = (
        "rng = np.random.default_rng(0)\n"
        "parts = (rng.standard_normal((2048, 256), np.float32) for _ in range(20))\n"
        "context.quantizer('gptq', bits=4).quantize_model(temper.load(sys.argv[1], context), parts)"
    )
    assert grown(code, tmp_path / "m.safetensors") < 12e6
    np.save(tmp_path / "x.npy", np.tile(part, (20, 1)))
    arguments = ("--method", "gptq", "--out", tmp_path / "o.gguf", "--calibration", tmp_path / "x.npy")
    assert grown(COMMAND, tmp_path / "m.safetensors", *arguments) < 12e6


def test_random_inputs_stand_for_missing_calibration(model, tmp_path):
    result = run(tmp_path / "model.safetensors", "--method", "gptq", "--bits", 4, "--out", tmp_path / "o.gguf", "--quiet")
    assert result.returncode == 0 and result.stdout == "" and "256 random ones" in result.stderr
    assert not (tmp_path / "o.svg").exists()


def test_types_of_gguf(model, tmp_path):
    result = run(tmp_path / "model.safetensors", "--type", "Q5_1", "--out", tmp_path / "o.gguf")
    assert result.returncode == 0, result.stderr
    types = {name: entry.type for name, entry in temper.open_file(tmp_path / "o.gguf").tensors.items()}
    assert types == {"0.weight": "Q5_1", "0.bias": "F32", "2.weight": "Q5_1", "2.bias": "F32"}
    result = run(tmp_path / "model.safetensors", "--type", "Q5_1", "--out", tmp_path / "o.safetensors")
    assert result.returncode == 1 and "GGUF" in result.stderr


def test_types_for_rows_that_are_no_whole_blocks(tmp_path, rng):
    """The type that stands in for it, as llama.cpp has it; floats where there is none, and for windows of convolutions."""
    tensors = {"k": rng.standard_normal((4, 512)).astype(np.float32), "n": rng.standard_normal((4, 96)).astype(np.float32),
               "f": rng.standard_normal((4, 48)).astype(np.float32), "c": rng.standard_normal((8, 32, 3, 3)).astype(np.float32)}  # fmt: skip
    temper.save_file(tensors, tmp_path / "in.safetensors", context=CONTEXT)
    result = run(tmp_path / "in.safetensors", "--type", "q4_k", "--out", tmp_path / "o.gguf")
    assert result.returncode == 0, result.stderr
    file = temper.open_file(tmp_path / "o.gguf")
    assert {name: entry.type for name, entry in file.tensors.items()} == {"k": "Q4_K", "n": "Q5_0", "f": "F32", "c": "F32"}
    for name in "fc":
        np.testing.assert_array_equal(file[name], tensors[name])
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line[:2] in ("k ", "n ", "f ", "c ")}
    for name in "kn":
        lost = np.square(file[name] - tensors[name]).sum() / np.square(tensors[name]).sum()
        assert float(lines[name][-2]) == pytest.approx(lost, rel=2e-3)
    assert len(lines["f"]) == len(lines["c"]) == 5


def test_tensors_of_more_axes(tmp_path, rng):
    """The first is the rows, the others together the columns."""
    w = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    temper.save_file({"c": w}, tmp_path / "in.safetensors", context=CONTEXT)
    result = run(tmp_path / "in.safetensors", "--bits", 8, "--out", tmp_path / "o.safetensors")
    assert result.returncode == 0 and "8x3x3x3" in result.stdout and "symmetric 8" in result.stdout, result.stderr
    file = temper.open_file(tmp_path / "o.safetensors")
    flat = CONTEXT.quantizer("round_to_nearest", bits=8).quantize(w.reshape(8, 27)).dequantize()
    np.testing.assert_array_equal((file["c.codes"].astype(np.int16) - 128) * file["c.scales"], flat)


@pytest.mark.parametrize("end, options", [
    ("gguf", ()), ("safetensors", ()), ("gguf", ("--method", "round_to_nearest", "--type", "Q8_0")),
], ids=str)  # fmt: skip
def test_plain_tensors(end, options, tmp_path, rng):
    tensors = {"a": rng.standard_normal((8, 64)).astype(np.float32), "b": rng.standard_normal(64), "n": np.arange(3),
               "skipped.w": rng.standard_normal((4, 32)).astype(np.float32)}  # fmt: skip
    temper.save_file(tensors, tmp_path / "in.safetensors", {"by": "test"}, context=CONTEXT)
    out = tmp_path / f"out.{end}"
    result = run(tmp_path / "in.safetensors", "--bits", 8, "--out", out, "--skip", "skipped.*", *options)
    assert result.returncode == 0, result.stderr
    file = temper.open_file(out)
    for name in ("b", "n", "skipped.w"):
        np.testing.assert_array_equal(file[name], tensors[name])
    if end == "gguf":
        assert file.tensors["a"].type == "Q8_0"
        np.testing.assert_allclose(file["a"], tensors["a"], atol=0.02)
    else:
        assert file.metadata["by"] == "test" and "a.codes" in file
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("a ")]
    assert 30 < float(line.split()[-1]) < 60


@pytest.mark.parametrize("method", ["round_to_nearest", "gptq"])
def test_skipped_weights_of_models(model, method, tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.standard_normal((64, 32)).astype(np.float32))
    calibration = ("--calibration", tmp_path / "x.npy") if method == "gptq" else ()
    out = tmp_path / "out.safetensors"
    result = run(tmp_path / "model.safetensors", "--method", method, "--skip", "2.*", "--out", out, *calibration)
    assert result.returncode == 0, result.stderr
    before, after = model.parameters(), temper.load(out, CONTEXT).parameters()
    np.testing.assert_array_equal(after["2.weight"], before["2.weight"])
    assert (after["0.weight"] != before["0.weight"]).any()


def test_what_cannot_be_done_is_said_and_writes_nothing(model, tmp_path, rng):
    temper.save_file({"a": np.ones((4, 48), np.float32)}, tmp_path / "in.safetensors", context=CONTEXT)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(30))
    saved = tmp_path / "model.safetensors"
    for arguments, word in [
        ((tmp_path / "in.safetensors", "--method", "gptq"), "Temper model"),
        ((tmp_path / "in.safetensors", "--type", "Q4_0x"), "Q4_0,"),
        ((tmp_path / "broken.gguf",), "version 0"),
        ((tmp_path / "nothing.safetensors",), "nothing.safetensors"),
        ((saved, "--method", "gptqq"), "gptq"),
        ((saved, "--bits", "99"), "bits"),
        ((saved, "--method", "nf4", "--type", "Q4_K"), "leave --type or --method"),
        ((saved, "--set", "percdamp"), "NAME=VALUE"),
    ]:
        result = run(*arguments, "--out", tmp_path / "o.gguf")
        assert result.returncode == 1 and word in result.stderr and "Traceback" not in result.stderr, result.stderr
        assert not [path for path in tmp_path.iterdir() if path.name.startswith((".o", "o."))]
