"""Losses of denoisers and other generative models as formulas of NumPy."""

import numpy as np

from formulas import by_sample, cross_entropy, formula, log_softmax, one_hot, over_elements, softmax

# Generative models.


@formula("p2_weighting")
def _(p, x, held):
    snr = x.alpha_bar / (1 - x.alpha_bar)
    weight = {
        "p2": 1 / (p.k + snr) ** p.gamma, "simple": np.ones_like(snr), "snr": snr, "truncated_snr": np.maximum(snr, 1),
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


@formula("uncertainty_weighted_reward_loss", step=(1, 5), warmup_steps=[0, 2, 9])
def _(p, x, held):
    la, lb = log_softmax(x.predictions_a), log_softmax(x.predictions_b)
    u = p.u_scale * (np.exp(lb) * (lb - la)).sum(1)
    g = p.reward_scale * (min(1, p.step / p.warmup_steps) if p.warmup_steps else 1)
    return g * cross_entropy(x.predictions_a, x.targets) * np.exp(-u) + u


@formula("multi_head_min_loss", eps_relax=[0, 0.2], log_eps=(1e-3, 1e-2))
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
