"""Optimizers written out in NumPy, as their papers have them: references for test_update_rules.py."""

import numpy as np

CASES = []


class Problem:
    """A bowl with noise that is a function of the step; the gradient at any point of a step has the same noise."""

    def __init__(self, shapes):
        self.shapes = shapes

    def start(self):
        return [np.random.default_rng([99, i]).normal(size=shape) for i, shape in enumerate(self.shapes)]

    def gradient(self, ws, t):
        return [
            (0.5 + i) * w + 0.1 * w**3 + np.cos(t) ** 2 * np.random.default_rng([t, i]).normal(size=w.shape)
            for i, w in enumerate(ws)
        ]


class Rule:
    """Parameters, state by name (lists like the parameters, or numbers), and what to evaluate with."""

    def __init__(self, start):
        self.w, self.start, self.state, self.result = [w.copy() for w in start], start, {}, None

    def step(self, function, problem, t, options):
        self.t, self.problem = t, problem
        self.g = problem.gradient(self.w, t)
        new = function(self, Options(options))
        self.w = [np.asarray(w) for w in new]

    def zeros(self, name, value=0.0):
        return self.state.setdefault(name, [np.full_like(w, value) for w in self.w])

    def at_start(self, name):
        return self.state.setdefault(name, [w.copy() for w in self.start])

    def number(self, name, value=0.0):
        return self.state.setdefault(name, value)

    def average(self, name, values, beta, value=0.0):
        self.state[name] = [beta * m + (1 - beta) * x for m, x in zip(self.zeros(name, value), values)]
        return self.state[name]

    def gradient_at(self, ws):
        return self.problem.gradient(ws, self.t)


class Options(dict):
    def __call__(self, name, default):
        value = self.get(name)
        return default if value is None else value


def rule(name, *settings):
    """A reference, with the settings that it is tested with."""

    def add(function):
        CASES.extend((name, options, function) for options in (settings or ({},)))
        return function

    return add


def rules():
    return CASES


def dot(a, b):
    return sum(float((x * y).sum()) for x, y in zip(a, b))


def length(a):
    return np.sqrt(dot(a, a))


def matrix(w):
    return w.reshape(w.shape[0], -1)


# ---------------------------------------------------------------------------------------------------- Adam and its kin


def adam_step(s, o, m, v, eps):
    b1, b2, t = o("beta1", 0.9), o("beta2", 0.999), s.t
    return [x / (1 - b1**t) / (np.sqrt(y / (1 - b2**t)) + eps) for x, y in zip(m, v)]


def decayed(s, o, default=0.0, decoupled=None):
    """(w, g) after weight decay."""
    lr, wd = o("lr", 0.001), o("weight_decay", default)
    sign = -1 if o("maximize", False) else 1
    g = [sign * x for x in s.g]
    if o("decoupled_weight_decay", False) if decoupled is None else decoupled:
        return [w * (1 - lr * wd) for w in s.w], g
    return s.w, [x + wd * w for x, w in zip(g, s.w)]


@rule("adabelief", {}, {"lr": 0.1, "beta1": 0.8, "weight_decay": 0.1, "eps": 1e-3},
      {"decoupled_weight_decay": True, "weight_decay": 0.2, "lr": 0.05, "maximize": True})  # fmt: skip
def adabelief(s, o):
    w, g = decayed(s, o)
    eps, b2 = o("eps", 1e-16), o("beta2", 0.999)
    m = s.average("m", g, o("beta1", 0.9))
    v = [b2 * v + (1 - b2) * (x - y) ** 2 + eps for v, x, y in zip(s.zeros("v"), g, m)]
    s.state["v"] = v
    return [a - o("lr", 0.001) * d for a, d in zip(w, adam_step(s, o, m, v, eps))]


@rule("yogi", {}, {"lr": 0.1, "initial_accumulator": 0.1, "weight_decay": 0.1, "eps": 1e-2})
def yogi(s, o):
    w, g = decayed(s, o)
    m = s.average("m", g, o("beta1", 0.9))
    old, b2 = s.zeros("v", o("initial_accumulator", 1e-6)), o("beta2", 0.999)
    s.state["v"] = [v - (1 - b2) * np.sign(v - x * x) * x * x for v, x in zip(old, g)]
    return [a - o("lr", 0.01) * d for a, d in zip(w, adam_step(s, o, m, s.state["v"], o("eps", 1e-3)))]


@rule("adan", {}, {"lr": 0.1, "weight_decay": 0.3, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95, "maximize": True})
def adan(s, o):
    sign = -1 if o("maximize", False) else 1
    g = [sign * x for x in s.g]
    b1, b2, b3, lr, t = o("beta1", 0.98), o("beta2", 0.92), o("beta3", 0.99), o("lr", 0.001), s.t
    d = [x - y for x, y in zip(g, s.state.get("last", g))]
    s.state["last"] = g
    m, v = s.average("m", g, b1), s.average("v", d, b2)
    n = s.average("n", [(x + b2 * y) ** 2 for x, y in zip(g, d)], b3)
    return [
        (w - lr * (x / (1 - b1**t) + b2 * y / (1 - b2**t)) / (np.sqrt(z / (1 - b3**t)) + 1e-8))
        / (1 + lr * o("weight_decay", 0.0))
        for w, x, y, z in zip(s.w, m, v, n)
    ]


