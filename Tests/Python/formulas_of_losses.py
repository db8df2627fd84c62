"""Losses that everyone expects, and those of the pages on classification and regression, as formulas of NumPy."""

from math import lgamma

import numpy as np

from formulas import (
    cross_entropy,
    formula,
    log_softmax,
    logsumexp,
    one_hot,
    over_elements,
    over_targets,
    own,
    sigmoid,
    softmax,
    softplus,
    whole,
)

# Regression.


@formula("mse")
def _(p, x, held):
    return over_elements(p, (x.predictions - x.targets) ** 2)


@formula("mae")
def _(p, x, held):
    return over_elements(p, abs(x.predictions - x.targets))


@formula("huber")
def _(p, x, held):
    r = abs(x.predictions - x.targets)
    return over_elements(p, np.where(r <= p.delta, r * r / 2, p.delta * (r - p.delta / 2)))


@formula("log_cosh")
def _(p, x, held):
    return over_elements(p, np.log(np.cosh(x.predictions - x.targets)))


@formula("quantile", q=(0.1, 0.9))
def _(p, x, held):
    r = x.targets - x.predictions
    return over_elements(p, np.where(r >= 0, p.q * r, (p.q - 1) * r))


@formula("tukey_biweight", c=(0.5, 2))
def _(p, x, held):
    u = np.minimum(((x.predictions - x.targets) / p.c) ** 2, 1)
    return over_elements(p, p.c**2 / 6 * (1 - (1 - u) ** 3))


@formula("cauchy")
def _(p, x, held):
    return over_elements(p, p.c**2 / 2 * np.log1p(((x.predictions - x.targets) / p.c) ** 2))


@formula("poisson_nll")
def _(p, x, held):
    return over_elements(p, np.exp(x.predictions) - x.targets * x.predictions)


@formula("gaussian_nll", eps=(0.2, 0.8))
def _(p, x, held):
    variance = np.maximum(x.variances, p.eps)
    return over_elements(p, (np.log(variance) + (x.predictions - x.targets) ** 2 / variance) / 2)


@formula("gamma")
def _(p, x, held):
    """Minus the logarithm of the density with shape k and mean exp(prediction)."""
    k, y = p.shape, x.targets
    rate = np.log(k) - x.predictions
    return over_elements(p, lgamma(k) - k * rate - (k - 1) * np.log(y) + y * np.exp(rate))


@formula("tweedie", p=(1.2, 1.8))
def _(p, x, held):
    mean = np.exp(x.predictions)
    return over_elements(p, mean ** (2 - p.p) / (2 - p.p) - x.targets * mean ** (1 - p.p) / (1 - p.p))


@formula("natural_gaussian_nll")
def _(p, x, held):
    mean, variance = -x.eta1 / (2 * x.eta2), -1 / (2 * x.eta2)
    return (np.log(2 * np.pi * variance) + (x.targets - mean) ** 2 / variance) / 2


@formula("u2_regression")
def _(p, x, held):
    up = held.targets >= held.predictions
    r = x.targets - x.predictions
    loss = abs(r) if p.l_up == "absolute" else r * r / 2
    term = up * (loss - x.predictions)
    scale = p.rho if p.normalise == "batch" else p.pi_up * len(up) / max(up.sum(), 1)
    return scale * term + x.predictions


# Classification.


@formula("cross_entropy")
def _(p, x, held):
    classes = x.logits.shape[1]
    t = one_hot(x.targets, classes)
    weights = np.ones(classes) if x.class_weights is None else x.class_weights
    smooth = (1 - p.label_smoothing) * t + p.label_smoothing / classes
    return -(weights * smooth * log_softmax(x.logits)).sum(1)


@formula("nll")
def _(p, x, held):
    t = one_hot(x.targets, x.log_probabilities.shape[1])
    return -(t * x.log_probabilities * (1 if x.class_weights is None else x.class_weights)).sum(1)


@formula("binary_cross_entropy_with_logits")
def _(p, x, held):
    return over_elements(p, softplus(x.logits) - x.targets * x.logits)


