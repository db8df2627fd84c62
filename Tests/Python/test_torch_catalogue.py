"""The losses of the pages, each written again with PyTorch from its formula: values by sample and all gradients."""

import math

import numpy as np
import pytest

import oracle
from oracle import C, D, F, N, ce, kl, one_hot, torch, unit_rows

case = oracle.Cases()


def gram(a, b, width):
    return torch.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * width**2))


@case("hinge", {"margin": 0.7}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N)), ["logits"])
def _(logits, targets):
    others = logits.scatter(1, targets[:, None], -math.inf)
    return torch.relu(0.7 + others.max(1).values - logits.gather(1, targets[:, None])[:, 0])


@case("hinge", {"form": "weston_watkins"}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N)), ["logits"])
def _(logits, targets):
    return F.multi_margin_loss(logits, targets, reduction="none") * logits.shape[1]


@case("bi_tempered_logistic", {}, lambda d: dict(logits=3 * d.real(N, C), targets=d.ids(N)), ["logits"])
def _(logits, targets, t1=0.8, t2=1.2):
    a = logits - logits.max(1, keepdim=True).values
    low, high = torch.zeros(len(a), 1, dtype=a.dtype), torch.full((len(a), 1), 100.0, dtype=a.dtype)

    def probabilities(n):
        return (1 + (1 - t2) * (a - n)) ** (1 / (1 - t2))

    for _ in range(200):
        middle = (low + high) / 2
        is_low = probabilities(middle).sum(1, keepdim=True).detach() > 1
        low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
    n = ((low + high) / 2).detach()
    # The implicit function theorem: dn = sum_c p_c^t2 da_c / sum_c p_c^t2.
    w = probabilities(n).detach() ** t2
    n = n + (w * (a - a.detach())).sum(1, keepdim=True) / w.sum(1, keepdim=True)
    p = probabilities(n)
    y = one_hot(targets)

    def log_t(x):
        return (x ** (1 - t1) - 1) / (1 - t1)

    return (y * (log_t(y + 1e-300) - log_t(p)) - (y ** (2 - t1) - p ** (2 - t1)) / (2 - t1)).sum(1)


@case("ldam", {}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N), class_counts=d.positive(C)), ["logits"])
def _(logits, targets, class_counts):
    margins = class_counts**-0.25
    margins = margins * (0.5 / margins.max())
    return ce(30 * (logits - one_hot(targets) * margins), targets)


@case(
    "info_nce", {"symmetric": True}, lambda d: dict(queries=d.real(N, D), keys=d.real(N, D)), ["queries", "keys"])  # fmt: skip
def _(queries, keys):
    s = unit_rows(queries) @ unit_rows(keys).T / 0.1
    y = torch.arange(N)
    return (ce(s, y) + ce(s.T, y)) / 2


@case(
    "partial_fc", {"margin_type": "arcface", "scale": 8.0, "margin": 0.5},
    lambda d: dict(features=d.real(5, D), weights=d.real(12, D), targets=d.ids(5, below=12)), ["features", "weights"])  # fmt: skip
def _(features, weights, targets):
    cos = unit_rows(features) @ unit_rows(weights).T
    own = cos.gather(1, targets[:, None])
    theta = own.acos()
    moved = torch.where(theta + 0.5 <= math.pi, (theta + 0.5).cos(), own - 0.5 * math.sin(0.5))
    return ce(8 * cos.scatter(1, targets[:, None], moved), targets)


@case(
    "partial_fc", {}, lambda d: dict(features=d.real(5, D), weights=d.real(12, D), targets=np.array([1, 7, 7, 11, 0]),
                                     sampled_classes=np.array([3, 7, 9, 0])), ["features", "weights"])  # fmt: skip
def _(features, weights, targets, sampled_classes):
    classes = sorted(set(sampled_classes.tolist()) | set(targets.tolist()))
    y = torch.tensor([classes.index(t) for t in targets.tolist()])
    cos = unit_rows(features) @ unit_rows(weights[classes]).T
    return ce(64 * (cos - 0.4 * one_hot(y, len(classes))), y)


def conditional_divergence(features, targets, predictions, codes, beta=None):
    k = gram(features, features, 1.0)
    weights = k.sum(1) ** 2

    def part(l):
        return ((k * l).sum(1) / weights).sum().log()

    y, p = gram(targets, targets, 1.0), gram(predictions, predictions, 1.0)
    value = part(y) + part(p) - 2 * part(gram(predictions, targets, 1.0))
    if beta is not None:
        q = gram(codes, codes, 1.0)
        value = value + beta * (
            (k * q).mean().log() + (k.mean() * q.mean()).log() - 2 * (k.mean(1) * q.mean(1)).mean().log())  # fmt: skip
    return value[None]


def _divergence_inputs(d):
    return dict(features=d.real(8, 3), targets=d.real(8, 1), predictions=d.real(8, 1), codes=d.real(8, 2))


