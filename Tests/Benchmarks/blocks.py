"""What is computed in blocks, beside PyTorch with whole arrays: time, and memory beyond the arrays that the caller owns."""

import ctypes
from pathlib import Path

import numpy as np
import torch

import temper
from pairs import report


def added(action):
    """Runs it and gives the memory, in MB, by which its peak is above what the process has before."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls gave back is not to serve this one
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = peak()
    action()
    return peak() - before


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def cut_cross_entropy(context, tokens, width, classes, aim):
    random = np.random.default_rng(0)
    features = random.standard_normal((tokens, width), np.float32)
    classifier = random.standard_normal((classes, width), np.float32) / width**0.5
    targets = random.integers(0, classes, tokens)
    gradients = {"features": np.zeros_like(features), "classifier": np.zeros_like(classifier)}
    loss = context.loss("cut_cross_entropy")
    mine, rows = (torch.from_numpy(a.copy()).requires_grad_() for a in (features, classifier))
    their_targets = torch.from_numpy(targets)

    def ours():
        loss.value_and_grad(features, classifier, targets, wrt=("features", "classifier"), out=gradients)

    def other():
        mine.grad = rows.grad = None
        torch.nn.functional.cross_entropy(mine @ rows.T, their_targets).backward()

    memory = added(ours)
    report(
        f"cut_cross_entropy with gradients, {tokens}x{width}, {classes} classes",
        ours,
        other,
        aim,
        f"{memory:.0f} MB beyond its arrays, logits {4e-6 * tokens * classes:.0f} MB",
    )
    torch.testing.assert_close(torch.from_numpy(gradients["classifier"]), rows.grad, rtol=1e-3, atol=1e-8)


def attention(context, heads, steps, width):
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((heads, steps, width), np.float32) for _ in range(4)]
    op = context.op("online_softmax_attention", causal=True)
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    names = ("queries", "keys", "values")
    out = {name: np.empty_like(arrays[0]) for name in names}

    def other():
        for tensor in theirs:
            tensor.grad = None
        y = torch.nn.functional.scaled_dot_product_attention(*(t[None] for t in theirs[:3]), is_causal=True)
        y[0].backward(theirs[3].detach())

    def ours():
        op.vjp(*arrays[:3], dy=arrays[3], out=out)

    memory = added(ours)
    report(
        f"causal attention with gradients, {heads} heads, {steps} steps",
        ours,
        other,
        None,
        f"{memory:.0f} MB beyond its arrays, weights {4e-6 * heads * steps * steps:.0f} MB",
    )


def largest(context, rows, columns, k):
    x = np.random.default_rng(0).standard_normal((rows, columns), np.float32)
    op, theirs = context.op("online_softmax_topk", k=k), torch.from_numpy(x)
    out = np.empty((rows, k), np.float32)
    report(
        f"softmax and its {k} largest, {rows} x {columns}",
        lambda: op(x, out=out),
        lambda: torch.softmax(theirs, -1).topk(k),
        1,
    )


def pairs(context, queries):
    scores = np.random.default_rng(0).standard_normal((queries, queries), np.float32)
    loss, gradient = context.loss("mann_whitney_loss", temperature=1.0), np.empty_like(scores)
    theirs = torch.from_numpy(scores.copy()).requires_grad_()
    negative = ~torch.eye(queries, dtype=torch.bool)

    def other():
        theirs.grad = None
        torch.nn.functional.softplus(theirs[negative][None] - theirs.diagonal()[:, None]).mean().backward()

    report(
        f"mann_whitney_loss with gradient, {queries} queries",
        lambda: loss.value_and_grad(scores, out={"scores": gradient}),
        other,
        None,
        f"{queries * queries * (queries - 1) / 1e6:.0f} million pairs",
    )


def contrast(context, name, samples, width):
    """All pairs of a batch: time, and memory beside that of their scores."""
    random = np.random.default_rng(0)
    queries, keys = (random.standard_normal((samples, width), np.float32) for _ in range(2))
    labels = random.integers(0, 100, samples)
    given = (queries, labels) if name == "supcon" else (queries, keys)
    wrt = ("features",) if name == "supcon" else ("queries", "keys")
    loss, gradients = context.loss(name), {key: np.zeros_like(queries) for key in wrt}
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in (queries, keys)]

    def other():
        for tensor in theirs:
            tensor.grad = None
        a, b = (torch.nn.functional.normalize(tensor, dim=-1) for tensor in theirs)
        torch.nn.functional.cross_entropy(a @ b.T / 0.1, torch.arange(samples)).backward()

    def ours():
        loss.value_and_grad(*given, wrt=wrt, out=gradients)

    memory = added(ours)
    report(
        f"{name} with gradient, {samples} samples",
        ours,
        other,
        None,
        f"{memory:.0f} MB beyond its arrays, scores {4e-6 * samples**2:.0f} MB; other: info_nce",
    )


def run(threads):
    context = temper.Context(threads=threads)
    cut_cross_entropy(context, 2048, 512, 32000, 1)
    attention(context, 8, 2048, 64)
    largest(context, 64, 1 << 20, 5)
    pairs(context, 200)
    contrast(context, "info_nce", 8192, 64)
    contrast(context, "supcon", 8192, 64)
