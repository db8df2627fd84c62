"""Fifty steps equal PyTorch's for every optimizer that it has, every flag of its constructor with every other."""

import inspect
import itertools

import numpy as np
import pytest
from torch_steps import CLASSES, as_tensors, fifty_steps, gradient_sequence, torch, translated

import temper

# Names together change together; every name has two values at least. The first of numbers is PyTorch's, where it does
# not make roots of differences (rmsprop, centered).
DECAY, UP = {"weight_decay": (0, 0.05)}, {"maximize": (False, True)}
OWN_WAY = {"decoupled_weight_decay": (False, True)}
ADAM = {"lr betas eps": ((1e-3, (0.9, 0.999), 1e-8), (0.02, (0.8, 0.95), 1e-6))}
FLAGS = {
    "sgd": {"lr weight_decay": ((1e-3, 0), (0.05, 0), (0.02, 0.05)), "momentum": (0, 0.9), "dampening": (0, 0.3),
            "nesterov": (False, True), **UP},
    "adagrad": {"lr eps": ((0.01, 1e-10), (0.05, 1e-6)), "lr_decay": (0, 0.1), "initial_accumulator_value": (0, 0.3),
                **DECAY, **UP},
    "adadelta": {"lr rho eps": ((1.0, 0.9, 1e-6), (0.5, 0.8, 1e-4)), **DECAY, **UP},
    "rmsprop": {"lr alpha eps": ((0.01, 0.99, 1e-3), (0.02, 0.9, 1e-2)), "momentum": (0, 0.9),
                "centered": (False, True), **DECAY, **UP},
    "adam": {**ADAM, "amsgrad": (False, True), **DECAY, **UP, **OWN_WAY},
    "adamw": {**ADAM, "amsgrad": (False, True), "weight_decay": (0.01, 0.3), **UP},
    "adamax": {"lr betas eps": ((2e-3, (0.9, 0.999), 1e-8), (0.02, (0.8, 0.95), 1e-6)), **DECAY, **UP},
    "nadam": {"lr betas eps momentum_decay": ((2e-3, (0.9, 0.999), 1e-8, 4e-3), (0.02, (0.8, 0.95), 1e-6, 0.01)),
              **DECAY, **UP, **OWN_WAY},
    "radam": {**ADAM, **DECAY, **UP, **OWN_WAY},
    "asgd": {"lr lambd": ((0.01, 1e-4), (0.05, 0.01)), "t0": (1e6, 10.0), "alpha": (0.75, 0.5), **DECAY, **UP},
    "adafactor": {"lr d": ((0.01, 1.0), (0.3, 1.5)), "beta2_decay": (-0.8, -0.5), "eps": ((None, 1e-3), (1e-5, 0.1)),
                  **DECAY, **UP},
    "rprop": {"lr": (0.01, 0.05), "etas": ((0.5, 1.2), (0.6, 1.5)), "step_sizes": ((1e-6, 50), (0.01, 0.1)), **UP},
    "sparse_adam": {**ADAM, **UP},
    "muon": {"lr weight_decay momentum": ((1e-3, 0.1, 0.95), (0.02, 0, 0.8)), "nesterov": (True, False),
             "ns_coefficients ns_steps adjust_lr_fn": (
                 ((3.4445, -4.7750, 2.0315), 5, None), ((3.4445, -4.7750, 2.0315), 5, "original"),
                 ((3.0, -4.0, 2.0), 3, "match_rms_adamw")), "eps": (1e-7, 2.0)},
    "lbfgs": {"lr": (1, 0.3), "max_iter history_size": ((20, 100), (7, 3)), "max_eval": (None, 4),
              "tolerance_grad tolerance_change": ((1e-7, 1e-9), (1e-2, 1e-3)), "line_search_fn": (None, "strong_wolfe")},
}  # fmt: skip
# How PyTorch runs a step, not what the step is.
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}


def varied(flags):
    """The names, with the values that each takes."""
    return {
        name: [value[n] if " " in names else value for value in values]
        for names, values in flags.items()
        for n, name in enumerate(names.split())
    }


def combinations(name):
    names = [key.split() for key in FLAGS[name]]
    for chosen in itertools.product(*FLAGS[name].values()):
        settings = {}
        for together, value in zip(names, chosen):
            settings |= dict(zip(together, value if len(together) > 1 else (value,)))
        if settings.get("nesterov") and name == "sgd" and (settings["momentum"] == 0 or settings["dampening"] != 0):
            continue  # PyTorch refuses it
        yield settings


