"""The operators and activations of the pages, and those that everyone expects, as formulas of NumPy."""

from math import erf

import numpy as np

from formulas import formula, log_softmax, logsumexp, sigmoid, softmax, softplus, unit

_erf = np.vectorize(erf)


def normal_cdf(x):
    return (1 + _erf(x / np.sqrt(2))) / 2


def normal_pdf(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


# Activations.


@formula("identity")
def _(p, x, held):
    return x.x


@formula("relu")
def _(p, x, held):
    return np.maximum(x.x, 0)


@formula("relu6")
def _(p, x, held):
    return np.clip(x.x, 0, 6)


@formula("leaky_relu")
def _(p, x, held):
    return np.where(x.x > 0, x.x, p.negative_slope * x.x)


@formula("elu")
def _(p, x, held):
    return np.where(x.x > 0, x.x, p.alpha * np.expm1(np.minimum(x.x, 0)))


@formula("selu")
def _(p, x, held):
    """Klambauer and others, "Self-normalizing neural networks", 2017: α01 and λ01."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * np.where(x.x > 0, x.x, alpha * np.expm1(np.minimum(x.x, 0)))


@formula("gelu")
def _(p, x, held):
    if p.approximate == "tanh":
        return x.x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x.x + 0.044715 * x.x**3)))
    return x.x * normal_cdf(x.x)


@formula("silu")
def _(p, x, held):
    return x.x * sigmoid(p.beta * x.x)


@formula("mish")
def _(p, x, held):
    return x.x * np.tanh(softplus(x.x))


@formula("softplus")
def _(p, x, held):
    return softplus(p.beta * x.x) / p.beta


@formula("softsign")
def _(p, x, held):
    return x.x / (1 + abs(x.x))


@formula("sigmoid")
def _(p, x, held):
    return sigmoid(x.x)


@formula("tanh")
def _(p, x, held):
    return np.tanh(x.x)


@formula("hard_sigmoid")
def _(p, x, held):
    return np.clip(x.x + 3, 0, 6) / 6


@formula("hard_swish")
def _(p, x, held):
    return x.x * np.clip(x.x + 3, 0, 6) / 6


@formula("clipped_sparse_activation", tau=(0.1, 0.8), m=(0.2, 1))
def _(p, x, held):
    if p.form == "cst":
        return np.sign(x.x) * np.minimum(np.maximum(abs(x.x) - p.tau, 0), p.m)
    return np.clip(x.x - p.tau, 0, p.m)


@formula("crrelu")
def _(p, x, held):
    eps = 0.01 if x.eps is None else x.eps
    return np.maximum(x.x, 0) + eps * x.x * np.exp(-(x.x**2) / 2)


@formula("sau")
def _(p, x, held):
    a, b = 0.25 if x.a is None else x.a, 5.0 if x.b is None else x.b
    return a * x.x + (1 - a) * (x.x * normal_cdf(b * x.x) + normal_pdf(b * x.x) / b)


@formula("hard_ash", z_k=(-0.5, 0.5), alpha=(0.5, 2), clip_max=(0.3, 1))
def _(p, x, held):
    u = p.alpha * (x.x - x.x.mean(-1, keepdims=True) - p.z_k * x.x.std(-1, keepdims=True))
    if p.hard:
        return np.clip(x.x, 0, p.clip_max) * np.clip(u + 3, 0, 6) / 6
    return x.x * sigmoid(u)


# The family of the softmax.


@formula("softmax", "online_softmax", "two_pass_softmax")
def _(p, x, held):
    return softmax(x.x)


@formula("log_softmax")
def _(p, x, held):
    return log_softmax(x.x)


@formula("online_softmax_topk", k=(1, 7))
def _(p, x, held):
    return -np.sort(-softmax(x.x), axis=-1)[..., : p.k]


@formula("online_softmax_topk_positions", k=(1, 7))
def _(p, x, held):
    return np.argsort(-x.x, axis=-1, kind="stable")[..., : p.k]


@formula("adaptive_temperature_softmax", entropy_threshold=(0.8, 1.3), min_beta=(0.5, 1.6))
def _(p, x, held):
    def factor(z):
        q = softmax(z)
        h = -(q * np.log(q + 1e-9)).sum(-1, keepdims=True)
        bent = np.polyval([-0.037, 0.481, -2.3, 4.917, -1.791], h)
        return np.where(h > p.entropy_threshold, np.maximum(bent, p.min_beta), 1)

    return softmax(factor(x.x if p.through_entropy else held.x) * x.x)


@formula("boltzmann_operator")
def _(p, x, held):
    t = p.t if x.t is None else x.t
    return (x.x * softmax(t * x.x)).sum(-1)


@formula("self_adjust_softmax", eps=(1e-3, 1e-2), numerator_bias=(0.1, 0.3))
def _(p, x, held):
    s = softmax(x.x)
    if p.variant == "plain":
        return x.x * s
    ends = held.x if p.detach_range else x.x
    low = np.minimum(ends.min(-1, keepdims=True), 0)
    high = np.maximum(ends.max(-1, keepdims=True) + p.eps, 0) + p.eps
    return (x.x - low + p.numerator_bias) / (high - low) * s


@formula("simplex_random_features")
def _(p, x, held):
    square = (x.x**2).sum(-1, keepdims=True)
    return np.exp(x.x @ x.projection.T - square / (2 if p.kernel == "softmax" else 1)) / np.sqrt(len(x.projection))


@formula("softpick", eps=(0.01, 0.1))
def _(p, x, held):
    top = np.maximum(held.x.max(-1, keepdims=True), 0)  # eps is relative to it
    rise = np.exp(x.x - top) - np.exp(-top)
    return np.maximum(rise, 0) / (abs(rise).sum(-1, keepdims=True) + p.eps)


@formula("sparsemax")
def _(p, x, held):
    return _simplex(x.x)


def _simplex(z):
    """The nearest point of the simplex, by bisection of the threshold."""
    low, high = z.max(-1, keepdims=True) - 1, z.max(-1, keepdims=True)
    for _ in range(100):
        middle = (low + high) / 2
        above = np.maximum(z - middle, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.maximum(z - low, 0)


@formula("entmax15", "entmax", alpha=[1, 1.3, 1.5, 2])
def _(p, x, held):
    alpha = x.alpha if x.alpha is not None else getattr(p, "alpha", 1.5)
    if alpha == 1:
        return softmax(x.x)
    z = (alpha - 1) * x.x
    low, high = z.max(-1, keepdims=True) - 1, z.max(-1, keepdims=True)
    for _ in range(100):
        middle = (low + high) / 2
        above = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum(-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.maximum(z - low, 0) ** (1 / (alpha - 1))


@formula("sparsegen", lam=(-1, 0.7))
def _(p, x, held):
    """Laha and others, "On controllable sparse alternatives to softmax", 2018: the projection of g(z) / (1 - λ)."""
    g = {"linear": x.x, "exponential": np.exp(x.x), "square": x.x**2}[p.form]
    return _simplex(g / (1 - p.lam))


@formula("sparsehourglass")
def _(p, x, held):
    """The same: sparsemax of (1 + K q) z / (|Σ z| + K q)."""
    k = x.x.shape[-1]
    return _simplex((1 + k * p.q) * x.x / (abs(x.x.sum(-1, keepdims=True)) + k * p.q))


@formula("stablemax")
def _(p, x, held):
    s = np.where(x.x >= 0, x.x + 1, 1 / (1 - np.minimum(x.x, 0)))
    return s / s.sum(-1, keepdims=True)


@formula("sparse_noisy_softmax")
def _(p, x, held):
    return softmax((x.x + (0 if x.noise is None else x.noise)) / p.T)


@formula("gumbel_softmax")
def _(p, x, held):
    noise = -np.log(-np.log(x.uniforms))
    soft = softmax((x.x + noise) / p.tau)
    if not p.hard:
        return soft
    constant = softmax((held.x + noise) / p.tau)
    return (constant == constant.max(-1, keepdims=True)) + soft - constant


@formula("gumbel_softmax_log_density")
def _(p, x, held):
    """Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax", 2017, appendix B."""
    k = x.x.shape[-1]
    whole = sum(np.log(np.arange(1, k))) + (k - 1) * np.log(p.tau)
    a = x.x - p.tau * x.log_y
    return whole - k * logsumexp(a) + (x.x - (p.tau + 1) * x.log_y).sum(-1)


@formula("activation_dense_to_sparse_gate")
def _(p, x, held):
    act = {
        "sigmoid": sigmoid, "tanh": np.tanh, "gelu": lambda z: z * normal_cdf(z), "square": np.square,
        "identity": lambda z: z,
    }[p.act]  # fmt: skip
    bias = 0 if x.bias is None else x.bias
    score = act(x.x @ x.weights + bias) if p.bias_inside else act(x.x @ x.weights) + bias
    return softmax(score / (1 if x.tau is None else x.tau))


@formula("lssar_attention", p=(0.4, 1.2), zero_offset_rows=(1, 4), eps=(1e-3, 1e-2))
def _(p, x, held):
    (n, d), m = x.queries.shape, len(x.keys)
    cos, rows = unit(x.queries) @ unit(x.keys).T, []
    for i in range(n):
        seen = min(i + 1, m) if p.causal else m
        s = softplus(np.log(d) * np.log(seen) * cos[i, :seen])
        a = s / (s.sum() + p.eps)
        if p.reweight:
            r = np.maximum(seen * a - (0 if i < p.zero_offset_rows else 1), 0)
            if np.ptp(s) > 0 and r.max() > 0:
                r = (r / r.max()) ** p.p
                a = r / (r.sum() + p.eps)
        rows.append(a @ x.values[:seen])
    return np.array(rows)


@formula("online_softmax_attention")
def _(p, x, held):
    scale = p.scale or x.queries.shape[-1] ** -0.5
    s = scale * x.queries @ x.keys.swapaxes(1, 2)
    seen = np.ones(s.shape, bool) if x.mask is None else np.broadcast_to(x.mask[:, None].astype(bool), s.shape)
    if p.causal:
        seen = seen & (np.arange(s.shape[1])[:, None] >= np.arange(s.shape[2]))
    e = np.where(seen, np.exp(s), 0)
    total = e.sum(-1, keepdims=True)
    return e / np.where(total > 0, total, 1) @ x.values


@formula("soft_topk")
def _(p, x, held):
    low, high = -x.x.max(-1, keepdims=True) - 60 / p.alpha, -x.x.min(-1, keepdims=True) + 60 / p.alpha
    for _ in range(100):
        middle = (low + high) / 2
        above = sigmoid(p.alpha * (x.x + middle)).sum(-1, keepdims=True) > p.k
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return sigmoid(p.alpha * (x.x + low))


# What stands between layers and losses.


@formula("quantized_softmax", bits=[2, 3], range=(0.3, 0.6), correction=["off", "row", 0.02])
def _(p, x, held):
    """What rounding adds is constant: gradients pass straight through."""
    q, top = softmax(held.x), 2**p.bits - 1
    levels = np.minimum(np.round(q * top / p.range), top) * p.range / top
    given = {"off": 0, "row": (1 - levels.sum(-1, keepdims=True)) / q.shape[-1]}.get(p.correction, p.correction)
    return softmax(x.x) + (levels - q) + given


@formula("logit_clip", tau=(0.5, 2), p=[1, 1.5, 2, np.inf])
def _(p, x, held):
    norm = np.linalg.norm(x.x, p.p, axis=-1, keepdims=True)
    return x.x * np.minimum(1, p.tau / norm)


@formula("smooth_labels", num_classes=(5, 5))
def _(p, x, held):
    targets = np.eye(len(x.prior))[x.targets] if x.targets.ndim == 1 else x.targets
    share = 1 / targets.shape[1] if x.prior is None else x.prior
    return (1 - p.smoothing) * targets + p.smoothing * share


@formula("mixed_classifier", alpha=(0.5, 0.95))
def _(p, x, held):
    return np.log((1 - p.alpha) * softmax(x.accurate_logits) + p.alpha * softmax(x.robust_logits))


@formula("gradient_reversal")
def _(p, x, held):
    return held.x - p.lam * (x.x - held.x)


@formula("orthograd")
def _(p, x, held):
    w, g = x.weight.ravel(), x.gradient.ravel()
    straight = g - (w @ g) / (w @ w + 1e-30) * w
    if p.rescale:
        straight = straight * np.linalg.norm(g) / (np.linalg.norm(straight) + 1e-30)
    return straight.reshape(x.weight.shape)


@formula("robust_weight_signature")
def _(p, x, held):
    standard, robust = (a.ravel() - x.theta_0.ravel() for a in (x.theta_standard, x.theta_robust))
    signature = robust - (robust @ standard) / (standard @ standard) * standard
    return x.theta + p.alpha * signature.reshape(x.theta.shape)


@formula("conditional_transport")
def _(p, x, held):
    cost = 1 - unit(x.x) @ unit(x.y).T
    near = np.exp(-cost / p.temperature)
    there = near * x.q / (near * x.q).sum(1, keepdims=True)
    back = near * x.p[:, None] / (near * x.p[:, None]).sum(0)
    forward, backward = (x.p[:, None] * there * cost).sum(), (x.q * back * cost).sum()
    a, b = (1, 1) if p.rho is None else (p.rho, 1 - p.rho)
    return {"both": a * forward + b * backward, "forward": forward, "backward": backward}[p.part]


@formula("closed_form_concept_edit", ridge=(1e-3, 1e-2))
def _(p, x, held):
    """The least squares problem itself, with the ridge as rows that keep W where it was."""
    w = np.ones(len(x.contexts)) if x.context_weights is None else x.context_weights
    rows = [np.sqrt(w)[:, None] * x.contexts, np.sqrt(p.lam) * x.preserve, np.sqrt(p.ridge) * np.eye(x.weight.shape[1])]
    aims = [
        np.sqrt(w)[:, None] * x.safe_contexts @ x.weight.T, np.sqrt(p.lam) * x.preserve @ x.weight.T,
        np.sqrt(p.ridge) * x.weight.T,
    ]  # fmt: skip
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(aims), rcond=None)[0].T


