"""PyTorch as an oracle for layers: its weights copied over, the same outputs, in float64."""

import json
import pathlib
import tempfile

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")
nn = torch.nn


def with_weights(layer, module, shape):
    """A model of one layer with every parameter and buffer of `module`, under names that end alike: written into a file
    of the model's, which is how running statistics get in."""
    theirs = {n.replace("_l0", ""): t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    model = temper.Model([layer], input=shape, dtype="float64")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.safetensors")
        model.save(path)
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        entries = {n: e for n, e in json.loads(data[8:start]).items() if n != "__metadata__"}
        assert {name.split(".", 1)[1] for name in entries} == set(theirs)
        for name, entry in entries.items():
            tensor = theirs[name.split(".", 1)[1]]
            assert (entry["dtype"], entry["shape"]) == ("F64", list(tensor.shape))
            first, last = entry["data_offsets"]
            data[start + first : start + last] = tensor.numpy().tobytes()
        path.write_bytes(data)
        return temper.load(path)


def check(layer, module, x, expected=None, mask=None):
    module = module.double().eval()
    for parameter in module.parameters():  # what starts at 0 or 1 would hide mistakes
        nn.init.normal_(parameter, 0.1, 0.5)
    model = with_weights(layer, module, x.shape[1:])
    with torch.no_grad():
        y = (expected or module)(torch.from_numpy(x))
    np.testing.assert_allclose(model.predict(x, mask=mask), y.numpy(), rtol=1e-10, atol=1e-12)


def test_dense(rng):
    check({"dense": 7}, nn.Linear(5, 7), rng.normal(size=(4, 5)))
    check({"dense": {"size": 7, "bias": False}}, nn.Linear(5, 7, bias=False), rng.normal(size=(4, 5)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"stride": [2, 1], "padding": [0, 2]},
        {"dilation": 2},
        {"groups": 2},
        {"groups": 4, "padding": 2, "stride": 3, "dilation": 2},
        {"kernel": [1, 3]},
        {"kernel": 1},
        {"kernel": 5, "padding": "same"},
        {"kernel": [2, 4], "padding": "same"},
        {"bias": False},
    ],
    ids=str,
)
def test_conv2d(rng, options):
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    module = nn.Conv2d(4, 8, settings.pop("kernel", 3), **settings)
    check({"conv2d": {"channels": 8, **options}}, module, rng.normal(size=(3, 4, 11, 9)))