@rule("ademamix", {}, {"lr": 0.05, "alpha": 2.0, "beta3": 0.99, "warmup_steps": 8, "weight_decay": 0.1})
def ademamix(s, o):
    b1, b2, b3, lr, t, warm = o("beta1", 0.9), 0.999, o("beta3", 0.9999), o("lr", 0.001), s.t, o("warmup_steps", 0)
    alpha, slow = o("alpha", 5.0), b3
    if warm:
        alpha = min(t * alpha / warm, alpha)
        share = t / warm
        slow = min(np.exp(np.log(b1) * np.log(b3) / ((1 - share) * np.log(b3) + share * np.log(b1))), b3) \
            if t < warm else b3  # fmt: skip
    m, v = s.average("m", s.g, b1), s.average("v", [g * g for g in s.g], b2)
    n = s.average("n", s.g, slow)
    return [
        w - lr * ((x / (1 - b1**t) + alpha * z) / (np.sqrt(y / (1 - b2**t)) + 1e-8) + o("weight_decay", 0.0) * w)
        for w, x, y, z in zip(s.w, m, v, n)
    ]


@rule("lion", {}, {"lr": 0.05, "weight_decay": 0.3, "beta1": 0.7, "beta2": 0.8})
def lion(s, o):
    lr, b1, b2 = o("lr", 1e-4), o("beta1", 0.9), o("beta2", 0.99)
    u = [np.sign(b1 * m + (1 - b1) * g) for m, g in zip(s.zeros("m"), s.g)]
    s.average("m", s.g, b2)
    return [w * (1 - lr * o("weight_decay", 0.0)) - lr * x for w, x in zip(s.w, u)]


@rule("lamb", {}, {"lr": 0.1, "weight_decay": 0.2}, {"lr": 0.1, "max_trust_ratio": 0.5})
def lamb(s, o):
    m, v = s.average("m", s.g, 0.9), s.average("v", [g * g for g in s.g], 0.999)
    new = []
    for w, d in zip(s.w, adam_step(s, o, m, v, 1e-6)):
        r = d + o("weight_decay", 0.0) * w
        new.append(w - o("lr", 0.001) * min(np.sqrt((w * w).sum() / (r * r).sum()), o("max_trust_ratio", np.inf)) * r)
    return new


@rule("lars", {}, {"lr": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.1, "nesterov": True})
def lars(s, o):
    wd, mu, new = o("weight_decay", 0.0), 0.9, []
    for i, (w, g) in enumerate(zip(s.w, s.g)):
        size, slope = np.sqrt((w * w).sum()), np.sqrt((g * g).sum())
        d = o("lr", 0.1) * o("trust_coefficient", 0.001) * size / (slope + wd * size + 1e-8) * (g + wd * w)
        b = s.zeros("b")[i] = mu * s.zeros("b")[i] + d
        new.append(w - (d + mu * b if o("nesterov", False) else b))
    return new


# ---------------------------------------------------------------------------------------------------- without a rate


@rule("dog", {}, {"r_eps_rel": 0.01, "weight_decay": 0.1, "averaging_power": 2.0})
def dog(s, o):
    g = [x + o("weight_decay", 0.0) * w for x, w in zip(s.g, s.w)]
    first = o("r_eps_rel", 1e-6) * (1 + length(s.start))
    s.state["r"] = max(s.number("r", first), length([w - a for w, a in zip(s.w, s.start)]))
    s.state["G"] = s.number("G") + dot(g, g)
    new = [w - s.state["r"] / np.sqrt(s.state["G"] + 1e-8) * x for w, x in zip(s.w, g)]
    power = o("averaging_power", 8.0)
    share = (power + 1) / (power + s.t)
    s.result = [a + share * (w - a) for a, w in zip(s.result or s.start, new)]
    return new


@rule("prodigy", {"d0": 0.01}, {"d0": 0.1, "bias_correction": True, "weight_decay": 0.1, "d_coef": 2.0},
      {"d0": 0.05, "safeguard_warmup": True, "beta3": 0.9, "growth_rate": 1.02})  # fmt: skip
def prodigy(s, o):
    b1, b2, d0 = 0.9, 0.999, o("d0", 1e-6)
    b3, d = o("beta3", np.sqrt(b2)), s.number("d", d0)
    rate = d * (np.sqrt(1 - b2**s.t) / (1 - b1**s.t) if o("bias_correction", False) else 1)
    s.state["r"] = b3 * s.number("r") + d / d0 * rate * dot(s.g, [a - w for a, w in zip(s.start, s.w)])
    s.state["m"] = [b1 * m + d * (1 - b1) * g for m, g in zip(s.zeros("m"), s.g)]
    s.state["v"] = [b2 * v + d * d * (1 - b2) * g * g for v, g in zip(s.zeros("v"), s.g)]
    weight = d / d0 * (d if o("safeguard_warmup", False) else rate)
    s.state["s"] = [b3 * x + weight * g for x, g in zip(s.zeros("s"), s.g)]
    guess = o("d_coef", 1.0) * s.state["r"] / sum(np.abs(x).sum() for x in s.state["s"])
    if d == d0:
        d = max(d, guess)
    s.state["most"] = max(s.number("most", d0), guess)
    s.state["d"] = min(s.state["most"], d * o("growth_rate", np.inf))
    return [
        w * (1 - o("weight_decay", 0.0) * rate) - rate * m / (np.sqrt(v) + s.state["d"] * 1e-8)
        for w, m, v in zip(s.w, s.state["m"], s.state["v"])
    ]