@formula("reward_ensemble")
def _(p, x, held):
    r = x.rewards
    if p.aggregate in ("mean_minus_std", "lcb"):
        return r.mean(0) - p.lam * r.std(0)
    return {"mean": np.mean, "median": np.median, "min": np.min}[p.aggregate](r, axis=0)


@formula("sparse_coding_thresholds", t=(0.1, 0.6), lam=(0.1, 0.6), norm=(0.4, 1))
def _(p, x, held):
    return _threshold(p.penalty, x.x, p.t, p.lam, p.norm)


def _threshold(penalty, u, t, lam, norm):
    size = abs(u)
    if penalty == "soft":
        return np.sign(u) * np.maximum(size - t, 0)
    if penalty == "hard":
        return np.where(size > np.sqrt(2 * t), u, 0)
    if penalty == "cel0":
        slope = np.maximum(size - np.sqrt(2 * lam) * t * norm, 0) / (1 - t * norm**2)
        return np.sign(u) * np.minimum(size, slope)
    # The largest root of a^(3/2) - |u| a^(1/2) + t / 2, by Newton's method from above.
    bound, root = 1.5 * t ** (2 / 3), np.maximum(size, 1e-3)
    for _ in range(60):
        root = np.where(size > bound, root - (root - size + t / (2 * np.sqrt(root))) / (1 - t / (4 * root**1.5)), 1)
    return np.where(size > bound, np.sign(u) * root, 0)