case("cauchy_schwarz_divergence", {}, _divergence_inputs, ["predictions", "features"])(conditional_divergence)
case("cauchy_schwarz_divergence", {"form": "objective", "beta": 0.3}, _divergence_inputs, ["predictions", "codes"])(
    lambda **x: conditional_divergence(**x, beta=0.3))  # fmt: skip


@case(
    "decoupled_softmax_and_soft_topk", {"form": "soft_topk", "k": 3, "alpha": 2.0},
    lambda d: dict(scores=d.real(5, 9), targets=d.bits(5, 9)), ["scores"])  # fmt: skip
def _(scores, targets):
    t = torch.zeros(5, 1, dtype=scores.dtype)
    low, high = t - 50, t + 50
    for _ in range(200):
        t = (low + high) / 2
        is_high = (2 * (scores.detach() + t)).sigmoid().sum(1, keepdim=True) > 3
        low, high = torch.where(is_high, low, t), torch.where(is_high, t, high)
    y = (2 * (scores.detach() + t)).sigmoid()
    v = y * (1 - y)
    t = t - (v * (scores - scores.detach())).sum(1, keepdim=True) / v.sum(1, keepdim=True)
    logs = F.logsigmoid(2 * (scores + t))
    return -(targets * logs).sum(1) / targets.sum(1).clamp(min=1)


@case(
    "ldr_kl_loss", {"adaptive": True, "lambda0": 2.0},
    lambda d: dict(logits=d.real(N, C), targets=d.ids(N), lambdas=d.positive(N)), ["logits"])  # fmt: skip
def _(logits, targets, lambdas):
    f = logits / logits.abs().mean(1, keepdim=True)
    p = (f / lambdas[:, None]).softmax(1).detach()
    divergence = (p * (p * C).log()).sum(1)
    lam = 2 * (1 - divergence / (2 * math.log(C)))
    gaps = f - f.gather(1, targets[:, None]) + 0.1 * (1 - one_hot(targets))
    penalty = 2 * math.log(C) / (2 * 2) * (lam - 2) ** 2
    return lam * ((gaps / lam[:, None]).exp().mean(1)).log() - penalty


@case("mann_whitney_loss", {"temperature": 0.5}, lambda d: dict(scores=d.real(N, N)), ["scores"])
def _(scores):
    negatives = scores[~torch.eye(N, dtype=torch.bool)]
    return F.softplus((negatives[None] - scores.diagonal()[:, None]) / 0.5).mean(1)


@case("natural_gaussian_nll", {}, lambda d: dict(eta1=d.real(N), eta2=-d.positive(N), targets=d.real(N)), ["eta1", "eta2"])
def _(eta1, eta2, targets):
    normal = torch.distributions.Normal(-eta1 / (2 * eta2), (-1 / (2 * eta2)).sqrt())
    return -normal.log_prob(targets)


@case("u2_regression", {"normalise": "upper", "l_up": "squared"},
      lambda d: dict(predictions=d.real(N), targets=d.real(N)), ["predictions"])  # fmt: skip
def _(predictions, targets):
    upper = (targets >= predictions).detach()
    return 0.5 * N / upper.double().sum() * upper * ((targets - predictions) ** 2 / 2 - predictions) + predictions


@case("pu_multilabel_loss", {}, lambda d: dict(logits=d.real(N, C), targets=d.bits(N, C)), ["logits"])
def _(logits, targets):
    t = logits.std(0, unbiased=False).clamp(max=1).detach()
    s = (logits / t).sigmoid()
    total = 0
    for j in range(C):
        w = s[:, j].mean().detach() ** 0.55
        total = total + w * (s[:, j].mean() + 1e-10).log()
        if targets[:, j].any():
            total = total - (s[targets[:, j] == 1, j] + 1e-10).log().mean()
    return total[None]


@case("nbpo", {}, lambda d: dict(logits=d.real(N), flip_logits=d.real(N), targets=d.bits(N)), ["logits", "flip_logits"])
def _(logits, flip_logits, targets):
    s, g = logits.sigmoid(), flip_logits.sigmoid()
    s0, g0 = s.detach(), g.detach()
    seen = (1 - g0) * s.log() + s0 * (1 - g).log()
    unseen = (1 - s).log() + g0 * s.log() + s0 * g.log()
    return -torch.where(targets == 1, seen, unseen)


@case("nbpo", {"objective": "exact"},
      lambda d: dict(logits=d.real(N), flip_logits=d.real(N), targets=d.bits(N)), ["logits", "flip_logits"])  # fmt: skip
def _(logits, flip_logits, targets):
    s, g = logits.sigmoid(), flip_logits.sigmoid()
    return -torch.where(targets == 1, (1 - g) * s, 1 - s + g * s).log()


@case("nmtune", {"lam": 0.5}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N), features=d.real(N, D),
                                             pretrained_features=d.real(N, D)), ["logits", "features"])  # fmt: skip
