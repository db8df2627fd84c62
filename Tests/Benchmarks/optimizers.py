"""Optimizers over a large array and over many small ones, beside PyTorch's fused and foreach forms."""
import numpy as np
import torch

import temper
from pairs import pair, report, human

LARGE = 64 << 20
# Ours, its options; PyTorch's of the same rule (None: it has none); arrays that a step must read and write.
RULES = [
    ("adam", {}, lambda p: torch.optim.Adam(p, fused=True), 7),
    ("adamw", {}, lambda p: torch.optim.AdamW(p, fused=True), 7),
    ("sgd", {"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True), 5),
    ("lion", {}, None, 5),
    ("adabelief", {}, None, 7),
    ("adan", {}, None, 11),
]


def arrays(shape, count=1):
    return [np.zeros(shape, np.float32) for _ in range(count)], [np.full(shape, 0.5, np.float32) for _ in range(count)]


def tensors(shape, count=1):
    made = [torch.zeros(shape, requires_grad=True) for _ in range(count)]
    for tensor in made:
        tensor.grad = torch.full_like(tensor, 0.5)
    return made


def large(context, name, options, other, passes):
    """Aim: 50 GB/s or PyTorch's fused form; memory is the limit."""
    optimizer = context.optimizer(name, **options)
    parameters, gradients = arrays(LARGE)
    theirs = other(tensors(LARGE)).step if other else lambda: None
    ours, seconds, ratio = pair(lambda: optimizer.step(parameters, gradients), theirs)
    speed = passes * parameters[0].nbytes / ours / 1e9
    reached = "reached" if speed >= 50 or other and ratio >= 1 else "MISSED"
    print(f"{f'{name}, 64 million floats':52} {human(ours):>9} {human(seconds) if other else '-':>9} "
          f"{f'{ratio:7.2f}x' if other else '       -'}  aim    1  {reached:8} {speed:.1f} GB/s (or 50)", flush=True)


def small(context, form):
    optimizer = context.optimizer("adamw")
    parameters, gradients = arrays(1000, 1000)
    theirs = torch.optim.AdamW(tensors(1000, 1000), **{form: True})
    report(f"adamw, 1,000 arrays of 1,000 floats, {form}", lambda: optimizer.step(parameters, gradients), theirs.step, 5)


def clipping(context, name, options):
    """Clipping by the global norm: one read of the gradients more. A core reads at about 35 GB/s and writes beside it, so
    that a read takes a third of a step of sgd, which reads three arrays and writes two."""
    parameters, gradients = arrays(LARGE)
    clipped, plain = context.optimizer("clip_by_global_norm", base=name, **options), context.optimizer(name, **options)
    flat = torch.from_numpy(gradients[0])
    ours, without, ratio = pair(lambda: clipped.step(parameters, gradients), lambda: plain.step(parameters, gradients))
    _, read, _ = pair(lambda: plain.step(parameters, gradients), lambda: torch.sum(flat))
    reads = (1 / ratio - 1) * without / read
    print(f"{f'clip_by_global_norm around {name}, 64 million floats':52} {human(ours):>9} {human(without):>9} "
          f"{1 / ratio:7.2f}   {reads:.2f} reads more, at most 1.1  {'reached' if reads <= 1.1 else 'MISSED'} "
          f"(a read {human(read)}, {4 * LARGE / read / 1e9:.0f} GB/s)", flush=True)


def orthogonalisation(context):
    """Muon's five steps of X <- a X + (b A + c A^2) X, A = X X^T, at the speed of our own products of that size."""
    n, steps = 1024, 5
    parameters, gradients = arrays((n, n))
    gradients[0][:] = np.random.default_rng(0).standard_normal((n, n))
    muon = context.optimizer("muon")
    layer = temper.Model([{"dense": {"size": n, "bias": False}}], input=(n,), context=context)
    x = np.ones((n, n), np.float32)
    ours, single, _ = pair(lambda: muon.step(parameters, gradients), lambda: layer.predict(x))
    # X X^T, A A and (…) X: three products a step.
    share = 3 * steps * single / ours
    speed = 3 * steps * 2 * n**3 / ours / 1e9
    print(f"{f'muon, {n} x {n}, beside 15 products':52} {human(ours):>9} {human(15 * single):>9} {share:7.2f}x  "
          f"aim  0.8  {'reached' if share >= 0.8 else 'MISSED':8} {speed:.0f} GFLOP/s", flush=True)


def sharpness(context):
    """A step of sam has two passes: against a plain one of the same network."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((6400, 64), np.float32), random.integers(0, 10, 6400)

    def training(optimizer):
        model = temper.Model([{"dense": 128}, "relu", {"dense": 10}], input=(64,), context=context)
        trainer = temper.Trainer(model, loss="cross_entropy", optimizer=optimizer, batch_size=64)
        return lambda: trainer.fit(x, y, epochs=trainer.epochs + 1)

    twice, once, ratio = pair(training("sam"), training("sgd"))
    print(f"{'sam, a step of 64-128-10 beside one of sgd':52} {human(twice):>9} {human(once):>9} {1 / ratio:7.2f}   "
          f"at most 2.1  {'reached' if 1 / ratio <= 2.1 else 'MISSED'}", flush=True)


def run(threads):
    context = temper.Context(threads=threads)
    for rule in RULES:
        large(context, *rule)
    for form in ("fused", "foreach"):
        small(context, form)
    for rule in (("sgd", {"momentum": 0.9}), ("adamw", {})):
        clipping(context, *rule)
    orthogonalisation(context)
    sharpness(context)