@formula("sparse_coding_thresholds_step", step=(20, 30))
def _(p, x, held):
    u = x.codes - (x.codes @ x.dictionary.T - x.signals) @ x.dictionary / p.step
    t = 1 / p.step if p.penalty == "cel0" else p.lam / p.step
    return _threshold(p.penalty, u, t, p.lam, np.linalg.norm(x.dictionary, axis=0))


@formula("clip_by_global_norm_omega")
def _(p, x, held):
    """Pascanu, Mikolov and Bengio, 2013, equation 9: Ω = Σ_t (|e_(t+1) W' diag(s_t)| / |e_(t+1)| - 1)²."""
    back = (x.errors @ x.weight) * x.slopes
    ratio = (back**2).sum(1) / (x.errors**2).sum(1)
    return ((np.sqrt(ratio) - 1) ** 2).sum()


@formula("wta_crs_matmul")
def _(p, x, held):
    size = np.linalg.norm(held.x, axis=0) * np.linalg.norm(held.y, axis=1)
    q, kept = size / size.sum(), int(held.num_kept)
    best = np.argsort(-q, kind="stable")[:kept]
    product = x.x[:, best] @ x.y[best]
    rest = 1 - q[best].sum()
    for j in x.draws:
        product = product + rest / len(x.draws) / q[j] * np.outer(x.x[:, j], x.y[j])
    return product