def _behind(p, x, y):
    lead = p.margin + x.logits - own(x.logits, y)[:, None]
    return np.where(one_hot(y, x.logits.shape[1]) > 0, 0, np.maximum(lead, 0))


def _hinge(p, x, power):
    together = np.max if p.form == "crammer_singer" else np.sum
    return over_targets(x, x.logits.shape[1], lambda y: together(_behind(p, x, y) ** power, axis=1))


@formula("hinge")
def _(p, x, held):
    return _hinge(p, x, 1)


@formula("squared_hinge")
def _(p, x, held):
    return _hinge(p, x, 2)


@formula("multi_margin")
def _(p, x, held):
    classes = x.logits.shape[1]
    weights = np.ones(classes) if x.class_weights is None else x.class_weights
    return over_targets(x, classes, lambda y: weights[y] * (_behind(p, x, y) ** p.p).sum(1) / classes)


@formula("asymmetric_loss", clip=[0, 0.3], gamma_pos=[0, 0.5, 2], gamma_neg=[0, 0.5, 4])
def _(p, x, held):
    s, y = sigmoid(x.logits), x.targets.astype(float)
    turned = np.maximum(s - p.clip, 0)
    positive = y * (1 - s) ** p.gamma_pos * np.log(s)
    negative = (1 - y) * turned**p.gamma_neg * np.log(1 - turned)
    return -(positive + negative).sum(1)


@formula("tversky")
def _(p, x, held):
    s, y = sigmoid(x.logits).reshape(len(x.logits), -1), x.targets.reshape(len(x.logits), -1)
    hit = (s * y).sum(1)
    false, missed = (s * (1 - y)).sum(1), ((1 - s) * y).sum(1)
    return 1 - (hit + p.smooth) / (hit + p.alpha * false + p.beta * missed + p.smooth)


@formula("lovasz_softmax")
def _(p, x, held):
    prob, total, classes = softmax(x.logits), 0.0, []
    for c in range(prob.shape[1]):
        truth = (x.targets == c).astype(float)
        if p.classes == "present" and not truth.any():
            continue
        error = abs(truth - prob[:, c])
        order = np.argsort(-error, kind="stable")
        truth = truth[order]
        jaccard = 1 - (truth.sum() - truth.cumsum()) / (truth.sum() + (1 - truth).cumsum())
        classes.append((error[order] * np.diff(jaccard, prepend=0)).sum())
    return whole(total + np.mean(classes))


@formula("focal", gamma=[0, 0.5, 1, 2.5])
def _(p, x, held):
    lp = log_softmax(x.logits)
    return -p.alpha * (one_hot(x.targets, lp.shape[1]) * (1 - np.exp(lp)) ** p.gamma * lp).sum(1)


@formula("z_loss")
def _(p, x, held):
    z = (x.logits - x.logits.mean(1, keepdims=True)) / x.logits.std(1, keepdims=True)
    return (one_hot(x.targets, z.shape[1]) * softplus(p.a * (p.b - z))).sum(1) / p.a


@formula("max_suppression")
def _(p, x, held):
    return cross_entropy(x.logits, x.targets) + p.alpha * (x.logits.max(1) - x.logits.mean(1))


@formula("masked_softmax_ce", mask_value=(-3, 1))
def _(p, x, held):
    z = np.where(x.visible, x.logits, float(p.mask_value))
    return logsumexp(z) - over_targets(x, z.shape[1], lambda y: own(x.logits, y))


@formula("tokenized_brier")
def _(p, x, held):
    q, values = softmax(x.logits), np.linspace(0, 1, x.logits.shape[1])
    return (q * (values - x.targets[:, None]) ** 2).sum(1)


@formula("environment_label_smoothing")
def _(p, x, held):
    classes = x.logits.shape[1]
    t = one_hot(x.targets, classes)
    return -((p.gamma * t + (1 - p.gamma) / (classes - 1) * (1 - t)) * log_softmax(x.logits)).sum(1)