@rule("dadapt_adam", {"d0": 0.01}, {"d0": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1,
      "bias_correction": True, "growth_rate": 1.1}, {"d0": 0.01, "weight_decay": 0.2})  # fmt: skip
def dadapt_adam(s, o):
    b1, b2, d, wd = 0.9, 0.999, s.number("d", o("d0", 1e-6)), o("weight_decay", 0.0)
    root, own = np.sqrt(b2), o("decoupled_weight_decay", False)
    rate = d * (np.sqrt(1 - b2**s.t) / (1 - b1**s.t) if o("bias_correction", False) else 1)
    g = s.g if own else [x + wd * w for x, w in zip(s.g, s.w)]
    s.state["m"] = [b1 * m + (1 - b1) * rate * x for m, x in zip(s.zeros("m"), g)]
    v = s.average("v", [x * x for x in g], b2)
    down = [np.sqrt(x) + 1e-8 for x in v]
    r = s.state["r"] = root * s.number("r") + (1 - root) * rate * dot(
        g, [x / y for x, y in zip(s.zeros("s"), down)])  # fmt: skip
    s.state["s"] = [root * x + (1 - root) * rate * y for x, y in zip(s.zeros("s"), g)]
    size = sum(np.abs(x).sum() for x in s.state["s"])
    s.state["d"] = max(d, min(r / ((1 - root) * size), d * o("growth_rate", np.inf)))
    return [w * (1 - wd * rate if own else 1) - m / x for w, m, x in zip(s.w, s.state["m"], down)]


@rule("u_dog", {"r_eps_rel": 0.01}, {"r_eps_rel": 0.1, "stabilise": True})
def u_dog(s, o):
    r = s.number("r", o("r_eps_rel", 1e-6) * (1 + length(s.start)))
    R = s.state["R"] = s.number("R") + r
    alpha, A, S, y = R / r, s.zeros("A"), s.number("S"), s.at_start("y")
    z = [(a + R * b) / (S + R) for a, b in zip(A, y)]
    m = s.gradient_at(z)
    before = s.number("G") if s.t > 1 else alpha**2 * dot(m, m)
    more = 1 + np.log(1 + s.t) if o("stabilise", False) else 1
    x = [b - R / np.sqrt(before * more) * d for b, d in zip(y, m)]
    s.state["A"] = A = [a + R * b for a, b in zip(A, x)]
    s.state["S"] = S + R
    mean = [a / s.state["S"] for a in A]
    g = s.gradient_at(mean)
    s.state["G"] = before + alpha**2 * length([a - b for a, b in zip(g, m)]) ** 2
    s.state["y"] = [b - R / np.sqrt(s.state["G"] * more) * d for b, d in zip(y, g)]
    s.state["r"] = max(r, *(length([a - b for a, b in zip(v, s.start)]) for v in (x, s.state["y"])))
    return mean


@rule("u_dog", {"form": "a_dog", "r_eps_rel": 0.1})
def a_dog(s, o):
    r = s.number("r", o("r_eps_rel", 1e-6) * (1 + length(s.start)))
    alpha = s.number("alpha", 1.0)
    s.state["G"] = s.number("G") + alpha**2 * dot(s.g, s.g)
    eta = r / np.sqrt(s.state["G"] + 1e-8)
    y = [x - eta * g for x, g in zip(s.w, s.g)]
    w = s.state["w"] = [x - alpha * eta * g for x, g in zip(s.at_start("w"), s.g)]
    s.state["sum"], old = s.number("sum") + alpha * r, s.number("sum")
    s.result = [(old * a + alpha * r * b) / s.state["sum"] for a, b in zip(s.result or y, y)]
    s.state["r"] = max(r, *(length([a - b for a, b in zip(v, s.start)]) for v in (y, w)))
    s.state["reach"] = s.number("reach") + r
    s.state["alpha"] = alpha = max(1.0, 0.5 * (s.state["reach"] + s.state["r"]) / s.state["r"])
    return [(1 - 1 / alpha) * a + b / alpha for a, b in zip(y, w)]


@rule("schedule_free_sgd", {"lr": 0.1}, {"lr": 0.2, "momentum": 0.8, "warmup_steps": 5, "weight_decay": 0.1, "r": 1.0})
def schedule_free_sgd(s, o):
    g = [x + o("weight_decay", 0.0) * w for x, w in zip(s.g, s.w)]
    return schedule_free(s, o, g, o("momentum", 0.9), 1.0, 1.0)


