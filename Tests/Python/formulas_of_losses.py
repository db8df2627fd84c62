"""The losses of the pages, and those that everyone expects, as formulas of NumPy with all of their parameters."""

import numpy as np
from formulas import (
    by_sample, cross_entropy, formula, log_sigmoid, log_softmax, logsumexp, one_hot, over_elements, sigmoid, softmax,
    softplus, squared, unit,
)  # fmt: skip


def own(array, targets):
    """The entry of each row's class."""
    return np.take_along_axis(array, targets[:, None], 1)[:, 0]


def whole(value):
    """The value of a whole batch."""
    return np.array([value])


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


def _behind(p, x):
    lead = p.margin + x.logits - own(x.logits, x.targets)[:, None]
    return np.where(one_hot(x.targets, x.logits.shape[1]) > 0, 0, np.maximum(lead, 0))


@formula("hinge")
def _(p, x, held):
    return _behind(p, x).max(1) if p.form == "crammer_singer" else _behind(p, x).sum(1)


@formula("squared_hinge")
def _(p, x, held):
    return (_behind(p, x) ** 2).max(1) if p.form == "crammer_singer" else (_behind(p, x) ** 2).sum(1)


@formula("multi_margin")
def _(p, x, held):
    weights = 1 if x.class_weights is None else x.class_weights[x.targets]
    return weights * (_behind(p, x) ** p.p).sum(1) / x.logits.shape[1]


@formula("asymmetric_loss", clip=(0.02, 0.3))
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


@formula("focal")
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
    return logsumexp(np.where(x.visible, x.logits, float(p.mask_value))) - own(x.logits, x.targets)


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
    others = 1 - one_hot(x.targets, classes)

    def robust(lam):
        return lam * (logsumexp((f - own(f, x.targets)[:, None] + p.margin * others) / lam[:, None]) - np.log(classes))

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


@formula("entmax_loss", alpha=(1.2, 2.2))
def _(p, x, held):
    """q . (p - q) + the difference of Tsallis entropies."""
    alpha = p.alpha if x.alpha is None else float(x.alpha)
    q = one_hot(x.targets, x.logits.shape[1])
    prob = _entmax(x.logits, alpha)

    def entropy(r):
        return ((r - r**alpha).sum(1)) / (alpha * (alpha - 1))

    return ((prob - q) * x.logits).sum(1) + entropy(prob) - entropy(q)


