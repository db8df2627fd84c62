"""Losses for wrong labels, long tails, attacks and calibration, as formulas of NumPy."""

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
    squared,
    unit,
    whole,
)

# Noise-robust.


@formula("active_passive_loss", gamma=[0, 0.5, 1.5])
def _(p, x, held):
    lp = log_softmax(x.logits)
    q, t = np.exp(lp), one_hot(x.targets, x.logits.shape[1])
    terms = -lp * ((1 - q) ** p.gamma if p.active in ("nfl", "fl") else 1)
    active = (t * terms).sum(1) / (terms.sum(1) if p.active in ("nce", "nfl") else 1)
    if p.passive == "rce":
        passive = -(q * np.maximum(np.log(np.maximum(t, 1e-300)), p.A)).sum(1)
    else:
        passive = abs(t - q).sum(1) / (2 if p.halved_mae else 1)
    return p.alpha * active + p.beta * passive


@formula("bi_tempered_logistic", t1=[0, 0.6, 1], t2=[1, 1.4], label_smoothing=[0, 0.2])
def _(p, x, held):
    classes = x.logits.shape[1]
    a = x.logits - x.logits.max(1, keepdims=True)

    def exp_t(u):
        return np.exp(u) if p.t2 == 1 else np.maximum(1 + (1 - p.t2) * u, 0) ** (1 / (1 - p.t2))

    low, high = np.zeros((len(a), 1)), np.full((len(a), 1), 1e3)
    for _ in range(200):
        middle = (low + high) / 2
        above = exp_t(a - middle).sum(1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    q = exp_t(a - low)
    y = one_hot(x.targets, classes)
    y = (1 - p.label_smoothing * classes / (classes - 1)) * y + p.label_smoothing / (classes - 1)

    def log_t(u):
        return np.log(np.where(u > 0, u, 1)) if p.t1 == 1 else (u ** (1 - p.t1) - 1) / (1 - p.t1)

    return (y * (log_t(y) - log_t(q)) - (y ** (2 - p.t1) - q ** (2 - p.t1)) / (2 - p.t1)).sum(1)


@formula("early_learning_regularization")
def _(p, x, held):
    q = np.clip(softmax(x.logits), 1e-4, 1 - 1e-4)
    constant = np.clip(softmax(held.logits), 1e-4, 1 - 1e-4)
    t = (1 - p.beta) * constant / constant.sum(1, keepdims=True)  # the state begins at 0
    if x.ema_targets is not None:
        t = t + p.beta * x.ema_targets
    return cross_entropy(x.logits, x.targets) + p.lam * np.log(1 - (q * t).sum(1))


@formula("joint_optimization")
def _(p, x, held):
    """Tanaka and others, "Joint optimization framework for learning with noisy labels", 2018: L_c + α L_p + β L_e."""
    q = softmax(x.logits)
    t = one_hot(x.targets, q.shape[1])
    share = np.full(q.shape[1], 1 / q.shape[1]) if x.class_priors is None else x.class_priors
    divergence = (np.where(t > 0, t * np.log(np.where(t > 0, t, 1)), 0)).sum(1) + cross_entropy(x.logits, x.targets)
    prior = (share * np.log(share / q.mean(0))).sum()
    return divergence + p.alpha * prior - p.beta * (q * np.log(q)).sum(1)


@formula("pu_multilabel_loss")
def _(p, x, held):
    spread = np.minimum(1, p.alpha * held.logits.std(0))
    s, y = sigmoid(x.logits / spread), x.targets.astype(float)
    weight = sigmoid(held.logits / spread).mean(0) ** p.gamma
    first = weight * np.log(s.mean(0) + 1e-10)
    second = (y * np.log(s + 1e-10)).sum(0) / np.maximum(y.sum(0), 1)
    return whole((first - second).sum())


@formula("nbpo")
def _(p, x, held):
    s, g = sigmoid(x.logits), sigmoid(x.flip_logits)
    fixed_s, fixed_g = sigmoid(held.logits), sigmoid(held.flip_logits)

    def expected(yes, no):
        return -(x.targets * yes + (1 - x.targets) * no)

    if p.objective == "exact":
        return expected(np.log((1 - g) * s), np.log((1 - s) + g * s))
    if p.objective == "sum":
        return expected((1 - g) * s, (1 - s) + g * s)
    seen = (1 - fixed_g) * np.log(s) + fixed_s * np.log(1 - g)
    unseen = np.log(1 - s) + fixed_g * np.log(s) + fixed_s * np.log(g)
    return expected(seen, unseen)


@formula("nmtune")
def _(p, x, held):
    z, f = x.features, x.pretrained_features
    kept = squared(unit(f) - unit(z))
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    covariance = ((c**2).sum() - (np.diag(c) ** 2).sum()) / z.shape[1]
    s = np.linalg.svd(z, compute_uv=False)
    return cross_entropy(x.logits, x.targets) + p.lam * (kept + covariance - s[0] / s.sum())


# Long tails.


@formula("ldam", scale=(1, 8))
def _(p, x, held):
    margins = x.class_counts**-0.25
    margins = p.max_margin * margins / margins.max()
    return cross_entropy(p.scale * (x.logits - one_hot(x.targets, x.logits.shape[1]) * margins), x.targets)


@formula("equalization", lam=(0.1, 0.4), gamma=(0.2, 0.8))
def _(p, x, held):
    t = one_hot(x.targets, x.logits.shape[1])
    is_spared = (x.class_counts < p.lam * x.class_counts.sum()) & (t == 0)
    w = np.where(is_spared, 1 - p.gamma if x.spared is None else 1 - x.spared, 1)
    if p.form == "sigmoid":
        return (w * (t * softplus(-x.logits) + (1 - t) * softplus(x.logits))).sum(1)
    return np.log((w * np.exp(x.logits)).sum(1)) - (t * x.logits).sum(1)


@formula("ldam_bce")
def _(p, x, held):
    moved = x.logits - x.targets * p.C * np.maximum(x.class_counts, 1) ** -0.25
    return over_elements(p, softplus(moved) - x.targets * moved)


@formula("logit_adjusted")
def _(p, x, held):
    return cross_entropy(x.logits + p.tau * np.log(x.class_priors), x.targets)


@formula("balanced_softmax")
def _(p, x, held):
    return cross_entropy(x.logits + np.log(x.class_counts), x.targets)


@formula("influence_balanced", alpha=(0.5, 2), eps=(0.01, 0.1))
def _(p, x, held):
    """Park and others, "Influence-balanced loss for imbalanced visual classification", 2021: IB = |p - y|_1 |h|_1."""
    y = one_hot(x.targets, x.logits.shape[1])
    logits, features = (x.logits, x.features) if p.through_influence else (held.logits, held.features)
    influence = abs(softmax(logits) - y).sum(1) * (1 if features is None else abs(features).sum(1))
    weights = 1 if x.class_weights is None else x.class_weights
    return -p.alpha * (weights * y * log_softmax(x.logits)).sum(1) / (influence + p.eps)


@formula("sade_diverse_experts")
def _(p, x, held):
    order = np.argsort(x.class_priors, kind="stable")
    reversed_prior = np.empty_like(x.class_priors)
    reversed_prior[order] = x.class_priors[order[::-1]]
    prior = np.log(x.class_priors)
    return (
        cross_entropy(x.logits_forward, x.targets)
        + cross_entropy(x.logits_uniform + prior, x.targets)
        + cross_entropy(x.logits_backward + prior - p.lam * np.log(reversed_prior), x.targets)
    )


@formula("sade_diverse_experts_aggregation")
def _(p, x, held):
    w = softmax(x.omega)[:, None, None]
    one, two = (softmax((w * z).sum(0)) for z in (x.logits_1, x.logits_2))
    if p.similarity == "cosine":
        one, two = unit(one), unit(two)
    return -(one * two).sum(1)


@formula("gumbel_optimized_loss", clamp_min=(-0.8, -0.2), clamp_max=(0.2, 0.8), loss_max=(1, 3))
def _(p, x, held):
    e = np.exp(-np.clip(x.logits, p.clamp_min, p.clamp_max))
    loss = x.targets * e - (1 - x.targets) * np.log(-np.expm1(-e))
    return np.clip(loss, 0, p.loss_max).sum(1)


@formula("conr_loss", w=(0.5, 1.5))
def _(p, x, held):
    q, n = unit(x.features), len(x.features)
    eta = np.ones(n) if x.density_weights is None else x.density_weights
    s = q @ q.T / p.T
    values = np.zeros(n)
    for i in range(n):
        far = abs(x.targets - x.targets[i])
        positive = [j for j in range(n) if j != i and far[j] <= p.w]
        negative = [j for j in range(n) if far[j] > p.w and abs(x.predictions[j] - x.predictions[i]) <= p.w]
        if positive and negative:
            push = sum(eta[i] * np.exp(p.e * far[j]) * np.exp(s[i, j]) for j in negative)
            below = sum(np.exp(s[i, j]) for j in positive) + push
            values[i] = eta[i] * np.mean([np.log(below) - s[i, j] for j in positive])
    return values


@formula("presto_ordinal")
def _(p, x, held):
    cdf = sigmoid(x.thresholds + x.features @ x.weights.T)
    whole_cdf = np.concatenate([np.zeros((len(cdf), 1)), cdf, np.ones((len(cdf), 1))], 1)
    steps = abs(np.diff(x.weights, axis=0)).sum() + (abs(x.weights[0]).sum() if p.penalize_first else 0)
    surprise = -np.log(np.diff(whole_cdf, axis=1))
    return over_targets(x, surprise.shape[1], lambda y: own(surprise, y)) + p.lam * steps


# Kernels, calibration, regularisers.


def _gram(a, b, width):
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * width**2))


