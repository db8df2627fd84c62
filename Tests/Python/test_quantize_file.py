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


@pytest.mark.parametrize("end", ["safetensors", "gguf"])
@pytest.mark.parametrize("stops", [[1], [2, 4], [1, 1, 5], [3, 5]])
def test_what_is_cancelled_goes_on_to_the_same_bytes(tmp_path, end, stops):
    """Stopped after so many tensors, perhaps while an earlier part is told again; the older file stays until the end."""
    tensors = {name: ("F32", [32, 32], RNG.normal(size=(32, 32)).astype(np.float32).tobytes()) for name in "abcd"}
    source = written(tmp_path / "in.safetensors", {**tensors, "n": ("F32", [3], bytes(12))}, {"maker": "me"})
    quantizer, target = temper.quantizer("round_to_nearest", bits=4), tmp_path / f"out.{end}"
    whole = quantizer.quantize_file(source, tmp_path / f"whole.{end}")
    target.write_bytes(b"older")
    for stop in stops:
        with pytest.raises(temper.errors.Cancelled):
            quantizer.quantize_file(source, target, callback=lambda step: step["done"] == stop)
        assert target.read_bytes() == b"older" and (tmp_path / f"out.{end}.partial").exists()
    told = []
    rows = quantizer.quantize_file(source, target, callback=told.append)
    assert rows == whole and [step["done"] for step in told] == [1, 2, 3, 4, 5]
    assert target.read_bytes() == (tmp_path / f"whole.{end}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.safetensors", f"out.{end}", f"whole.{end}"]


def test_what_was_finished_is_not_done_again(tmp_path):
    """The partial file's own numbers end in the result; those of another run, or of a damaged file, do not."""
    tensors = {name: ("F32", [4, 8], RNG.normal(size=(4, 8)).astype(np.float32).tobytes()) for name in "ab"}
    source = written(tmp_path / "in.safetensors", tensors)
    quantizer, target = temper.quantizer("round_to_nearest", bits=8), tmp_path / "out.safetensors"
    partial = tmp_path / "out.safetensors.partial"

    def stopped():
        with pytest.raises(temper.errors.Cancelled):
            quantizer.quantize_file(source, target, callback=lambda step: True)
        return bytearray(partial.read_bytes())

    content = stopped()
    codes = bytes(parts(partial)[1]["a.codes"])
    place = content.index(codes)
    content[place] ^= 1
    partial.write_bytes(content)
    quantizer.quantize_file(source, target)
    assert parts(target)[1]["a.codes"] == bytes([codes[0] ^ 1]) + codes[1:]  # taken over as it was
    for spoil in (lambda b: b[:-1], lambda b: b[:40], lambda b: b"", lambda b: b[:8] + b"}" + b[9:]):
        partial.write_bytes(spoil(stopped()))
        quantizer.quantize_file(source, target)
        assert parts(target)[1]["a.codes"] == codes
    stopped()
    other = temper.quantizer("round_to_nearest", bits=4)
    other.quantize_file(source, target)
    assert json.loads(parts(target)[0]["temper.quantization"])["weights"]["a"]["bits"] == 4


def test_errors_leave_nothing(tmp_path):
    weight = ("F32", [4, 4], RNG.normal(size=(4, 4)).astype(np.float32).tobytes())
    bad = ("F32", [1, 2], np.array([1, np.nan], np.float32).tobytes())
    source = written(tmp_path / "in.safetensors", {"a": weight, "b": bad})
    quantizer, target = temper.quantizer("round_to_nearest", bits=4), tmp_path / "out.safetensors"
    target.write_bytes(b"older")
    with pytest.raises(temper.Error, match="b"):
        quantizer.quantize_file(source, target)
    assert target.read_bytes() == b"older" and len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("layers, shape", [
    ([{"embedding": {"entries": 9, "size": 32}}, {"residual": ["layer_norm", {"multi_head_attention": 2}]}, {"dense": 5}], (4,)),
    ([{"conv2d": 4}, "batch_norm", "relu", "flatten", {"dense": 5}], (1, 6, 6)),
])  # fmt: skip
def test_models_become_gguf_a_tensor_at_a_time(tmp_path, layers, shape):
    model = temper.Model(layers, input=shape, seed=3)
    model.save(tmp_path / "float.safetensors")
    quantizer = temper.quantizer("round_to_nearest", bits=4, group_size=32)
    quantizer.quantize_file(tmp_path / "float.safetensors", tmp_path / "streamed.gguf")
    quantizer.quantize_model(model).save(tmp_path / "whole.gguf")
    streamed, whole = (temper.open_file(tmp_path / f"{name}.gguf") for name in ("streamed", "whole"))
    assert streamed.metadata == whole.metadata and streamed.tensors == whole.tensors
    for name in whole:
        np.testing.assert_array_equal(streamed[name], whole[name])
    assert temper.load(tmp_path / "streamed.gguf").parameters().keys() == model.parameters().keys()