@rule("schedule_free_adamw", {"lr": 0.1}, {"lr": 0.2, "beta1": 0.8, "warmup_steps": 5, "weight_decay": 0.1})
def schedule_free_adamw(s, o):
    v = s.average("v", [g * g for g in s.g], 0.999)
    g = [x / (np.sqrt(y) + 1e-8) + o("weight_decay", 0.0) * w for x, y, w in zip(s.g, v, s.w)]
    return schedule_free(s, o, g, o("beta1", 0.9), 0.0025, np.sqrt(1 - 0.999**s.t))


def schedule_free(s, o, g, beta, default, correction):
    """With x, y and z as the paper has them."""
    warm = o("warmup_steps", 0)
    rate = o("lr", default) * correction * (min(1, s.t / warm) if warm else 1)
    s.state["most"] = max(s.number("most"), rate)
    weight = s.t ** o("r", 0.0) * s.state["most"] ** 2
    s.state["sum"] = s.number("sum") + weight
    c = weight / s.state["sum"]
    z = s.state["z"] = [a - rate * b for a, b in zip(s.at_start("z"), g)]
    s.result = [(1 - c) * a + c * b for a, b in zip(s.result or s.start, z)]
    return [(1 - beta) * a + beta * b for a, b in zip(z, s.result)]


# ---------------------------------------------------------------------------------------------------- heavy tails


def clip(g, bound):
    return [x * min(1, bound / length(g)) for x in g]


@rule("clip_radagrad_delayed", {}, {"delayed": False, "eta": 0.3, "b0": 0.5, "lr": 0.2}, {"clip": np.inf})
def clipped_adagrad(s, o):
    g = clip(s.g, o("clip", 1.0))
    b, new = s.number("b", o("b0", 1.0)), 0
    new = s.state["b"] = np.sqrt(b * b + o("eta", 1.0) * dot(g, g))
    return [w - o("lr", 0.01) / (b if o("delayed", True) else new) * x for w, x in zip(s.w, g)]


@rule("clip_radagrad_delayed", {"form": "coordinate"}, {"form": "coordinate", "delayed": False, "eta": 0.5})
def clipped_adagrad_by_coordinate(s, o):
    g, old = clip(s.g, 1.0), s.zeros("v", 1.0)
    s.state["v"] = [v + o("eta", 1.0) * x * x for v, x in zip(old, g)]
    used = old if o("delayed", True) else s.state["v"]
    return [w - 0.01 * x / (np.sqrt(v) + 1e-6) for w, x, v in zip(s.w, g, used)]


@rule("clip_radagrad_delayed", {"form": "adam", "lr": 0.1})
def clipped_adam(s, o):
    g = clip(s.g, 1.0)
    m = s.average("m", g, 0.9)
    v = s.average("v", [x * x for x in s.zeros("last")], 0.999, 1e-5)
    s.state["last"] = g
    return [w - o("lr", 0.01) * a / (np.sqrt(b) + 1e-6) for w, a, b in zip(s.w, m, v)]


@rule("clipped_sstm", {"a": 2.0, "L": 4.0}, {"a": 2.0, "L": 4.0, "B": 1e6, "ratio_max": 0.5},
      {"a": 2.0, "L": 4.0, "clip": "layer"}, {"a": 2.0, "L": 4.0, "clip": "coordinate"})  # fmt: skip
def clipped_sstm(s, o):
    k, a, L = s.t - 1, o("a", 1.0), o("L", 1.0)

    def alpha(k):
        return (k + 2) / (2 * a * L)

    bound, A = o("B", 0.05) / alpha(k), s.number("A")
    if o("clip", "global") == "global":
        g = clip(s.g, bound)
    elif o("clip", "global") == "layer":
        g = [x * min(1, bound / np.sqrt((x * x).sum())) for x in s.g]
    else:
        g = [np.clip(x, -bound, bound) for x in s.g]
    ratio = min(A / (A + alpha(k)), o("ratio_max", 1.0))
    z = s.state["z"] = [x - alpha(k) * d for x, d in zip(s.at_start("z"), g)]
    y = s.result = [ratio * x + (1 - ratio) * b for x, b in zip(s.result or s.start, z)]
    s.state["A"] = A = A + alpha(k)
    ratio = min(A / (A + alpha(k + 1)), o("ratio_max", 1.0))
    return [ratio * b + (1 - ratio) * c for b, c in zip(y, z)]


@rule("clipped_sstm", {"form": "sgda", "L": 2.0}, {"form": "seg", "L": 2.0, "B": 1.0})
def clipped_extragradient(s, o):
    step = 1 / (4 * o("L", 1.0))
    bound = o("B", 0.05) / step
    there = [w - step * g for w, g in zip(s.w, clip(s.g, bound))]
    if o("form", "") == "sgda":
        return there
    return [w - step * g for w, g in zip(s.w, clip(s.gradient_at(there), bound))]


