"""What is computed in pieces, so that no large array is stored: the same numbers as from whole arrays."""

import resource

import numpy as np
import pytest

import temper


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy(features, classifier, targets, bias=0.0, softcap=None):
    """Values and the gradients of their sum, from all logits at once."""
    z = features @ classifier.T + bias
    bent = softcap * np.tanh(z / softcap) if softcap else z
    p = softmax(bent)
    rows = np.arange(len(targets))
    values = -np.log(p[rows, targets])
    g = p.copy()
    g[rows, targets] -= 1
    if softcap:
        g *= 1 - (bent / softcap) ** 2
    return values, {"features": g @ classifier, "classifier": g.T @ features, "bias": g.sum(0)}


# Sizes beyond one tile of 2048 tokens by 1024 classes, or 128 by 256 with the filter, and no multiples of them; the last
# beyond one block of whole rows, of which value and gradients are computed once.
@pytest.mark.parametrize(
    "tokens, classes, filter_eps", [(2100, 1500, 0), (300, 700, 1e-300), (5, 2049, 0), (129, 3, 0), (141, 70_000, 0)]
)
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_cut_cross_entropy_in_tiles(rng, tokens, classes, filter_eps, softcap):
    features, classifier = rng.normal(size=(tokens, 3)), rng.normal(size=(classes, 3))
    bias, targets = rng.normal(size=classes), rng.integers(0, classes, tokens)
    loss = temper.loss("cut_cross_entropy", softcap=softcap, filter_eps=filter_eps)
    values, slopes = cross_entropy(features, classifier, targets, bias, softcap)
    inputs = dict(features=features, classifier=classifier, targets=targets, bias=bias)
    np.testing.assert_allclose(loss(**inputs), values, rtol=1e-12, atol=1e-13)
    _, gradients = loss.value_and_grad(**inputs, reduction="sum", wrt=("features", "classifier", "bias"))
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradients[name], slope, rtol=1e-9, atol=1e-11, err_msg=name)
    (only,) = loss.value_and_grad(**inputs, reduction="sum", wrt=("bias",))[1].values()
    np.testing.assert_allclose(only, slopes["bias"], rtol=1e-9, atol=1e-11)


def test_cut_cross_entropy_at_its_edges(rng):
    features, classifier = np.full((4, 1), 1e4), np.array([[1.0], [-1.0], [0.0]])
    targets = np.array([0, 1, 2, -100])
    loss = temper.loss("cut_cross_entropy")
    np.testing.assert_allclose(loss(features, classifier, targets), [0, 2e4, 1e4, 0])
    value, gradients = loss.value_and_grad(features, classifier, targets, wrt=("features",))
    assert value == pytest.approx(1e4)  # the ignored token is not in the mean
    np.testing.assert_allclose(gradients["features"].ravel(), [0, 2 / 3, 1 / 3, 0])
    masked = loss(features, classifier, targets, bias=np.array([0, -np.inf, 0]))
    np.testing.assert_allclose(masked, [0, np.inf, 1e4, 0])


def test_the_gradient_filter_leaves_out_little(rng):
    """Peaked probabilities, as a trained model has: most blocks go, and the gradient stays."""
    classifier = rng.normal(size=(2000, 16))
    targets = rng.integers(0, 2000, 300)
    features = 3 * classifier[targets] / np.linalg.norm(classifier[targets], axis=1, keepdims=True)
    exact = temper.loss("cut_cross_entropy").value_and_grad(features, classifier, targets)[1]["features"]
    filtered = temper.loss("cut_cross_entropy", filter_eps=2.0**-12)
    near = filtered.value_and_grad(features, classifier, targets)[1]["features"]
    assert np.abs(near - exact).max() < 1e-3 * np.abs(exact).max()
    coarse = temper.loss("cut_cross_entropy", filter_eps=0.999).value_and_grad(features, classifier, targets)
    assert np.any(coarse[1]["features"] != exact)