@formula("ldr_kl_loss")
def _(p, x, held):
    f, classes = x.logits, x.logits.shape[1]
    if p.normalize or p.adaptive:
        f = f / abs(f).mean(1, keepdims=True)
    truth = one_hot(x.targets, classes)
    gaps = f - (truth * f).sum(1, keepdims=True) + p.margin * (1 - truth)

    def robust(lam):
        return lam * (logsumexp(gaps / lam[:, None]) - np.log(classes))

    if not p.adaptive:
        return robust(np.full(len(f), p.lambda0))
    g = held.logits / abs(held.logits).mean(1, keepdims=True)
    lp = log_softmax(g / p.lambda0)
    divergence = (np.exp(lp) * lp).sum(1) + np.log(classes)
    lam = p.lambda0 * (1 - divergence / (p.alpha * np.log(classes)))
    return robust(lam) - p.alpha * np.log(classes) / (2 * p.lambda0) * (lam - p.lambda0) ** 2


@formula("cut_cross_entropy", softcap=(1, 4), filter_eps=())
def _(p, x, held):
    z = x.features @ x.classifier.T + (0 if x.bias is None else x.bias)
    return cross_entropy(z if p.softcap is None else p.softcap * np.tanh(z / p.softcap), x.targets)


@formula("entmax_loss", alpha=[1, 1.3, 1.5, 2])
def _(p, x, held):
    """q . (p - q) + the difference of Tsallis entropies."""
    alpha = p.alpha if x.alpha is None else float(x.alpha)
    q = one_hot(x.targets, x.logits.shape[1])
    prob = _entmax(x.logits, alpha)

    def entropy(r):
        if alpha == 1:
            return -(r * np.log(np.where(r > 0, r, 1))).sum(1)
        return ((r - r**alpha).sum(1)) / (alpha * (alpha - 1))

    return ((prob - q) * x.logits).sum(1) + entropy(prob) - entropy(q)


def _entmax(z, alpha):
    if alpha == 1:
        return softmax(z)
    z = (alpha - 1) * z
    low, high = z.max(1, keepdims=True) - 1, z.max(1, keepdims=True)
    for _ in range(200):
        middle = (low + high) / 2
        above = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum(1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    prob = np.maximum(z - low, 0) ** (1 / (alpha - 1))
    return prob / prob.sum(1, keepdims=True)


@formula("adaptive_softmax")
def _(p, x, held):
    """Grave and others, "Efficient softmax approximation for GPUs", 2017: log p(cluster) + log p(class | cluster)."""
    head = log_softmax(x.features @ x.head.T + (0 if x.head_bias is None else x.head_bias))
    pairs = [(getattr(x, f"projection_{i}"), getattr(x, f"tail_{i}")) for i in (1, 2, 3)]
    pairs = [pair for pair in pairs if pair[1] is not None]
    frequent = len(x.head) - len(pairs)
    every = [head[:, :frequent]]
    for i, (projection, tail) in enumerate(pairs):
        every.append(head[:, [frequent + i]] + log_softmax(x.features @ projection.T @ tail.T))
    return -own(np.concatenate(every, 1), x.targets)


@formula("auc_margin", positive_share=(0.2, 0.8))
def _(p, x, held):
    """Yuan and others, "Large-scale robust deep AUC maximization", 2021, as LibAUC writes it."""
    y, s = x.targets.astype(float), x.scores
    q = y.mean() if p.positive_share is None else p.positive_share
    a = (y * s).sum() / y.sum() if x.a is None else x.a
    b = ((1 - y) * s).sum() / (1 - y).sum() if x.b is None else x.b
    alpha = max(0, p.margin + b - a) if x.alpha is None else x.alpha
    spread = (1 - q) * (s - a) ** 2 * y + q * (s - b) ** 2 * (1 - y)
    order = q * (1 - q) * p.margin + q * s * (1 - y) - (1 - q) * s * y
    return spread + 2 * alpha * order - q * (1 - q) * alpha**2