def _(logits, targets, features, pretrained_features):
    mse = ((unit_rows(pretrained_features) - unit_rows(features)) ** 2).sum(1)
    cov = torch.cov(features.T)
    off = (cov - cov.diag().diag()).square().sum() / D
    values = torch.linalg.svdvals(features)
    return ce(logits, targets) + 0.5 * (mse + off - values[0] / values.sum())


@case("conr_loss", {"w": 0.8, "T": 0.5, "e": 0.3},
      lambda d: dict(features=d.real(8, D), targets=d.real(8), predictions=d.real(8)), ["features"])  # fmt: skip
def _(features, targets, predictions):
    q = unit_rows(features)
    s = q @ q.T / 0.5
    values = []
    for i in range(8):
        near = [j for j in range(8) if j != i and abs(targets[i] - targets[j]) <= 0.8]
        far = [j for j in range(8)
               if abs(targets[i] - targets[j]) > 0.8 and abs(predictions[i] - predictions[j]) <= 0.8]  # fmt: skip
        if not near or not far:
            values.append(0 * s.sum())
            continue
        total = s[i, near].exp().sum()
        total = total + ((0.3 * (targets[i] - targets[far]).abs()).exp() * s[i, far].exp()).sum()
        values.append(total.log() - s[i, near].mean())
    return torch.stack(values)


@case("gumbel_optimized_loss", {}, lambda d: dict(logits=3 * d.real(N, C), targets=d.bits(N, C)), ["logits"])
def _(logits, targets):
    e = torch.exp(-logits.clamp(-4, 10))
    return (targets * e - (1 - targets) * torch.log(-torch.expm1(-e))).clamp(0, 20).sum(1)


@case("presto_ordinal", {}, lambda d: dict(features=d.real(N, 3), targets=d.ids(N, below=4),
      thresholds=np.array([-4.0, 0.3, 4.5]), weights=0.3 * d.real(3, 3)), ["features", "thresholds", "weights"])  # fmt: skip
def _(features, targets, thresholds, weights):
    f = (features @ weights.T + thresholds).sigmoid()
    edge = torch.zeros(N, 1, dtype=f.dtype)
    f = torch.cat([edge, f, edge + 1], 1)
    p = f[:, 1:] - f[:, :-1]
    penalty = weights[0].abs().sum() + (weights[1:] - weights[:-1]).abs().sum()
    return -p.gather(1, targets[:, None])[:, 0].log() + 0.1 * penalty


@case("sade_diverse_experts", {}, lambda d: dict(logits_forward=d.real(N, C), logits_uniform=d.real(N, C),
      logits_backward=d.real(N, C), targets=d.ids(N), class_priors=np.array([0.1, 0.3, 0.1, 0.15, 0.35])),
      ["logits_forward", "logits_uniform", "logits_backward"])  # fmt: skip
def _(logits_forward, logits_uniform, logits_backward, targets, class_priors):
    prior = class_priors.numpy()
    order = sorted(range(C), key=lambda c: (-prior[c], c))
    reverse = np.empty(C)
    reverse[order] = np.sort(prior)
    log, back = class_priors.log(), torch.from_numpy(reverse).log()
    return (ce(logits_forward, targets) + ce(logits_uniform + log, targets)
            + ce(logits_backward + log - 2 * back, targets))  # fmt: skip


@case("sade_diverse_experts_aggregation", {},
      lambda d: dict(omega=d.real(3), logits_1=d.real(3, N, C), logits_2=d.real(3, N, C)), ["omega"])  # fmt: skip
def _(omega, logits_1, logits_2):
    w = omega.softmax(0)[:, None, None]
    return -F.cosine_similarity((w * logits_1).sum(0).softmax(-1), (w * logits_2).sum(0).softmax(-1))


@case("attention_entropy_regularization", {"gamma": 0.05},
      lambda d: dict(attention=d.simplex(2, 3, 5, 5), thresholds=d.unit(2, 3)), ["attention", "thresholds"])  # fmt: skip
def _(attention, thresholds):
    entropy = -(attention * (attention + 1e-9).log()).sum(-1).mean(-1)
    most = math.log(5)
    gap = entropy - thresholds * most
    return ((gap.abs() > 0.05 * most) * gap**2).mean()[None]


@case("environment_label_smoothing", {}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N)), ["logits"])
def _(logits, targets):
    t = torch.full((N, C), 0.1 / (C - 1), dtype=logits.dtype).scatter(1, targets[:, None], 0.9)
    return -(t * logits.log_softmax(1)).sum(1)


@case("aaer_fast_adversarial_training", {"ce_grad": True}, lambda d: dict(adversarial_logits=d.real(8, C),
      initial_logits=d.real(8, C), targets=d.ids(8)), ["adversarial_logits"])  # fmt: skip