def _entmax(z, alpha):
    z = (alpha - 1) * z
    low, high = z.max(1, keepdims=True) - 1, z.max(1, keepdims=True)
    for _ in range(200):
        middle = (low + high) / 2
        above = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum(1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    prob = np.maximum(z - low, 0) ** (1 / (alpha - 1))
    return prob / prob.sum(1, keepdims=True)


# Noise-robust.


@formula("active_passive_loss")
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


@formula("bi_tempered_logistic", t1=(0.3, 0.9), t2=(1.1, 1.6), label_smoothing=(0.05, 0.3))
def _(p, x, held):
    classes = x.logits.shape[1]
    a = x.logits - x.logits.max(1, keepdims=True)

    def exp_t(u):
        return np.maximum(1 + (1 - p.t2) * u, 0) ** (1 / (1 - p.t2))

    low, high = np.zeros((len(a), 1)), np.full((len(a), 1), 1e3)
    for _ in range(200):
        middle = (low + high) / 2
        above = exp_t(a - middle).sum(1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    q = exp_t(a - low)
    y = one_hot(x.targets, classes)
    y = (1 - p.label_smoothing * classes / (classes - 1)) * y + p.label_smoothing / (classes - 1)

    def log_t(u):
        return (u ** (1 - p.t1) - 1) / (1 - p.t1)

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
    probability = np.where(x.targets, (1 - g) * s, (1 - s) + g * s)
    if p.objective == "exact":
        return -np.log(probability)
    if p.objective == "sum":
        return -probability
    seen = (1 - fixed_g) * np.log(s) + fixed_s * np.log(1 - g)
    unseen = np.log(1 - s) + fixed_g * np.log(s) + fixed_s * np.log(g)
    return -np.where(x.targets, seen, unseen)


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


@formula("gumbel_optimized_loss", clamp_min=(-3, -0.5), clamp_max=(0.5, 3), loss_max=(1, 3))
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
    return -np.log(own(np.diff(whole_cdf, axis=1), x.targets)) + p.lam * steps


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
    information = (
        np.log((k * q).mean()) + np.log(k.mean() * q.mean()) - 2 * np.log((k.mean(1) * q.mean(1)).mean())
    )
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
    r, c = q.max(1), (q.argmax(1) == x.targets).astype(float)
    k = np.exp(-abs(r[:, None] - r[None]) / p.width)
    if p.form == "plain":
        gap = c - r
        return whole(np.sqrt((gap[:, None] * gap[None] * k).sum()) / len(r))
    right, wrong = c > 0, c == 0
    m, n = right.sum(), wrong.sum()
    value = 0.0
    if n:
        value += (r[wrong][:, None] * r[wrong][None] * k[np.ix_(wrong, wrong)]).sum() / n**2
    if m:
        value += ((1 - r[right])[:, None] * (1 - r[right])[None] * k[np.ix_(right, right)]).sum() / m**2
    if m and n:
        value -= 2 * ((1 - r[right])[:, None] * r[wrong][None] * k[np.ix_(right, wrong)]).sum() / (m * n)
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


@formula("physics_residual_multitask_loss", intensity_class=())
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
        law[name] = getattr(p, name) if given is None else float(softplus(given) if p.constants == "softplus" else given)
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
    angle = np.arccos(cos)
    bent = np.where(angle + p.margin <= np.pi, np.cos(angle + p.margin), cos - p.margin * np.sin(p.margin))
    z = p.scale * np.where(one_hot(x.targets, len(x.weights)) > 0, bent, cos)
    return logsumexp(z[:, classes]) - own(z, x.targets)


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


# Contrast and ranking.


@formula("info_nce")
def _(p, x, held):
    q, k = (unit(x.queries), unit(x.keys)) if p.normalize else (x.queries, x.keys)
    s, ids = q @ k.T / p.temperature, np.arange(len(x.queries))
    forth = cross_entropy(s, ids)
    return (forth + cross_entropy(s.T, ids)) / 2 if p.symmetric else forth


@formula("isogclr_loss")
def _(p, x, held):
    """τ log u + τ ρ with the slope of g / u for that of log u: u is the running mean, which the state begins."""
    n, tau, anchors = len(x.features_a), x.temperatures, []
    is_other = np.tile(~np.eye(n, dtype=bool), 2)

    def means(y, swap):
        a, b = (unit(y.features_b), unit(y.features_a)) if swap else (unit(y.features_a), unit(y.features_b))
        h = np.concatenate([a @ a.T, a @ b.T], 1) - (a * b).sum(1, keepdims=True)
        return (is_other * np.exp(h / y.temperatures[:, None])).sum(1) / (2 * n - 2)

    for swap in (False, True):
        u = means(held, swap)
        anchors.append(tau * (np.log(u) + (means(x, swap) - u) / u + p.rho))
    return sum(anchors) / (2 if p.views == "mean" else 1)


@formula("mann_whitney_loss")
def _(p, x, held):
    s = x.scores / p.temperature
    negatives = s[~np.eye(len(s), dtype=bool)]
    return softplus(negatives[None] - np.diag(s)[:, None]).mean(1)


@formula("decoupled_softmax_and_soft_topk", k=(2, 4))
def _(p, x, held):
    s, right = x.scores / p.temperature, x.targets.astype(bool)
    values = []
    for row, positive in zip(s, right):
        lost = 0.0
        if positive.any():
            rest = np.exp(row[~positive]).sum()
            decoupled = np.mean([np.log(np.exp(v) + rest) - v for v in row[positive]])
            top = np.mean(-np.log(_soft_topk(row[None], p.k, p.alpha)[0][positive]))
            lost = {"decoupled": decoupled, "soft_topk": top, "combined": decoupled + top}[p.form]
        values.append(lost)
    return np.array(values)


def _soft_topk(x, k, alpha):
    low, high = -x.max(1, keepdims=True) - 60 / alpha, -x.min(1, keepdims=True) + 60 / alpha
    for _ in range(200):
        middle = (low + high) / 2
        above = sigmoid(alpha * (x + middle)).sum(1, keepdims=True) > k
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return sigmoid(alpha * (x + low))


@formula("mlcd_loss")
def _(p, x, held):
    s, positive = x.logits, x.targets.astype(bool)
    return np.log1p(np.where(positive, 0, np.exp(s)).sum(1)) + np.log1p(np.where(positive, np.exp(-s), 0).sum(1))


@formula("soft_match_distribution_loss", T=(0.3, 1))
def _(p, x, held):
    lp, lq = log_softmax(x.target_scores / p.T), log_softmax(x.scores / p.T)

    def kl(a, b):
        return (np.exp(a) * (a - b)).sum(1)

    middle = np.log((np.exp(lp) + np.exp(lq)) / 2)
    return {
        "kl": kl(lp, lq), "reverse": kl(lq, lp), "symmetric": (kl(lp, lq) + kl(lq, lp)) / 2,
        "js": (kl(lp, middle) + kl(lq, middle)) / 2,
    }[p.mode]  # fmt: skip


@formula("sepclr_loss", b1=(0.5, 2), b2=(0.5, 2), lam=(0.5, 2))
def _(p, x, held):
    c1, c2 = unit(x.common_1), unit(x.common_2)
    target = x.targets.astype(float)[:, None]
    s1, s2 = x.salient_1 * target, x.salient_2 * target

    def distances(u):
        return ((u[:, None] - u[None]) ** 2).sum(-1) / (2 * p.tau)

    def uniformity(u):
        return np.log(np.exp(-distances(u))[np.triu_indices(len(u), 1)].mean())

    def align(u, v, which):
        return (((u - v) ** 2).sum(1) / (2 * p.tau))[which].mean() if which.any() else 0.0

    everyone, is_target = np.ones(len(c1), bool), x.targets.astype(bool)
    common = align(c1, c2, everyone) + uniformity(c1) + uniformity(c2)
    salient = align(s1, s2, is_target) + uniformity(s1) + uniformity(s2)
    zero = (align(x.salient_1, 0, ~is_target) + align(x.salient_2, 0, ~is_target)) / 2
    joint = np.mean([
        np.log(np.exp(-distances(c) - distances(s)).mean(1)).mean() for c, s in ((c1, s1), (c2, s2))
    ])  # fmt: skip
    return whole(common + p.b1 * salient + p.b2 * zero + p.lam * joint)


@formula("shrinkmatch_loss", tau=(0.3, 0.8), rho=(0.5, 1))
def _(p, x, held):
    prob, classes, values = softmax(held.weak_logits), x.weak_logits.shape[1], []
    for q, strong, auxiliary in zip(prob, x.strong_logits, x.auxiliary_logits):
        if q.max() >= p.tau:
            values.append(-(q * log_softmax(strong)).sum())
            continue
        order = np.argsort(-q, kind="stable")
        for c in range(2, classes):
            kept = order[[0, *range(c, classes)]]
            share = q[order[0]] / q[kept].sum()
            if share >= p.tau:
                break
        else:
            share = 0.0
        values.append(-p.rho * q[order[0]] * log_softmax(auxiliary[kept])[0] if share >= p.tau else 0.0)
    return np.array(values)


@formula("robust_self_supervised_loss")
def _(p, x, held):
    length = np.linalg.norm(x.weights)
    signed = (2 * (x.targets > 0) - 1) * (x.features @ x.weights) / length
    labelled = np.where(signed <= 0, 1.0, np.maximum(0, 1 - p.gamma * abs(signed)))
    away = abs(x.unlabeled_features @ x.weights) / length
    return whole(labelled.mean() + p.lam * np.maximum(0, 1 - p.gamma_prime * away).mean())


@formula("guidance_cka_alignment")
def _(p, x, held):
    a, b = (f - f.mean(0) for f in (x.features, x.guide_features))
    k, g = a @ a.T, b @ b.T
    cka = (k * g).sum() / (np.linalg.norm(k) * np.linalg.norm(g))
    return cross_entropy(x.logits, x.targets) + p.lam * (1 - cka)


@formula("squared_error_logit_loss")
def _(p, x, held):
    shown = np.ones(x.logits.shape) if x.mask is None else x.mask.astype(float)
    values = (shown * (log_softmax(x.logits) - x.teacher_log_probs) ** 2).sum(1) / 2
    return values * len(values) / max(shown.sum(), 1)


@formula("distillation")
def _(p, x, held):
    lt, ls = log_softmax(x.teacher_logits / p.temperature), log_softmax(x.logits / p.temperature)
    soft = p.temperature**2 * (np.exp(lt) * (lt - ls)).sum(1)
    return (1 - p.alpha) * cross_entropy(x.logits, x.targets) + p.alpha * soft


@formula("decoupled_kd")
def _(p, x, held):
    """Zhao and others, "Decoupled knowledge distillation", 2022: α TCKD + β NCKD, times T²."""
    t, s = softmax(x.teacher_logits / p.temperature), softmax(x.logits / p.temperature)
    is_own = one_hot(x.targets, t.shape[1]) > 0
    target, others = 0.0, 0.0
    mine_t, mine_s = own(t, x.targets), own(s, x.targets)
    for a, b in ((mine_t, mine_s), (1 - mine_t, 1 - mine_s)):
        target = target + a * np.log(a / b)
    rest_t = np.where(is_own, 0, t) / (1 - mine_t)[:, None]
    rest_s = np.where(is_own, 0, s) / (1 - mine_s)[:, None]
    ratio = np.where(is_own, 1, rest_t) / np.where(is_own, 1, rest_s)
    others = (rest_t * np.log(ratio)).sum(1)
    return p.temperature**2 * (p.alpha * target + p.beta * others)


# Preferences.


def _margin(x):
    return (
        x.policy_chosen_logps - x.reference_chosen_logps - x.policy_rejected_logps + x.reference_rejected_logps
    )  # fmt: skip


@formula("dpo")
def _(p, x, held):
    h = p.beta * _margin(x)
    return -(1 - p.label_smoothing) * log_sigmoid(h) - p.label_smoothing * log_sigmoid(-h)


@formula("ipo")
def _(p, x, held):
    return (_margin(x) - 1 / (2 * p.beta)) ** 2


@formula("robust_dpo", eps=(0.05, 0.3))
def _(p, x, held):
    h = p.beta * _margin(x)
    return (-(1 - p.eps) * log_sigmoid(h) + p.eps * log_sigmoid(-h)) / (1 - 2 * p.eps)


@formula("dr_dpo_loss")
def _(p, x, held):
    loss = -log_sigmoid(p.beta * _margin(x))
    return whole(-p.beta_prime * np.log(np.exp(-loss / p.beta_prime).mean()))


@formula("d2o_loss")
def _(p, x, held):
    samples = (x.policy_sample_logps - x.reference_sample_logps).mean(1)
    rejected = x.policy_rejected_logps - x.reference_rejected_logps
    return -log_sigmoid(p.beta * samples - p.alpha * rejected)


@formula("madpo_loss")
def _(p, x, held):
    h = x.chosen_rewards - x.rejected_rewards
    steep = (p.c_max - 1) / (1 - p.c_min)
    c = p.c_min + (p.c_max - p.c_min) / (1 + steep * np.exp(p.lam * (abs(h) - p.tau)))
    w = np.where(h > -p.tau, sigmoid(c * h) / sigmoid(h), 1)
    return -w * log_sigmoid(p.beta * _margin(x))


@formula("napo_loss", q=(0.2, 0.9))
def _(p, x, held):
    h, q = p.beta * _margin(x), p.q
    if q is None:
        chosen = held.policy_chosen_logps - held.reference_chosen_logps
        rejected = held.policy_rejected_logps - held.reference_rejected_logps
        if p.margin == "averaged":
            chosen, rejected = chosen / held.chosen_lengths, rejected / held.rejected_lengths
        margin = (chosen - rejected).mean()
        if p.rule == "code":
            q = np.clip(2 * (1 - sigmoid(p.alpha * margin)), 0.001, 1)
        else:
            q = np.clip(1 - sigmoid(p.alpha * p.beta * margin), 0.01, 1)
    return (1 - sigmoid(h) ** q) / q


@formula("sparsepo_loss", beta=(0.5, 1.5))
def _(p, x, held):
    def answer(side):
        policy, reference = (log_softmax(getattr(x, f"{who}_{side}_logits")) for who in ("policy", "reference"))
        tokens = getattr(x, f"{side}_tokens")[..., None]
        ratio = np.take_along_axis(policy - reference, tokens, -1)[..., 0]
        kl = (np.exp(reference) * (reference - policy)).sum(-1)
        u, d = getattr(x, f"{side}_reward_mask"), getattr(x, f"{side}_kl_mask")
        return (u * ratio).sum(1), (d * kl).sum(1), p.l1_u * abs(u).sum(1) + p.l1_d * abs(d).sum(1)

    (u_w, d_w, l_w), (u_l, d_l, l_l) = answer("chosen"), answer("rejected")
    return -log_sigmoid(p.beta * ((u_w - u_l) - (d_l - d_w))) + l_w + l_l


@formula("simpo")
def _(p, x, held):
    """Meng, Xia and Chen, "SimPO", 2024: β times the mean log-probabilities of tokens, less γ."""
    chosen = x.policy_chosen_logps / (1 if x.chosen_lengths is None else x.chosen_lengths)
    rejected = x.policy_rejected_logps / (1 if x.rejected_lengths is None else x.rejected_lengths)
    h = p.beta * (chosen - rejected) - p.gamma
    return -(1 - p.label_smoothing) * log_sigmoid(h) - p.label_smoothing * log_sigmoid(-h)


@formula("cpo")
def _(p, x, held):
    """Xu and others, "Contrastive preference optimization", 2024: a uniform reference, and the chosen answer's NLL."""
    h = p.beta * (x.policy_chosen_logps - x.policy_rejected_logps)
    preferred = -(1 - p.label_smoothing) * log_sigmoid(h) - p.label_smoothing * log_sigmoid(-h)
    likelihood = x.policy_chosen_logps / (1 if x.chosen_lengths is None else x.chosen_lengths)
    return preferred - p.alpha * likelihood


@formula("exo", label_smoothing=(0.05, 0.3))
def _(p, x, held):
    """Ji and others, "Towards efficient exact optimization", 2024: KL(policy's preference || the smoothed label)."""
    h, e = p.beta * _margin(x), p.label_smoothing
    return sigmoid(h) * (log_sigmoid(h) - np.log(1 - e)) + sigmoid(-h) * (log_sigmoid(-h) - np.log(e))


@formula("reward_ensemble_pairwise")
def _(p, x, held):
    return -log_sigmoid(x.chosen_rewards - x.rejected_rewards) + p.eta * (x.chosen_rewards + x.rejected_rewards) ** 2


# Generative models.


@formula("p2_weighting")
def _(p, x, held):
    snr = x.alpha_bar / (1 - x.alpha_bar)
    weight = {
        "p2": 1 / (p.k + snr) ** p.gamma, "simple": 1 + 0 * snr, "snr": snr, "truncated_snr": np.maximum(snr, 1),
        "min_snr": np.minimum(snr, 5),
    }[p.weighting]  # fmt: skip
    return weight * over_elements(p, (x.noise - x.predictions) ** 2)


@formula("target_score_matching", w=(0.1, 0.9))
def _(p, x, held):
    alpha, sigma = (by_sample(a, x.predictions) for a in (x.alpha, x.sigma))
    snr = alpha**2 * p.v / sigma**2
    w = snr / (1 + snr) if p.w == "snr" else p.w
    target = w * x.clean_score / alpha - (1 - w) * x.noise / sigma
    return over_elements(p, (x.predictions - target) ** 2)


@formula("ambient_denoising_loss", weight_clip=(1.1, 3))
def _(p, x, held):
    s, n = x.sigma, x.sigma_noisy
    share = np.where(n > 0, (s**2 - n**2) / s**2, 1.0)
    seen = by_sample(share, x.predictions) * x.predictions + by_sample(1 - share, x.predictions) * x.noisy_inputs
    weight = np.minimum(1 / np.where(share > 0, share, 1) ** 2, p.weight_clip) if p.weighted else 1.0
    return np.where((n > 0) & (s <= n), 0, weight * over_elements(p, (seen - x.targets) ** 2))


@formula("asymmetric_noise_estimation_loss")
def _(p, x, held):
    def mean(a):
        return a.reshape(len(a), -1).mean(1)

    gap = x.noise_map - x.target_noise_map
    below = held.noise_map < held.target_noise_map
    asymmetric = mean(abs(p.alpha - below) * gap**2)
    variation = mean(np.diff(x.noise_map, axis=1) ** 2) + mean(np.diff(x.noise_map, axis=2) ** 2)
    return mean((x.predictions - x.targets) ** 2) + p.lambda_asym * asymmetric + p.lambda_tv * variation


@formula("noise2noise", gamma=(0.5, 1.8))
def _(p, x, held):
    f, y = x.predictions, x.targets
    if p.form != "wsdr":
        r = f - y
        return over_elements(p, {"l2": r**2, "l1": abs(r), "l0": (abs(r) + 1e-8) ** p.gamma}[p.form])
    if x.mixture is None:
        raise NotImplementedError
    f, y, mixed = (a.reshape(len(a), -1) for a in (f, y, x.mixture))
    z, v = mixed - y, mixed - f

    def agree(a, b):
        return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))

    share = (y * y).sum(1) / ((y * y).sum(1) + (z * z).sum(1))
    return -share * agree(y, f) - (1 - share) * agree(z, v)