@pytest.mark.parametrize("shape", [(6,), (6, 5, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(rng, shape, affine):
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    module = kind(6, affine=affine).double()
    module(torch.from_numpy(rng.normal(2, 3, size=(30, *shape))))  # running statistics that are not 0 and 1
    check({"batch_norm": {"affine": affine}}, module, rng.normal(size=(3, *shape)))


@pytest.mark.parametrize("axes, sizes", [(1, (4,)), (2, (5, 4))])
def test_layer_norm(rng, axes, sizes):
    check({"layer_norm": {"axes": axes}}, nn.LayerNorm(sizes), rng.normal(2, 3, size=(3, 5, 4)))


def test_rms_norm(rng):
    check({"rms_norm": {"epsilon": 1e-6}}, nn.RMSNorm(4, eps=1e-6), rng.normal(2, 3, size=(3, 5, 4)))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(rng, groups):
    check({"group_norm": groups}, nn.GroupNorm(groups, 6), rng.normal(2, 3, size=(3, 6, 5, 4)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention(rng, causal, masked, bias):
    module = nn.MultiheadAttention(12, 3, batch_first=True, bias=bias)
    x, mask = rng.normal(size=(4, 6, 12)), None
    if masked:
        mask = rng.random((4, 6)) < 0.7
        mask[:, 0] = True

    def attend(x):
        hidden = None if mask is None else torch.from_numpy(~mask)
        later = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1) if causal else None
        return module(x, x, x, key_padding_mask=hidden, attn_mask=later, need_weights=False)[0]

    options = {"heads": 3, "causal": causal, "key_mask": masked, "bias": bias}
    check({"multi_head_attention": options}, module, x, attend, mask)


@pytest.mark.parametrize("name, kind", [("gru", nn.GRU), ("lstm", nn.LSTM)])
@pytest.mark.parametrize("output", ["last", "sequence"])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_layers(rng, name, kind, output, bias):
    module = kind(5, 7, batch_first=True, bias=bias)

    def unroll(x):
        sequence = module(x)[0]
        return sequence if output == "sequence" else sequence[:, -1]

    check({name: {"size": 7, "output": output, "bias": bias}}, module, rng.normal(size=(3, 6, 5)), unroll)


@pytest.mark.parametrize(
    "options", [{"size": 2}, {"size": [2, 3], "stride": 2}, {"size": 3, "stride": 1, "padding": 1}], ids=str
)
@pytest.mark.parametrize("name, kind", [("max_pool", nn.MaxPool2d), ("average_pool", nn.AvgPool2d)])
def test_pooling(rng, name, kind, options):
    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    if name == "average_pool":
        settings["count_include_pad"] = False
    size = settings.pop("size")
    check({name: options}, kind(size, **settings), rng.normal(size=(3, 4, 8, 7)))


def test_embedding(rng):
    module = nn.Embedding(11, 4).double()
    model = with_weights({"embedding": {"entries": 11, "size": 4}}, module, (5,))
    ids = rng.integers(0, 11, (3, 5))
    np.testing.assert_array_equal(model.predict(ids), module(torch.from_numpy(ids)).detach().numpy())


def assign(model, values):
    """The parameters of a model from PyTorch's, by names of ours; what is not named keeps its value."""
    parameters = model.parameters()
    for name, tensor in values.items():
        parameters[name][...] = tensor.detach().numpy().reshape(parameters[name].shape)
    return model


@pytest.mark.parametrize("kind", ["dense", "conv2d"])
def test_weight_norm(rng, kind):
    module, shape = (nn.Linear(5, 7), (5,)) if kind == "dense" else (nn.Conv2d(3, 7, 2), (3, 5, 4))
    inner = {"dense": 7} if kind == "dense" else {"conv2d": {"channels": 7, "kernel_size": 2}}
    module = nn.utils.parametrizations.weight_norm(module.double())
    g, v = module.parametrizations.weight.original0, module.parametrizations.weight.original1
    nn.init.normal_(g)
    model = temper.Model([{"weight_norm": [inner]}], input=shape, dtype="float64")
    assign(model, {"0.0.weight": v, "0.0.weight_g": g, "0.0.bias": module.bias})
    x = rng.normal(size=(4, *shape))
    y = module(torch.from_numpy(x))
    np.testing.assert_allclose(model.predict(x), y.detach().numpy(), rtol=1e-10, atol=1e-12)
    dy = rng.normal(size=y.shape)
    y.backward(torch.from_numpy(dy))
    ours = model.vjp(x, dy, wrt=["0.0.weight", "0.0.weight_g"])
    np.testing.assert_allclose(ours["0.0.weight"], v.grad.numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(ours["0.0.weight_g"].ravel(), g.grad.numpy().ravel(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_norm_training(rng, iterations):
    """Weights and singular vectors after steps of training equal PyTorch's from the same start."""
    module = nn.Linear(5, 7).double()
    model = temper.Model(
        [{"spectral_norm": {"layers": [{"dense": 7}], "power_iterations": iterations}}], input=(5,), dtype="float64"
    )
    assign(model, {"0.0.weight": module.weight, "0.0.bias": module.bias})
    module = nn.utils.spectral_norm(module, n_power_iterations=iterations)  # the paper's order: v before u
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.safetensors")
        model.save(path)
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        entries = json.loads(data[8:start])
        for name in ("weight_u", "weight_v"):
            first, last = entries["0.0." + name]["data_offsets"]
            data[start + first : start + last] = getattr(module, name).numpy().tobytes()
        path.write_bytes(data)
        model = temper.load(path)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 7))
    trainer = temper.Trainer(model, loss="mse", optimizer=temper.optimizer("sgd", learning_rate=0.3), batch_size=20)
    trainer.fit(x, y, epochs=5)
    optimizer = torch.optim.SGD(module.parameters(), 0.3)
    for _ in range(5):
        optimizer.zero_grad()
        ((module(torch.from_numpy(x)) - torch.from_numpy(y)) ** 2).mean().backward()
        optimizer.step()
    ours = model.parameters()["0.0.weight"]
    np.testing.assert_allclose(ours, module.weight_orig.detach().numpy(), rtol=1e-9, atol=1e-11)
    module.eval()
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-9, atol=1e-11)


def test_spectral_norm_is_one(rng):
    """The largest singular value of a new model's weight is 1."""
    model = temper.Model([{"spectral_norm": [{"dense": {"size": 9, "bias": False}}]}], input=(12,), dtype="float64")
    values = np.linalg.svd(model.predict(np.eye(12)).T, compute_uv=False)
    assert abs(values[0] - 1) < 0.02


def test_glu(rng):
    x = rng.normal(size=(4, 3, 10))
    ours = temper.Model(["glu"], input=(3, 10), dtype="float64").predict(x)
    np.testing.assert_allclose(ours, nn.GLU()(torch.from_numpy(x)).numpy(), rtol=1e-12)


@pytest.mark.parametrize("steps", [6, 7])
def test_real_dft(rng, steps):
    x = torch.from_numpy(rng.normal(size=(2, steps, 3)))
    model = temper.Model([{"fft_filter_layer": {"residual": False}}], input=(steps, 3), dtype="float64")
    weight = torch.view_as_complex(torch.randn(steps // 2 + 1, 3, 2, dtype=torch.float64).contiguous())
    assign(model, {"0.filter": torch.stack([weight.real.T, weight.imag.T])})
    y = torch.fft.irfft(torch.fft.rfft(x, dim=1) * weight, steps, dim=1)
    np.testing.assert_allclose(model.predict(x.numpy()), y.numpy(), rtol=1e-10, atol=1e-12)