def _(adversarial_logits, initial_logits, targets):
    l1, l0 = ce(adversarial_logits, targets), ce(initial_logits, targets)
    odd = l0 > l1
    move = ((adversarial_logits - initial_logits) ** 2).sum(1)
    excess = torch.relu(move[odd].mean() - move[~odd].mean().detach())
    return l1 + odd.sum() / 8 * (4 * (l0 - l1)[odd].mean() + 1.5 * excess)


@case("weat_loss", {}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N), adversarial_logits=d.real(N, C)),
      ["logits", "adversarial_logits"])  # fmt: skip
def _(logits, targets, adversarial_logits):
    w = 1 / F.softplus(logits.logsumexp(1).abs()).detach()
    return w * (ce(logits, targets) + 6 * kl(logits, adversarial_logits))


@case("tokenized_brier", {}, lambda d: dict(logits=d.real(N, 11), targets=d.bits(N)), ["logits"])
def _(logits, targets):
    grid = torch.arange(11, dtype=logits.dtype) / 10
    return (logits.softmax(1) * (grid - targets[:, None]) ** 2).sum(1)


@case("fisher_robust_npe", {"beta": 0.2}, lambda d: dict(mean=d.real(5, 3), log_std=d.real(5, 3), parameters=d.real(5, 3),
      mean_jacobian=d.real(5, 3, 4), log_std_jacobian=d.real(5, 3, 4)), ["mean", "log_std", "mean_jacobian"])  # fmt: skip
def _(mean, log_std, parameters, mean_jacobian, log_std_jacobian):
    nll = -torch.distributions.Normal(mean, log_std.exp()).log_prob(parameters).sum(1)
    trace = ((mean_jacobian**2).sum(-1) / (2 * log_std).exp() + 2 * (log_std_jacobian**2).sum(-1)).sum(1)
    return nll + 0.2 * trace


@case("mixoe", {"b": 0.7}, lambda d: dict(logits=d.real(N, C), targets=d.ids(N), mixed_logits=d.real(N, C),
      mix=d.unit(N)), ["logits", "mixed_logits"])  # fmt: skip
def _(logits, targets, mixed_logits, mix):
    t = mix[:, None] * one_hot(targets) + (1 - mix[:, None]) / C
    return ce(logits, targets) - 0.7 * (t * mixed_logits.log_softmax(1)).sum(1)


@case("guidance_cka_alignment", {}, lambda d: dict(logits=d.real(8, D), targets=d.ids(8, below=D), features=d.real(8, 3),
      guide_features=d.real(8, 5)), ["logits", "features"])  # fmt: skip
def _(logits, targets, features, guide_features):
    h = torch.eye(8, dtype=logits.dtype) - 1 / 8
    k, l = h @ features @ features.T @ h, h @ guide_features @ guide_features.T @ h
    return ce(logits, targets) + 1 - (k * l).sum() / (k.norm() * l.norm())


@case("squared_error_logit_loss", {}, lambda d: dict(logits=d.real(N, C), teacher_log_probs=d.real(N, C),
      mask=d.bits(N, C).astype(bool)), ["logits"])  # fmt: skip
def _(logits, teacher_log_probs, mask):
    return (mask * (logits.log_softmax(1) - teacher_log_probs) ** 2 / 2).sum(1) * N / mask.sum()


@case("isogclr_loss", {"gamma": 0.6}, lambda d: dict(features_a=d.real(5, D), features_b=d.real(5, D),
      temperatures=d.positive(5), u=d.positive(5)), ["features_a", "features_b", "temperatures"])  # fmt: skip
def _(features_a, features_b, temperatures, u):
    a, b = unit_rows(features_a), unit_rows(features_b)
    values = []
    for own, other in [(a, b), (b, a)]:
        for i in range(5):
            rest = [j for j in range(5) if j != i]
            h = torch.cat([own[rest] @ own[i], other[rest] @ own[i]]) - a[i] @ b[i]
            g = (h / temperatures[i]).exp().mean()
            new = (0.4 * u[i] + 0.6 * g).detach()
            surrogate = new.log() + (g - g.detach()) / new
            values.append(temperatures[i] * (surrogate + 0.3))
    return torch.stack(values).reshape(2, 5).mean(0)


@case("mlcd_loss", {}, lambda d: dict(logits=d.real(N, C), targets=d.bits(N, C)), ["logits"])
def _(logits, targets):
    negative = ((1 - targets) * logits.exp()).sum(1)
    return negative.log1p() + (targets * (-logits).exp()).sum(1).log1p()


@case("shrinkmatch_loss", {"tau": 0.75, "rho": 0.8}, lambda d: dict(weak_logits=1.5 * d.real(12, 6),
      strong_logits=d.real(12, 6), auxiliary_logits=d.real(12, 6)), ["strong_logits", "auxiliary_logits"])  # fmt: skip
