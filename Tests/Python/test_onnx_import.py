"""Graphs that other programs wrote, imported as layers: the same answers as onnxruntime's, or an error that says why."""

import warnings

import numpy as np
import pytest

import temper

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from test_onnx import MODELS as OURS  # noqa: E402
from test_onnx import made as ours  # noqa: E402

CONTEXT = temper.Context(threads=1)
INT64, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT


def answers(path, x):
    options = runtime.SessionOptions()  # optimized, it rounds what meets codes to 8 bits too
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def names(description):
    """The layers' names, those within in brackets."""
    found = []
    for layer in description:
        name, options = (layer, {}) if isinstance(layer, str) else next(iter(layer.items()))
        inner = options.get("layers", options.get("branches", ())) if isinstance(options, dict) else ()
        found.append(name)
        if inner:
            found.append([names(each) if isinstance(each, list) else names([each])[0] for each in inner])
    return found


def agrees(path, x, layers=None):
    model = temper.load(path, CONTEXT)
    expected = answers(path, x)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=2e-5 * max(1, abs(expected).max()))
    if layers is not None:
        assert names(model.description) == layers
    return model


# ------------------------------------------------------------------------------------------------ of PyTorch


class Causal(nn.Module):
    """A block of a language model as it is usually written."""

    def __init__(self, form):
        super().__init__()
        self.form, self.table, self.places = form, nn.Embedding(20, 16), nn.Parameter(torch.randn(7, 16))
        self.norm, self.three, self.out = nn.LayerNorm(16), nn.Linear(16, 48, bias=form != "split"), nn.Linear(16, 16)
        self.more = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.end = nn.Linear(16, 20, bias=False)
        self.register_buffer("below", torch.tril(torch.ones(7, 7)).bool())

    def attention(self, x):
        n, t, _ = x.shape
        if self.form == "packed":  # (n, t, 3, heads, d)
            q, k, v = self.three(x).view(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (part.view(n, t, 4, 4).transpose(1, 2) for part in self.three(x).split(16, dim=2))
        if self.form == "filled":
            scores = (q @ k.transpose(-2, -1) * 0.25).masked_fill(~self.below, float("-inf"))
            seen = scores.softmax(-1) @ v
        else:
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=self.form == "split")
        return self.out(seen.transpose(1, 2).reshape(n, t, 16))

    def forward(self, ids):
        x = self.table(ids) + self.places
        x = x + self.attention(self.norm(x))
        return self.end(x + self.more(x))


class RMS(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Residual(nn.Module):
    def __init__(self, *layers, shortcut=None):
        super().__init__()
        self.layers, self.shortcut = nn.Sequential(*layers), shortcut or nn.Identity()

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 4), nn.Tanh())

    def forward(self, x):
        x = torch.relu(x)
        return torch.cat([self.a(x), self.b(x), x], dim=1)


def rows(*layers, width=8):
    return nn.Sequential(*layers), (width,)


ACTIVATIONS = [
    nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.LeakyReLU, nn.Softplus, nn.Softsign,
    nn.Hardswish, nn.Hardsigmoid, nn.ReLU6,
]  # fmt: skip
TRANSFORMER = ["embedding", "positional_embedding", "residual", ["layer_norm", "multi_head_attention"],
               "residual", ["layer_norm", "dense", "gelu", "dense"], "dense"]  # fmt: skip
