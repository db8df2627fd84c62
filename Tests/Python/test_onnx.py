"""ONNX models that onnxruntime runs to the same answers."""

import numpy as np
import pytest

import temper

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CONTEXT = temper.Context(threads=1)

# Name: layers, the shape of a sample, and below what indices are, if it takes indices.
MODELS = {
    "dense": ([{"dense": 32}, "relu", {"dense": {"size": 5, "bias": False}}, "tanh"], (8,), None),
    "convolutions": (
        [{"conv2d": {"channels": 8, "padding": "same"}}, "batch_norm", "relu", {"max_pool": 2},
         {"conv2d": {"channels": 12, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 4}}, "silu",
         {"average_pool": 2}, "flatten", {"dense": 6}], (3, 12, 12), None),
    "even kernels": ([{"conv2d": {"channels": 4, "kernel_size": 4, "padding": "same", "dilation": [1, 2]}},
                      {"group_norm": 2}, "global_average_pool"], (2, 9, 11), None),
    "norms": (["layer_norm", {"dense": 16}, "rms_norm", "gelu", {"residual": [{"dense": 16}, "sigmoid"]}], (5, 8),
              None),
    "transformer": (
        [{"embedding": {"entries": 20, "size": 16}}, "positional_embedding",
         {"residual": ["layer_norm", {"multi_head_attention": {"heads": 4, "causal": True}}]},
         {"residual": ["layer_norm", {"dense": 32}, "gelu", {"dense": 16}]}, "layer_norm", {"dense": 20}], (7,), 20),
    "rotary": ([{"embedding": {"entries": 9, "size": 8}},
                {"multi_head_attention": {"heads": 2, "positions": "rotary"}}, {"swiglu": 8}], (6,), 9),
    "padding": ([{"embedding": {"entries": 9, "size": 8, "padding_index": 0}},
                 {"multi_head_attention": {"heads": 2, "key_mask": True}}, "global_average_pool"], (6,), 9),
    "recurrent": ([{"gru": 6}, {"dense": 3}], (5, 4), None),
    "branches": ([{"parallel": [{"dense": 3}, ["relu", {"dense": 4}]]}, {"reshape": [7, 1]}, {"permute": [1, 0]}], (6,),
                 None),
    "activations": (["elu", "softplus", "leaky_relu", "mish", "softsign", "softmax"], (11,), None),
}  # fmt: skip


def made(name, dtype="float32"):
    layers, shape, below = MODELS[name]
    model = temper.Model(layers, input=shape, seed=3, dtype=dtype, context=CONTEXT)
    rng = np.random.default_rng(0)
    for key, value in model.parameters().items():  # norms and biases that do something
        if "norm" in key or value.ndim == 1:
            value += rng.standard_normal(value.shape).astype(value.dtype) * 0.1
    x = [rng.integers(0, below, (n, *shape)) if below else rng.standard_normal((n, *shape)) for n in (1, 4)]
    return model, x if below else [batch.astype(dtype) for batch in x]


