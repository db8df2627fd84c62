"""Losses of pairs, of lists and of answers, as formulas of NumPy."""

import numpy as np

from formulas import cross_entropy, formula, log_sigmoid, log_softmax, sigmoid, softmax, softplus, squared, unit, whole

# Embeddings.


def _cosine(a, b):
    return (unit(a) * unit(b)).sum(1)


def _log_sum(values, which):
    """log sum exp over some of each row; -inf where there are none."""
    with np.errstate(divide="ignore"):
        top = values.max(1, keepdims=True)
        return top[:, 0] + np.log((np.exp(values - top) * which).sum(1))


@formula("contrastive", margin=(1, 4))
def _(p, x, held):
    squares = squared(x.features_a - x.features_b)
    return (x.targets * squares + (1 - x.targets) * np.maximum(p.margin - np.sqrt(squares), 0) ** 2) / 2


@formula("cosine_embedding")
def _(p, x, held):
    cosine = _cosine(x.features_a, x.features_b)
    return x.targets * (1 - cosine) + (1 - x.targets) * np.maximum(cosine - p.margin, 0)


@formula("cosine_distillation")
def _(p, x, held):
    return 1 - _cosine(x.features, x.teacher_features)


@formula("triplet")
def _(p, x, held):
    near, far = (np.sqrt(squared(x.anchors - other)) for other in (x.positives, x.negatives))
    return np.maximum(near - far + p.margin, 0)


@formula("n_pairs", l2=(0.1, 1))
def _(p, x, held):
    s = x.anchors @ x.positives.T
    labels = np.arange(len(s)) if x.targets is None else x.targets
    others = _log_sum(s, labels[:, None] != labels)
    return softplus(others - np.diag(s)) + p.l2 / 4 * (squared(x.anchors) + squared(x.positives))


@formula("circle", gamma=(2, 8))
def _(p, x, held):
    """The factors max(0, O - s) are constants for the gradient."""
    s, constant = (unit(y.features) @ unit(y.features).T for y in (x, held))
    same = x.targets[:, None] == x.targets
    up = -p.gamma * np.maximum(1 + p.margin - constant, 0) * (s - 1 + p.margin)
    down = p.gamma * np.maximum(constant + p.margin, 0) * (s - p.margin)
    return np.logaddexp(0, _log_sum(up, same & ~np.eye(len(s), dtype=bool)) + _log_sum(down, ~same))


@formula("proxy_anchor", alpha=(1, 6))
def _(p, x, held):
    s = unit(x.proxies) @ unit(x.features).T
    is_own = np.arange(len(s))[:, None] == x.targets
    pulled = np.log1p((is_own * np.exp(-p.alpha * (s - p.delta))).sum(1)).sum() / is_own.any(1).sum()
    return whole(pulled + np.log1p((~is_own * np.exp(p.alpha * (s + p.delta))).sum(1)).mean())


@formula("normface", scale=(2, 20))
def _(p, x, held):
    return cross_entropy(p.scale * unit(x.features) @ unit(x.weights).T, x.targets)


@formula("siglip")
def _(p, x, held):
    scale, bias = (10 if x.scale is None else x.scale), (-10 if x.bias is None else x.bias)
    signs = 2 * np.eye(len(x.queries)) - 1
    return softplus(-signs * (scale * unit(x.queries) @ unit(x.keys).T + bias)).sum(1)


@formula("supcon")
def _(p, x, held):
    s, others = unit(x.features) @ unit(x.features).T / p.temperature, ~np.eye(len(x.features), dtype=bool)
    same = (x.targets[:, None] == x.targets) & others
    count = same.sum(1)
    return np.where(count > 0, _log_sum(s, others) - (same * s).sum(1) / np.maximum(count, 1), 0)


# Rankings.


@formula("bpr")
def _(p, x, held):
    return softplus(x.negative_scores - x.positive_scores)


@formula("margin_ranking")
def _(p, x, held):
    lead = x.scores_a - x.scores_b
    return x.targets * np.maximum(p.margin - lead, 0) + (1 - x.targets) * np.maximum(p.margin + lead, 0)


def _by_list(x, value):
    """A value of the documents of each list, 0 where there are none."""
    there = np.ones(x.scores.shape, bool) if x.mask is None else x.mask.astype(bool)
    return np.array([value(s[m], g[m]) if m.any() else 0.0 for s, g, m in zip(x.scores, x.targets, there)])


@formula("listnet")
def _(p, x, held):
    return _by_list(x, lambda s, relevance: -(softmax(relevance) * log_softmax(s)).sum())


