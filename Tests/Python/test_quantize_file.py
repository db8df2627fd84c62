"""Files of weights, quantized one weight after the other."""

import json
import struct

import numpy as np
import pytest

import temper

RNG = np.random.default_rng(8)


def written(path, tensors, metadata=None):
    """A safetensors file by its public definition; tensors: {name: (type, shape, bytes)}."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (kind, shape, content) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def parts(path):
    """What the file says and holds."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    return metadata, {name: content[8 + length :][slice(*entry["data_offsets"])] for name, entry in header.items()}


@pytest.mark.parametrize("layers, shape", [
    ([{"dense": 12}, "relu", "layer_norm", {"dense": 3}], (10,)),
    ([{"conv2d": 4}, "batch_norm", "relu", "flatten", {"dense": 5}], (1, 6, 6)),
])  # fmt: skip
@pytest.mark.parametrize("name, parameters", [("round_to_nearest", {"bits": 3, "group_size": 5}), ("nf4", {})])
def test_models_become_what_they_become_in_memory(tmp_path, layers, shape, name, parameters):
    model = temper.Model(layers, input=shape, seed=3)
    model.save(tmp_path / "float.safetensors")
    quantizer = temper.quantizer(name, **parameters)
    rows = quantizer.quantize_file(tmp_path / "float.safetensors", tmp_path / "packed.safetensors")
    x = RNG.normal(size=(4, *shape)).astype(np.float32)
    whole = quantizer.quantize_model(model)
    loaded = temper.load(tmp_path / "packed.safetensors")
    assert loaded.is_quantized
    np.testing.assert_array_equal(loaded.predict(x), whole.predict(x))
    assert {row["name"] for row in rows} >= set(model.parameters())
    assert {row["name"] for row in rows if row["is_quantized"]} == {
        name for name, values in model.parameters().items() if values.ndim > 1}  # fmt: skip
    assert all(row["relative_error"] > 0 for row in rows if row["is_quantized"])


def test_plain_tensors_of_every_floating_type(tmp_path):
    weight = RNG.normal(size=(6, 40)).astype(np.float32)
    short = (weight.view(np.uint32) >> 16).astype(np.uint16)
    source = written(tmp_path / "in.safetensors", {
        "ids": ("U8", [3], b"\1\2\3"), "single": ("F32", [6, 40], weight.tobytes()),
        "half": ("F16", [6, 40], weight.astype(np.float16).tobytes()), "brain": ("BF16", [6, 40], short.tobytes()),
        "double": ("F64", [6, 40], weight.astype(np.float64).tobytes()), "bias": ("F32", [6], weight[:, 0].tobytes()),
        "whole": ("I32", [2, 2], np.arange(4, dtype=np.int32).tobytes()),
    }, {"maker": "somebody"})  # fmt: skip
    target = tmp_path / "out.safetensors"
    steps = []
    quantizer = temper.quantizer("round_to_nearest", bits=4, group_size=16)
    rows = quantizer.quantize_file(source, target, callback=steps.append)
    assert [row["name"] for row in rows if row["is_quantized"]] == ["single", "half", "brain", "double"]
    assert [(step["done"], step["count"]) for step in steps] == [(i, 7) for i in range(1, 8)]
    metadata, held = parts(target)
    assert metadata["maker"] == "somebody"
    described = json.loads(metadata["temper.quantization"])["weights"]
    assert described["half"] == {"shape": [6, 40], "bits": 4, "levels": "symmetric", "group_size": 16}
    originals = {"single": weight, "double": weight, "half": weight.astype(np.float16).astype(np.float32),
                 "brain": (short.astype(np.uint32) << 16).view(np.float32)}  # fmt: skip
    for name, original in originals.items():
        packed = quantizer.quantize(original)
        codes = np.frombuffer(held[name + ".codes"], np.uint8).reshape(6, 20)
        levels = np.stack([codes & 15, codes >> 4], axis=-1).reshape(6, 40).astype(np.float32) - 8
        scales = np.frombuffer(held[name + ".scales"], np.float32).reshape(6, 3)
        np.testing.assert_array_equal(levels * scales[:, np.arange(40) // 16], packed.dequantize())
    assert held["ids"] == b"\1\2\3" and held["bias"] == weight[:, 0].tobytes()
    assert held["whole"] == np.arange(4, dtype=np.int32).tobytes()


def test_what_is_cancelled_leaves_nothing(tmp_path):
    weight = ("F32", [4, 4], RNG.normal(size=(4, 4)).astype(np.float32).tobytes())
    source = written(tmp_path / "in.safetensors", {"a": weight, "b": weight})
    quantizer = temper.quantizer("round_to_nearest", bits=4)
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"older")
    with pytest.raises(temper.errors.Cancelled):
        quantizer.quantize_file(source, target, callback=lambda step: step["name"] == "a")
    with pytest.raises(ZeroDivisionError):
        quantizer.quantize_file(source, target, callback=lambda step: 1 / 0)
    assert target.read_bytes() == b"older" and sorted(p.name for p in tmp_path.iterdir()) == [
        "in.safetensors", "out.safetensors"]  # fmt: skip


def test_files_that_cannot_be_quantized(tmp_path):
    nan = written(tmp_path / "nan.safetensors", {"w": ("F32", [1, 2], np.array([1, np.nan], np.float32).tobytes())})
    good = written(tmp_path / "good.safetensors", {"w": ("F32", [1, 2], np.ones(2, np.float32).tobytes())})
    short = tmp_path / "short.safetensors"
    short.write_bytes(good.read_bytes()[:-1])
    quantizer, target = temper.quantizer("round_to_nearest", bits=4), tmp_path / "out.safetensors"
    for source in (nan, short, tmp_path / "missing.safetensors"):
        with pytest.raises(temper.Error):
            quantizer.quantize_file(source, target)
    with pytest.raises(temper.Error, match="calibration"):
        temper.quantizer("gptq").quantize_file(good, target)
    quantizer.quantize_file(good, target)
    with pytest.raises(temper.Error, match="packed already"):
        quantizer.quantize_file(target, tmp_path / "again.safetensors")
    assert not (tmp_path / "again.safetensors").exists()