def test_cut_cross_entropy_never_stores_the_logits(rng):
    """2048 tokens and 20000 classes: the logits alone would take 164 MB."""
    features = rng.normal(size=(2048, 16)).astype(np.float32)
    classifier = rng.normal(size=(20_000, 16)).astype(np.float32)
    targets = rng.integers(0, 20_000, 2048)
    loss = temper.loss("cut_cross_entropy")
    out = {"features": np.zeros_like(features), "classifier": np.zeros_like(classifier)}
    loss.value_and_grad(features[:64], classifier[:64], targets[:64] % 64, wrt=tuple(out))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss.value_and_grad(features, classifier, targets, wrt=tuple(out), out=out)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 60


def attention(q, k, v, scale, causal=False, mask=None):
    scores = q @ k.transpose(0, 2, 1) * scale
    seen = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask[:, None], scores.shape)
    if causal:
        seen = seen & (np.arange(k.shape[1]) <= np.arange(q.shape[1])[:, None])
    weights = np.exp(scores - scores.max()) * seen
    sums = weights.sum(-1, keepdims=True)
    return weights / np.where(sums == 0, 1, sums) @ v


@pytest.mark.parametrize("steps, keys", [(1, 1), (7, 5), (256, 256), (300, 700), (700, 300)])
@pytest.mark.parametrize("causal, masked", [(False, False), (True, False), (False, True), (True, True)])
def test_attention_in_blocks(rng, steps, keys, causal, masked):
    q, k, v = rng.normal(size=(2, steps, 4)), rng.normal(size=(2, keys, 4)), rng.normal(size=(2, keys, 3))
    mask = rng.random((2, keys)) < 0.7 if masked else None
    operator = temper.op("online_softmax_attention", causal=causal)
    result = operator(q, k, v, mask)
    np.testing.assert_allclose(result, attention(q, k, v, 0.5, causal, mask), rtol=1e-10, atol=1e-12)
    # Gradients along random directions.
    dy = rng.normal(size=result.shape)
    gradients = operator.vjp(q, k, v, mask, dy=dy, wrt=("queries", "keys", "values"))
    for name, array in {"queries": q, "keys": k, "values": v}.items():
        direction, kept = rng.normal(size=array.shape), array.copy()
        slope = 0
        for side in (1, -1):
            array[...] = kept + side * 1e-5 * direction
            slope += side * (dy * attention(q, k, v, 0.5, causal, mask)).sum() / 2e-5
        array[...] = kept
        assert (gradients[name] * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_a_query_that_sees_nothing_gives_nothing(rng):
    q, k, v = rng.normal(size=(1, 2, 3)), rng.normal(size=(1, 4, 3)), rng.normal(size=(1, 4, 3))
    operator = temper.op("online_softmax_attention")
    nothing = np.zeros((1, 4), bool)
    assert not operator(q, k, v, nothing).any()
    for gradient in operator.vjp(q, k, v, nothing, dy=np.ones((1, 2, 3))).values():
        assert not gradient.any()
    huge = operator(1e4 * q, k, v)
    assert np.isfinite(huge).all()


def test_attention_in_blocks_never_stores_the_weights(rng):
    """8192 steps: the weights of one head alone would take 268 MB."""
    q, k, v, dy = rng.normal(size=(4, 1, 8192, 4)).astype(np.float32)
    operator = temper.op("online_softmax_attention", causal=True)
    operator.vjp(q[:, :64], k[:, :64], v[:, :64], dy=dy[:, :64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    operator(q, k, v)
    operator.vjp(q, k, v, dy=dy)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 60


@pytest.mark.parametrize("width, k", [(5, 5), (7, 1), (1024, 5), (5000, 3), (5000, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_of_a_softmax(rng, width, k, dtype):
    x = rng.normal(size=(6, width)).astype(dtype)
    x[0] *= 100
    x[1] = np.round(x[1])  # many equals
    x[2, width // 2 :] = -np.inf
    x[3] = 0.5
    x[4, -1] = 1e4
    order = np.argsort(-x, axis=-1, kind="stable")[:, :k]
    p = softmax(x.astype(np.float64))
    np.testing.assert_array_equal(temper.op("online_softmax_topk_positions", k=k)(x), order)
    top = temper.op("online_softmax_topk", k=k)
    close = {"rtol": 2e-4, "atol": 1e-37} if dtype == np.float32 else {"rtol": 1e-13}
    np.testing.assert_allclose(top(x), np.take_along_axis(p, order, -1), **close)
    dy = rng.normal(size=(6, k)).astype(dtype)
    spread = np.zeros((6, width))
    np.put_along_axis(spread, order, dy, -1)
    expected = p * (spread - (p * spread).sum(-1, keepdims=True))
    np.testing.assert_allclose(top.vjp(x, dy), expected, rtol=1e-4, atol=1e-6 if dtype == np.float32 else 1e-14)


def test_broken_rows_stay_broken():
    x = np.array([[1.0, np.nan, 3.0], [-np.inf] * 3, [0.0, 1.0, 2.0]])
    result = temper.op("online_softmax_topk", k=2)(x)
    assert np.isnan(result[:2]).all() and np.isfinite(result[2]).all()
    with pytest.raises(temper.Error, match="4 largest"):
        temper.op("online_softmax_topk", k=4)(x)


def test_gumbel_softmax(rng):
    x, u = rng.normal(size=(5, 4)), rng.random((5, 4))
    expected = softmax((x - np.log(-np.log(u))) / 0.7)
    soft, hard = (temper.op("gumbel_softmax", tau=0.7, hard=hard) for hard in (False, True))
    np.testing.assert_allclose(soft(x, u), expected, rtol=1e-12)
    np.testing.assert_array_equal(hard(x, u), np.eye(4)[expected.argmax(-1)])
    dy = rng.normal(size=(5, 4))
    slope = expected * (dy - (expected * dy).sum(-1, keepdims=True)) / 0.7
    for form in (soft, hard):
        np.testing.assert_allclose(form.vjp(x, u, dy=dy)["x"], slope, rtol=1e-10)
    assert np.isfinite(soft(x, np.tile([0.0, 1.0], (5, 2)))).all()
    many = rng.random((50_000, 4))
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    counts = hard(np.tile(logits, (len(many), 1)), many).sum(0)
    assert ((counts - np.exp(logits) * len(many)) ** 2 / (np.exp(logits) * len(many))).sum() < 16.27


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_the_density_of_soft_samples_integrates_to_one(tau):
    """Over (y, 1 - y), with y = sigmoid(s)."""
    s = np.linspace(-60, 60, 40_001)
    log_y = -np.logaddexp(0, np.stack([-s, s], -1))
    density = temper.op("gumbel_softmax/log_density", tau=tau)(np.tile([0.3, -0.8], (len(s), 1)), log_y)
    integral = np.exp(density + log_y.sum(-1)).sum() * (s[1] - s[0])
    assert integral == pytest.approx(1, abs=1e-6)


def test_pairs_are_never_stored(rng):
    """400 queries: 64 million differences of scores, which would take 256 MB."""
    n = 400
    scores = rng.normal(size=(n, n)).astype(np.float32)
    loss = temper.loss("mann_whitney_loss", temperature=1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values, gradient = loss(scores), np.zeros_like(scores)
    loss.value_and_grad(scores, reduction="sum", out={"scores": gradient})
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 60
    negatives = scores[~np.eye(n, dtype=bool)].astype(np.float64)
    for i in (0, 1, 199, n - 1):
        u = negatives - scores[i, i]
        assert values[i] == pytest.approx(np.logaddexp(0, u).mean(), rel=1e-5)
        assert gradient[i, i] == pytest.approx(-(1 / (1 + np.exp(-u))).mean(), rel=1e-4)
    positives = np.diag(scores).astype(np.float64)
    for i, j in ((0, 1), (3, 399), (398, 2)):
        expected = (1 / (1 + np.exp(positives - scores[i, j]))).sum() / (n * (n - 1))
        assert gradient[i, j] == pytest.approx(expected, rel=1e-4)


def pair_losses(rng, n):
    """Losses of all pairs of a batch: inputs, what has a gradient, and values from whole arrays."""
    torch = pytest.importorskip("torch", reason="PyTorch, an oracle of these tests, is not installed")
    q, k = (torch.tensor(rng.normal(size=(n, 3)), requires_grad=True) for _ in range(2))
    y = torch.tensor(rng.integers(0, 40, n))
    a, b = (torch.nn.functional.normalize(x, dim=-1) for x in (q, k))
    own = torch.eye(n, dtype=torch.bool)
    same = (y[:, None] == y) & ~own
    nothing = torch.tensor(-torch.inf, dtype=torch.float64)
    cross = -(a @ b.T / 0.1).log_softmax(-1).diagonal()
    others = torch.where(own, nothing, a @ a.T / 0.1)
    scores = 10 * (a @ b.T) - 10
    plain = torch.where(own, nothing, q @ k.T).logsumexp(-1)
    up = -256 * (torch.relu(1.25 - a @ a.T).detach() * (a @ a.T - 0.75))
    down = 256 * (torch.relu(a @ a.T + 0.25).detach() * (a @ a.T - 0.25))
    circle = torch.where(same, up, nothing).logsumexp(-1) + torch.where(y[:, None] == y, nothing, down).logsumexp(-1)
    softplus = torch.nn.functional.softplus
    yield "info_nce", {}, {"queries": q, "keys": k}, cross
    yield "supcon", {"targets": y}, {"features": q}, (
        others.logsumexp(-1) - torch.where(same, others, 0).sum(-1) / same.sum(-1))  # fmt: skip
    yield "siglip", {}, {"queries": q, "keys": k}, softplus(torch.where(own, -scores, scores)).sum(-1)
    lengths = (q**2).sum(-1) + (k**2).sum(-1)
    yield "n_pairs", {}, {"anchors": q, "positives": k}, softplus(plain - (q * k).sum(-1)) + 0.0005 * lengths
    yield "circle", {"targets": y}, {"features": q}, softplus(circle)


def test_losses_of_pairs_in_blocks(rng):
    """1100 samples have more pairs than are held at once."""
    for name, fixed, free, values in pair_losses(rng, 1100):
        inputs = {key: x.detach().numpy() for key, x in {**fixed, **free}.items()}
        loss = temper.loss(name)
        np.testing.assert_allclose(loss(**inputs), values.detach(), rtol=1e-10, err_msg=name)
        for x in free.values():
            x.grad = None
        values.mean().backward(retain_graph=True)
        _, gradients = loss.value_and_grad(**inputs, wrt=tuple(free))
        for key, x in free.items():
            np.testing.assert_allclose(gradients[key], x.grad, rtol=1e-8, atol=1e-12, err_msg=f"{name} {key}")


def test_pairs_take_the_memory_of_blocks(rng):
    """20000 samples: their scores would be 1.6 GB."""
    queries, keys = (rng.normal(size=(20000, 2)).astype(np.float32) for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    temper.loss("info_nce").value_and_grad(queries, keys, wrt=("queries", "keys"))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


@pytest.mark.parametrize("name", ["lambda_rank", "approx_ndcg"])
def test_long_lists_in_blocks_of_documents(rng, name):
    """Three lists of 700 have more pairs than are held at once; each alone does not."""
    scores, relevance = rng.normal(size=(3, 700)), rng.integers(0, 3, (3, 700)).astype(float)
    mask = rng.random((3, 700)) < 0.9
    loss = temper.loss(name)
    whole = dict(scores=scores, targets=relevance, mask=mask)
    values, (_, gradients) = loss(**whole), loss.value_and_grad(**whole, reduction="sum")
    for n in range(3):
        one = dict(scores=scores[n : n + 1], targets=relevance[n : n + 1], mask=mask[n : n + 1])
        alone, slopes = loss.value_and_grad(**one, reduction="sum")
        np.testing.assert_allclose(values[n], alone, rtol=1e-12)
        np.testing.assert_allclose(gradients["scores"][n], slopes["scores"][0], rtol=1e-9, atol=1e-15)


def test_list_likelihood_of_a_long_list(rng):
    """Pairs of 50000 documents would be 20 GB; a sum from the end needs none."""
    scores, order = rng.normal(scale=30, size=(1, 50000)), rng.permutation(50000)[None].astype(float)
    value, gradients = temper.loss("listmle").value_and_grad(scores=scores, targets=order, reduction="sum")
    best = scores[0, np.argsort(-order[0])]
    totals = np.logaddexp.accumulate(best[::-1])[::-1]
    assert value == pytest.approx((totals - best).sum(), rel=1e-12)
    step, direction = 1e-6, rng.normal(size=scores.shape)
    ends = [temper.loss("listmle")(scores=scores + s * direction, targets=order).sum() for s in (step, -step)]
    slope = (gradients["scores"] * direction).sum()
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)
