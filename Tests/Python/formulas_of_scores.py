"""Losses of scores and targets, and of whole tables of classes, as formulas of NumPy."""

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


def expected(x, values):
    """sum_c t_c v_c."""
    return (one_hot(x.targets, x.logits.shape[1]) * values).sum(1)


def kl(p, q):
    return (p * np.log(np.where(p > 0, p, 1) / q)).sum(1)


@formula("brier")
def _(p, x, held):
    return ((softmax(x.logits) - one_hot(x.targets, x.logits.shape[1])) ** 2).sum(1)


@formula("spherical")
def _(p, x, held):
    return 1 - expected(x, unit(softmax(x.logits)))


@formula("poly1")
def _(p, x, held):
    return expected(x, -log_softmax(x.logits) + p.epsilon * (1 - softmax(x.logits)))


@formula("kl_divergence")
def _(p, x, held):
    q = softmax(x.logits)
    return kl(x.targets, q) if p.direction == "forward" else kl(q, x.targets)


@formula("distillation_kl")
def _(p, x, held):
    return p.temperature**2 * kl(softmax(x.teacher_logits / p.temperature), softmax(x.logits / p.temperature))


@formula("generalized_cross_entropy", q=[0, 0.3, 1])
def _(p, x, held):
    if p.q == 0:
        return cross_entropy(x.logits, x.targets)
    return expected(x, (1 - softmax(x.logits) ** p.q) / p.q)


def _reverse(p, x):
    logs = np.log(np.maximum(one_hot(x.targets, x.logits.shape[1]), 1e-300))
    return -(softmax(x.logits) * np.maximum(logs, p.A)).sum(1)


@formula("reverse_cross_entropy", A=(-4, -1))
def _(p, x, held):
    return _reverse(p, x)


@formula("symmetric_cross_entropy", A=(-4, -1))
def _(p, x, held):
    return p.alpha * cross_entropy(x.logits, x.targets) + p.beta * _reverse(p, x)


@formula("normalized_cross_entropy")
def _(p, x, held):
    return expected(x, log_softmax(x.logits)) / log_softmax(x.logits).sum(1)


@formula("normalized_focal", gamma=[0, 0.3, 0.5, 1, 2])
def _(p, x, held):
    terms = (1 - softmax(x.logits)) ** p.gamma * log_softmax(x.logits)
    return expected(x, terms) / terms.sum(1)


@formula("taylor_cross_entropy", order=(1, 6))
def _(p, x, held):
    rest = 1 - softmax(x.logits)
    return expected(x, sum(rest**k / k for k in range(1, p.order + 1)))


@formula("jensen_shannon")
def _(p, x, held):
    t, q, w = one_hot(x.targets, x.logits.shape[1]), softmax(x.logits), p.share
    m = w * t + (1 - w) * q
    first = (t * np.log(np.where(t > 0, t, 1) / m)).sum(1)
    return (w * first + (1 - w) * kl(q, m)) / (-(1 - w) * np.log(1 - w))


@formula("asymmetric_gce")
def _(p, x, held):
    return expected(x, ((p.a + 1) ** p.q - (p.a + softmax(x.logits)) ** p.q) / p.q)


@formula("asymmetric_unhinged", a=(1.1, 3))
def _(p, x, held):
    return expected(x, ((p.a - softmax(x.logits)) ** p.p - (p.a - 1) ** p.p) / p.p)


@formula("asymmetric_exponential")
def _(p, x, held):
    return expected(x, np.exp(-softmax(x.logits) / p.a))


@formula("forward_correction")
def _(p, x, held):
    return expected(x, -np.log(softmax(x.logits) @ x.transition))


@formula("backward_correction")
def _(p, x, held):
    return expected(x, -log_softmax(x.logits) @ np.linalg.inv(x.transition).T)


@formula("label_relaxation", alpha=[0, 0.1, 0.3, 0.6])
def _(p, x, held):
    if p.alpha == 0:
        return cross_entropy(x.logits, x.targets)
    q, a = softmax(x.logits), p.alpha
    divergence = (1 - a) * np.log((1 - a) / q) + a * np.log(a / (1 - q))
    return expected(x, np.where(q >= 1 - a, 0, divergence))


@formula("class_balanced", beta=[0, 0.7, 0.99], gamma=[0, 0.5, 1, 2])
def _(p, x, held):
    weights = 1 / (1 - p.beta**x.class_counts)
    weights = weights * len(weights) / weights.sum()
    if p.form == "softmax":
        return expected(x, -weights * log_softmax(x.logits))

    def lost(logp):
        return -logp * ((1 - np.exp(logp)) ** p.gamma if p.form == "focal" else 1)

    t = one_hot(x.targets, x.logits.shape[1])
    return expected(x, weights) * (t * lost(log_sigmoid(x.logits)) + (1 - t) * lost(log_sigmoid(-x.logits))).sum(1)


