"""Losses that compare: contrast, retrieval, teachers, preferences; as formulas of NumPy."""

import numpy as np

from formulas import (
    cross_entropy,
    formula,
    log_sigmoid,
    log_softmax,
    one_hot,
    over_targets,
    own,
    sigmoid,
    softmax,
    softplus,
    unit,
    whole,
)

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
    n, anchors = len(x.features_a), []
    tau = np.full(n, p.tau_init) if x.temperatures is None else x.temperatures
    is_other = np.tile(~np.eye(n, dtype=bool), 2)

    def means(y, swap):
        a, b = (unit(y.features_b), unit(y.features_a)) if swap else (unit(y.features_a), unit(y.features_b))
        h = np.concatenate([a @ a.T, a @ b.T], 1) - (a * b).sum(1, keepdims=True)
        own_tau = tau if y.temperatures is None else y.temperatures
        return (is_other * np.exp(h / own_tau[:, None])).sum(1) / (2 * n - 2)

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


@formula("robust_self_supervised_loss_logistic", gamma=(3, 6))
def _(p, x, held):
    """sup over z of the logistic loss less γ |z - x|², along -y w."""
    length = np.linalg.norm(x.weights)
    m = (2 * (x.targets > 0) - 1) * (x.features @ x.weights)
    d = np.zeros(len(m))
    for _ in range(200):
        d = (length * sigmoid(length * d - m) / (2 * p.gamma) + d) / 2
    return softplus(length * d - m) - p.gamma * d**2


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

    def value(y):
        is_own = one_hot(y, t.shape[1]) > 0
        mine_t, mine_s = own(t, y), own(s, y)
        target = sum(a * np.log(a / b) for a, b in ((mine_t, mine_s), (1 - mine_t, 1 - mine_s)))
        rest_t, rest_s = (np.where(is_own, 0, q) / (1 - own(q, y))[:, None] for q in (t, s))
        ratio = np.where(is_own, 1, rest_t) / np.where(is_own, 1, rest_s)
        return p.temperature**2 * (p.alpha * target + p.beta * (rest_t * np.log(ratio)).sum(1))

    return over_targets(x, t.shape[1], value)


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


@formula("napo_loss", q=[None, 0, 0.5, 1], alpha=[0.3, 300])
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
    if q == 0:
        return -log_sigmoid(h)
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
