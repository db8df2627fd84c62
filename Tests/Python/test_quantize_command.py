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
    assert "quantizing" in result.stderr and "3/3" in result.stderr
    texts = [node.text for node in xml.parse(tmp_path / "out.svg").iter() if node.tag.endswith("text")]
    assert {"0.weight", "2.weight"} <= set(texts) and "0.bias" not in texts


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