@formula("listmle")
def _(p, x, held):
    def value(s, relevance):
        ordered = s[np.argsort(-relevance, kind="stable")]
        return sum(np.log(np.exp(ordered[k:]).sum()) - ordered[k] for k in range(len(s)))

    return _by_list(x, value)


def _ideal(gains):
    return (-np.sort(-gains) / np.log2(np.arange(2, len(gains) + 2))).sum()


@formula("lambda_rank")
def _(p, x, held):
    def value(s, relevance):
        gains, rank = 2**relevance - 1, np.empty(len(s))
        rank[np.argsort(-s, kind="stable")] = np.arange(1, len(s) + 1)
        discount, total = 1 / np.log2(1 + rank), 0.0
        for i in range(len(s)):
            for j in np.flatnonzero(relevance < relevance[i]):
                worth = abs(gains[i] - gains[j]) * abs(discount[i] - discount[j]) / _ideal(gains)
                total += (worth if p.weighting == "ndcg" else 1) * softplus(-p.sigma * (s[i] - s[j]))
        return total

    return _by_list(x, value)


@formula("approx_ndcg")
def _(p, x, held):
    def value(s, relevance):
        gains = 2**relevance - 1
        ahead = sigmoid((s - s[:, None]) / p.temperature)
        rank = 1 + ahead.sum(1) - np.diag(ahead)
        return 1 - (gains / np.log2(1 + rank)).sum() / _ideal(gains)

    return _by_list(x, value)


# Answers.


def _ratios(x):
    return (
        x.policy_chosen_logps - x.reference_chosen_logps,
        x.policy_rejected_logps - x.reference_rejected_logps,
    )


def _smoothed(p, h):
    return -(1 - p.label_smoothing) * log_sigmoid(h) - p.label_smoothing * log_sigmoid(-h)


@formula("cdpo")
def _(p, x, held):
    chosen, rejected = _ratios(x)
    return _smoothed(p, p.beta * (chosen - rejected))


@formula("slic_hinge", beta=(0.3, 2))
def _(p, x, held):
    chosen, rejected = _ratios(x)
    return np.maximum(1 - p.beta * (chosen - rejected), 0)


@formula("sppo")
def _(p, x, held):
    chosen, rejected = _ratios(x)
    return (chosen - 1 / (2 * p.beta)) ** 2 + (rejected + 1 / (2 * p.beta)) ** 2


@formula("apo_zero", beta=(0.3, 2))
def _(p, x, held):
    chosen, rejected = _ratios(x)
    return 1 - sigmoid(p.beta * chosen) + sigmoid(p.beta * rejected)


@formula("apo_down", beta=(0.3, 2))
def _(p, x, held):
    chosen, rejected = _ratios(x)
    return sigmoid(p.beta * chosen) + 1 - sigmoid(p.beta * (chosen - rejected))


@formula("bco", beta=(0.3, 2))
def _(p, x, held):
    chosen, rejected = _ratios(x)
    shift = p.beta * np.mean(_ratios(held)) if x.reward_shift is None else x.reward_shift
    return -log_sigmoid(p.beta * chosen - shift) - log_sigmoid(shift - p.beta * rejected)


@formula("aot", beta=(0.3, 2))
def _(p, x, held):
    if p.form == "paired":
        first = x.policy_chosen_logps - x.policy_rejected_logps
        second = x.reference_chosen_logps - x.reference_rejected_logps
    else:
        first, second = _ratios(x)
    return whole(_smoothed(p, p.beta * (np.sort(first) - np.sort(second))).mean())


@formula("kto", beta=(0.3, 2))
def _(p, x, held):
    point = 0.0
    if x.policy_kl_logps is not None:
        point = max(0.0, (x.policy_kl_logps - x.reference_kl_logps).mean())
    gain = p.beta * (x.policy_logps - x.reference_logps - point)
    return x.targets * p.desirable_weight * (1 - sigmoid(gain)) + (1 - x.targets) * p.undesirable_weight * sigmoid(gain)


@formula("orpo")
def _(p, x, held):
    chosen = x.policy_chosen_logps / (1 if x.chosen_lengths is None else x.chosen_lengths)
    rejected = x.policy_rejected_logps / (1 if x.rejected_lengths is None else x.rejected_lengths)

    def log_odds(m):
        return m - np.log(1 - np.exp(m))

    return -chosen - p.lam * log_sigmoid(log_odds(chosen) - log_odds(rejected))