def _median(a):
    return np.median(np.sqrt(((a[:, None] - a[None]) ** 2).sum(-1))[~np.eye(len(a), dtype=bool)])


@formula("cauchy_schwarz_divergence")
def _(p, x, held):
    if p.form in ("information", "objective") and x.codes is None:
        raise NotImplementedError
    width_x, width_y = p.sigma_x or _median(held.features), p.sigma_y or _median(held.targets)
    k = _gram(x.features, x.features, width_x)
    l1, l2 = (_gram(a, a, width_y) for a in (x.targets, x.predictions))
    l21 = _gram(x.predictions, x.targets, width_y)
    below = k.sum(1) ** 2 if p.denominator == "squared_sum" else (k**2).sum(1)

    def term(gram):
        # sum_j [ sum_i K_ji L_ji / below_j ]
        return np.log(((k * gram).sum(1) / below).sum())

    # L21_ji = kappa(yhat_j, y_i).
    conditional = term(l1) + term(l2) - 2 * term(l21)
    if p.form == "conditional":
        return whole(conditional)
    if p.form == "marginal":
        return whole(np.log(l1.mean()) + np.log(l2.mean()) - 2 * np.log(l21.mean()))
    q = _gram(x.codes, x.codes, p.sigma_t or _median(held.codes))
    information = np.log((k * q).mean()) + np.log(k.mean() * q.mean()) - 2 * np.log((k.mean(1) * q.mean(1)).mean())
    return whole(information if p.form == "information" else conditional + p.beta * information)