def test_no_flag_of_pytorch_is_left_out():
    optimizers = {c for c in vars(torch.optim).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
    assert optimizers - {torch.optim.Optimizer} == set(CLASSES.values())
    for name, theirs in CLASSES.items():
        flags = set(inspect.signature(theirs).parameters) - {"params"} - IMPLEMENTATION
        crossed = varied(FLAGS[name])
        assert set(crossed) == flags, name
        assert all(len(set(values)) > 1 for values in crossed.values()), name


def rows_with_gradients(gradient):
    """The rows of a gradient that are not zero, sparse."""
    rows = np.flatnonzero(np.abs(gradient.reshape(len(gradient), -1)).max(1))
    return torch.sparse_coo_tensor(rows[None], gradient[rows], gradient.shape, check_invariants=True)


PRECISION = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])


@PRECISION
@pytest.mark.parametrize("name", [name for name in CLASSES if name != "lbfgs"])
def test_fifty_steps_with_every_flag(rng, double, monkeypatch, name, dtype, tolerance):
    shapes = [(6, 4), (3, 5)] if name == "muon" else [(3, 2), (4,)]
    start, sequence = [rng.normal(size=s) for s in shapes], gradient_sequence(rng, shapes, dtype)
    if name == "sparse_adam":  # rows without a gradient stay, with their averages
        for gradient in itertools.chain(*sequence):
            gradient[rng.random(len(gradient)) < 0.5] = 0
    if name == "muon":  # PyTorch's rounds to bfloat16 inside; without that, the same numbers
        monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    tensors = as_tensors(sequence, rows_with_gradients if name == "sparse_adam" else torch.tensor)
    for settings in combinations(name):
        found, expected = fifty_steps(name, settings, dtype, sequence, start, tensors)
        for ours, theirs in zip(found, expected):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=str(settings))


@PRECISION
@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("sparse_adam", "muon", "lbfgs")])
def test_fifty_steps_of_what_is_made_without_settings(rng, double, name, dtype, tolerance):
    shapes = [(7, 5), (5,), (), (2, 3, 4)]
    start, sequence = [rng.normal(size=s) for s in shapes], gradient_sequence(rng, shapes, dtype)
    settings = {"lr": 0.01} if name == "sgd" else {}  # PyTorch's was none for long and is 0.001 now
    for ours, theirs in zip(*fifty_steps(name, settings, dtype, sequence, start)):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@PRECISION
def test_amsgrad_by_its_own_name(rng, double, dtype, tolerance):
    shapes = [(3, 2), (4,)]
    start, sequence = [rng.normal(size=s).astype(dtype) for s in shapes], gradient_sequence(rng, shapes, dtype)
    _, expected = fifty_steps("adam", {"amsgrad": True}, dtype, sequence, start)
    parameters, optimizer = [w.copy() for w in start], temper.optimizer("amsgrad")
    for gradients in sequence:
        optimizer.step(parameters, gradients)
    for ours, theirs in zip(parameters, expected):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def bowl(x):
    return (torch.arange(1, len(x) + 1) * (x - 1) ** 2).sum() + torch.logaddexp(x, -x).sum()


def measured(point):
    loss = bowl(point)
    point.grad = torch.autograd.grad(loss, [point])[0]
    return loss.detach(), [point.grad]


@PRECISION
def test_lbfgs_with_every_flag(double, dtype, tolerance):
    """It chooses where it asks for gradients: fifty iterations on a function, in float32 as long as differences of
    gradients are more than rounding."""
    for settings in combinations("lbfgs"):
        x = np.array([-1.2, 1.0, 0.5, 2.0], dtype)
        tensor = torch.tensor(x, requires_grad=True)
        ours = temper.optimizer("lbfgs", **translated("lbfgs", settings))
        theirs = CLASSES["lbfgs"]([tensor], **settings)

        def closure(x=x):
            return measured(torch.tensor(x, requires_grad=True))

        def theirs_closure(tensor=tensor):
            return measured(tensor)[0]

        for _ in range(-(-50 // settings["max_iter"])):
            loss, expected = ours.step([x], closure), theirs.step(theirs_closure)
            assert loss == pytest.approx(float(expected), rel=tolerance), settings
            if dtype == np.float32 and tensor.grad.abs().max() < 0.02:
                break
            there = tensor.detach().numpy()
            np.testing.assert_allclose(x, there, rtol=tolerance, atol=tolerance, err_msg=str(settings))