@rule("median_gradient_descent", {}, {"phi": "l1", "tau": 0.1}, {"phi": "l2_squared", "tau": 0.5, "weight_decay": 0.1},
      {"phi": "huber", "tau": 2.0, "mu": 0.3}, {"phi": "huber", "mu": 1e9}, {"memory": False}, {"tau": np.inf})  # fmt: skip
def median(s, o):
    tau, phi, mu, lr = o("tau", 1.0), o("phi", "l2"), o("mu", 1.0), 0.01
    m = s.zeros("m") if o("memory", True) else [np.zeros_like(w) for w in s.w]
    d = [g - x for g, x in zip(s.g, m)]
    if phi == "l1":
        move = [np.clip(x, -tau, tau) for x in d]
    else:
        share = {"l2": min(1, tau / length(d)), "l2_squared": tau / (1 + tau) if np.isfinite(tau) else 1,
                 "huber": min(tau / (1 + tau) if np.isfinite(tau) else 1, tau * mu / length(d))}[phi]  # fmt: skip
        move = [share * x for x in d]
    s.state["m"] = [x + y for x, y in zip(m, move)]
    return [w * (1 - lr * o("weight_decay", 0.0)) - lr * x for w, x in zip(s.w, s.state["m"])]


@rule("online_to_nonconvex", {"scaling": "half", "D": 0.1, "T": 5}, {"scaling": "one", "T": 7, "beta": 0.9},
      {"scaling": "one", "D": 0.2, "eta": 0.1, "per_epoch_reset": False, "optimistic": True})  # fmt: skip
def online_to_nonconvex(s, o):
    T = o("T", 50)
    D = o("D", 0.1 / T)
    eta, keeps = o("eta", D / np.sqrt(T)), not o("per_epoch_reset", True)
    since = s.t if keeps else (s.t - 1) % T + 1
    s.result = [a + (w - a) / since for a, w in zip(s.result or s.w, s.w)]
    x = s.state["x"] = [a + b for a, b in zip(s.at_start("x"), s.zeros("delta"))]
    g = [2 * a - b for a, b in zip(s.g, s.zeros("last"))] if o("optimistic", False) else s.g
    s.state["last"] = s.g
    moved = clip([o("beta", 1.0) * d - eta * a for d, a in zip(s.state["delta"], g)], D)
    s.state["delta"] = [d * (keeps or s.t % T != 0) for d in moved]
    return [a + (0.5 if o["scaling"] == "half" else 1) * b for a, b in zip(x, s.state["delta"])]


@rule("subgm_low_rank_recovery", {}, {"rho": 0.9, "step": "normalised", "eta0": 0.5})
def subgm(s, o):
    size = o("eta0", 0.25) * o("rho", 0.99) ** (s.t - 1)
    if o("step", "") == "normalised":
        return [w - size * np.sqrt((w * w).sum() / (g * g).sum()) * g for w, g in zip(s.w, s.g)]
    return [w - size * g for w, g in zip(s.w, s.g)]


# ---------------------------------------------------------------------------------------------------- around others


@rule("lookahead", {"base": "sgd", "lr": 0.1}, {"base": "sgd", "lr": 0.1, "k": 3, "alpha": 0.8})
def lookahead(s, o):
    slow, w = s.at_start("slow"), [w - 0.1 * g for w, g in zip(s.w, s.g)]
    if s.t % o("k", 5) == 0:
        slow = s.state["slow"] = [a + o("alpha", 0.5) * (b - a) for a, b in zip(slow, w)]
        w = slow
    s.result = slow
    return w


@rule("ema", {"base": "sgd", "lr": 0.1, "decay": 0.9}, {"base": "sgd", "lr": 0.1, "warmup": True})
def ema(s, o):
    decay = min(o("decay", 0.999), (1 + s.t) / (10 + s.t)) if o("warmup", False) else o("decay", 0.999)
    w = [w - 0.1 * g for w, g in zip(s.w, s.g)]
    s.result = w if s.t == 1 else [decay * a + (1 - decay) * b for a, b in zip(s.result, w)]
    return w


@rule("swa", {"lr": 0.1, "start": 4, "interval": 3}, {"lr": 0.1}, {"lr": 0.1, "start": 2, "interval": 2})
def swa(s, o):
    w = [w - 0.1 * g for w, g in zip(s.w, s.g)]
    since, every = s.t - o("start", 0), o("interval", 1)
    points = s.state.setdefault("points", [])
    if since > 0 and since % every == 0:
        points.append(w)
    s.result = [np.mean(x, axis=0) for x in zip(*points)] if points else w
    return w


@rule("accumulation", {"base": "sgd", "lr": 0.1, "momentum": 0.9}, {"base": "sgd", "lr": 0.1, "momentum": 0.9, "steps": 3})
def accumulation(s, o):
    s.state["sum"] = [a + g for a, g in zip(s.zeros("sum"), s.g)]
    if s.t % o("steps", 4):
        return s.w
    g = [a / o("steps", 4) for a in s.state["sum"]]
    s.state["sum"] = [np.zeros_like(a) for a in g]
    b = s.state["b"] = [0.9 * a + x for a, x in zip(s.zeros("b"), g)]
    return [w - 0.1 * x for w, x in zip(s.w, b)]


