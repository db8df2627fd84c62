"""GGUF files: bit by bit what the public package reads and writes, and no trap for a hostile one."""

import struct

import numpy as np
import pytest

import temper

gguf = pytest.importorskip("gguf", reason="the public gguf package is not installed")
TYPE = gguf.GGMLQuantizationType

BLOCKS = [
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
    "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4",
]  # fmt: skip
CONTEXT = temper.Context(threads=1)


def weights(rng, columns=512):
    """Rows of many kinds: normal, heavy-tailed, of one sign, constant, zero, tiny, with one large value."""
    rows = [
        rng.standard_normal(columns), rng.standard_t(2, columns), rng.random(columns) + 1, -rng.random(columns),
        np.full(columns, 0.37), np.zeros(columns), rng.standard_normal(columns) * 1e-6,
        np.where(np.arange(columns) == 100, 50, rng.standard_normal(columns)),
    ]  # fmt: skip
    return np.stack(rows).astype(np.float32)


def written(path, tensors, **options):
    temper.save_file(tensors, path, context=CONTEXT, **options)
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def foreign(tensor):
    """What the public package makes of a tensor."""
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])


@pytest.mark.parametrize("name", BLOCKS)
def test_files_are_read_by_the_package_with_our_values(name, tmp_path, rng):
    w = weights(rng)
    (tensor,) = written(tmp_path / "w.gguf", {"w": w}, types={"w": name}).values()
    assert tensor.tensor_type == TYPE[name] and tuple(tensor.shape[::-1]) == w.shape
    file = temper.open_file(tmp_path / "w.gguf", CONTEXT)
    assert file.tensors["w"] == (name, w.shape, tensor.n_bytes)
    np.testing.assert_array_equal(file["w"].view(np.uint32), foreign(tensor).view(np.uint32))