@formula("softrepa_loss")
def _(p, x, held):
    scale, temperature = 4.0 if x.scale is None else x.scale, 0.07 if x.temperature is None else x.temperature
    logits = scale * np.exp(-x.errors / temperature)
    return cross_entropy(logits, np.arange(len(logits))) + p.dweight * np.diag(x.errors)


@formula("sure_score")
def _(p, x, held):
    n, w = x.noisy[0].size, p.sigma_noise

    def dot(a, b):
        return (a * b).reshape(len(a), -1).sum(1)

    # h(y) = y + w^2 s(y), whose divergence is n + w^2 div s.
    h = x.noisy + w**2 * x.score
    divergence = n + w**2 * dot(x.probe, x.score_probe - x.score) / p.mc_eps
    sure = dot(h - x.noisy, h - x.noisy) + 2 * w**2 * divergence - n * w**2
    matched = by_sample(x.sigma_t, x.score_t) * x.score_t + x.noise_t
    return (dot(matched, matched) + p.lam * sure / w**2) / n


@formula("tdsm", tau=(0.05, 0.2))
def _(p, x, held):
    q = softmax(x.classifier_logits / p.temp)
    towards = x.transition[:, x.noisy_labels].T * q
    w = towards / towards.sum(1, keepdims=True)
    given = one_hot(x.noisy_labels, w.shape[1]) > 0
    w = np.where(w > p.tau, w, 0)
    mixed = np.einsum("nc,ncd->nd", np.where(given, w, 0), x.predictions)
    mixed = mixed + np.einsum("nc,ncd->nd", np.where(given, 0, w), held.predictions)
    return (1 if x.weight is None else x.weight) * over_elements(p, (mixed - x.targets) ** 2)


