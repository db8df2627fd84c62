"""Optimizers over a large array and over many small ones, beside PyTorch's fused and foreach forms."""
import statistics

import numpy as np
import torch

import temper
from pairs import human, once, pair, report, turns

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
# are numbers) in operations and how many arrays that takes; arrays that a step must read, and write.
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
    """PyTorch's parameters with gradients, over memory like that of our arrays: NumPy asks for large pages."""
    made = []
    for parameter, gradient in zip(*arrays(shape, count)):
        made.append(torch.from_numpy(parameter).requires_grad_())
        made[-1].grad = torch.from_numpy(gradient)
    return made


def steps_of_pytorch(other):
    """Its fused and its foreach form; or the same step in single operations."""
    if isinstance(other, tuple):
        operations, count = other
        [p] = tensors(LARGE)
        state = [torch.zeros(LARGE) for _ in range(count)]
        return {"operations": torch.no_grad()(lambda: operations(p, p.grad, state))}
    return {form: other(tensors(LARGE), **{form: True}).step for form in ("fused", "foreach")}


def best_form(other):
    def seconds(step):
        step()
        return once(step, 1)

    return min(((seconds(step), form) for form, step in steps_of_pytorch(other).items()))[1]


PLACES = 3  # times that every array is made anew: where pages come to lie is chance, and so is what a neighbour does


def rounds_of(context, rule, form):
    """Seconds of our step, of PyTorch's, of a read of an array, one and two at once, of scaling one, and of a copy. They
    have their turns in the same rounds: the machine's memory drifts."""
    name, options, other, _, _ = rule
    optimizer = context.optimizer(name, **options)
    parameters, gradients = arrays(LARGE)
    step = steps_of_pytorch(other)[form]
    one, two = (torch.from_numpy(array) for kind in arrays(LARGE) for array in kind)
    return turns(lambda: optimizer.step(parameters, gradients), step, lambda: torch.sum(one), lambda: torch.dot(one, two),
                 lambda: one.mul_(1.0), lambda: two.copy_(one), seconds=0, rounds=5)  # fmt: skip


def large(context):
    """Memory is the limit. A core waits for what it reads and writes beside that: scaling an array in place takes as long
    as a read of it. So a step cannot take less than its arrays take to be read; what it moves, in GB/s, is beside it.
    PyTorch is compared turn by turn. The limit is compared best turn with best turn, as STREAM does: what others do to
    the machine's memory meanwhile only adds time, and not the same to reading as to writing."""
    forms = [best_form(rule[2]) for rule in RULES]
    places = [[rounds_of(context, rule, form) for rule, form in zip(RULES, forms)] for _ in range(PLACES)]
    for rule, form, *of_rule in zip(RULES, forms, *places):
        name, _, _, reads, writes = rule
        rounds = [times for place in of_rule for times in place]
        ours, theirs = (statistics.median(times) for times in list(zip(*rounds))[:2])
        ratio = statistics.median(times[1] / times[0] for times in rounds)
        best, _, read, two_read, scaled, copied = (min(times) for times in zip(*rounds))
        share = reads * min(read, two_read / 2, scaled) / best
        by_place = ", ".join(human(min(times[0] for times in place)) for place in of_rule)
        size = LARGE * 4 / 1e9
        print(f"{f'{name}, 64 million floats, {form}':52} {human(ours):>9} {human(theirs):>9} {ratio:7.2f}x  aim    1  "
              f"{'reached' if ratio >= 1 else 'MISSED'}", flush=True)
        print(f"{f'  {reads} reads, {writes} writes: time to read, share':52} {share:.2f} (best {by_place} by places), aim 0.9, "
              f"{'reached' if share >= 0.9 else 'MISSED'}; {(reads + writes) * size / best:.1f} GB/s beside {size / read:.1f} "
              f"reading, {2 * size / scaled:.1f} scaling in place, {2 * size / copied:.1f} copying", flush=True)


def small(context, form):
    optimizer = context.optimizer("adamw")
    parameters, gradients = arrays(1000, 1000)
    theirs = torch.optim.AdamW(tensors(1000, 1000), **{form: True})
    report(f"adamw, 1,000 arrays of 1,000 floats, {form}", lambda: optimizer.step(parameters, gradients), theirs.step, 5)


def clipping(context, name, options):
    """Clipping by the global norm: one read of the gradients more. A core reads at about 35 GB/s and writes beside it, so
    that a read takes a third of a step of sgd, which reads three arrays and writes two. Best turns are compared."""
    rounds = []
    for _ in range(PLACES):
        parameters, gradients = arrays(LARGE)
        clipped, plain = context.optimizer("clip_by_global_norm", base=name, **options), context.optimizer(name, **options)
        flat = torch.from_numpy(gradients[0])
        rounds += turns(lambda: clipped.step(parameters, gradients), lambda: plain.step(parameters, gradients),
                        lambda: torch.sum(flat), seconds=1, rounds=5)  # fmt: skip
    ours, without, read = (min(times) for times in zip(*rounds))
    reads = (ours - without) / read
    print(f"{f'clip_by_global_norm around {name}, 64 million floats':52} {human(ours):>9} {human(without):>9} "
          f"{ours / without:7.2f}   {reads:.2f} reads more, at most 1.1  {'reached' if reads <= 1.1 else 'MISSED'} "
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
    large(context)
    for form in ("fused", "foreach"):
        small(context, form)
    for rule in (("sgd", {"momentum": 0.9}), ("adamw", {})):
        clipping(context, *rule)
    orthogonalisation(context)
    sharpness(context)
