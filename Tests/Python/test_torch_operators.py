"""PyTorch and entmax as oracles for the softmax family and the activations: values and gradients."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")
F = torch.nn.functional

ACTIVATIONS = {
    "relu": ({}, F.relu),
    "leaky_relu": ({}, F.leaky_relu),
    "elu": ({}, F.elu),
    "selu": ({}, F.selu),
    "gelu": ({}, F.gelu),
    "gelu tanh": ({"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    "silu": ({}, F.silu),
    "mish": ({}, F.mish),
    "softplus": ({}, F.softplus),
    "softplus beta": ({"beta": 2.0}, lambda x: F.softplus(x, beta=2.0, threshold=1000)),
    "softsign": ({}, F.softsign),
    "sigmoid": ({}, torch.sigmoid),
    "tanh": ({}, torch.tanh),
    "hard_sigmoid": ({}, lambda x: torch.clamp(x / 6 + 0.5, 0, 1)),  # PyTorch's own has the slope float32(1 / 6)
    "hard_swish": ({}, F.hardswish),
    "relu6": ({}, F.relu6),
}


def check(operator, x, expected, rng, axis=None, **tolerance):
    t = torch.from_numpy(x).requires_grad_()
    y = expected(t)
    dy = rng.normal(size=y.shape)
    y.backward(torch.from_numpy(dy))
    where = {} if axis is None else {"axis": axis}
    np.testing.assert_allclose(operator(x, **where), y.detach().numpy(), **tolerance)
    np.testing.assert_allclose(operator.vjp(x, dy, **where), t.grad.numpy(), **tolerance)


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_activations(rng, case):
    name = case.split()[0]
    settings, expected = ACTIVATIONS[case]
    x = np.concatenate([rng.normal(size=200) * 3, [-30.0, -5.0, 5.0, 30.0]]).reshape(12, 17)
    check(temper.op(name, **settings), x, expected, rng, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "relu6", "hard_sigmoid", "softsign"])
def test_slopes_at_the_kinks_are_those_of_torch(name):
    """Of the two slopes there the same one; PyTorch's hard sigmoid has float32(1 / 6)."""
    x = np.array([-3.0, 0.0, 3.0, 6.0])
    t = torch.from_numpy(x).requires_grad_()
    getattr(F, name.replace("hard_", "hard"))(t).sum().backward()
    np.testing.assert_allclose(temper.op(name).vjp(x, np.ones(4)), t.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name, expected", [("softmax", F.softmax), ("log_softmax", F.log_softmax)])
@pytest.mark.parametrize("width", [2, 17, 3000])
def test_softmax(rng, name, expected, axis, width):
    x = 5 * rng.normal(size=(4, 3, width))
    check(temper.op(name), x, lambda t: expected(t, dim=axis), rng, axis, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["sparsemax", "entmax15"])
@pytest.mark.parametrize("axis", [0, -1])
def test_sparse_softmax(rng, name, axis):
    entmax = pytest.importorskip("entmax", reason="entmax, the oracle of this test, is not installed")
    x = 2 * rng.normal(size=(7, 9))
    check(temper.op(name), x, lambda t: getattr(entmax, name)(t, dim=axis), rng, axis, rtol=1e-9, atol=1e-12)