@rule("accumulation", {"base": "adam", "lr": 0.1, "steps": 3})
def accumulated_adam(s, o):
    s.state["sum"] = [a + g for a, g in zip(s.zeros("sum"), s.g)]
    if s.t % 3:
        return s.w
    g, s.t = [a / 3 for a in s.state["sum"]], s.t // 3
    s.state["sum"] = [np.zeros_like(a) for a in g]
    m, v = s.average("m", g, 0.9), s.average("v", [x * x for x in g], 0.999)
    return [w - 0.1 * d for w, d in zip(s.w, adam_step(s, o, m, v, 1e-8))]


@rule("gradient_centralization", {"lr": 0.1})
def centralization(s, o):
    g = [x - x.mean(axis=tuple(range(1, x.ndim)), keepdims=True) if x.ndim > 1 else x for x in s.g]
    return [w - 0.1 * x for w, x in zip(s.w, g)]


@rule("cautious", {"lr": 0.1}, {"lr": 0.1, "base": "lion", "weight_decay": 0.2})
def cautious(s, o):
    if o("base", "") == "lion":
        wd, steps = 0.2, [np.sign(0.9 * m + 0.1 * g) for m, g in zip(s.zeros("m"), s.g)]
        s.average("m", s.g, 0.99)
    else:
        m, v = s.average("m", s.g, 0.9), s.average("v", [g * g for g in s.g], 0.999)
        wd, steps = 0.01, adam_step(s, o, m, v, 1e-8)
    masks = [(u * g > 0) for u, g in zip(steps, s.g)]
    return [w * (1 - 0.1 * wd) - 0.1 * u * k / max(k.mean(), 1e-3) for w, u, k in zip(s.w, steps, masks)]


@rule("orthograd_optimizer", {"lr": 0.1})
def orthograd(s, o):
    new = []
    for w, g in zip(s.w, s.g):
        across = g - (w * g).sum() / (w * w).sum() * w
        new.append(w - 0.1 * across * np.sqrt((g * g).sum() / (across * across).sum()))
    return new


@rule("clip_by_value", {"lr": 0.1, "bound": 0.5})
def clip_by_value(s, o):
    return [w - 0.1 * np.clip(g, -0.5, 0.5) for w, g in zip(s.w, s.g)]


@rule("clip_by_global_norm", {"lr": 0.1, "max_norm": 2.0}, {"lr": 0.1, "auto_factor": 0.9})
def clip_by_global_norm(s, o):
    norms = s.state.setdefault("norms", [])
    bound = o("max_norm", 1.0) if o("auto_factor", 0) == 0 else 0.9 * np.mean(norms) if norms else np.inf
    norms.append(length(s.g))
    return [w - 0.1 * x for w, x in zip(s.w, clip(s.g, bound))]


@rule("clip_by_layer_norm", {"lr": 0.1, "max_norm": 0.7})
def clip_by_layer_norm(s, o):
    return [w - 0.1 * g * min(1, 0.7 / np.sqrt((g * g).sum())) for w, g in zip(s.w, s.g)]


@rule("clip_by_quantile", {"lr": 0.1, "quantile": 0.6}, {"lr": 0.1, "quantile": 0.4, "of": "norms", "window": 5})
def clip_by_quantile(s, o):
    if o("of", "elements") == "elements":
        bounds = [np.quantile(np.abs(g), 0.6) for g in s.g]
        return [w - 0.1 * np.clip(g, -b, b) for w, g, b in zip(s.w, s.g, bounds)]
    norms = s.state.setdefault("norms", [])
    norms.append(length(s.g))
    return [w - 0.1 * x for w, x in zip(s.w, clip(s.g, np.quantile(norms[-5:], 0.4)))]


@rule("adaptive_gradient_clipping", {"lr": 0.1}, {"lr": 0.1, "clipping": 0.3, "eps": 2.0})
def adaptive_clipping(s, o):
    new = []
    for w, g in zip(s.w, s.g):
        axes = tuple(range(1, w.ndim)) or None
        size = np.maximum(np.sqrt((w * w).sum(axis=axes, keepdims=True)), o("eps", 1e-3))
        slope = np.sqrt((g * g).sum(axis=axes, keepdims=True))
        new.append(w - 0.1 * g * np.minimum(1, o("clipping", 0.01) * size / slope))
    return new


# ---------------------------------------------------------------------------------------------------- sharpness


def ascended(s, e):
    return s.gradient_at([w + x for w, x in zip(s.w, e)])


def descend(s, g):
    """The base: momentum and decay at w."""
    b = s.state["b"] = [0.9 * a + x + 0.1 * w for a, x, w in zip(s.zeros("b"), g, s.w)]
    return [w - 0.1 * x for w, x in zip(s.w, b)]


BASE = {"base": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}


@rule("sam", BASE, {**BASE, "rho": 0.5}, {**BASE, "p": 3.0}, {**BASE, "p": np.inf}, {**BASE, "p": 1},
      {**BASE, "adaptive": True, "rho": 0.2})  # fmt: skip
