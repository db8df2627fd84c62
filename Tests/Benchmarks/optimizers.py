"""Optimizers over a large array and over many small ones, beside PyTorch's fused and foreach forms."""
import statistics

import numpy as np
import torch

import temper
from pairs import human, pair, report, turns

LARGE = 64 << 20


def lion_operations(p, g, state, lr=1e-4, beta1=0.9, beta2=0.99):
    m, u = state
    torch.lerp(m, g, 1 - beta1, out=u).sign_()
    p.add_(u, alpha=-lr)
    m.lerp_(g, 1 - beta2)


def adabelief_operations(p, g, state, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    m, s, u = state
    m.lerp_(g, 1 - beta1)
    torch.sub(g, m, out=u)
    s.mul_(beta2).addcmul_(u, u, value=1 - beta2).add_(eps)
    torch.sqrt(s, out=u).add_(eps)
    p.addcdiv_(m, u, value=-lr)


def adan_operations(p, g, state, lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8):
    m, v, n, last, u = state
    torch.sub(g, last, out=u)
    last.copy_(g)
    m.lerp_(g, 1 - beta1)
    v.lerp_(u, 1 - beta2)
    u.mul_(beta2).add_(g)
    n.mul_(beta3).addcmul_(u, u, value=1 - beta3)
    torch.sqrt(n, out=u).add_(eps)
    p.addcdiv_(m, u, value=-lr).addcdiv_(v, u, value=-lr * beta2)


# Ours, its options; PyTorch's class, or where it has none the same step (but for the corrections of its averages, which
# are numbers) in operations and how many arrays that
# takes; arrays that a step must read, and write.
RULES = [
    ("adam", {}, torch.optim.Adam, 4, 3),
    ("adamw", {}, torch.optim.AdamW, 4, 3),
    ("sgd", {"momentum": 0.9}, lambda p, **form: torch.optim.SGD(p, lr=0.01, momentum=0.9, **form), 3, 2),
    ("lion", {}, (lion_operations, 2), 3, 2),
    ("adabelief", {}, (adabelief_operations, 3), 4, 3),
    ("adan", {}, (adan_operations, 5), 6, 5),
]


def arrays(shape, count=1):
    return [np.zeros(shape, np.float32) for _ in range(count)], [np.full(shape, 0.5, np.float32) for _ in range(count)]


def tensors(shape, count=1):
    made = [torch.zeros(shape, requires_grad=True) for _ in range(count)]
    for tensor in made:
        tensor.grad = torch.full_like(tensor, 0.5)
    return made


def steps_of_pytorch(other):
    """Its fused and its foreach form; or the same step in single operations."""
    if isinstance(other, tuple):
        operations, count = other
        [p], state = tensors(LARGE), [torch.zeros(LARGE) for _ in range(count)]
        return {"operations": torch.no_grad()(lambda: operations(p, p.grad, state))}
    return {form: other(tensors(LARGE), **{form: True}).step for form in ("fused", "foreach")}


def large(context, name, options, other, reads, writes):
    """Memory is the limit: the bytes that a step must move over its time, beside the speed of an array scaled in place
    (one read, one write) and of a copy, which have their turns in the same rounds: the machine's memory drifts."""
    optimizer = context.optimizer(name, **options)
    parameters, gradients = arrays(LARGE)
    theirs = steps_of_pytorch(other)
    scaled, copied = torch.zeros(LARGE), torch.zeros(LARGE)
    actions = [lambda: optimizer.step(parameters, gradients), lambda: scaled.mul_(0.5), lambda: copied.copy_(scaled)]
    rounds = turns(*actions, *theirs.values(), seconds=2)
    ours, scale, copy, *others = (statistics.median(times) for times in zip(*rounds))
    form, best = min(zip(theirs, others), key=lambda other: other[1])
    place = 3 + list(theirs).index(form)
    ratio = statistics.median(times[place] / times[0] for times in rounds)
    moved = (reads + writes) * 4
    share = statistics.median(moved / 8 * min(times[1], times[2]) / times[0] for times in rounds)
    size = LARGE * 4 / 1e9
    print(f"{f'{name}, 64 million floats, {form}':52} {human(ours):>9} {human(best):>9} {ratio:7.2f}x  aim    1  "
          f"{'reached' if ratio >= 1 else 'MISSED'}", flush=True)
    print(f"{f'  {moved} bytes an element ({reads} reads, {writes} writes)':52} {(reads + writes) * size / ours:6.1f} GB/s beside "
          f"{2 * size / scale:.1f} scaling in place, {2 * size / copy:.1f} copying: {share:.2f} of the faster, aim 0.9, "
          f"{'reached' if share >= 0.9 else 'MISSED'}", flush=True)


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
    actions = [lambda: clipped.step(parameters, gradients), lambda: plain.step(parameters, gradients), lambda: torch.sum(flat)]
    rounds = turns(*actions, seconds=3)
    ours, without, read = (statistics.median(times) for times in zip(*rounds))
    ratio = statistics.median(p / c for c, p, _ in rounds)
    reads = statistics.median((c - p) / r for c, p, r in rounds)
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