def _(weak_logits, strong_logits, auxiliary_logits):
    values = []
    for weak, strong, extra in zip(weak_logits, strong_logits, auxiliary_logits):
        p, order = weak.softmax(0).sort(descending=True)
        if p[0] >= 0.75:
            values.append(-(weak.softmax(0) * strong.log_softmax(0)).sum())
            continue
        for c in range(2, 6):
            sure = p[0] / (p[0] + p[c:].sum())
            if sure >= 0.75 or c == 5:
                break
        kept = extra[order[[0, *range(c, 6)]]]
        loss = 0.8 * p[0] * (kept.logsumexp(0) - kept[0])
        values.append(loss if sure >= 0.75 else 0 * loss)
    return torch.stack(values)


@case("robust_self_supervised_loss", {"lam": 0.6, "gamma": 0.4}, lambda d: dict(features=d.real(N, 3),
      targets=2 * d.bits(N) - 1, unlabeled_features=d.real(9, 3), weights=d.real(3)), ["weights", "features"])  # fmt: skip
def _(features, targets, unlabeled_features, weights):
    unit = weights / weights.norm()
    m = targets * (features @ unit)
    labelled = torch.where(m <= 0, torch.ones_like(m), torch.relu(1 - 0.4 * m))
    return (labelled.mean() + 0.6 * torch.relu(1 - (unlabeled_features @ unit).abs()).mean())[None]


@case("sepclr_loss", {"b1": 10.0, "b2": 10.0}, lambda d: dict(common_1=d.real(8, 3), common_2=d.real(8, 3),
      salient_1=d.real(8, 3), salient_2=d.real(8, 3), targets=np.array([0, 1, 1, 0, 1, 0, 1, 1])),
      ["common_1", "common_2", "salient_1", "salient_2"])  # fmt: skip
def _(common_1, common_2, salient_1, salient_2, targets):
    def align(u, v):
        return ((u - v) ** 2).sum(1).mean() / (2 * 0.5)

    def uniform(u):
        return (-torch.pdist(u) ** 2 / (2 * 0.5)).exp().mean().log()

    c1, c2 = unit_rows(common_1), unit_rows(common_2)
    t1, t2 = salient_1 * targets[:, None], salient_2 * targets[:, None]
    is_target = targets == 1
    salient = align(salient_1[is_target], salient_2[is_target]) + uniform(t1) + uniform(t2)
    zero = (align(salient_1[~is_target], 0) + align(salient_2[~is_target], 0)) / 2
    width = math.sqrt(0.5)
    joint = sum((gram(c, c, width) * gram(t, t, width)).mean(1).log().mean() for c, t in [(c1, t1), (c2, t2)]) / 2
    return (align(c1, c2) + uniform(c1) + uniform(c2) + 10 * salient + 10 * zero + 10 * joint)[None]


@case("soft_match_distribution_loss", {"T": 0.5}, lambda d: dict(scores=d.unit(N, 9), target_scores=d.unit(N, 9)), ["scores"])
def _(scores, target_scores):
    a, b = target_scores / 0.5, scores / 0.5
    return (kl(a, b) + kl(b, a)) / 2


@case("soft_match_distribution_loss", {"T": 0.5, "mode": "js"},
      lambda d: dict(scores=d.unit(N, 9), target_scores=d.unit(N, 9)), ["scores"])  # fmt: skip
def _(scores, target_scores):
    p, q = (target_scores / 0.5).softmax(1), (scores / 0.5).softmax(1)
    m = (p + q) / 2
    return ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)) / 2


PAIR = ["policy_chosen_logps", "policy_rejected_logps", "reference_chosen_logps", "reference_rejected_logps"]


def margin(x):
    return x[PAIR[0]] - x[PAIR[2]] - x[PAIR[1]] + x[PAIR[3]]


@case("madpo_loss", {}, lambda d: {**{n: 3 * d.real(N) for n in PAIR}, "chosen_rewards": 2 * d.real(N),
                                   "rejected_rewards": 2 * d.real(N)}, PAIR[:2])  # fmt: skip
def _(chosen_rewards, rejected_rewards, **x):
    r = chosen_rewards - rejected_rewards
    c = 0.5 + 1.5 / (1 + (2 - 1) / (1 - 0.5) * (r.abs() - 2).exp())
    w = torch.where(r > -2, (c * r).sigmoid() / r.sigmoid(), torch.ones_like(r))
    return -w * F.logsigmoid(0.1 * margin(x))


@case("napo_loss", {}, lambda d: {**{n: 3 * d.real(N) for n in PAIR}, "chosen_lengths": d.ids(N) + 3,
                                  "rejected_lengths": d.ids(N) + 3}, PAIR[:2])  # fmt: skip
def _(chosen_lengths, rejected_lengths, **x):
    chosen, rejected = x[PAIR[0]] - x[PAIR[2]], x[PAIR[1]] - x[PAIR[3]]
    m = (chosen / chosen_lengths - rejected / rejected_lengths).mean().detach()
    q = (2 * (1 - (0.5 * m).sigmoid())).clamp(0.001, 1)
    return (1 - (0.1 * (chosen - rejected)).sigmoid() ** q) / q