@formula("mixup_cross_entropy")
def _(p, x, held):
    return x.mix * cross_entropy(x.logits, x.targets) + (1 - x.mix) * cross_entropy(x.logits, x.other_targets)


@formula("temperature_scaled_cross_entropy")
def _(p, x, held):
    return cross_entropy(x.logits / np.reshape(x.temperature, (-1, 1)), x.targets)


@formula("peer_loss")
def _(p, x, held):
    if x.peer_logits is not None:
        return cross_entropy(x.logits, x.targets) - p.alpha * cross_entropy(x.peer_logits, x.peer_targets)
    shares = one_hot(x.targets, x.logits.shape[1]).mean(0)
    return cross_entropy(x.logits, x.targets) + p.alpha * log_softmax(x.logits) @ shares


@formula("determinant_mutual_information")
def _(p, x, held):
    joint = one_hot(x.targets, x.logits.shape[1]).T @ softmax(x.logits) / len(x.logits)
    return whole(-np.log(abs(np.linalg.det(joint)) + p.eps))


@formula("stablemax_cross_entropy")
def _(p, x, held):
    s = np.where(x.logits >= 0, x.logits + 1, 1 / (1 - np.minimum(x.logits, 0)))
    return expected(x, -np.log(s / s.sum(1, keepdims=True)))


@formula("sparsemax_loss")
def _(p, x, held):
    """p . z - |p|^2 / 2 + |t|^2 / 2 - t . z at the projection p of z onto the simplex."""
    z, t = x.logits, one_hot(x.targets, x.logits.shape[1])
    falling = -np.sort(-z, 1)
    above = (falling.cumsum(1) - 1) / np.arange(1, z.shape[1] + 1)
    threshold = above[np.arange(len(z)), (falling > above).sum(1) - 1]
    q = np.maximum(z - threshold[:, None], 0)
    return ((q - t) * z).sum(1) - (q**2 - t**2).sum(1) / 2


@formula("forward_forward_loss")
def _(p, x, held):
    classes = x.logits.shape[1]
    below = softplus(x.logits - p.theta)

    def value(y):
        others = (below.sum(1) - own(below, y)) / (classes - 1)
        return softplus(p.theta - own(x.logits, y)) + others

    return over_targets(x, classes, value)


@formula("pu_multilabel_loss_consistency")
def _(p, x, held):
    gap = np.log(x.mixed_targets + 1e-10) - np.log(sigmoid(x.mixed_logits) + 1e-10)
    return whole((gap**2).mean(0).sum())


@formula("hierarchical_softmax")
def _(p, x, held):
    scores = (x.features[:, None] * x.weights[x.nodes]).sum(-1)
    return (abs(x.sides) * softplus(-x.sides * scores)).sum(1)


@formula("noise_contrastive_estimation")
def _(p, x, held):
    scores = x.features @ x.weights.T - np.log(len(x.sampled_classes) * x.proposal)
    if x.bias is not None:
        scores = scores + x.bias
    return softplus(-own(scores, x.targets)) + softplus(scores[:, x.sampled_classes]).sum(1)


@formula("ctc_loss")
def _(p, x, held):
    """Probabilities of every beginning that ends in a blank after k labels, and in label k."""
    q, values = softmax(x.logits), []
    for frames, y, length, count in zip(q, x.targets, x.input_lengths.astype(int), x.target_lengths.astype(int)):
        blanks, marks = np.eye(1, len(y) + 1)[0], np.zeros(len(y) + 1)
        for frame in frames[:length]:
            own_marks = [
                frame[y[k - 1]] * (marks[k] + blanks[k - 1] + (marks[k - 1] if k > 1 and y[k - 1] != y[k - 2] else 0))
                for k in range(1, len(y) + 1)
            ]
            blanks, marks = frame[p.blank] * (blanks + marks), np.array([0, *own_marks])
        values.append(-np.log(blanks[count] + marks[count]))
    return np.array(values)


@formula("vector_scaling")
def _(p, x, held):
    n = x.class_counts
    z = (n / n.max()) ** p.gamma * x.logits + p.tau * np.log(n / n.sum())
    return expected(x, (1 if x.class_weights is None else x.class_weights) * -log_softmax(z))