@formula("attention_entropy_regularization", eps=(1e-3, 1e-2))
def _(p, x, held):
    a, largest = x.attention, np.log(x.attention.shape[-1])
    entropy = -(a * np.log(a + p.eps)).sum(-1)
    if p.reduction == "average":
        deviation = entropy.mean(-1) - x.thresholds * largest
        return whole(np.where(abs(deviation) > p.gamma * largest, deviation**2, 0).mean())
    deviation = entropy - x.thresholds[..., None] * largest
    return whole(np.where(abs(deviation) > p.gamma * largest, deviation**2, 0).sum(-1).mean())


@formula("energy_margin", inside=(-3, -1), outside=(-3, -1))
def _(p, x, held):
    def energy(z):
        return -p.temperature * logsumexp(z / p.temperature)

    value = cross_entropy(x.logits, x.targets) + p.lam * np.maximum(energy(x.logits) - p.inside, 0) ** 2
    if x.outlier_logits is not None:
        value = value + p.lam * (np.maximum(p.outside - energy(x.outlier_logits), 0) ** 2).mean()
    return value


@formula("mmce")
def _(p, x, held):
    """Kumar, Sarawagi and Jain, "Trainable calibration measures for neural networks from kernel mean embeddings"."""
    q = softmax(x.logits)
    r, c = q.max(1), own(one_hot(x.targets, q.shape[1]), q.argmax(1))
    k = np.exp(-abs(r[:, None] - r[None]) / p.width)
    if p.form == "plain":
        gap = c - r
        return whole(np.sqrt((gap[:, None] * gap[None] * k).sum()) / len(r))
    # Of right and of wrong predictions, with the shares in which they are so for probabilities.
    right, wrong = c * (1 - r) / max(c.sum(), 1), (1 - c) * r / max((1 - c).sum(), 1)
    value = right @ k @ right + wrong @ k @ wrong - 2 * right @ k @ wrong
    return whole(np.sqrt(value))


@formula("mixoe")
def _(p, x, held):
    classes = x.logits.shape[1]
    soft = x.mix[:, None] * one_hot(x.targets, classes) + (1 - x.mix[:, None]) / classes
    return cross_entropy(x.logits, x.targets) + p.b * cross_entropy(x.mixed_logits, soft)