@formula("majority_vote")
def _(p, x, held):
    counts = (x.votes[..., None] == np.arange(int(x.num_classes))).sum(1)
    return counts / counts.sum(1, keepdims=True)


@formula("kv_token_infusion")
def _(p, x, held):
    rows = x.rows.astype(bool)[:, None]
    keys = np.where(rows & (p.replace != "values"), x.custom_keys, x.base_keys)
    values = np.where(rows & (p.replace != "keys"), x.custom_values, x.base_values)
    return softmax(x.queries @ keys.T / np.sqrt(keys.shape[1])) @ values


@formula("coordinate_median")
def _(p, x, held):
    return np.median(x.gradients, axis=0)


@formula("perplexity_filter_and_greedy_soup")
def _(p, x, held):
    shown = np.ones(x.token_log_probs.shape) if x.mask is None else x.mask.astype(float)
    return np.exp(-(shown * x.token_log_probs).sum(1) / shown.sum(1))


@formula("perplexity_filter_and_greedy_soup_soup")
def _(p, x, held):
    if p.soup == "uniform":
        return x.weights.mean(0)
    if x.scores is None:
        raise NotImplementedError
    return x.scores / x.scores.sum() @ x.weights


@formula("nbest_noise_embedding_mine")
def _(p, x, held):
    return np.array([x.joint.mean() - np.log(np.exp(x.marginal).mean())])
