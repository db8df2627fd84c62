"""Losses and softmax beside PyTorch, into buffers that are there already."""
import numpy as np
import torch

import temper
from pairs import report


def memory(nbytes):
    """How a time stands to the memory traffic it cannot do without."""
    return lambda seconds: f"{nbytes / seconds / 1e9:.1f} GB/s of {nbytes / 1e6:.0f} MB"


def cross_entropy(context, rows, columns, aim):
    random = np.random.default_rng(0)
    logits = random.standard_normal((rows, columns), np.float32)
    targets = random.integers(0, columns, rows)
    gradient = np.empty_like(logits)
    loss = context.loss("cross_entropy")
    theirs, their_targets = torch.from_numpy(logits.copy()).requires_grad_(), torch.from_numpy(targets)

    def other():
        theirs.grad = None
        torch.nn.functional.cross_entropy(theirs, their_targets).backward()

    report(f"cross_entropy with gradient, {rows} x {columns}",
           lambda: loss.value_and_grad(logits, targets, out={"logits": gradient}), other, aim, memory(2 * logits.nbytes))
    torch.testing.assert_close(torch.from_numpy(gradient), theirs.grad, rtol=1e-4, atol=1e-9)


def softmax(context, name, rows, columns, aim):
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    out, op = np.empty_like(x), context.op(name)
    theirs, their_out = torch.from_numpy(x), torch.empty(rows, columns)
    other = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}[name]
    report(f"{name}, {rows} x {columns}", lambda: op(x, out=out),
           lambda: other(theirs, -1, out=their_out), aim, memory(2 * x.nbytes))
    np.testing.assert_allclose(out, their_out.numpy(), rtol=1e-4, atol=1e-6)


def beside_a_copy(context, name, rows, columns):
    """Wide rows, whose limit is the time that copying them takes."""
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    out, op = np.empty_like(x), context.op(name)
    theirs, their_out = torch.from_numpy(x), torch.empty(rows, columns)
    report(f"{name} beside a copy, {rows} x {columns}", lambda: op(x, out=out), lambda: their_out.copy_(theirs), 0.75)


def activation(context, name, other, rows=256, columns=1024):
    """The gradient of an activation from its input: in cache, where arithmetic counts."""
    x, dy = np.random.default_rng(0).standard_normal((2, rows, columns), np.float32)
    out, op = np.empty_like(x), context.op(name)
    theirs, their_dy = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(dy)

    def both():
        theirs.grad = None
        other(theirs).backward(their_dy)

    report(f"{name} with gradient, {rows} x {columns}", lambda: op.vjp(x, dy, out=out), both, None)
    np.testing.assert_allclose(out, theirs.grad, rtol=1e-4, atol=1e-5)


def sparse(context, name, rows, columns, aim):
    """Beside the entmax package, which sorts or takes the largest entries."""
    import entmax

    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    out, op, other = np.empty_like(x), context.op(name), getattr(entmax, name)
    theirs = torch.from_numpy(x)
    report(f"{name}, {rows} x {columns}", lambda: op(x, out=out), lambda: other(theirs, dim=-1), aim)
    np.testing.assert_allclose(out, other(theirs, dim=-1).numpy(), atol=1e-5)


def run(threads):
    context = temper.Context(threads=threads)
    cross_entropy(context, 8192, 4096, 5)
    cross_entropy(context, 65536, 10, 5)
    for name in ("softmax", "log_softmax"):
        softmax(context, name, 1024, 32000, 1)
        softmax(context, name, 65536, 10, 10)
        beside_a_copy(context, name, 1024, 32000)
    for name in ("sparsemax", "entmax15"):
        sparse(context, name, 65536, 10, 5)
        sparse(context, name, 1024, 32000, 5)
    for name, other in (("gelu", torch.nn.functional.gelu), ("silu", torch.nn.functional.silu),
                        ("elu", torch.nn.functional.elu), ("hard_swish", torch.nn.functional.hardswish)):
        activation(context, name, other)
