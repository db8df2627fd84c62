"""torchao as a foreign oracle: codes and scales of uniform grids, microscaling formats, Adam in 8 bits."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("torchao", reason="torchao is not installed")
primitives = pytest.importorskip("torchao.quantization.quant_primitives")
CONTEXT = temper.Context(threads=1)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("group", [16, 64])
@pytest.mark.parametrize("symmetric", [True, False])
def test_uniform_grids(bits, group, symmetric, rng):
    weight = torch.from_numpy(rng.standard_normal((24, 64)).astype(np.float32))
    kind = primitives.MappingType.SYMMETRIC if symmetric else primitives.MappingType.ASYMMETRIC
    top = 2 ** (bits - 1) - 1
    low, high = (-top, top) if symmetric else (0, 2**bits - 1)
    block, dtype = (1, group), torch.int8 if symmetric else torch.uint8
    scale, zero = primitives.choose_qparams_affine(weight, kind, block, dtype, low, high, eps=1e-12)
    codes = primitives.quantize_affine(weight, block, scale, zero, dtype, low, high)
    back = primitives.dequantize_affine(codes, block, scale, zero, dtype, low, high).numpy()
    ours = CONTEXT.quantizer("round_to_nearest", bits=bits, group_size=group, symmetric=symmetric).quantize(weight.numpy())
    differ = np.abs(ours.dequantize() - back)
    steps = np.repeat(scale.numpy().reshape(24, -1), group, axis=1)
    # Float32 scales differ in the last bit; a weight half way between levels may go either way.
    assert (differ < 1e-5).mean() > 0.998 and (differ < 1.01 * steps).all()


@pytest.mark.parametrize("name, element", [
    ("mxfp8_e4m3", torch.float8_e4m3fn), ("mxfp8_e5m2", torch.float8_e5m2), ("mxfp4", getattr(torch, "float4_e2m1fn_x2", None)),
])  # fmt: skip
def test_microscaling(name, element, rng):
    formats = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    if element is None:
        pytest.skip("this PyTorch has no float4")
    weight = (rng.standard_normal((16, 128)) * np.exp(rng.standard_normal((16, 1)))).astype(np.float32)
    theirs = formats.MXTensor.to_mx(torch.from_numpy(weight), element, 32).dequantize(torch.float32).numpy()
    np.testing.assert_array_equal(CONTEXT.quantizer(name).quantize(weight).dequantize(), theirs)


def test_adam_in_eight_bits(rng):
    """On the same noisy bowl both come as near the bottom as Adam."""
    module = pytest.importorskip("torchao.optim")
    bottom, slope = rng.standard_normal(8192).astype(np.float32), np.exp(rng.standard_normal(8192)).astype(np.float32)
    noise = [0.1 * rng.standard_normal(8192).astype(np.float32) for _ in range(80)]

    def miss(w):
        return float(np.mean(slope * (w - bottom) ** 2))

    found = {}
    for name in ("adam", "adam_8bit"):
        w, optimizer = np.zeros(8192, np.float32), CONTEXT.optimizer(name, learning_rate=0.05)
        for n in noise:
            optimizer.step([w], [slope * (w - bottom) + n])
        found[name] = miss(w)
    w = torch.nn.Parameter(torch.zeros(8192))
    theirs = module.Adam8bit([w], lr=0.05)
    with torch.compiler.set_stance("force_eager"):
        for n in noise:
            w.grad = torch.from_numpy(slope * (w.detach().numpy() - bottom) + n)
            theirs.step()
    reference = miss(w.detach().numpy())
    assert found["adam_8bit"] < 1.1 * max(found["adam"], reference) < 0.1
