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
    assert float(rows["0.weight"][-2]) == pytest.approx(expected, rel=2e-3)
    assert "quantizing" in result.stderr and "100%" in result.stderr
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
                                         ("gptq", "safetensors"), ("gptq", "gguf")])  # fmt: skip
def test_what_was_interrupted_goes_on_to_the_same_bytes(method, end, tmp_path, rng):
    temper.Model([{"dense": 32}, "relu", {"dense": 32}, "relu", {"dense": 32}], input=(32,), seed=1, context=CONTEXT).save(
        tmp_path / "model.safetensors")  # fmt: skip
    np.save(tmp_path / "x.npy", rng.standard_normal((700, 32)).astype(np.float32))
    out, whole = tmp_path / f"out.{end}", tmp_path / f"whole.{end}"
    common = (tmp_path / "model.safetensors", "--bits", 4, "--method", method)
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


def test_memory_is_that_of_the_largest_layer(tmp_path):
    """Eight matrices of 16 MB, one after the other: quantizing takes less than two of them beyond what the program has."""
    import json
    import struct

    size, count = (2048, 2048), 8
    width = 4 * size[0] * size[1]
    header = {f"w{i}": {"dtype": "F32", "shape": size, "data_offsets": [i * width, (i + 1) * width]} for i in range(count)}
    text = json.dumps(header).encode()
    with open(tmp_path / "in.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(count):
            file.write(np.random.default_rng(0).standard_normal(size, np.float32).tobytes())
    code = (
        "import resource, sys, temper, temper.__main__ as command\n"
        "temper.Context(threads=1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "sys.argv = ['temper', 'quantize', *sys.argv[1:]]\n"
        "command.main()\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "in.safetensors"), "--bits", "4", "--out", str(tmp_path / "o.safetensors")],
        capture_output=True, text=True)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) * 1024 < 2 * width


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


@pytest.mark.parametrize("end", ["gguf", "safetensors"])
def test_plain_tensors(end, tmp_path, rng):
    tensors = {"a": rng.standard_normal((8, 64)).astype(np.float32), "b": rng.standard_normal(64), "n": np.arange(3),
               "skipped.w": rng.standard_normal((4, 32)).astype(np.float32)}  # fmt: skip
    temper.save_file(tensors, tmp_path / "in.safetensors", {"by": "test"}, context=CONTEXT)
    out = tmp_path / f"out.{end}"
    result = run(tmp_path / "in.safetensors", "--bits", 8, "--out", out, "--skip", "skipped.*")
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


def test_what_cannot_be_done_is_said_and_writes_nothing(model, tmp_path, rng):
    temper.save_file({"a": np.ones((4, 48), np.float32)}, tmp_path / "in.safetensors", context=CONTEXT)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(30))
    saved = tmp_path / "model.safetensors"
    for arguments, word in [
        ((tmp_path / "in.safetensors", "--method", "gptq"), "Temper model"),
        ((tmp_path / "in.safetensors", "--type", "Q4_0"), "blocks of 32"),
        ((tmp_path / "broken.gguf",), "version 0"),
        ((tmp_path / "nothing.safetensors",), "nothing.safetensors"),
        ((saved, "--method", "gptqq"), "gptq"),
        ((saved, "--bits", "99"), "bits"),
        ((saved, "--set", "percdamp"), "NAME=VALUE"),
    ]:
        result = run(*arguments, "--out", tmp_path / "o.gguf")
        assert result.returncode == 1 and word in result.stderr and "Traceback" not in result.stderr, result.stderr
        assert not [path for path in tmp_path.iterdir() if path.name.startswith((".o", "o."))]