def sam(s, o):
    rho, p, g = o("rho", 0.05), o("p", 2), s.g
    if o("adaptive", False):
        return asam(s, {"rho": 0.2})
    if p == 1:
        most = max(np.abs(x).max() for x in g)
        return descend(s, ascended(s, [rho * np.sign(x) * (np.abs(x) == most) for x in g]))
    q = 1 if np.isinf(p) else p / (p - 1)
    size = sum((np.abs(x) ** q).sum() for x in g) ** (0 if np.isinf(p) else 1 / p)
    return descend(s, ascended(s, [rho * np.sign(x) * np.abs(x) ** (q - 1) / size for x in g]))


@rule("asam", BASE)
def asam(s, o):
    scaled = [(np.abs(w) + 0.01) * g for w, g in zip(s.w, s.g)]
    e = [o.get("rho", 0.5) * (np.abs(w) + 0.01) * x / length(scaled) for w, x in zip(s.w, scaled)]
    return descend(s, ascended(s, e))


@rule("gsam", BASE, {**BASE, "alpha": 0.8})
def gsam(s, o):
    up = ascended(s, [0.05 * g / length(s.g) for g in s.g])
    across = [g - dot(s.g, up) / dot(up, up) * u for g, u in zip(s.g, up)]
    return descend(s, [u - o("alpha", 0.4) * a for u, a in zip(up, across)])


@rule("esam", {**BASE, "beta": 1.0})
def esam(s, o):
    return sam(s, Options())


@rule("looksam", BASE, {**BASE, "k": 3, "alpha": 0.3})
def looksam(s, o):
    if (s.t - 1) % o("k", 5) == 0:
        up = ascended(s, [0.05 * g / length(s.g) for g in s.g])
        s.state["v"] = [u - dot(s.g, up) / dot(s.g, s.g) * g for u, g in zip(up, s.g)]
        return descend(s, up)
    v = s.state["v"]
    return descend(s, [g + o("alpha", 0.7) * length(s.g) / length(v) * x for g, x in zip(s.g, v)])


@rule("friendly_sam", BASE, {**BASE, "sigma": 0.5, "lambda": 0.6})
def friendly_sam(s, o):
    kept = o("lambda", 0.9)
    s.state["m"] = s.g if s.t == 1 else [kept * a + (1 - kept) * g for a, g in zip(s.state["m"], s.g)]
    own = [g - o("sigma", 1.0) * m for g, m in zip(s.g, s.state["m"])]
    return descend(s, ascended(s, [0.05 * x / (length(own) + 1e-12) for x in own]))


@rule("fisher_sam_mask", {**BASE, "keep_ratio": 0.3, "mask_interval": 4}, {**BASE, "keep_ratio": 0.0},
      {**BASE, "keep_ratio": 0.5, "unmasked_vectors": True})  # fmt: skip
def fisher_sam_mask(s, o):
    free = o("unmasked_vectors", False)
    if (s.t - 1) % o("mask_interval", 100) == 0:
        squares = np.concatenate([(g * g).ravel() for g in s.g if not free or g.ndim > 1])
        count = int(o["keep_ratio"] * squares.size)
        least = np.sort(squares)[::-1][count - 1] if count else np.inf
        s.state["mask"] = [np.ones_like(g) if free and g.ndim < 2 else g * g >= least for g in s.g]
    e = [0.05 * g / (length(s.g) + 1e-7) * m for g, m in zip(s.g, s.state["mask"])]
    return descend(s, ascended(s, e))


# ---------------------------------------------------------------------------------------------------- matrices


def newton_schulz(m, a=3.4445, b=-4.7750, c=2.0315, steps=5, least=0):
    """By singular values, which the iteration changes alone."""
    u, s, vt = np.linalg.svd(m / (max(np.sqrt((m * m).sum()), least) + 1e-7), full_matrices=False)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


def beside(s, o, i):
    """AdamW on a vector."""
    rate = 3e-4
    for name, value, beta in (("m", s.g[i], 0.9), ("v", s.g[i] ** 2, 0.95)):
        s.zeros(name)[i] = beta * s.zeros(name)[i] + (1 - beta) * value
    step = s.state["m"][i] / (1 - 0.9**s.t) / (np.sqrt(s.state["v"][i] / (1 - 0.95**s.t)) + 1e-8)
    return s.w[i] * (1 - rate * 0.1) - rate * step


@rule("muon", {}, {"nesterov": False, "momentum_form": "sum", "scale": "match_rms_adamw"}, {"ns_steps": 2, "a": 3.0},
      {"least_norm": 20.0})