@case("sparsepo_loss", {"l1_u": 0.1}, lambda d: dict(
      policy_chosen_logits=d.real(3, 4, 5), reference_chosen_logits=d.real(3, 4, 5), chosen_tokens=d.ids(3, 4),
      chosen_reward_mask=d.unit(3, 4), chosen_kl_mask=d.unit(3, 4), policy_rejected_logits=d.real(3, 4, 5),
      reference_rejected_logits=d.real(3, 4, 5), rejected_tokens=d.ids(3, 4), rejected_reward_mask=d.unit(3, 4),
      rejected_kl_mask=d.unit(3, 4)),
      ["policy_chosen_logits", "policy_rejected_logits", "chosen_reward_mask", "rejected_kl_mask"])  # fmt: skip
def _(**x):
    def parts(a):
        policy, reference = x[f"policy_{a}_logits"].log_softmax(-1), x[f"reference_{a}_logits"].log_softmax(-1)
        token = x[f"{a}_tokens"][..., None]
        ratio = (policy.gather(-1, token) - reference.gather(-1, token))[..., 0]
        return ((x[f"{a}_reward_mask"] * ratio).sum(1),
                (x[f"{a}_kl_mask"] * kl(x[f"reference_{a}_logits"], x[f"policy_{a}_logits"])).sum(1))  # fmt: skip

    (u_w, d_w), (u_l, d_l) = parts("chosen"), parts("rejected")
    l1 = x["chosen_reward_mask"].sum(1) + x["rejected_reward_mask"].sum(1)
    return -F.logsigmoid(0.1 * (u_w - u_l - (d_l - d_w))) + 0.1 * l1


@case("ctc_loss", {"blank": 1}, lambda d: dict(logits=d.real(4, 9, 6), targets=np.array([[0, 2, 2], [5, 0, 4], [3, 3, 3],
      [2, 0, 0]]), input_lengths=np.array([9, 7, 8, 3]), target_lengths=np.array([3, 2, 3, 1])), ["logits"])  # fmt: skip
def _(logits, targets, input_lengths, target_lengths):
    logp = logits.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(logp, targets, input_lengths, target_lengths, blank=1, reduction="none")


@case("multi_head_min_loss", {"eps_relax": 0.1}, lambda d: dict(predictions=d.real(5, 4, 3), targets=d.real(5, 3)),
      ["predictions"])  # fmt: skip
def _(predictions, targets):
    heads = [(predictions[:, i] + predictions[:, j]) / 2 for i in range(4) for j in range(i + 1)]
    errors = torch.stack([((h - targets) ** 2).mean(1) for h in heads], 1)
    best = errors.min(1).values
    return 10 / math.log(10) * (0.9 * best + 0.1 / 9 * (errors.sum(1) - best) + 1e-8).log()


@case("p2_weighting", {"k": 0.7, "gamma": 0.5}, lambda d: dict(predictions=d.real(N, C), noise=d.real(N, C),
      alpha_bar=d.unit(N)), ["predictions"])  # fmt: skip
def _(predictions, noise, alpha_bar):
    return ((predictions - noise) ** 2).sum(1) / (0.7 + alpha_bar / (1 - alpha_bar)) ** 0.5


@case("target_score_matching", {"v": 0.6}, lambda d: dict(predictions=d.real(N, C), clean_score=d.real(N, C),
      noise=d.real(N, C), alpha=d.unit(N), sigma=d.positive(N)), ["predictions"])  # fmt: skip
def _(predictions, clean_score, noise, alpha, sigma):
    alpha, sigma = alpha[:, None], sigma[:, None]
    snr = alpha**2 * 0.6 / sigma**2
    w = snr / (1 + snr)
    return ((predictions - w * clean_score / alpha + (1 - w) * noise / sigma) ** 2).sum(1)


@case("ambient_denoising_loss", {}, lambda d: dict(predictions=d.real(N, C), targets=d.real(N, C),
      noisy_inputs=d.real(N, C), sigma=np.array([0.5, 1, 1, 2, 0.4, 1]), sigma_noisy=np.array([0, 0.8, 0.3, 0.2, 0.5, 0.95])),
      ["predictions"])  # fmt: skip
def _(predictions, targets, noisy_inputs, sigma, sigma_noisy):
    s, n = sigma[:, None] ** 2, sigma_noisy[:, None] ** 2
    f = (s - n) / s
    value = ((f * predictions + n / s * noisy_inputs - targets) ** 2).sum(1) * (1 / f[:, 0] ** 2).clamp(max=5)
    return torch.where((sigma <= sigma_noisy) & (sigma_noisy > 0), 0 * value, value)


@case("asymmetric_noise_estimation_loss", {}, lambda d: dict(predictions=d.real(3, 4, 5), targets=d.real(3, 4, 5),
      noise_map=d.real(3, 4, 5), target_noise_map=d.real(3, 4, 5)), ["predictions", "noise_map"])  # fmt: skip
