"""PyTorch's optimizers beside ours: their flags under our names, and fifty steps of both."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")

CLASSES = {
    "sgd": "SGD", "adagrad": "Adagrad", "adadelta": "Adadelta", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW",
    "adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam", "asgd": "ASGD", "adafactor": "Adafactor", "rprop": "Rprop",
    "muon": "Muon", "sparse_adam": "SparseAdam", "lbfgs": "LBFGS",
}  # fmt: skip
CLASSES = {name: getattr(torch.optim, there) for name, there in CLASSES.items() if hasattr(torch.optim, there)}

# Several numbers of ours are one flag there; some have another name.
PARTS = {
    "betas": ("beta1", "beta2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("minimum_step", "maximum_step"),
    "ns_coefficients": ("a", "b", "c"), "eps": ("eps1", "eps2"), "adjust_lr_fn": ("scale",),
    "line_search_fn": ("line_search",),
}  # fmt: skip


# PyTorch's eps is the least norm that muon divides by; ours is added to the norm.
BESIDE = {"muon": lambda settings: {"eps": 0.0, "least_norm": settings.get("eps", 1e-7)}}


def translated(optimizer, settings):
    """PyTorch's settings under our names; what is None there is our default."""
    ours = {}
    for name, value in settings.items():
        parts = PARTS[name] if isinstance(value, tuple) or name.endswith("_fn") else (name,)
        ours |= dict(zip(parts, value if isinstance(value, tuple) else (value,)))
    ours |= BESIDE.get(optimizer, lambda settings: {})(settings)
    return {name: value for name, value in ours.items() if value is not None}


def gradient_sequence(rng, shapes, dtype, count=50):
    # Their size changes a lot, so that the largest average of amsgrad is not the last one.
    return [[np.asarray(np.cos(t) ** 4 * rng.normal(size=s), dtype) for s in shapes] for t in range(count)]


def as_tensors(sequence, make=torch.tensor):
    return [[make(gradient) for gradient in gradients] for gradients in sequence]


def fifty_steps(name, settings, dtype, sequence, start, theirs=None):
    """Our parameters and PyTorch's after the same gradients; `theirs` are those as tensors."""
    parameters = [w.astype(dtype) for w in start]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours, oracle = temper.optimizer(name, **translated(name, settings)), CLASSES[name](tensors, **settings)
    for gradients, of_tensors in zip(sequence, theirs or as_tensors(sequence)):
        for tensor, gradient in zip(tensors, of_tensors):
            tensor.grad = gradient
        oracle.step()
        ours.step(parameters, gradients)
    return parameters, [tensor.detach().numpy() for tensor in tensors]
