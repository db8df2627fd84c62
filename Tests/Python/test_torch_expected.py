"""The losses beside the pages: PyTorch's own where it has them, else written again from the formula."""

import math

import numpy as np
import oracle
import pytest
from oracle import C, D, F, N, ce, kl, one_hot, torch, unit_rows

import temper

case = oracle.Cases()


def own(values, targets):
    return values.gather(1, targets[:, None])[:, 0]


def mix(form):
    """Class ids and soft targets: what a loss that takes both is called with."""
    return (lambda d: dict(logits=2 * d.real(N, C), targets=d.ids(N))) if form == "ids" else (
        lambda d: dict(logits=2 * d.real(N, C), targets=d.simplex(N, C)))  # fmt: skip


def probabilities(targets):
    return one_hot(targets) if targets.ndim == 1 else targets


# Regression.


def _positive_targets(d):
    return dict(predictions=d.real(N, 3), targets=d.positive(N, 3))


@case("tweedie", {"p": 1.3}, _positive_targets, ["predictions"])
def _(predictions, targets):
    mu = predictions.exp()
    return (mu**0.7 / 0.7 + targets * mu**-0.3 / 0.3).mean(1)


@case("gamma", {"shape": 2.5, "elements": "sum"}, _positive_targets, ["predictions"])
def _(predictions, targets):
    return -torch.distributions.Gamma(2.5, 2.5 / predictions.exp()).log_prob(targets).sum(1)


# Classification.

for form in ("ids", "soft"):
    case("nll", {}, lambda d, form=form: dict(
        log_probabilities=d.real(N, C), targets=d.ids(N) if form == "ids" else d.simplex(N, C),
        class_weights=d.positive(C)),
        ["log_probabilities"])(  # fmt: skip
        lambda log_probabilities, targets, class_weights: -(
            class_weights * probabilities(targets) * log_probabilities).sum(1))  # fmt: skip