def _(predictions, targets, noise_map, target_noise_map):
    weight = (0.3 - (noise_map < target_noise_map).double()).abs()
    tv = (noise_map.diff(dim=2) ** 2).mean((1, 2)) + (noise_map.diff(dim=1) ** 2).mean((1, 2))
    return (((predictions - targets) ** 2).mean((1, 2)) + 0.5 * (weight * (noise_map - target_noise_map) ** 2).mean((1, 2))
            + 0.05 * tv)  # fmt: skip


@case("noise2noise", {"form": "wsdr"}, lambda d: dict(predictions=d.real(N, C), targets=d.real(N, C), mixture=d.real(N, C)),
      ["predictions"])  # fmt: skip
def _(predictions, targets, mixture):
    z, v = mixture - targets, mixture - predictions
    a = (targets**2).sum(1) / ((targets**2).sum(1) + (z**2).sum(1))
    return -a * F.cosine_similarity(targets, predictions) - (1 - a) * F.cosine_similarity(z, v)


@case("softrepa_loss", {"dweight": 0.4}, lambda d: dict(errors=d.positive(5, 5), scale=np.array(3.0),
      temperature=np.array(0.7)), ["errors", "scale", "temperature"])  # fmt: skip
def _(errors, scale, temperature):
    return ce(scale * (-errors / temperature).exp(), torch.arange(5)) + 0.4 * errors.diagonal()


@case("sure_score", {"lam": 0.6}, lambda d: dict(noisy=d.real(N, C), score=d.real(N, C), score_probe=d.real(N, C),
      probe=d.real(N, C), score_t=d.real(N, C), noise_t=d.real(N, C), sigma_t=d.positive(N)),
      ["score", "score_probe", "score_t"])  # fmt: skip
def _(noisy, score, score_probe, probe, score_t, noise_t, sigma_t):
    w2 = 0.25
    h = noisy + w2 * score
    divergence = C + w2 * (probe * (score_probe - score)).sum(1) / 1e-3
    sure = ((h - noisy) ** 2).sum(1) + 2 * w2 * divergence - C * w2
    return (((sigma_t[:, None] * score_t + noise_t) ** 2).sum(1) + 0.6 * sure / w2) / C


@case("tdsm", {"tau": 0.1}, lambda d: dict(predictions=d.real(5, 4, 3), targets=d.real(5, 3), noisy_labels=d.ids(5, below=4),
      classifier_logits=d.real(5, 4), transition=d.simplex(4, 4), weight=d.positive(5)), ["predictions"])  # fmt: skip
def _(predictions, targets, noisy_labels, classifier_logits, transition, weight):
    values = []
    for i in range(5):
        w = transition[:, noisy_labels[i]] * classifier_logits[i].softmax(0)
        w = w / w.sum()
        mixed = 0
        for y in range(4):
            if w[y] > 0.1:
                term = predictions[i, y]
                mixed = mixed + w[y] * (term if y == noisy_labels[i] else term.detach())
        values.append(weight[i] * ((mixed - targets[i]) ** 2).sum())
    return torch.stack(values)


@case("uncertainty_weighted_reward_loss", {"u_scale": 0.5, "reward_scale": 2.0, "step": 1, "warmup_steps": 4},
      lambda d: dict(predictions_a=d.real(N, C), predictions_b=d.real(N, C), targets=d.ids(N)),
      ["predictions_a", "predictions_b"])  # fmt: skip
def _(predictions_a, predictions_b, targets):
    u = 0.5 * kl(predictions_b, predictions_a)
    return 0.5 * ce(predictions_a, targets) * (-u).exp() + u


@case("cut_cross_entropy", {"softcap": 1.5}, lambda d: dict(features=d.real(N, D), classifier=d.real(11, D),
      targets=np.array([0, 10, -100, 4, 4, -100]), bias=d.real(11)), ["features", "classifier", "bias"])  # fmt: skip
def _(features, classifier, targets, bias):
    z = features @ classifier.T + bias
    return ce(1.5 * torch.tanh(z / 1.5), targets)


def _pair(d):
    return dict(predictions=3 * d.real(N, C), targets=d.real(N, C))


case("log_cosh", {}, _pair, ["predictions"])(lambda predictions, targets: (predictions - targets).cosh().log().mean(1))
case("quantile", {"q": 0.8}, _pair, ["predictions"])(
    lambda predictions, targets: torch.where(
        targets > predictions, 0.8 * (targets - predictions), 0.2 * (predictions - targets)).mean(1))  # fmt: skip
case("cauchy", {"c": 2.0}, _pair, ["predictions"])(
    lambda predictions, targets: 2 * ((predictions - targets) ** 2 / 4).log1p().mean(1))  # fmt: skip
case("poisson_nll", {}, lambda d: dict(predictions=d.real(N, C), targets=d.ids(N, C)), ["predictions"])(
    lambda predictions, targets: F.poisson_nll_loss(predictions, targets, reduction="none").mean(1))  # fmt: skip