# Name: module and shape of a sample, or what ids are below, and the layers that it must become.
FOREIGN = {
    "dense": (*rows(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4, bias=False), nn.Softmax(-1)), None,
              ["dense", "relu", "dense", "softmax"]),
    "images": (nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 8), nn.Hardswish(),
        nn.Conv2d(8, 8, (3, 2), stride=2, groups=4, dilation=(1, 2), bias=False), nn.BatchNorm2d(8), nn.Mish(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4)), (3, 12, 12), None, None),
    "residual image": (nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Residual(nn.Conv2d(4, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        Residual(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU(), shortcut=nn.Conv2d(4, 6, 1, stride=2)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)), (1, 8, 8), None,
        ["conv2d", "residual", ["conv2d", "group_norm", "relu", "conv2d"], "residual", ["conv2d", "relu"],
         "global_average_pool", "dense"]),
    "norms": (nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 6), RMS(6), nn.LayerNorm(6, elementwise_affine=False)),
              (5, 8), None, ["dense", "layer_norm", "dense", "rms_norm", "layer_norm"]),
    "branches": (Branches(), (6,), None, ["relu", "parallel", [["dense"], ["dense", "tanh"], []]]),
    "packed": (Causal("packed"), (7,), 20, TRANSFORMER), "split": (Causal("split"), (7,), 20, TRANSFORMER),
    "filled": (Causal("filled"), (7,), 20, TRANSFORMER),
    "encoder": (nn.Sequential(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0, activation="gelu"), nn.Linear(16, 3)),
                (7, 16), None, ["residual", ["multi_head_attention"], "layer_norm", "residual", ["dense", "gelu", "dense"], "layer_norm", "dense"]),
    "encoder, norms first": (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True), (5, 16), None,
                             ["residual", ["layer_norm", "multi_head_attention"], "residual", ["layer_norm", "dense", "relu", "dense"]]),
    "activations": (nn.Sequential(*(part for kind in ACTIVATIONS for part in (kind(), nn.Linear(8, 8)))), (8,), None, None),
    "gelu by tanh": (*rows(nn.GELU("tanh"), nn.Linear(8, 2)), None, ["gelu", "dense"]),
    "steps": (nn.Sequential(nn.Linear(8, 4), nn.Flatten(), nn.Unflatten(1, (4, 5)), nn.Linear(5, 2)), (5, 8), None,
              ["dense", "reshape", "dense"]),
}  # fmt: skip


def exported(path, module, x, batch, **options):
    module.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator of PyTorch's own otherwise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = {"dynamic_axes": {"x": {0: "N"}}} if batch is None else {}
        torch.onnx.export(module, (torch.from_numpy(x),), path, input_names=["x"], dynamo=False, **free, **options)


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("operators", [14, 17, 20])
def test_models_of_pytorch_give_the_same_answers(name, operators, tmp_path):
    """LayerNorm and GELU are operators of their own only in the later sets."""
    module, shape, below, layers = FOREIGN[name]
    rng = np.random.default_rng(3)
    torch.manual_seed(1)
    for key, value in module.named_parameters():  # norms and biases that do something
        if value.ndim == 1:
            nn.init.normal_(value, 1 if "weight" in key else 0, 0.3)
    x = rng.integers(0, below, (4, *shape)) if below else rng.standard_normal((4, *shape)).astype(np.float32)
    try:
        exported(tmp_path / "m.onnx", module, x[:2], None, opset_version=operators)
    except TypeError as error:
        pytest.skip(f"PyTorch does not export it so: {error}")
    agrees(tmp_path / "m.onnx", x, layers)


@pytest.mark.parametrize("name", ["images", "split", "encoder"])
def test_batches_that_the_file_fixes_are_free_again(name, tmp_path):
    module, shape, below, _ = FOREIGN[name]
    rng = np.random.default_rng(4)
    x = rng.integers(0, below, (6, *shape)) if below else rng.standard_normal((6, *shape)).astype(np.float32)
    for batch in (1, 3):
        exported(tmp_path / "m.onnx", module, x[:batch], batch)
        model = temper.load(tmp_path / "m.onnx", CONTEXT)
        expected = np.concatenate([answers(tmp_path / "m.onnx", x[at : at + batch]) for at in range(0, 6, batch)])
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)


def test_an_imported_model_is_one_of_ours(tmp_path):
    """It is trained, quantized and saved like any other."""
    module, shape, _, _ = FOREIGN["dense"]
    x = np.random.default_rng(5).standard_normal((32, *shape)).astype(np.float32)
    exported(tmp_path / "m.onnx", module, x[:2], None)
    model = temper.load(tmp_path / "m.onnx", CONTEXT)
    packed = CONTEXT.quantizer("round_to_nearest", bits=8).quantize_model(model)
    np.testing.assert_allclose(packed.predict(x), model.predict(x), atol=0.02)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(temper.load(tmp_path / "m.safetensors", CONTEXT).predict(x), model.predict(x))
    before = model.predict(x)
    temper.Trainer(model, loss="cross_entropy", optimizer="adam").fit(x, np.zeros(32, np.int32), epochs=5)
    assert model.predict(x)[:, 0].mean() > before[:, 0].mean()


