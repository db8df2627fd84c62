"""Tests of the Python binding. In a source tree they test bindings/python; where `temper` is installed, that."""

import importlib.util
import os
import pathlib
import sys

import numpy as np
import pytest

if importlib.util.find_spec("temper") is None:
    binding = str(pathlib.Path(__file__).resolve().parents[2] / "bindings/python")
    sys.path.insert(0, binding)
    # Some tests start a Python of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [binding, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def rng(request):
    """Random numbers that differ from test to test and not from run to run."""
    seed = np.frombuffer(request.node.nodeid.encode(), np.uint8)
    return np.random.default_rng(seed)


@pytest.fixture
def double():
    """PyTorch keeps numbers of its own (rates, products of momenta) in the default type."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