@formula("uncertainty_weighted_reward_loss", step=(1, 5), warmup_steps=(3, 9))
def _(p, x, held):
    la, lb = log_softmax(x.predictions_a), log_softmax(x.predictions_b)
    u = p.u_scale * (np.exp(lb) * (lb - la)).sum(1)
    g = p.reward_scale * (min(1, p.step / p.warmup_steps) if p.warmup_steps else 1)
    return g * cross_entropy(x.predictions_a, x.targets) * np.exp(-u) + u


@formula("multi_head_min_loss", eps_relax=(0.05, 0.3), log_eps=(1e-3, 1e-2))
def _(p, x, held):
    y = x.predictions.reshape(*x.predictions.shape[:2], -1)
    t = x.targets.reshape(len(y), -1)
    heads = [y[:, i] for i in range(y.shape[1])]
    if p.combine_heads:
        heads = [(heads[i] + heads[j]) / 2 for i in range(len(heads)) for j in range(i + 1)]
    errors = np.stack([((v - t) ** 2).mean(1) for v in heads], 1)
    best = errors.argmin(1)
    if len(heads) > 1:
        share = np.full(errors.shape, p.eps_relax / (len(heads) - 1))
        share[np.arange(len(share)), best] = 1 - p.eps_relax
        error = (share * errors).sum(1)
    else:
        error = errors[:, 0]
    return 10 / np.log(10) * np.log(error + p.log_eps)