# ------------------------------------------------------------------------------------------------ by hand


def graph(path, nodes, tensors, shape, kind=FLOAT, operators=21, outputs=("y",), **fields):
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    made = onnx.helper.make_graph(
        nodes, "g", [onnx.helper.make_tensor_value_info("x", kind, ["N", *shape])],
        [onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in outputs], constants)  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", operators)], ir_version=10, **fields)
    onnx.save(model, path)
    return path


def node(operation, inputs, outputs, **attributes):
    return onnx.helper.make_node(operation, inputs.split(), outputs.split(), **attributes)


RNG = np.random.default_rng(8)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


BY_HAND = {
    "gemm with factors": ([node("Gemm", "x w b", "y", alpha=0.5, beta=2.0)], {"w": normal(4, 3), "b": normal(3)}, (4,), ["dense"]),
    "bias first": ([node("MatMul", "x w", "a"), node("Add", "b a", "y")], {"w": normal(4, 3), "b": normal(3)}, (5, 4), ["dense"]),
    "one bias for all": ([node("Gemm", "x w", "a"), node("Add", "a b", "y")], {"w": normal(4, 3), "b": normal(1)}, (4,), None),
    "pixels": ([node("Div", "x c", "a"), node("Sub", "a m", "s"), node("Div", "s d", "z"), node("Conv", "z w", "y")],
               {"c": np.float32(255), "m": normal(3, 1, 1), "d": normal(1, 3, 1, 1) ** 2 + 1, "w": normal(2, 3, 3, 3)}, (3, 5, 5),
               ["standardize", "standardize", "standardize", "conv2d"]),
    "codes of 8 bits": ([node("DequantizeLinear", "q s z", "w", axis=0), node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t", "y")],
                        {"q": RNG.integers(-128, 128, (3, 4)).astype(np.int8), "s": abs(normal(3)), "z": np.arange(3, dtype=np.int8)}, (4,), ["dense"]),
    "swish": ([node("Sigmoid", "x", "a"), node("Mul", "x a", "b"), node("Gemm", "b w", "y")], {"w": normal(4, 2)}, (4,), ["silu", "dense"]),
    "gelu, halves inside": ([node("Mul", "x r", "a"), node("Erf", "a", "e"), node("Mul", "e h", "f"), node("Add", "h f", "g"), node("Mul", "g x", "y")],
                            {"r": np.float32(0.5**0.5), "h": np.float32(0.5)}, (6,), ["gelu"]),
    "mean over steps": ([node("ReduceMean", "x a", "m", keepdims=0), node("Gemm", "m w", "y")], {"a": np.array([1]), "w": normal(4, 2)}, (5, 4),
                        ["global_average_pool", "dense"]),
    "channels last": ([node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "y")], {"w": normal(2, 3, 2, 2)}, (5, 6, 3), ["permute", "conv2d"]),
    "twice the same": ([node("Add", "x x", "a"), node("Gemm", "a w", "y")], {"w": normal(4, 2)}, (4,), ["standardize", "dense"]),
    "new operators": ([node("RMSNormalization", "x w", "a", axis=-1, epsilon=1e-3), node("Swish", "a", "b"), node("MatMul", "b m", "y")],
                      {"w": normal(4), "m": normal(4, 2)}, (3, 4), ["rms_norm", "silu", "dense"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_graphs_by_hand(name, tmp_path):
    nodes, tensors, shape, layers = BY_HAND[name]
    path = graph(tmp_path / "m.onnx", nodes, tensors, shape, operators=24 if name == "new operators" else 21)
    x = normal(3, *shape)
    if name == "new operators":  # onnxruntime may not have them yet
        a = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * tensors["w"]
        expected, model = a / (1 + np.exp(-a)) @ tensors["m"], temper.load(path, CONTEXT)
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)
        assert names(model.description) == layers
    else:
        agrees(path, x, layers)


REFUSED = {
    "unknown operator": ([node("LSTM", "x w w", "y", hidden_size=2)], {"w": normal(1, 8, 4)}, (3, 4), ["LSTM", "BatchNormalization"]),
    "unknown function": ([node("Sin", "x", "a"), node("Gemm", "a w", "y")], {"w": normal(4, 2)}, (4,), ["Sin"]),
    "an unknown composition": ([node("Exp", "x", "a"), node("Mul", "a x", "b"), node("Gemm", "b w", "y")], {"w": normal(4, 2)}, (4,), ["Mul", "b"]),
    "gates": ([node("Gemm", "x w", "a"), node("Gemm", "x w", "b"), node("Mul", "a b", "y")], {"w": normal(4, 2)}, (4,), ["Mul"]),
    "other padding": ([node("Conv", "x w", "y", pads=[0, 0, 1, 1])], {"w": normal(2, 3, 2, 2)}, (3, 5, 5), ["alike"]),
    "one dimension": ([node("Conv", "x w", "y")], {"w": normal(2, 3, 2)}, (3, 5), ["images"]),
    "a slice": ([node("Gather", "x i", "a", axis=1), node("Gemm", "a w", "y")], {"i": np.array(0), "w": normal(4, 2)}, (3, 4), ["Gemm"]),
    "another axis": ([node("Softmax", "x", "y", axis=1)], {}, (3, 4), ["last axis"]),
    "an axis of the batch": ([node("Transpose", "x", "a", perm=[1, 0]), node("Conv", "a w", "y")], {"w": normal(2, 3, 2, 2)}, (3,), ["batch"]),
    "external code": ([onnx.helper.make_node("Magic", ["x"], ["y"], domain="some.where", name="wand")], {}, (3,), ["some.where.Magic", "wand"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_become_layers_is_named(name, tmp_path):
    nodes, tensors, shape, words = REFUSED[name]
    path = graph(tmp_path / "m.onnx", nodes, tensors, shape)
    with pytest.raises(temper.errors.Unsupported) as caught:
        temper.load(path, CONTEXT)
    assert all(word in str(caught.value) for word in words) and "Imported are" in str(caught.value)


def test_inputs_and_outputs_are_checked(tmp_path):
    gemm, w = node("Gemm", "x w", "y"), {"w": normal(4, 2)}
    with pytest.raises(temper.errors.Unsupported, match="must be fixed"):
        temper.load(graph(tmp_path / "m.onnx", [gemm], w, ("T",)), CONTEXT)
    with pytest.raises(temper.errors.Unsupported, match="one output"):
        temper.load(graph(tmp_path / "m.onnx", [gemm, node("Relu", "y", "z")], w, (4,), outputs=("y", "z")), CONTEXT)
    with pytest.raises(temper.Error, match="before it is read"):
        temper.load(graph(tmp_path / "m.onnx", [node("Gemm", "x v", "y")], w, (4,)), CONTEXT)
    with pytest.raises(temper.Error, match="matrix of 4"):
        temper.load(graph(tmp_path / "m.onnx", [gemm], w, (5,)), CONTEXT)
    # A node that nothing reads may be anything.
    agrees(graph(tmp_path / "m.onnx", [gemm, node("Sin", "x", "z")], w, (4,)), normal(2, 4), ["dense"])


# ------------------------------------------------------------------------------------------------ of ours


@pytest.mark.parametrize("name", OURS)
def test_our_files_come_back_as_they_were(name, tmp_path):
    model, (_, x) = ours(name)
    model.save(tmp_path / "m.onnx")
    loaded = temper.load(tmp_path / "m.onnx", CONTEXT)
    assert loaded.description == model.description
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("options", [{"bits": 8}, {"bits": 4, "symmetric": False}, {"bits": 4, "group_size": 16}])
def test_our_quantized_files_come_back_as_floats(options, tmp_path):
    model, (_, x) = ours("transformer")
    packed = CONTEXT.quantizer("round_to_nearest", **options).quantize_model(model)
    packed.save(tmp_path / "m.onnx")
    loaded = temper.load(tmp_path / "m.onnx", CONTEXT)
    for name, value in packed.parameters().items():
        np.testing.assert_allclose(loaded.parameters()[name], value, rtol=1e-6, atol=1e-9)


def test_our_files_without_their_description_are_foreign_ones(tmp_path):
    model, (_, x) = ours("convolutions")
    model.save(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "m.onnx")
    try:
        loaded = temper.load(tmp_path / "m.onnx", CONTEXT)
    except temper.errors.Unsupported as error:
        assert "cannot become a layer" in str(error)
    else:
        np.testing.assert_allclose(loaded.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------ hostile graphs


def opened(path, data):
    """True, or the error's text: anything else fails the test."""
    path.write_bytes(data)
    try:
        temper.load(path, CONTEXT)
        return True
    except temper.Error as error:
        assert not isinstance(error, temper.errors.OutOfMemory), str(error)
        return str(error)


def test_spoiled_graphs_are_errors_or_models(tmp_path):
    """Every byte of the graph of an attention and of a small image network spoiled, and random pieces exchanged."""
    nodes, tensors, shape, _ = BY_HAND["pixels"]
    small = graph(tmp_path / "a.onnx", nodes, {name: np.zeros_like(value) + 1 for name, value in tensors.items()}, shape).read_bytes()
    assert opened(tmp_path / "t.onnx", small) is True
    rng = np.random.default_rng(0)
    for place in range(len(small)):
        for value in (0xFF, small[place] ^ 1):
            opened(tmp_path / "t.onnx", small[:place] + bytes([value]) + small[place + 1 :])
        opened(tmp_path / "t.onnx", small[:place])
    module, shape, _, _ = FOREIGN["split"]
    exported(tmp_path / "b.onnx", module, np.zeros((2, *shape), np.int64), None)
    large = bytearray((tmp_path / "b.onnx").read_bytes())
    for _ in range(150):
        data = bytearray(large)
        for place in rng.integers(0, len(data), 6):
            data[place] = rng.integers(0, 256)
        opened(tmp_path / "t.onnx", bytes(data))


def test_graphs_that_ask_for_too_much_are_refused(tmp_path):
    huge = {"s": np.array([2**40]), "t": np.array([1, 2**40]), "one": np.ones(1, np.float32)}
    for nodes in (
        [node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")], [node("Expand", "one t", "c"), node("Add", "x c", "y")],
        [node("Reshape", "x t", "y")], [node("Unsqueeze", "x s", "y")],
        [node("Range", "a b c", "r"), node("Add", "x r", "y")],
    ):  # fmt: skip
        tensors = {**huge, "a": np.float32(0), "b": np.float32(1e30), "c": np.float32(0)}
        tensors = {name: value for name, value in tensors.items() if any(name in n.input for n in nodes)}
        assert isinstance(opened(tmp_path / "t.onnx", graph(tmp_path / "m.onnx", nodes, tensors, (4,)).read_bytes()), str)
    doubling = [node("Concat", f"d{i} d{i}", f"d{i + 1}", axis=0) for i in range(60)]
    path = graph(tmp_path / "m.onnx", [*doubling, node("Add", "x d60", "y")], {"d0": np.ones(4, np.float32)}, (4,))
    assert "large" in opened(tmp_path / "t.onnx", path.read_bytes()) or "many" in opened(tmp_path / "t.onnx", path.read_bytes())
    many = [node("Relu", "x" if i == 0 else f"v{i}", f"v{i + 1}") for i in range(21_000)]
    path = graph(tmp_path / "m.onnx", many, {}, (4,), outputs=("v21000",))
    assert "nodes" in opened(tmp_path / "t.onnx", path.read_bytes())
    nested = [node("Gemm", "x w" if i == 0 else f"s{i} w", f"g{i}") for i in range(0)]
    for i in range(200):
        nested += [node("MatMul", "x w" if i == 0 else f"s{i} w", f"g{i}"), node("Add", f"g{i} x", f"s{i + 1}")]
    path = graph(tmp_path / "m.onnx", nested, {"w": np.eye(4, dtype=np.float32)}, (4,), outputs=("s200",))
    assert "deeper" in opened(tmp_path / "t.onnx", path.read_bytes())
