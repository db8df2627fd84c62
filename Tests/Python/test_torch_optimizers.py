"""PyTorch as an oracle for optimizers: fifty steps of the same gradients."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")

CASES = {
    "sgd": ("sgd", {"lr": 0.1}, torch.optim.SGD, {"lr": 0.1}),
    "sgd decay": ("sgd", {"lr": 0.1, "weight_decay": 0.05}, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "sgd momentum": ("sgd", {"lr": 0.1, "momentum": 0.9}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd dampening": (
        "sgd", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
        torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    ),
    "sgd nesterov": (
        "sgd", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": ("adam", {}, torch.optim.Adam, {}),
    "adam settings": (
        "adam", {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.1},
        torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adam amsgrad": ("adam", {"amsgrad": True}, torch.optim.Adam, {"amsgrad": True}),
    "adamw": ("adamw", {}, torch.optim.AdamW, {}),
    "adamw settings": (
        "adamw", {"learning_rate": 0.01, "weight_decay": 0.3, "amsgrad": True},
        torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_fifty_steps(rng, case, dtype, tolerance):
    name, settings, oracle, oracle_settings = CASES[case]
    shapes = [(7, 5), (5,), (), (2, 3, 4)]
    parameters = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours, theirs = temper.optimizer(name, **settings), oracle(tensors, **oracle_settings)
    for step in range(50):
        # Gradients whose size changes a lot, so that the largest average of amsgrad is not the last one.
        gradients = [np.asarray(np.cos(step) ** 4 * rng.normal(size=shape), dtype) for shape in shapes]
        for tensor, gradient in zip(tensors, gradients):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.step(parameters, gradients)
    for parameter, tensor in zip(parameters, tensors):
        np.testing.assert_allclose(parameter, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_torch_parameters_are_updated_in_place(rng):
    layer = torch.nn.Linear(4, 3)
    before = [p.detach().clone() for p in layer.parameters()]
    layer(torch.ones(2, 4)).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    temper.optimizer("sgd", learning_rate=0.5).step(list(layer.parameters()), gradients)
    for parameter, old, gradient in zip(layer.parameters(), before, gradients):
        torch.testing.assert_close(parameter.detach(), old - 0.5 * gradient)