case("nll", {}, lambda d: dict(log_probabilities=d.real(N, C), targets=np.array([0, 3, -100, 1, -100, 4])),
     ["log_probabilities"])(
    lambda log_probabilities, targets: F.nll_loss(log_probabilities, targets, reduction="none"))  # fmt: skip


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin(rng, p):
    logits, targets, weights = 2 * rng.normal(size=(N, C)), rng.integers(0, C, N), rng.uniform(0.5, 2, C)
    x = torch.from_numpy(logits).requires_grad_()
    expected = F.multi_margin_loss(
        x, torch.from_numpy(targets), p=p, margin=0.7, weight=torch.from_numpy(weights), reduction="none"
    )
    expected.sum().backward()
    loss = temper.loss("multi_margin", p=p, margin=0.7)
    np.testing.assert_allclose(loss(logits, targets, weights), expected.detach().numpy(), rtol=1e-12)
    _, gradients = loss.value_and_grad(logits, targets, weights, reduction="sum")
    np.testing.assert_allclose(gradients["logits"], x.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("classes", ["present", "all"])
def test_lovasz_softmax_is_the_convex_closure_of_the_jaccard_loss(rng, classes):
    """At predictions of 0 and 1 it is one minus intersection over union, class by class."""
    targets, predicted = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    targets[targets == 2] = 0
    logits = np.where(np.arange(4) == predicted[:, None], 0.0, -1e4)
    expected = []
    for c in range(4):
        union = ((targets == c) | (predicted == c)).sum()
        if classes == "all" or (targets == c).any():
            expected.append(1 - ((targets == c) & (predicted == c)).sum() / union)
    value = temper.loss("lovasz_softmax", classes=classes)(logits, targets)
    np.testing.assert_allclose(value, [np.mean(expected)], rtol=1e-12)


@case("lovasz_softmax", {}, lambda d: dict(logits=d.real(9, 3), targets=d.ids(9, below=2)), ["logits"])
def _(logits, targets):
    """The extension as an integral: sum_k (e_k - e_(k+1)) J(the k largest errors are wrong)."""
    values = []
    for c in targets.unique():
        errors = ((targets == c).double() - logits.softmax(1)[:, c]).abs()
        steps = sorted([*errors, 0 * errors[0]], key=lambda e: -e.item())
        total = 0
        for k in range(9):
            wrong = errors.detach() >= steps[k].item()
            truth = targets == c
            jaccard = 1 - (truth & ~wrong).sum().double() / (truth | wrong).sum()
            total = total + (steps[k] - steps[k + 1]) * jaccard
        values.append(total)
    return torch.stack(values).mean()[None]


# Noisy labels.

for form in ("ids", "soft"):
    case("asymmetric_gce", {"a": 0.6, "q": 1.5}, mix(form), ["logits"])(
        lambda logits, targets: (probabilities(targets) * (1.6**1.5 - (0.6 + logits.softmax(1)) ** 1.5) / 1.5).sum(1)
    )
    case("asymmetric_unhinged", {"a": 2.0, "p": 0.7}, mix(form), ["logits"])(
        lambda logits, targets: (probabilities(targets) * ((2 - logits.softmax(1)) ** 0.7 - 1) / 0.7).sum(1)
    )
    case("asymmetric_exponential", {"a": 0.8}, mix(form), ["logits"])(
        lambda logits, targets: (probabilities(targets) * (-logits.softmax(1) / 0.8).exp()).sum(1)
    )
    case("normalized_cross_entropy", {}, mix(form), ["logits"])(
        lambda logits, targets: (probabilities(targets) * logits.log_softmax(1)).sum(1) / logits.log_softmax(1).sum(1)
    )
    case("reverse_cross_entropy", {"A": -5.0}, mix(form), ["logits"])(
        lambda logits, targets: -(logits.softmax(1) * probabilities(targets).log().clamp(min=-5)).sum(1)
    )
    case("peer_loss", {"alpha": 0.7}, mix(form), ["logits"])(
        lambda logits, targets: ce(logits, probabilities(targets)) - 0.7 * torch.stack(
            [ce(logits, probabilities(targets)[[j] * N]) for j in range(N)]).mean(0))  # fmt: skip
    case("determinant_mutual_information", {"eps": 1e-4}, mix(form), ["logits"])(
        lambda logits, targets: -(
            torch.linalg.det(probabilities(targets).T @ logits.softmax(1) / N).abs() + 1e-4).log()[None])  # fmt: skip

    @case("joint_optimization", {}, mix(form), ["logits"])
    def _(logits, targets):
        p, t = logits.softmax(1), probabilities(targets)
        spread = -(p.mean(0) * C).log().mean()
        divergence = (torch.xlogy(t, t) - t * p.log()).sum(1)
        return divergence + 1.2 * spread - 0.8 * (p * p.log()).sum(1)

    @case("normalized_focal", {"gamma": 2.0}, mix(form), ["logits"])
    def _(logits, targets):
        losses = (1 - logits.softmax(1)) ** 2 * logits.log_softmax(1)
        return (probabilities(targets) * losses).sum(1) / losses.sum(1)


case("peer_loss", {"alpha": 0.4}, lambda d: dict(
    logits=d.real(N, C), targets=d.ids(N), peer_logits=d.real(N, C), peer_targets=d.ids(N)), ["logits", "peer_logits"])(
    lambda logits, targets, peer_logits, peer_targets: ce(logits, targets) - 0.4 * ce(peer_logits, peer_targets)
)  # fmt: skip


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_cofactors_of_singular_joint_frequencies(rng, missing):
    """Classes that no sample has make the determinant 0; it still has a slope while only one is missing."""
    logits, targets = rng.normal(size=(12, 4)), rng.integers(missing, 4, 12)
    targets[:4] = np.maximum(np.arange(4), missing)
    loss = temper.loss("determinant_mutual_information", eps=0.5)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    u = np.eye(4)[targets].T @ p / 12
    np.testing.assert_allclose(loss(logits, targets), [-np.log(abs(np.linalg.det(u)) + 0.5)], rtol=1e-12)
    # |det| has a kink at 0: there the convention sign(0) = 0 leaves no slope.
    if missing:
        np.testing.assert_array_equal(loss.value_and_grad(logits, targets)[1]["logits"], 0)


@case("forward_correction", {}, lambda d: dict(**mix("soft")(d), transition=d.simplex(C, C)), ["logits"])
def _(logits, targets, transition):
    return -(targets * (logits.softmax(1) @ transition).log()).sum(1)


@case("backward_correction", {}, lambda d: dict(
    **mix("soft")(d), transition=0.5 * np.eye(C) + 0.5 * d.simplex(C, C)), ["logits"])  # fmt: skip
def _(logits, targets, transition):
    return -((targets @ torch.linalg.inv(transition)) * logits.log_softmax(1)).sum(1)


# Long tail.


def _counted(d):
    return dict(logits=d.real(N, C), targets=d.ids(N), class_counts=d.rng.integers(1, 200, C).astype(float))


def _weight(targets, counts, beta):
    weights = (1 - beta) / (1 - beta**counts)
    return weights * len(counts) / weights.sum() * probabilities(targets)


for form in ("ids", "soft"):

    def _counted_in(d, form=form):
        return dict(**mix(form)(d), class_counts=d.rng.integers(1, 200, C).astype(float))

    case("class_balanced", {"beta": 0.99}, _counted_in, ["logits"])(
        lambda logits, targets, class_counts: -(_weight(targets, class_counts, 0.99) * logits.log_softmax(1)).sum(1)
    )
    case("class_balanced", {"beta": 0.9, "form": "sigmoid"}, _counted_in, ["logits"])(
        lambda logits, targets, class_counts: _weight(targets, class_counts, 0.9).sum(1) * (
            F.binary_cross_entropy_with_logits(logits, probabilities(targets), reduction="none").sum(1)))  # fmt: skip

    def _with_features(d, form=form):
        return dict(**mix(form)(d), features=d.real(N, D), class_weights=d.positive(C))

    @case("influence_balanced", {"alpha": 10.0}, _with_features, ["logits", "features"])
    def _(logits, targets, features, class_weights):
        influence = (logits.softmax(1) - probabilities(targets)).abs().sum(1) * features.abs().sum(1) + 1e-3
        nll = -(probabilities(targets) * class_weights * logits.log_softmax(1)).sum(1)
        return 10 * nll / influence.detach()

    @case("influence_balanced", {"through_influence": True}, _with_features, ["logits", "features"])
    def _(logits, targets, features, class_weights):
        influence = (logits.softmax(1) - probabilities(targets)).abs().sum(1) * features.abs().sum(1) + 1e-3
        return 1000 * -(probabilities(targets) * class_weights * logits.log_softmax(1)).sum(1) / influence


@case("class_balanced", {"beta": 0.999, "form": "focal", "gamma": 0.5}, _counted, ["logits"])
def _(logits, targets, class_counts):
    y = one_hot(targets)
    losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    modulator = (-0.5 * y * logits - 0.5 * F.softplus(-logits)).exp()  # as in the authors' code
    return _weight(targets, class_counts, 0.999).sum(1) * (modulator * losses).sum(1)


def _spared(d):
    return dict(**_counted(d), spared=d.bits(N, C))


def _kept(targets, class_counts, spared):
    return 1 - spared * (class_counts / class_counts.sum() < 0.2).double() * (1 - one_hot(targets))


case("equalization", {"lam": 0.2}, _spared, ["logits"])(
    lambda logits, targets, class_counts, spared: -(own(logits.exp(), targets) / (
        _kept(targets, class_counts, spared) * logits.exp()).sum(1)).log())  # fmt: skip
case("equalization", {"lam": 0.2, "gamma": 0.6}, _counted, ["logits"])(
    lambda logits, targets, class_counts: -(own(logits.exp(), targets) / (
        _kept(targets, class_counts, 0.6) * logits.exp()).sum(1)).log())  # fmt: skip
case("equalization", {"lam": 0.2, "form": "sigmoid"}, _spared, ["logits"])(
    lambda logits, targets, class_counts, spared: (_kept(targets, class_counts, spared) * (
        F.binary_cross_entropy_with_logits(logits, one_hot(targets), reduction="none"))).sum(1))  # fmt: skip


@case(
    "vector_scaling", {"gamma": 0.4, "tau": 1.3}, lambda d: dict(**_counted(d), class_weights=d.positive(C)), ["logits"]
)
def _(logits, targets, class_counts, class_weights):
    # As in the authors' code: the logits are divided by (1 / n)^gamma over its least value.
    divisor = (1 / class_counts) ** 0.4
    z = logits / (divisor / divisor.min()) + 1.3 * (class_counts / class_counts.sum()).log()
    return F.cross_entropy(z, targets, class_weights, reduction="none")


# Contrastive and metric.


def _two_views(d):
    return dict(features_a=d.real(N, D), features_b=d.real(N, D), targets=d.bits(N))


@case("contrastive", {"margin": 3.0}, _two_views, ["features_a", "features_b"])
def _(features_a, features_b, targets):
    d = (features_a - features_b).norm(dim=1)
    return 0.5 * (targets * d**2 + (1 - targets) * (3 - d).clamp(min=0) ** 2)


case("cosine_embedding", {"margin": 0.2}, _two_views, ["features_a", "features_b"])(
    lambda features_a, features_b, targets: F.cosine_embedding_loss(
        features_a, features_b, 2 * targets - 1, margin=0.2, reduction="none"))  # fmt: skip


@case("n_pairs", {"l2": 0.1}, lambda d: dict(anchors=d.real(N, D), positives=d.real(N, D)), ["anchors", "positives"])
def _(anchors, positives):
    lengths = (anchors**2).sum(1) + (positives**2).sum(1)
    return ce(anchors @ positives.T, torch.arange(N)) + 0.1 * 0.25 * lengths


@case("n_pairs", {"l2": 0.0}, lambda d: dict(anchors=d.real(N, D), positives=d.real(N, D),
      targets=np.array([0, 1, 0, 2, 1, 3])), ["anchors"])  # fmt: skip
def _(anchors, positives, targets):
    s = anchors @ positives.T
    return torch.stack([
        (1 + sum((s[i, j] - s[i, i]).exp() for j in range(N) if targets[j] != targets[i])).log() for i in range(N)
    ])  # fmt: skip


@case("circle", {"margin": 0.3, "gamma": 8.0}, lambda d: dict(
    features=d.real(8, D), targets=np.array([0, 1, 1, 0, 2, 1, 3, 0])), ["features"])  # fmt: skip
def _(features, targets):
    s = unit_rows(features) @ unit_rows(features).T
    values = []
    for i in range(8):
        up, down = 0, 0
        for j in range(8):
            if j != i and targets[j] == targets[i]:
                up = up + (-8 * (1.3 - s[i, j]).clamp(min=0).detach() * (s[i, j] - 0.7)).exp()
            elif targets[j] != targets[i]:
                down = down + (8 * (s[i, j] + 0.3).clamp(min=0).detach() * (s[i, j] - 0.3)).exp()
        values.append((1 + up * down).log() if not isinstance(up, int) else 0 * s.sum())
    return torch.stack(values)


def _angles(d):
    return dict(features=d.real(N, D), weights=d.real(C, D), targets=d.ids(N))


def _with_target(features, weights, targets, change):
    cos = unit_rows(features) @ unit_rows(weights).T
    return torch.where(one_hot(targets) > 0, change(cos), cos)


case("normface", {"scale": 7.0}, _angles, ["features", "weights"])(
    lambda features, weights, targets: ce(7 * _with_target(features, weights, targets, lambda c: c), targets)
)
case("cosface", {"scale": 7.0}, _angles, ["features", "weights"])(
    lambda features, weights, targets: ce(7 * _with_target(features, weights, targets, lambda c: c - 0.35), targets)
)
case("arcface", {"scale": 7.0, "margin": 1.2}, _angles, ["features", "weights"])(
    lambda features, weights, targets: ce(7 * _with_target(features, weights, targets, lambda c: torch.where(
        c.acos() + 1.2 <= math.pi, (c.acos() + 1.2).cos(), c - 1.2 * math.sin(1.2))), targets))  # fmt: skip


@case("proxy_anchor", {"alpha": 4.0, "delta": 0.2}, lambda d: dict(
    features=d.real(N, D), proxies=d.real(C, D), targets=d.ids(N, below=3)), ["features", "proxies"])  # fmt: skip
def _(features, proxies, targets):
    s = unit_rows(features) @ unit_rows(proxies).T
    is_own = one_hot(targets)
    pull = (1 + (is_own * (-4 * (s - 0.2)).exp()).sum(0)).log().sum() / is_own.any(0).sum()
    push = (1 + ((1 - is_own) * (4 * (s + 0.2)).exp()).sum(0)).log().mean()
    return (pull + push)[None]


# Ranking: lists of 6 documents, of which the mask leaves some.


def _lists(d, relevance):
    mask = d.bits(N, 6).astype(bool)
    mask[0], mask[1] = True, False
    mask[2, 0] = True
    return dict(scores=d.real(N, 6), targets=relevance(d), mask=mask)


def _grades(d):
    return d.rng.integers(0, 4, (N, 6)).astype(float)


def each_list(value):
    """A value of one list's documents, over all lists; a list without documents gives 0."""
    return lambda scores, targets, mask: torch.stack(
        [value(s[m], t[m]) if m.any() else 0 * s.sum() for s, t, m in zip(scores, targets, mask)]
    )


def ranks(scores):
    order = torch.sort(scores, descending=True, stable=True).indices
    return torch.empty_like(order).scatter(0, order, torch.arange(1, len(scores) + 1)).double()


def ideal(targets):
    best = targets.sort(descending=True).values
    return ((2**best - 1) / torch.log2(torch.arange(2, len(best) + 2).double())).sum()


case("listnet", {}, lambda d: _lists(d, lambda d: d.real(N, 6)), ["scores"])(
    each_list(lambda s, t: F.cross_entropy(s[None], t[None].softmax(1)))
)
case("listmle", {}, lambda d: _lists(d, lambda d: d.real(N, 6)), ["scores"])(each_list(lambda s, t: -sum(
    s[t.argsort(descending=True)][k:].log_softmax(0)[0] for k in range(len(s)))))  # fmt: skip


@case("lambda_rank", {"sigma": 1.5}, lambda d: _lists(d, _grades), ["scores"])
@each_list
def _(s, t):
    discounts = 1 / torch.log2(1 + ranks(s.detach()))
    total = 0 * s.sum()
    for i in range(len(s)):
        for j in range(len(s)):
            if t[i] > t[j]:
                worth = (2 ** t[i] - 2 ** t[j]).abs() * (discounts[i] - discounts[j]).abs() / ideal(t)
                total = total + worth * F.softplus(-1.5 * (s[i] - s[j]))
    return total


case("lambda_rank", {"weighting": "none"}, lambda d: _lists(d, _grades), ["scores"])(
    each_list(lambda s, t: (F.softplus(s[None] - s[:, None]) * (t[:, None] > t[None])).sum())
)


@case("approx_ndcg", {"temperature": 0.5}, lambda d: _lists(d, _grades), ["scores"])
@each_list
def _(s, t):
    if t.max() == 0:
        return 0 * s.sum()
    soft = 0.5 + ((s[None] - s[:, None]) / 0.5).sigmoid().sum(1)  # a document and itself give 1/2
    return 1 - ((2**t - 1) / torch.log2(1 + soft)).sum() / ideal(t)


def test_approximate_ndcg_goes_to_one_minus_ndcg(rng):
    scores, targets = rng.normal(size=(5, 9)), rng.integers(0, 4, (5, 9)).astype(float)
    expected = [
        1 - ((2**t - 1) / np.log2(1 + ranks(torch.from_numpy(s)).numpy())).sum() / ideal(torch.from_numpy(t)).item()
        for s, t in zip(scores, targets)
    ]
    np.testing.assert_allclose(temper.loss("approx_ndcg", temperature=1e-4)(scores, targets), expected, atol=1e-9)


case(
    "bpr",
    {},
    lambda d: dict(positive_scores=d.real(N), negative_scores=d.real(N)),
    ["positive_scores", "negative_scores"],
)(lambda positive_scores, negative_scores: -(positive_scores - negative_scores).sigmoid().log())
case("margin_ranking", {"margin": 0.4}, lambda d: dict(scores_a=d.real(N), scores_b=d.real(N), targets=d.bits(N)),
     ["scores_a", "scores_b"])(
    lambda scores_a, scores_b, targets: F.margin_ranking_loss(
        scores_a, scores_b, 2 * targets - 1, margin=0.4, reduction="none"))  # fmt: skip


def test_auc_margin_at_its_saddle_point_is_the_pairwise_square(rng):
    """At a, b the means of both classes and alpha = m + b - a: r (1 - r) E (m - s+ + s-)^2 (Ying et al., 2016)."""
    scores, targets = rng.random(40), rng.random(40) < 0.3
    a, b = scores[targets].mean(), scores[~targets].mean()
    loss = temper.loss("auc_margin", margin=0.8)
    inputs = dict(scores=scores, targets=targets, a=np.array(a), b=np.array(b), alpha=np.array(0.8 + b - a))
    value, gradients = loss.value_and_grad(**inputs, wrt=["a", "b", "alpha", "scores"])
    pairs = (0.8 - scores[targets][:, None] + scores[~targets][None]) ** 2
    r = targets.mean()
    assert value == pytest.approx(r * (1 - r) * pairs.mean(), rel=1e-12)
    for name in ("a", "b", "alpha"):
        assert abs(gradients[name]) < 1e-14
    alone, own = loss.value_and_grad(scores, targets)  # where they do not come
    assert alone == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(own["scores"], gradients["scores"], rtol=1e-10)
    # At the saddle point the slope by the scores is that of the pairs.
    slope = np.zeros(40)
    slope[targets] = -2 * (0.8 - scores[targets][:, None] + scores[~targets][None]).mean(1) / targets.sum()
    slope[~targets] = 2 * (0.8 - scores[targets][:, None] + scores[~targets][None]).mean(0) / (~targets).sum()
    np.testing.assert_allclose(gradients["scores"], r * (1 - r) * slope, rtol=1e-10)


# Distillation.

case(
    "distillation_kl",
    {"temperature": 3.0},
    lambda d: dict(logits=d.real(N, C), teacher_logits=d.real(N, C)),
    ["logits"],
)(lambda logits, teacher_logits: 9 * kl(teacher_logits / 3, logits / 3))


@case("decoupled_kd", {"alpha": 0.7, "beta": 3.0}, lambda d: dict(
    logits=3 * d.real(N, C), targets=d.ids(N), teacher_logits=3 * d.real(N, C)), ["logits"])  # fmt: skip
def _(logits, targets, teacher_logits):
    def parts(z):
        p = own((z / 4).softmax(1), targets)
        rest = torch.stack([torch.cat([row[:y], row[y + 1 :]]) for row, y in zip(z / 4, targets)])
        return torch.stack([p, 1 - p], 1).log(), rest

    (teacher, teacher_rest), (student, student_rest) = parts(teacher_logits), parts(logits)
    return 16 * (0.7 * kl(teacher, student) + 3 * kl(teacher_rest, student_rest))


case("cosine_distillation", {}, lambda d: dict(features=d.real(N, D), teacher_features=d.real(N, D)), ["features"])(
    lambda features, teacher_features: 1 - F.cosine_similarity(features, teacher_features)
)

# Preference.

PAIR = [f"{model}_{answer}_logps" for model in ("policy", "reference") for answer in ("chosen", "rejected")]


def _pairs(d):
    return {name: 3 * d.real(N) for name in PAIR}


def _ratios(x):
    return x[PAIR[0]] - x[PAIR[2]], x[PAIR[1]] - x[PAIR[3]]


def _margin(x):
    return _ratios(x)[0] - _ratios(x)[1]


case("cdpo", {"beta": 0.5, "label_smoothing": 0.2}, _pairs, PAIR)(
    lambda **x: -0.8 * F.logsigmoid(0.5 * _margin(x)) - 0.2 * F.logsigmoid(-0.5 * _margin(x))
)
case("exo", {"beta": 0.5}, _pairs, PAIR)(lambda **x: kl(
    torch.stack([0.5 * _margin(x), 0 * _margin(x)], 1),
    torch.tensor([[0.999, 0.001]], dtype=torch.float64).log()))  # fmt: skip
case("sppo", {"beta": 0.4}, _pairs, PAIR)(lambda **x: (_ratios(x)[0] - 1.25) ** 2 + (_ratios(x)[1] + 1.25) ** 2)


@case("bco", {"beta": 0.5}, _pairs, PAIR)
def _(**x):
    chosen, rejected = (0.5 * r for r in _ratios(x))
    shift = torch.cat([chosen, rejected]).mean().detach()
    return -F.logsigmoid(chosen - shift) - F.logsigmoid(shift - rejected)


case("bco", {"beta": 0.5}, lambda d: dict(**_pairs(d), reward_shift=np.array(0.3)), PAIR)(
    lambda reward_shift, **x: -F.logsigmoid(0.5 * _ratios(x)[0] - 0.3) - F.logsigmoid(0.3 - 0.5 * _ratios(x)[1])
)
case("aot", {"beta": 0.5, "label_smoothing": 0.1}, _pairs, PAIR)(lambda **x: sum(
    weight * F.softplus(
        sign * 0.5 * ((x[PAIR[0]] - x[PAIR[1]]).sort().values - (x[PAIR[2]] - x[PAIR[3]]).sort().values))
    for weight, sign in ((0.9, -1), (0.1, 1))).mean()[None])  # fmt: skip
case("aot", {"beta": 0.5, "form": "unpaired"}, _pairs, PAIR)(
    lambda **x: F.softplus(-0.5 * (_ratios(x)[0].sort().values - _ratios(x)[1].sort().values)).mean()[None]
)


@case("kto", {"beta": 0.5, "desirable_weight": 1.2, "undesirable_weight": 0.7}, lambda d: dict(
    policy_logps=d.real(N), reference_logps=d.real(N), targets=d.bits(N), policy_kl_logps=d.real(N),
    reference_kl_logps=d.real(N)), ["policy_logps", "reference_logps"])  # fmt: skip
def _(policy_logps, reference_logps, targets, policy_kl_logps, reference_kl_logps):
    point = (policy_kl_logps - reference_kl_logps).mean().clamp(min=0)
    r = policy_logps - reference_logps
    return torch.where(
        targets > 0, 1.2 * (1 - (0.5 * (r - point)).sigmoid()), 0.7 * (1 - (0.5 * (point - r)).sigmoid())
    )


def _answers(d):
    return {"policy_chosen_logps": -d.positive(N), "policy_rejected_logps": -d.positive(N),
            "chosen_lengths": d.rng.integers(1, 9, N), "rejected_lengths": d.rng.integers(1, 9, N)}  # fmt: skip


POLICY = ["policy_chosen_logps", "policy_rejected_logps"]
case("simpo", {}, _answers, POLICY)(
    lambda policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths: -F.logsigmoid(
        2 * (policy_chosen_logps / chosen_lengths - policy_rejected_logps / rejected_lengths) - 0.5))  # fmt: skip
case("cpo", {"beta": 0.4, "alpha": 0.6}, lambda d: {n: _answers(d)[n] for n in [*POLICY, "chosen_lengths"]}, POLICY)(
    lambda policy_chosen_logps, policy_rejected_logps, chosen_lengths: -F.logsigmoid(
        0.4 * (policy_chosen_logps - policy_rejected_logps)) - 0.6 * policy_chosen_logps / chosen_lengths)  # fmt: skip


@case("orpo", {"lam": 0.3}, _answers, POLICY)
def _(policy_chosen_logps, policy_rejected_logps, chosen_lengths, rejected_lengths):
    chosen, rejected = policy_chosen_logps / chosen_lengths, policy_rejected_logps / rejected_lengths
    odds = (chosen.exp() / (1 - chosen.exp())) / (rejected.exp() / (1 - rejected.exp()))
    return -chosen - 0.3 * F.logsigmoid(odds.log())


# Calibration.


@case("label_relaxation", {"alpha": 0.3}, mix("ids"), ["logits"])
def _(logits, targets):
    p, y = logits.softmax(1), one_hot(targets)
    believed = p * (1 - y)
    goal = 0.7 * y + 0.3 * believed / believed.sum(1, keepdim=True)
    return torch.where(own(p, targets) >= 0.7, 0, (goal * (goal.log() - p.log())).sum(1))


@case("mmce", {}, mix("ids"), ["logits"])
def _(logits, targets):
    r = logits.softmax(1).max(1).values
    gaps = (logits.argmax(1) == targets).double() - r
    kernel = (-(r[:, None] - r[None]).abs() / 0.4).exp()
    return (gaps @ kernel @ gaps).sqrt()[None] / N


@case("mmce", {"form": "weighted"}, lambda d: dict(
    logits=2 * d.real(N, C), targets=np.array([0, 1, 2, 3, 4, 0])), ["logits"])  # fmt: skip
def _(logits, targets):
    r = logits.softmax(1).max(1).values
    right = (logits.argmax(1) == targets).double()
    wrong, m = 1 - right, max(right.sum(), torch.tensor(1.0))
    n = max(wrong.sum(), torch.tensor(1.0))
    k = (-(r[:, None] - r[None]).abs() / 0.4).exp()
    both = ((wrong * r) @ k @ (wrong * r)) / n**2 + ((right * (1 - r)) @ k @ (right * (1 - r))) / m**2
    return (both - 2 * ((right * (1 - r)) @ k @ (wrong * r)) / (m * n)).sqrt()[None]


for form in ("ids", "soft"):
    case("temperature_scaled_cross_entropy", {}, lambda d, form=form: dict(**mix(form)(d), temperature=d.positive(N)),
         ["logits", "temperature"])(
        lambda logits, targets, temperature: ce(logits / temperature[:, None], targets))  # fmt: skip
case("mixup_cross_entropy", {}, lambda d: dict(
    logits=d.real(N, C), targets=d.ids(N), other_targets=d.ids(N), mix=d.unit(N)), ["logits"])(
    lambda logits, targets, other_targets, mix: mix * ce(logits, targets) + (1 - mix) * ce(logits, other_targets)
)  # fmt: skip


@case("energy_margin", {"inside": -2.0, "outside": -1.0, "lam": 0.3}, lambda d: dict(
    logits=d.real(N, C), targets=d.ids(N), outlier_logits=d.real(4, C)), ["logits", "outlier_logits"])  # fmt: skip
def _(logits, targets, outlier_logits):
    inside = (-logits.logsumexp(1) + 2).clamp(min=0) ** 2
    outside = (-1 + outlier_logits.logsumexp(1)).clamp(min=0) ** 2
    return ce(logits, targets) + 0.3 * (inside + outside.mean())


# Very many classes.


def _sampled(d):
    return dict(features=d.real(N, D), weights=d.real(9, D), targets=d.ids(N, below=9), proposal=d.simplex(9),
                sampled_classes=np.array([4, 0, 4, 7, 2]), bias=d.real(9))  # fmt: skip


def _scores(features, weights, proposal, bias):
    return features @ weights.T + bias - (5 * proposal).log()


@case("sampled_softmax", {}, _sampled, ["features", "weights", "bias"])
def _(features, weights, targets, proposal, sampled_classes, bias):
    z = _scores(features, weights, proposal, bias)
    rest = torch.stack([sum(z[i, c].exp() for c in sampled_classes if c != targets[i]) for i in range(N)])
    return (1 + rest / own(z, targets).exp()).log()


@case("noise_contrastive_estimation", {}, _sampled, ["features", "weights", "bias"])
def _(features, weights, targets, proposal, sampled_classes, bias):
    z = _scores(features, weights, proposal, bias)
    return F.softplus(-own(z, targets)) + F.softplus(z[:, sampled_classes]).sum(1)


def test_sampling_every_class_is_cross_entropy(rng):
    features, weights, targets = rng.normal(size=(N, D)), rng.normal(size=(9, D)), rng.integers(0, 9, N)
    values = temper.loss("sampled_softmax")(
        features, weights, targets, sampled_classes=np.arange(9), proposal=np.full(9, 1 / 9)
    )
    np.testing.assert_allclose(values, temper.loss("cross_entropy")(features @ weights.T, targets), rtol=1e-12)


def test_hierarchical_softmax_is_a_distribution_over_the_leaves(rng):
    """Five leaves of an unbalanced tree: their probabilities sum to 1 and are products of decisions."""
    nodes = np.array([[0, 1, 0], [0, 1, 2], [0, 1, 2], [0, 3, 0], [0, 3, 0]])
    sides = np.array([[1, 1, 0], [1, -1, 1], [1, -1, -1], [-1, 1, 0], [-1, -1, 0]], float)
    feature, weights = rng.normal(size=D), rng.normal(size=(4, D))
    values = temper.loss("hierarchical_softmax")(np.tile(feature, (5, 1)), weights, nodes, sides)
    assert np.exp(-values).sum() == pytest.approx(1, rel=1e-12)
    turns = 1 / (1 + np.exp(-weights @ feature))
    np.testing.assert_allclose(np.exp(-values[1]), turns[0] * (1 - turns[1]) * turns[2], rtol=1e-12)


@case("hierarchical_softmax", {}, lambda d: dict(
    features=d.real(N, D), weights=d.real(7, D), nodes=d.ids(N, 3, below=7),
    sides=d.rng.integers(-1, 2, (N, 3)).astype(float)),
    ["features", "weights"])  # fmt: skip
def _(features, weights, nodes, sides):
    scores = (features[:, None] * weights[nodes]).sum(2)
    return ((sides != 0) * F.softplus(-sides * scores)).sum(1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cutoffs", [[4], [4, 9], [3, 5, 11]])
def test_adaptive_softmax_is_that_of_pytorch(rng, cutoffs, bias):
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 17, cutoffs, div_value=2.0, head_bias=bias, dtype=torch.float64)
    features = torch.from_numpy(rng.normal(size=(17, 8))).requires_grad_()
    targets = torch.arange(17)
    values = -module(features, targets).output
    values.sum().backward()
    arrays = {"features": features, "head": module.head.weight}
    for number, tail in enumerate(module.tail, 1):
        arrays[f"projection_{number}"], arrays[f"tail_{number}"] = tail[0].weight, tail[1].weight
    if bias:
        arrays["head_bias"] = module.head.bias
    loss = temper.loss("adaptive_softmax")
    inputs = {"targets": targets.numpy(), **{name: array.detach().numpy() for name, array in arrays.items()}}
    np.testing.assert_allclose(loss(**inputs), values.detach().numpy(), rtol=1e-12)
    _, gradients = loss.value_and_grad(**inputs, reduction="sum", wrt=list(arrays))
    for name, array in arrays.items():
        np.testing.assert_allclose(gradients[name], array.grad.numpy(), rtol=1e-10, atol=1e-13, err_msg=name)


# Entmax.


def test_entmax_is_that_of_the_entmax_package(rng):
    entmax = pytest.importorskip("entmax", reason="entmax, an oracle of these tests, is not installed")
    for alpha in (1.2, 1.5, 1.9, 2.0, 2.5, 3.0):
        x = torch.from_numpy(3 * rng.normal(size=(7, 20))).requires_grad_()
        a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        y = entmax.entmax_bisect(x, a, n_iter=80)
        dy = rng.normal(size=(7, 20))
        y.backward(torch.from_numpy(dy))
        values = x.detach().numpy()
        by_parameter, by_input = temper.op("entmax", alpha=alpha), {"x": values, "alpha": np.array(alpha)}
        np.testing.assert_allclose(by_parameter(values), y.detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(temper.op("entmax")(**by_input), by_parameter(values), atol=1e-14)
        np.testing.assert_allclose(by_parameter.vjp(x=values, dy=dy)["x"], x.grad.numpy(), atol=1e-10)
        slopes = temper.op("entmax").vjp(dy=dy, **by_input)
        np.testing.assert_allclose(slopes["x"], x.grad.numpy(), atol=1e-10)
        np.testing.assert_allclose(slopes["alpha"], a.grad.item(), rtol=1e-8)


def test_entmax_meets_its_special_cases(rng):
    x = 3 * rng.normal(size=(5, 12))
    x[2, 3:8] = -np.inf
    for alpha, name in ((1.0, "softmax"), (1.5, "entmax15"), (2.0, "sparsemax")):
        np.testing.assert_allclose(temper.op("entmax", alpha=alpha)(x), temper.op(name)(x), atol=1e-13)
    np.testing.assert_allclose(temper.op("entmax", alpha=1.0001)(x), temper.op("softmax")(x), atol=1e-3)
    assert temper.op("entmax", alpha=10.0)(np.array([0.0, 1.0, 1.0])) == pytest.approx([0, 0.5, 0.5], abs=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("is_soft", [False, True])
def test_entmax_loss(rng, alpha, is_soft):
    """Its gradient is entmax(z) - t, it is 0 at z with entmax(z) = t, and it is the package's for class ids."""
    logits = 2 * rng.normal(size=(9, 6))
    targets = rng.dirichlet(np.ones(6), 9) if is_soft else rng.integers(0, 6, 9)
    loss = temper.loss("entmax_loss", alpha=alpha)
    _, gradients = loss.value_and_grad(logits, targets, reduction="sum")
    probabilities = targets if is_soft else np.eye(6)[targets]
    np.testing.assert_allclose(
        gradients["logits"], temper.op("entmax", alpha=alpha)(logits) - probabilities, atol=1e-12
    )
    if is_soft:
        goal = np.log(targets) if alpha == 1 else targets ** (alpha - 1) / (alpha - 1)
        np.testing.assert_allclose(loss(goal, targets), 0, atol=1e-12)
    elif alpha > 1:
        entmax = pytest.importorskip("entmax", reason="entmax, an oracle of these tests, is not installed")
        expected = entmax.entmax_bisect_loss(torch.from_numpy(logits), torch.from_numpy(targets), alpha, n_iter=80)
        np.testing.assert_allclose(loss(logits, targets), expected.numpy(), atol=1e-12)
    else:
        np.testing.assert_allclose(loss(logits, targets), temper.loss("cross_entropy")(logits, targets), rtol=1e-12)


def test_alpha_of_the_entmax_loss_has_a_slope(rng):
    logits, targets = 2 * rng.normal(size=(9, 6)), rng.dirichlet(np.ones(6), 9)
    loss, step = temper.loss("entmax_loss"), 1e-6
    _, gradients = loss.value_and_grad(logits, targets, alpha=np.array(1.7), wrt="alpha")
    ends = [loss(logits, targets, alpha=np.array(1.7 + s)).mean() for s in (step, -step)]
    assert gradients["alpha"] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-7)


@pytest.mark.parametrize("form", ["linear", "exponential", "square"])
@pytest.mark.parametrize("lam", [-2.0, 0.0, 0.7])
def test_sparsegen_is_the_minimiser(rng, form, lam):
    """No other point of the simplex has a smaller |p - g(x)|^2 - lam |p|^2."""
    x = rng.normal(size=(4, 6))
    g = {"linear": lambda v: v, "exponential": np.exp, "square": np.square}[form](x)
    p = temper.op("sparsegen", lam=lam, form=form)(x)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert (p >= 0).all()

    def objective(p):
        return ((p - g) ** 2).sum(-1) - lam * (p**2).sum(-1)

    others = rng.dirichlet(np.ones(6), (500, 4))
    for share in (1, 0.1, 1e-3):
        assert (objective(p + share * (others - p)) >= objective(p) - 1e-14).all()


def test_sparsehourglass_between_its_limits(rng):
    x = rng.normal(size=(4, 6))
    np.testing.assert_allclose(temper.op("sparsehourglass", q=1e9)(x), temper.op("sparsemax")(x), atol=1e-6)
    small = temper.op("sparsehourglass", q=1e-9)
    np.testing.assert_allclose(small(x), small(7 * x), atol=1e-6)


@pytest.mark.parametrize("name, parameters, inputs, wrt, formula", case)
def test_loss(name, parameters, inputs, wrt, formula, request):
    oracle.check(name, parameters, inputs, wrt, formula, request.node.name)