@pytest.mark.parametrize("end", ["safetensors", "gguf"])
def test_gguf_files_become_what_their_numbers_become(tmp_path, end):
    weight = RNG.normal(size=(8, 64)).astype(np.float32)
    tensors = {name: weight + i for i, name in enumerate(("single", "half", "packed"))}
    tensors |= {"bias": weight[0], "ids": np.arange(5, dtype=np.int32)}
    temper.save_file(tensors, tmp_path / "in.gguf", {"general.name": "a", "n": 3}, {"half": "F16", "packed": "Q8_0"})
    source = temper.open_file(tmp_path / "in.gguf")
    temper.save_file({name: source[name] for name in source}, tmp_path / "in.safetensors", {"general.name": "a"})
    quantizer = temper.quantizer("round_to_nearest", bits=4, group_size=32)
    rows = [{row["name"]: row for row in quantizer.quantize_file(tmp_path / f"in.{kind}", tmp_path / f"from_{kind}.{end}")}
            for kind in ("gguf", "safetensors")]  # fmt: skip
    assert rows[0] == rows[1] and [name for name, row in rows[0].items() if row["is_quantized"]] == ["single", "half", "packed"]
    ours, plain = (temper.open_file(tmp_path / f"from_{kind}.{end}") for kind in ("gguf", "safetensors"))
    assert ours.metadata == plain.metadata and {*ours} == {*plain}
    for name in ours:
        np.testing.assert_array_equal(ours[name], plain[name])
        assert ours.tensors[name].type == plain.tensors[name].type


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_models_in_gguf_files(tmp_path, kind):
    """A convolution's windows are stored as a matrix there."""
    model = temper.Model([{"conv2d": 4}, "batch_norm", "relu", "flatten", {"dense": 5}], input=(32, 6, 6), seed=3)
    model.save(tmp_path / "in.gguf", type=kind)
    quantizer = temper.quantizer("round_to_nearest", bits=4, group_size=32)
    quantizer.quantize_file(tmp_path / "in.gguf", tmp_path / "streamed.safetensors")
    x = RNG.normal(size=(4, 32, 6, 6)).astype(np.float32)
    whole = quantizer.quantize_model(temper.load(tmp_path / "in.gguf"))
    np.testing.assert_array_equal(temper.load(tmp_path / "streamed.safetensors").predict(x), whole.predict(x))


def test_a_gguf_file_that_says_a_wrong_shape(tmp_path):
    temper.Model([{"conv2d": 4}, "flatten", {"dense": 5}], input=(32, 6, 6), seed=3).save(tmp_path / "in.gguf", type="Q8_0")
    content = (tmp_path / "in.gguf").read_bytes()
    assert content.count(b"[4, 32, 3, 3]") == 1
    (tmp_path / "wrong.gguf").write_bytes(content.replace(b"[4, 32, 3, 3]", b"[4, 32, 3, 4]"))
    with pytest.raises(temper.errors.MalformedFile, match="0.weight"):
        temper.quantizer("nf4").quantize_file(tmp_path / "wrong.gguf", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_skipped_tensors_stay_floats(tmp_path):
    tensors = {name: ("F32", [4, 8], RNG.normal(size=(4, 8)).astype(np.float32).tobytes()) for name in "abc"}
    source, target = written(tmp_path / "in.safetensors", tensors), tmp_path / "out.safetensors"
    quantizer = temper.quantizer("round_to_nearest", bits=8)
    rows = quantizer.quantize_file(source, target, skip=["b", "a"])
    assert [row["is_quantized"] for row in rows] == [False, False, True]
    held = parts(target)[1]
    assert held["a"] == tensors["a"][2] and held["b"] == tensors["b"][2] and "c.codes" in held and "c" not in held
    with pytest.raises(temper.errors.UnknownName, match="d"):
        quantizer.quantize_file(source, target, skip=["a", "d"])
    with pytest.raises(temper.errors.Cancelled):
        quantizer.quantize_file(source, target, skip=["a"], callback=lambda step: step["done"] == 2)
    quantizer.quantize_file(source, target, skip=["b"])  # what another choice has finished is not taken over
    assert set(parts(target)[1]) == {"a.codes", "a.scales", "b", "c.codes", "c.scales"}


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