@formula("aaer_fast_adversarial_training")
def _(p, x, held):
    z1, z0 = x.adversarial_logits, x.initial_logits
    loss, before = cross_entropy(z1, x.targets), cross_entropy(z0, x.targets)
    odd = before > cross_entropy(held.adversarial_logits, held.targets)
    if not 0 < odd.sum() < len(odd):
        return loss
    fall = before - (loss if p.ce_grad else cross_entropy(held.adversarial_logits, held.targets))
    moved, constant = squared(z1 - z0), squared(held.adversarial_logits - z0)
    variation = max(moved[odd].mean() - constant[~odd].mean(), 0)
    return loss + p.lam1 * odd.mean() * (p.lam2 * fall[odd].mean() + p.lam3 * variation)


@formula("weat_loss")
def _(p, x, held):
    weight = 1 / softplus(abs(logsumexp(held.logits)))
    lp, lq = log_softmax(x.logits), log_softmax(x.adversarial_logits)
    divergence = (np.exp(lp) * (lp - lq)).sum(1)
    judged = x.logits if p.variant == "nat" else x.adversarial_logits
    return weight * (cross_entropy(judged, x.targets) + p.beta * divergence)


@formula("fisher_robust_npe")
def _(p, x, held):
    variance = np.exp(2 * x.log_std)
    nll = ((x.parameters - x.mean) ** 2 / (2 * variance) + x.log_std + np.log(2 * np.pi) / 2).sum(1)
    trace = ((x.mean_jacobian**2).sum(-1) / variance + 2 * (x.log_std_jacobian**2).sum(-1)).sum(1)
    return nll + p.beta * trace


@formula("physics_residual_multitask_loss", intensity_class=(0, 4))
def _(p, x, held):
    judged = 1 if x.observed is None else x.observed
    value = p.w_regression * judged * (x.predictions - x.observations) ** 2
    value = value + p.w_classification * cross_entropy(x.logits, x.targets)
    if x.derivatives is None and x.residuals is None:
        return value
    if x.residuals is not None:
        return value + p.w_residual * x.residuals**2
    law = {}
    for name in ("alpha", "beta", "gamma"):
        given = getattr(x, name)
        law[name] = (
            getattr(p, name) if given is None else float(softplus(given) if p.constants == "softplus" else given)
        )
    q = softmax(x.logits)
    s = q[:, p.intensity_class] if x.intensities is None else q @ x.intensities
    residual = law["gamma"] * x.derivatives + law["alpha"] * x.predictions - law["beta"] * s
    return value + p.w_residual * residual**2


@formula("cosface", scale=(1, 8))
def _(p, x, held):
    cos = unit(x.features) @ unit(x.weights).T
    return cross_entropy(p.scale * (cos - p.margin * one_hot(x.targets, len(x.weights))), x.targets)


@formula("arcface", scale=(1, 8))
def _(p, x, held):
    return _angular(p, x, np.arange(len(x.weights)))


def _angular(p, x, classes):
    cos = unit(x.features) @ unit(x.weights).T
    truth = one_hot(x.targets, len(x.weights))
    margin = p.margin * truth
    angle = np.arccos(cos)
    z = p.scale * np.where(angle + margin <= np.pi, np.cos(angle + margin), cos - margin * np.sin(margin))
    return logsumexp(z[:, classes]) - (truth * z).sum(1)


@formula("partial_fc", scale=(1, 8))
def _(p, x, held):
    sampled = np.arange(len(x.weights)) if x.sampled_classes is None else x.sampled_classes
    classes = np.union1d(x.targets, sampled)
    if p.margin_type == "arcface":
        return _angular(p, x, classes)
    z = p.scale * (unit(x.features) @ unit(x.weights).T - p.margin * one_hot(x.targets, len(x.weights)))
    return logsumexp(z[:, classes]) - own(z, x.targets)


@formula("sampled_softmax")
def _(p, x, held):
    """Logits less the logarithm of how often a class is expected among the draws (Jean and others, 2015)."""
    z = x.features @ x.weights.T + (0 if x.bias is None else x.bias)
    z = z - np.log(len(x.sampled_classes) * x.proposal)
    drawn = z[:, x.sampled_classes]
    if p.remove_accidental_hits:
        drawn = np.where(x.sampled_classes[None] == x.targets[:, None], -1e300, drawn)
    target = own(z, x.targets)
    return logsumexp(np.concatenate([target[:, None], drawn], 1)) - target