case("gaussian_nll", {}, lambda d: {**_pair(d), "variances": d.positive(N, C)}, ["predictions", "variances"])(
    lambda predictions, targets, variances: F.gaussian_nll_loss(
        predictions, targets, variances, reduction="none").mean(1))  # fmt: skip


@case("tukey_biweight", {"c": 2.0}, _pair, ["predictions"])
def _(predictions, targets):
    r = (predictions - targets) / 2
    return (4 / 6 * torch.where(r.abs() <= 1, 1 - (1 - r**2) ** 3, torch.ones_like(r))).mean(1)


def _labelled(d):
    return dict(logits=d.real(N, C), targets=d.ids(N))


case("brier", {}, _labelled, ["logits"])(
    lambda logits, targets: ((logits.softmax(1) - one_hot(targets)) ** 2).sum(1))  # fmt: skip


@case("spherical", {}, _labelled, ["logits"])
def _(logits, targets):
    p = logits.softmax(1)
    return 1 - p.gather(1, targets[:, None])[:, 0] / p.norm(dim=1)


@case("taylor_cross_entropy", {"order": 3}, _labelled, ["logits"])
def _(logits, targets):
    rest = 1 - logits.softmax(1).gather(1, targets[:, None])[:, 0]
    return rest + rest**2 / 2 + rest**3 / 3


@case("jensen_shannon", {"weight": 0.3}, _labelled, ["logits"])
def _(logits, targets):
    p, t = logits.softmax(1), one_hot(targets)
    m = 0.3 * t + 0.7 * p
    value = 0.3 * -m.gather(1, targets[:, None])[:, 0].log() + 0.7 * (p * (p / m).log()).sum(1)
    return value / (-0.7 * math.log(0.7))


def _with_transition(d):
    return dict(logits=d.real(N, C), targets=d.ids(N), transition=0.6 * np.eye(C) + 0.4 * d.simplex(C, C))


case("forward_correction", {}, _with_transition, ["logits"])(
    lambda logits, targets, transition: -(logits.softmax(1) @ transition).gather(1, targets[:, None])[:, 0].log())
case("backward_correction", {}, _with_transition, ["logits"])(
    lambda logits, targets, transition: -(torch.linalg.inv(transition)[targets] * logits.log_softmax(1)).sum(1))


@case("asymmetric_loss", {}, lambda d: dict(logits=d.real(N, C), targets=d.bits(N, C)), ["logits"])
def _(logits, targets):
    p = logits.sigmoid()
    m = (p - 0.05).clamp(min=0)
    return -(targets * (1 - p) * p.log() + (1 - targets) * m**4 * (1 - m).log()).sum(1)


@case("triplet", {"margin": 0.5}, lambda d: dict(anchors=d.real(N, D), positives=d.real(N, D), negatives=d.real(N, D)),
      ["anchors", "positives", "negatives"])  # fmt: skip
def _(anchors, positives, negatives):
    return F.triplet_margin_loss(anchors, positives, negatives, 0.5, eps=0, reduction="none")


@case("supcon", {"temperature": 0.5}, lambda d: dict(features=d.real(8, D), targets=np.array([0, 1, 0, 2, 1, 0, 3, 1])),
      ["features"])  # fmt: skip
def _(features, targets):
    q = unit_rows(features)
    s = q @ q.T / 0.5
    values = []
    for i in range(8):
        others = [j for j in range(8) if j != i]
        same = [j for j in others if targets[j] == targets[i]]
        values.append(s[i, others].logsumexp(0) - s[i, same].mean() if same else 0 * s.sum())
    return torch.stack(values)


@case("siglip", {}, lambda d: dict(queries=d.real(N, D), keys=d.real(N, D), scale=np.array(4.0), bias=np.array(-1.0)),
      ["queries", "keys", "scale", "bias"])  # fmt: skip
def _(queries, keys, scale, bias):
    scores = scale * unit_rows(queries) @ unit_rows(keys).T + bias
    return F.softplus(-(2 * torch.eye(N, dtype=scores.dtype) - 1) * scores).sum(1)


case("apo_zero", {"beta": 0.5}, lambda d: {n: d.real(N) for n in PAIR}, PAIR)(
    lambda **x: 1 - (0.5 * (x[PAIR[0]] - x[PAIR[2]])).sigmoid() + (0.5 * (x[PAIR[1]] - x[PAIR[3]])).sigmoid())
case("apo_down", {"beta": 0.5}, lambda d: {n: d.real(N) for n in PAIR}, PAIR)(
    lambda **x: (0.5 * (x[PAIR[0]] - x[PAIR[2]])).sigmoid() + 1 - (0.5 * margin(x)).sigmoid())


@pytest.mark.parametrize("name, parameters, inputs, wrt, formula", case)
def test_loss(name, parameters, inputs, wrt, formula, request):
    oracle.check(name, parameters, inputs, wrt, formula, request.node.name)