@pytest.mark.parametrize("name", BLOCKS)
def test_files_of_the_package_are_read_with_its_values(name, tmp_path, rng):
    """Any bytes are blocks, those of NaN and infinite scales too."""
    block, size = gguf.GGML_QUANT_SIZES[TYPE[name]]
    data = rng.integers(0, 256, (6, 512 // block * size)).astype(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "test")
    writer.add_tensor("w", data, raw_dtype=TYPE[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(data, TYPE[name]).reshape(6, 512)
    np.testing.assert_array_equal(temper.open_file(tmp_path / "w.gguf", CONTEXT)["w"], expected)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_at_least_as_good_as_those_of_the_package(name, tmp_path, rng):
    w = weights(rng)
    block = gguf.GGML_QUANT_SIZES[TYPE[name]][0]
    ours = foreign(*written(tmp_path / "w.gguf", {"w": w}, types={"w": name}).values()).astype(float)
    errors = ((ours - w) ** 2).reshape(-1, block).sum(axis=1)
    try:
        theirs = gguf.quants.dequantize(gguf.quants.quantize(w, TYPE[name]), TYPE[name]).reshape(w.shape).astype(float)
        limit = ((theirs - w) ** 2).reshape(-1, block).sum(axis=1)
        assert (errors <= limit * (1 + 1e-6) + 1e-30).all()
    except NotImplementedError:
        # Signal over noise in decibels, of normal numbers: what so many bits give a good quantizer of blocks.
        least = {"Q2_K": 11, "Q3_K": 16, "Q4_K": 22.5, "Q5_K": 28.5, "Q6_K": 34.5, "IQ4_NL": 22, "IQ4_XS": 22}
        normal = slice(0, 512 // block)
        noise = errors[normal].sum() / (w[0].astype(float) ** 2).sum()
        assert -10 * np.log10(noise) > least.get(name, 20)


# Signal over noise in decibels that the search for scales reaches on normal numbers.
REACHED = {
    "F32": np.inf, "F16": 73.6, "BF16": 55.5, "Q4_0": 21.87, "Q4_1": 23.04, "Q5_0": 27.92, "Q5_1": 29.10, "Q8_0": 45.61,
    "Q2_K": 11.73, "Q3_K": 16.87, "Q4_K": 23.10, "Q5_K": 29.16, "Q6_K": 35.32, "IQ4_NL": 22.62, "IQ4_XS": 22.58,
    "TQ1_0": 7.24, "TQ2_0": 7.24, "MXFP4": 19.10, "NVFP4": 21.31,
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_what_the_search_for_scales_reaches(name, tmp_path):
    w = np.random.default_rng(7).standard_normal((64, 1024), np.float32)
    ours = foreign(*written(tmp_path / "w.gguf", {"w": w}, types={"w": name}).values()).astype(float)
    noise, signal = ((ours - w) ** 2).sum(), (w.astype(float) ** 2).sum()
    assert noise <= signal * 10 ** (-0.1 * REACHED[name])


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_weights_in_memory_too(name, tmp_path, rng):
    """The values of the file, and the same bytes through any file."""
    w, x = weights(rng), rng.standard_normal((3, 512)).astype(np.float32)
    (tensor,) = written(tmp_path / "w.gguf", {"w": w}, types={"w": name}).values()
    packed = CONTEXT.quantizer("gguf_blocks", type=name).quantize(w)
    np.testing.assert_array_equal(packed.dequantize(), foreign(tensor))
    np.testing.assert_allclose(packed.matmul(x), x @ foreign(tensor).T, rtol=1e-4, atol=1e-3)
    assert packed.nbytes == tensor.n_bytes and packed.bits == (2 if name[:2] == "TQ" else int(name.lstrip("BINQMXFPV").split("_")[0]))
    lost = np.square(packed.dequantize().astype(float) - w)
    assert packed.report["mean_squared_error"] == pytest.approx(lost.mean(), rel=1e-6)
    (again,) = written(tmp_path / "again.gguf", {"w": packed}).values()
    assert again.tensor_type == TYPE[name]
    np.testing.assert_array_equal(again.data, tensor.data)


@pytest.mark.parametrize("end", ["gguf", "safetensors"])
def test_models_of_blocks(end, tmp_path, rng):
    model = temper.Model([{"conv2d": 4}, "relu", "flatten", {"dense": 64}, {"dense": 3}], input=(32, 4, 4), context=CONTEXT)
    packed = CONTEXT.quantizer("gguf_blocks", type="Q4_0").quantize_model(model)
    x = rng.standard_normal((5, 32, 4, 4)).astype(np.float32)
    packed.save(tmp_path / f"m.{end}")
    np.testing.assert_allclose(temper.load(tmp_path / f"m.{end}", CONTEXT).predict(x), packed.predict(x), rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "t.gguf", type="Q4_0")
    for name, value in temper.load(tmp_path / "t.gguf", CONTEXT).parameters().items():
        np.testing.assert_array_equal(packed.parameters()[name], value)
    content = (tmp_path / "m.safetensors").read_bytes() if end == "safetensors" else b""
    for old, new in ((b"Q4_0", b"Q4_9"), (b"Q4_0", b"Q8_0"), (b"Q4_0", b"I8  "), (b'gguf\\"', b'ggug\\"')):
        if content:
            assert old in content
            (tmp_path / "bad.safetensors").write_bytes(content.replace(old, new))
            with pytest.raises(temper.Error):
                temper.load(tmp_path / "bad.safetensors", CONTEXT)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q3_K", "Q6_K", "Q2_K", "TQ2_0", "IQ4_NL", "MXFP4"])
def test_writing_what_was_read_changes_nothing(name, tmp_path, rng):
    first = foreign(*written(tmp_path / "a.gguf", {"w": weights(rng)[:4]}, types={"w": name}).values())
    second = foreign(*written(tmp_path / "b.gguf", {"w": first}, types={"w": name}).values())
    # Scales of super-blocks may be split otherwise into a half and whole numbers; no value moves more than they round.
    np.testing.assert_allclose(second, first, rtol=0, atol=(0 if "_K" not in name else 0.02) * abs(first).max() + 1e-9)


def test_metadata_comes_and_goes(tmp_path):
    values = {
        "general.architecture": "test", "test.count": 7, "test.below": -3, "test.large": 2**40,
        "test.small": -(2**40), "test.half": 0.5, "test.tenth": 0.1, "test.is": True, "test.word": "Grüße",
    }  # fmt: skip
    temper.save_file({"i": np.arange(5), "d": np.ones((2, 3))}, tmp_path / "m.gguf", values, context=CONTEXT)
    assert temper.open_file(tmp_path / "m.gguf").metadata == values
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert {key: reader.fields[key].contents() for key in values} == values
    file = temper.open_file(tmp_path / "m.gguf")
    np.testing.assert_array_equal(file["i"], np.arange(5))
    assert file["d"].dtype == np.float64 and file.tensors["d"].type == "F64" and set(file) == {"i", "d"}


def test_metadata_of_the_package_is_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "test")
    writer.add_array("tokens", ["a", "b", "ü"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_uint8("small", 200)
    writer.add_int16("below", -5)
    writer.add_float64("pi", 3.141592653589793)
    writer.add_custom_alignment(64)
    writer.add_tensor("w", np.arange(6, dtype=np.float16).reshape(2, 3))
    writer.add_tensor("n", np.arange(-1, 2, dtype=np.int8))
    writer.add_tensor("h", np.array([-300, 300], np.int16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = temper.open_file(tmp_path / "m.gguf", CONTEXT)
    assert file.metadata["tokens"] == ["a", "b", "ü"] and file.metadata["numbers"] == [1, 2, 3]
    assert [file.metadata[key] for key in ("small", "below", "pi")] == [200, -5, 3.141592653589793]
    np.testing.assert_array_equal(file["w"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(file["n"], [-1, 0, 1])
    np.testing.assert_array_equal(file["h"], [-300, 300])
    with pytest.raises(temper.errors.Unsupported, match="I32"):
        temper.save_file({"n": np.ones(3, np.int32)}, tmp_path / "n.gguf", types={"n": "I8"})


def test_types_are_checked(tmp_path):
    path, w = tmp_path / "w.gguf", np.ones((2, 48), np.float32)
    for tensors, options, words in [
        ({"w": w}, {"types": {"w": "Q4_0"}}, ["blocks of 32", "48"]),
        ({"w": w}, {"types": {"w": "Q9"}}, ["Q9", "Q4_K"]),
        ({"w": w}, {"types": {"v": "F16"}}, ["v"]),
        ({"w": w[:, :32] * np.float32(1e6)}, {"types": {"w": "Q4_0"}}, ["Q4_0", "1000000"]),
        ({"w": w[:, :32] * np.float32(np.nan)}, {"types": {"w": "Q8_0"}}, ["nan"]),
        ({"w": np.ones((1, 1, 1, 1, 1), np.float32)}, {}, ["4 dimensions"]),
        ({"w": np.ones(3, np.uint8)}, {}, ["uint8"]),
        ({"w": np.ones(32, np.int32)}, {"types": {"w": "Q8_0"}}, ["int32"]),
        ({"w": w}, {"metadata": {"general.alignment": 64}}, ["general.alignment"]),
    ]:
        with pytest.raises(temper.Error) as caught:
            temper.save_file(tensors, path, context=CONTEXT, **options)
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert list(tmp_path.iterdir()) == []


MODEL = [{"dense": 256}, "relu", {"dense": 32}, {"layer_norm": {}}, {"dense": 10}]


@pytest.mark.parametrize("name", ["F32", "F16", "Q8_0", "Q4_K", "Q6_K", "MXFP4"])
def test_models_are_saved_and_loaded(name, tmp_path, rng):
    model = temper.Model(MODEL, input=(64,), seed=1, context=CONTEXT)
    x = rng.standard_normal((20, 64)).astype(np.float32)
    model.save(tmp_path / "m.gguf", type=name)
    loaded = temper.load(tmp_path / "m.gguf", CONTEXT)
    assert loaded.description == model.description
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    for key, value in loaded.parameters().items():
        np.testing.assert_array_equal(foreign(tensors[key]), value)
    # 64 and 32 columns are no whole blocks of 256.
    block = {"Q4_K": ("Q5_0", "Q4_K", "Q5_0"), "Q6_K": ("Q8_0", "Q6_K", "Q8_0")}.get(name, (name,) * 3)
    assert tuple(tensors[f"{layer}.weight"].tensor_type.name for layer in (0, 2, 4)) == block
    difference = abs(loaded.predict(x) - model.predict(x)).max()
    assert difference <= {"F32": 0, "F16": 1e-3, "Q8_0": 0.02}.get(name, 0.6)


@pytest.mark.parametrize("name, bits, options, stored", [
    ("round_to_nearest", 4, {"group_size": 32}, "Q4_0"), ("round_to_nearest", 4, {"group_size": 64}, "Q4_0"),
    ("round_to_nearest", 4, {"symmetric": False}, "Q4_1"), ("round_to_nearest", 8, {}, "Q8_0"),
    ("round_to_nearest", 5, {}, "Q5_0"), ("round_to_nearest", 3, {}, "Q3_K"), ("round_to_nearest", 6, {}, "Q6_K"),
    ("round_to_nearest", 2, {}, "TQ2_0"), ("gptq", 4, {"group_size": 32}, "Q4_1"), ("gptq", 2, {}, "Q2_K"),
])  # fmt: skip
def test_quantized_matrices_keep_their_codes(name, bits, options, stored, tmp_path, rng):
    """All values but for scales that are rounded to float16."""
    w, x = rng.standard_normal((16, 512)).astype(np.float32), rng.standard_normal((600, 512)).astype(np.float32)
    quantized = CONTEXT.quantizer(name, bits=bits, **options).quantize(w, calibration=x)
    (tensor,) = written(tmp_path / "w.gguf", {"w": quantized}).values()
    assert tensor.tensor_type.name == stored
    values = quantized.dequantize()
    np.testing.assert_allclose(foreign(tensor), values, rtol=0, atol=abs(values).max() * 2**-10)
    np.testing.assert_array_equal(temper.open_file(tmp_path / "w.gguf", CONTEXT)["w"], foreign(tensor))


def test_quantized_models_are_saved(tmp_path, rng):
    layers = [{"conv2d": 8}, "relu", "flatten", {"dense": 64}, {"dense": 10}]
    model = temper.Model(layers, input=(4, 10, 10), context=CONTEXT)
    packed = CONTEXT.quantizer("round_to_nearest", bits=4, group_size=32).quantize_model(model)
    packed.save(tmp_path / "m.gguf")
    loaded = temper.load(tmp_path / "m.gguf", CONTEXT)
    x = rng.standard_normal((5, 4, 10, 10)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(x), packed.predict(x), atol=2e-3)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert types["3.weight"] == types["4.weight"] == "Q4_0" and types["3.bias"] == "F32"


def test_safetensors_are_files_too(tmp_path, rng):
    w = rng.standard_normal((8, 64)).astype(np.float32)
    quantized = CONTEXT.quantizer("round_to_nearest", bits=4).quantize(w)
    temper.save_file({"w": quantized, "b": w[0]}, tmp_path / "w.safetensors", {"by": "test"}, context=CONTEXT)
    file = temper.open_file(tmp_path / "w.safetensors")
    assert file.format == "safetensors" and file.metadata["by"] == "test" and "w.codes" in file
    np.testing.assert_array_equal(file["b"], w[0])
    with pytest.raises(temper.errors.UnknownName, match="w.scales"):
        file["w"]
    with pytest.raises(temper.errors.InvalidType):
        temper.save_file({"b": w}, tmp_path / "x.safetensors", {"n": 1}, context=CONTEXT)


# ------------------------------------------------------------------------------------------------ hostile files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a small file with everything in it."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "test")
    writer.add_array("words", ["a", "bc"])
    writer.add_uint32("general.alignment", 32)
    writer.add_tensor("w", np.zeros((2, 36), np.uint8), raw_dtype=TYPE.Q4_0)
    writer.add_tensor("v", np.arange(3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def opened(path, data):
    """The tensors, or the error: anything else fails the test."""
    path.write_bytes(data)
    try:
        file = temper.open_file(path, CONTEXT)
        return {name: file[name] for name in file}
    except temper.Error as error:
        assert not isinstance(error, temper.errors.OutOfMemory)
        return str(error)


def test_every_truncation_is_an_error(small, tmp_path):
    end = small.rstrip(b"\0")
    for length in range(len(small)):
        result = opened(tmp_path / "t.gguf", small[:length])
        # The padding after the last tensor may be missing.
        assert isinstance(result, str) or length >= len(end)
    assert set(opened(tmp_path / "t.gguf", small)) == {"w", "v"}


def test_every_changed_byte_is_an_error_or_a_file(small, tmp_path):
    for place in range(len(small)):
        for value in (0, 0xFF, small[place] ^ 1, small[place] ^ 0x80):
            opened(tmp_path / "t.gguf", small[:place] + bytes([value]) + small[place + 1 :])


def header(tensors=b"", count=0, values=b"", value_count=0, version=3):
    data = b"GGUF" + struct.pack("<IQQ", version, count, value_count) + values + tensors
    return data + bytes(-len(data) % 32)


def tensor(name=b"w", sizes=(32,), kind=0, offset=0):
    return struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def text(value):
    return struct.pack("<Q", len(value)) + value


HOSTILE = {
    "counts beyond the file": (header(count=2**63), "tensors"),
    "values beyond the file": (header(value_count=2**62), "metadata values"),
    "a long key": (header(values=struct.pack("<Q", 2**60), value_count=1), "metadata"),
    "an unknown value type": (header(values=text(b"k") + struct.pack("<IQ", 99, 0), value_count=1), "unknown type 99"),
    "a long array": (header(values=text(b"k") + struct.pack("<IIQ", 9, 0, 2**61), value_count=1), "elements"),
    "deep arrays": (header(values=text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100, value_count=1),
                    "deeply"),
    "two keys": (header(values=2 * (text(b"k") + struct.pack("<IB", 0, 1)), value_count=2), "twice"),
    "no text": (header(values=text(b"k") + struct.pack("<I", 8) + text(b"\xff\xfe"), value_count=1), "UTF-8"),
    "an odd alignment": (header(values=text(b"general.alignment") + struct.pack("<II", 4, 33), value_count=1), "power"),
    "no alignment": (header(values=text(b"general.alignment") + struct.pack("<II", 4, 0), value_count=1), "power"),
    "many dimensions": (header(tensor(sizes=(1,) * 5), 1), "dimensions"),
    "sizes that overflow": (header(tensor(sizes=(2**32, 2**32)), 1) + bytes(128), "shape"),
    "a size beyond all": (header(tensor(sizes=(2**64 - 1,)), 1) + bytes(128), "size"),
    "an unknown type": (header(tensor(kind=77), 1) + bytes(128), "type 77"),
    "a type that was dropped": (header(tensor(kind=4), 1) + bytes(128), "type 4"),
    "half a block": (header(tensor(sizes=(33,), kind=2), 1) + bytes(128), "whole blocks"),
    "an offset beyond the file": (header(tensor(offset=2**62), 1) + bytes(128), "offset"),
    "an offset that wraps": (header(tensor(offset=2**64 - 32), 1) + bytes(128), "offset"),
    "an odd offset": (header(tensor(offset=7), 1) + bytes(256), "offset"),
    "overlapping tensors": (header(tensor() + tensor(b"v", offset=32), 2) + bytes(256), "overlap"),
    "two tensors of a name": (header(tensor() + tensor(offset=128), 2) + bytes(256), "called"),
    "an old version": (header(version=1), "version 1"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case, tmp_path):
    data, word = HOSTILE[case]
    result = opened(tmp_path / "h.gguf", data)
    assert isinstance(result, str) and word in result, result


def test_an_empty_file_of_tensors_is_one(tmp_path):
    assert opened(tmp_path / "e.gguf", header()) == {}
    assert opened(tmp_path / "e.gguf", header(tensor(sizes=(0,)), 1))["w"].shape == (0,)