def muon(s, o):
    new, lr, mean = [], 0.02, o("momentum_form", "mean") == "mean"
    for i, (w, g) in enumerate(zip(s.w, s.g)):
        if w.ndim < 2:
            new.append(beside(s, o, i))
            continue
        share = 0.05 if mean else 1
        b = s.zeros("b")[i] = 0.95 * s.zeros("b")[i] + share * g
        d = matrix(share * g + 0.95 * b if o("nesterov", True) else b)
        scale = max(1, d.shape[0] / d.shape[1]) ** 0.5
        if o("scale", "") == "match_rms_adamw":
            scale = 0.2 * max(d.shape) ** 0.5
        x = newton_schulz(d, a=o("a", 3.4445), steps=o("ns_steps", 5), least=o("least_norm", 0))
        new.append(w * (1 - lr * 0.1) - lr * scale * x.reshape(w.shape))
    return new


@rule("root_optimizer", {}, {"quantile": 0.5, "nesterov": False, "a": 3.0, "b": -4.0, "c": 2.0})
def root_optimizer(s, o):
    new, lr = [], 0.001
    for i, (w, g) in enumerate(zip(s.w, s.g)):
        if w.ndim < 2:
            new.append(beside(s, o, i))
            continue
        b = s.zeros("b")[i] = 0.95 * s.zeros("b")[i] + g
        d = matrix(g + 0.95 * b if o("nesterov", True) else b)
        bound = np.quantile(np.abs(d), o("quantile", 0.9)) + 1e-9
        x = newton_schulz(np.clip(d, -bound, bound), o("a", 3.4445), o("b", -4.7750), o("c", 2.0315))
        new.append(w * (1 - lr * 0.1) - lr * 0.2 * max(d.shape) ** 0.5 * x.reshape(w.shape))
    return new


def power(a, p):
    values, vectors = np.linalg.eigh(a)
    return (vectors * values**p) @ vectors.T


@rule("shampoo", {}, {"lr": 0.3, "momentum": 0.5, "update_freq": 3, "weight_decay": 0.1, "eps": 0.1})
def shampoo(s, o):
    new, mu, eps, lr = [], o("momentum", 0.0), o("eps", 1e-4), o("lr", 0.1)
    for i, w in enumerate(s.w):
        g = s.g[i] + o("weight_decay", 0.0) * w
        if mu:
            g = s.zeros("b")[i] = mu * s.zeros("b")[i] + (1 - mu) * g
        if w.ndim < 2:
            v = s.zeros("v", eps)[i] = s.zeros("v", eps)[i] + g * g
            new.append(w - lr * g / np.sqrt(v))
            continue
        d = matrix(g)
        for side, outer in (("L", d @ d.T), ("R", d.T @ d)):
            s.state[f"{side}{i}"] = s.number(f"{side}{i}", eps * np.eye(len(outer))) + outer
            if (s.t - 1) % o("update_freq", 1) == 0:
                s.state[f"{side}{i} root"] = power(s.state[f"{side}{i}"], -0.25)
        new.append(w - lr * (s.state[f"L{i} root"] @ d @ s.state[f"R{i} root"]).reshape(w.shape))
    return new


# Without noise in some directions a small eps would divide rounding by rounding.
@rule("soap", {"eps": 1e-2}, {"lr": 0.05, "precondition_frequency": 1, "eps": 1e-2})
def soap(s, o):
    new, lr, b1, b2 = [], o("lr", 3e-3), 0.95, 0.95
    corrected = {"beta1": b1, "beta2": b2}
    for i, w in enumerate(s.w):
        d = matrix(s.g[i]) if w.ndim > 1 else s.g[i]
        Q = []
        if w.ndim > 1:
            for side, outer in (("L", d @ d.T), ("R", d.T @ d)):
                a = s.state[f"{side}{i}"] = 0.95 * s.number(f"{side}{i}", np.zeros_like(outer)) + 0.05 * outer
                q = s.number(f"{side}{i} basis", np.eye(len(outer)))
                if s.t == 1 or s.t % o("precondition_frequency", 10) == 0:
                    q = gram_schmidt(a @ q)
                s.state[f"{side}{i} basis"] = q
                Q.append(q)
        turned = (lambda x: Q[0].T @ x @ Q[1]) if Q else (lambda x: x)
        m = s.state[f"m{i}"] = b1 * s.number(f"m{i}", np.zeros_like(d)) + (1 - b1) * d
        v = s.state[f"v{i}"] = b2 * s.number(f"v{i}", np.zeros_like(d)) + (1 - b2) * turned(d) ** 2
        [x] = adam_step(s, Options(corrected), [turned(m)], [v], o["eps"])
        new.append(w * (1 - lr * 0.01) - lr * (Q[0] @ x @ Q[1].T if Q else x).reshape(w.shape))
    return new


def gram_schmidt(a):
    """Columns made orthonormal in order; one that depends on those before it becomes an axis across them."""
    n, q = len(a), np.zeros_like(a)
    for j in range(n):
        for attempt, candidate in enumerate([a[:, j], *np.roll(np.eye(n), -j, axis=0)]):
            x = candidate.copy()
            for _ in range(2):
                for k in range(j):
                    x -= (x @ q[:, k]) * q[:, k]
            if np.sqrt(x @ x) > (0.5 / np.sqrt(n) if attempt else 1e-10 * np.sqrt((a * a).sum(axis=0).max())):
                break
        q[:, j] = x / np.sqrt(x @ x)
    return q