def answers(path, x, accuracy="1"):
    """accuracy: in what onnxruntime computes products with dequantized weights; "1" is float32, its default "4" rounds
    the other factor to 8 bits."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", accuracy)
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [entry.shape[0] for entry in session.get_inputs()] == ["N"] * len(session.get_inputs())
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("name", MODELS)
def test_models_give_the_same_answers(name, tmp_path):
    model, batches = made(name)
    model.save(tmp_path / "m.onnx")
    for x in batches:
        expected = model.predict(x)
        result = answers(tmp_path / "m.onnx", x)
        assert result.shape == expected.shape and result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-6 * max(1, abs(expected).max()))


def test_double_precision(tmp_path):
    model, (_, x) = made("dense", "float64")
    model.save(tmp_path / "m.onnx")
    np.testing.assert_allclose(answers(tmp_path / "m.onnx", x), model.predict(x), rtol=1e-12)


@pytest.mark.parametrize("options, kind", [
    ({"bits": 8}, "INT8"), ({"bits": 8, "symmetric": False}, "UINT8"), ({"bits": 4}, "INT4"),
    ({"bits": 4, "symmetric": False}, "UINT4"), ({"bits": 4, "group_size": 16}, "INT4"),
    ({"bits": 4, "group_size": 16, "symmetric": False}, "UINT4"), ({"bits": 8, "group_size": 16}, "INT8"),
    ({"bits": 8, "granularity": "tensor"}, "INT8"), ({"bits": 3}, "INT4"), ({"bits": 6, "symmetric": False}, "UINT8"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["dense", "transformer", "convolutions"])
def test_quantized_models_keep_their_codes(name, options, kind, tmp_path):
    model, (_, x) = made(name)
    if name == "convolutions" and "group_size" in options:
        options = {**options, "group_size": 9}  # the kernels' weights of one channel
    packed = CONTEXT.quantizer("round_to_nearest", **options).quantize_model(model)
    packed.save(tmp_path / "m.onnx")
    expected = packed.predict(x)
    np.testing.assert_allclose(
        answers(tmp_path / "m.onnx", x), expected, rtol=1e-4, atol=2e-5 * max(1, abs(expected).max()))
    rough = answers(tmp_path / "m.onnx", x, accuracy="4")
    assert abs(rough - expected).max() < 0.05 * max(1, abs(expected).max())
    graph = onnx.load(tmp_path / "m.onnx").graph
    codes = [entry for entry in graph.initializer if entry.name.endswith(".codes")]
    assert codes and {onnx.TensorProto.DataType.Name(entry.data_type) for entry in codes} == {kind}
    assert [node.op_type for node in graph.node].count("DequantizeLinear") == len(codes)
    bits = 4 if "4" in kind else 8
    assert all(len(entry.raw_data) == -(-np.prod(entry.dims) * bits // 8) for entry in codes)


@pytest.mark.parametrize("options", [{"bits": 8}, {"bits": 4, "symmetric": False}, {"bits": 4, "group_size": 4}], ids=str)
@pytest.mark.parametrize("name", ["even kernels", "norms", "rotary", "padding", "recurrent", "branches"])
def test_quantized_layers_of_every_kind(name, options, tmp_path):
    """Recurrent and gated layers, heads with rotary positions, masks, kernels of even size: codes for each matrix."""
    model, (_, x) = made(name)
    packed = CONTEXT.quantizer("round_to_nearest", **options).quantize_model(model)
    packed.save(tmp_path / "m.onnx")
    expected = packed.predict(x)
    np.testing.assert_allclose(
        answers(tmp_path / "m.onnx", x), expected, rtol=1e-4, atol=2e-5 * max(1, abs(expected).max()))
    graph = onnx.load(tmp_path / "m.onnx").graph
    codes = {entry.name.removesuffix(".codes") for entry in graph.initializer if entry.name.endswith(".codes")}
    matrices = {key for key, value in model.parameters().items() if value.ndim > 1}
    assert codes == set(packed.quantization) == matrices


def test_weights_of_other_forms_are_floats(tmp_path):
    model, (_, x) = made("dense")
    packed = CONTEXT.quantizer("nf4").quantize_model(model)
    packed.save(tmp_path / "m.onnx")
    np.testing.assert_allclose(answers(tmp_path / "m.onnx", x), packed.predict(x), rtol=1e-4, atol=1e-5)


def test_what_has_no_form_is_said_and_nothing_is_written(tmp_path):
    model = temper.Model([{"randomized_feature_defense": {}}, {"dense": 2}], input=(4,), context=CONTEXT)
    with pytest.raises(temper.errors.Unsupported, match="noise"):
        model.save(tmp_path / "m.onnx")
    model, _ = made("dense")
    with pytest.raises(temper.errors.UnknownName):
        model.save(tmp_path / "m.onnx", type="Q4_0")
    assert list(tmp_path.iterdir()) == []


def test_files_say_how_they_were_made(tmp_path):
    model, _ = made("dense")
    model.save(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    assert proto.opset_import[0].version == 21 and proto.producer_name == "temper"
    assert proto.metadata_props[0].key == "temper.model"
    assert {entry.name for entry in proto.graph.initializer} >= set(model.parameters())


# ------------------------------------------------------------------------------------------------ weights from files


def foreign(path, tensors, **fields):
    """A file of constants as other programs write it."""
    made = [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = onnx.helper.make_graph([], "g", [], [], initializer=made)
    onnx.save(onnx.helper.make_model(graph, **fields), path)


def test_constants_are_read(tmp_path, rng):
    tensors = {
        "f": rng.standard_normal((3, 4)).astype(np.float32), "d": rng.standard_normal(5),
        "n": np.arange(6).reshape(2, 3), "i": np.arange(3, dtype=np.int32), "b": np.arange(3, dtype=np.uint8), "s": np.arange(-2, 2, dtype=np.int8),
        "h": rng.standard_normal((2, 2)).astype(np.float16), "z": np.zeros((0, 2), np.float32),
    }  # fmt: skip
    foreign(tmp_path / "f.onnx", tensors)
    file = temper.open_file(tmp_path / "f.onnx", CONTEXT)
    assert file.format == "onnx" and set(file) == set(tensors) and file.tensors["h"].type == "FLOAT16"
    for name, value in tensors.items():
        np.testing.assert_array_equal(file[name], value)


@pytest.mark.parametrize("name", ["dense", "transformer", "convolutions"])
def test_weights_of_our_files_come_back(name, tmp_path):
    model, (_, x) = made(name)
    model.save(tmp_path / "m.onnx")
    layers, shape, _ = MODELS[name]
    other = temper.Model(layers, input=shape, seed=9, context=CONTEXT)
    other.load_weights(tmp_path / "m.onnx")  # running statistics too
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_weights_of_other_programs_by_name(tmp_path, rng):
    w, b = rng.standard_normal((8, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    x = rng.standard_normal((4, 8)).astype(np.float32)
    foreign(tmp_path / "f.onnx", {"fc.w": w, "fc.b": b, "rest": b})
    temper.save_file({"fc.w": w.T, "fc.b": b, "rest": b}, tmp_path / "f.safetensors", context=CONTEXT)
    temper.save_file({"fc.w": w.T, "fc.b": b}, tmp_path / "f.gguf", context=CONTEXT)
    for end, weight in (("onnx", "fc.w^T"), ("safetensors", "fc.w"), ("gguf", "fc.w")):
        model = temper.Model([{"dense": 3}], input=(8,), seed=1, context=CONTEXT)
        model.load_weights(tmp_path / f"f.{end}", {"0.weight": weight, "0.bias": "fc.b"})
        np.testing.assert_allclose(model.predict(x), x @ w + b, rtol=1e-5, atol=1e-6)
    before = {name: value.copy() for name, value in model.parameters().items()}
    for names, word in [
        ({}, "0.weight"), ({"0.weight": "fc.w", "0.bias": "nothing"}, "nothing"), ({"1.weight": "fc.w"}, "1.weight"),
        ({"0.weight": "fc.w^T", "0.bias": "fc.b"}, "(8, 3)"),
    ]:  # fmt: skip
        with pytest.raises(temper.Error) as caught:
            model.load_weights(tmp_path / "f.gguf", names)
        assert word in str(caught.value)
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(value, before[name])


def opened(path, data):
    """The names of the tensors, or the error: anything else fails the test."""
    path.write_bytes(data)
    try:
        file = temper.open_file(path, CONTEXT)
        return [file[name].shape for name in file]
    except temper.Error as error:
        assert not isinstance(error, temper.errors.OutOfMemory)
        return str(error)


def test_hostile_files_are_errors_or_files(tmp_path, rng):
    foreign(tmp_path / "f.onnx", {"w": rng.standard_normal((2, 3)).astype(np.float32), "n": np.arange(2)})
    data, path = (tmp_path / "f.onnx").read_bytes(), tmp_path / "t.onnx"
    assert opened(path, data) == [(2, 3), (2,)]
    for length in range(len(data)):
        assert isinstance(opened(path, data[:length]), (str, list))
    for place in range(len(data)):
        for value in (0, 0x7F, 0xFF, data[place] ^ 1):
            opened(path, data[:place] + bytes([value]) + data[place + 1 :])
    proto = onnx.load(tmp_path / "f.onnx")
    proto.graph.initializer[0].dims[:] = [2**40, 2**40]
    assert "shape" in opened(path, proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [-1]
    assert "shape" in opened(path, proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [1000]
    assert "bytes" in opened(path, proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [2, 3]
    proto.graph.initializer[1].name = "w"
    assert "called" in opened(path, proto.SerializeToString())
    proto.graph.initializer[1].data_location = 1
    assert "another file" in opened(path, proto.SerializeToString())
    assert "graph" in opened(path, b"")
    assert "longer" in opened(path, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    assert "unknown kind" in opened(path, b"\x3b")


def test_messages_may_nest_as_deep_as_they_like(tmp_path):
    """A graph in an attribute of a node, 20,000 times: what is not looked at is passed over."""

    def field(number, content):
        size, left = b"", len(content)
        while left > 127:
            size, left = size + bytes([left & 127 | 128]), left >> 7
        return bytes([number << 3 | 2]) + size + bytes([left]) + content

    graph = b""
    for _ in range(20_000):
        graph = field(1, field(5, field(6, graph)))
    assert opened(tmp_path / "deep.onnx", field(7, graph)) == []
    with pytest.raises(temper.Error, match="one input"):
        temper.load(tmp_path / "deep.onnx", CONTEXT)
