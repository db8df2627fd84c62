"""Layers against NumPy programs written from the papers' formulas, and the limits that their pages state; float64."""

import math

import numpy as np
import pytest

import temper


ATTENTION = {"multi_head_attention": {"heads": 2, "key_mask": True}}


def model(layer, shape, rng=None):
    """A model of one layer; with `rng` every parameter is filled from it."""
    made = temper.Model([layer], input=shape, dtype="float64")
    if rng is not None:
        for array in made.parameters().values():
            array[...] = rng.normal(0.1, 0.5, array.shape)
    return made, {name.removeprefix("0."): array for name, array in made.parameters().items()}


def close(a, b, tolerance=1e-11):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x * np.vectorize(lambda z: 0.5 * (1 + math.erf(z / 2**0.5)))(x)


def relu(x):
    return np.maximum(x, 0)


def norm(x, weight=1, bias=0, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def affine(p, name, x):
    y = x @ p[name + ".weight"].T
    return y + p[name + ".bias"] if name + ".bias" in p else y


@pytest.mark.parametrize(
    "name, gate",
    [
        ("glu", sigmoid),
        ("geglu", gelu),
        ("swiglu", lambda b: b * sigmoid(b)),
        ("reglu", relu),
        ("bilinear_glu", lambda b: b),
    ],
)
def test_gated_units(rng, name, gate):
    m, p = model({name: 3}, (2, 5), rng)
    x = rng.normal(size=(4, 2, 5))
    y = x @ p["weight"].T + p["bias"]
    close(m.predict(x), y[..., :3] * gate(y[..., 3:]))
    halves, none = model(name, (6,))
    assert none == {}
    x = rng.normal(size=(4, 6))
    close(halves.predict(x), x[:, :3] * gate(x[:, 3:]))


def test_squeeze_excite(rng):
    m, p = model({"squeeze_excite": 2}, (6, 3, 4), rng)
    x = rng.normal(size=(5, 6, 3, 4))
    gate = sigmoid(affine(p, "excite", relu(affine(p, "squeeze", x.mean((2, 3))))))
    close(m.predict(x), x * gate[:, :, None, None])


def test_nafnet_block(rng):
    x = rng.normal(size=(2, 4, 5, 6))
    fresh, _ = model("nafnet_block", (4, 5, 6))
    np.testing.assert_array_equal(fresh.predict(x), x)  # beta = gamma = 0
    m, p = model("nafnet_block", (4, 5, 6), rng)
    last = x.transpose(0, 2, 3, 1)
    u = affine(p, "conv1", norm(last, p["norm1.weight"], p["norm1.bias"], 1e-6))
    wide = np.pad(u, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = p["conv2.weight"][:, 0]
    u = p["conv2.bias"] + sum(wide[:, i : i + 5, j : j + 6] * kernel[:, i, j] for i in range(3) for j in range(3))
    u = u[..., :4] * u[..., 4:]
    u = u * affine(p, "sca", u.mean((1, 2)))[:, None, None]
    y = last + p["beta"][:, 0, 0] * affine(p, "conv3", u)
    v = affine(p, "conv4", norm(y, p["norm2.weight"], p["norm2.bias"], 1e-6))
    out = y + p["gamma"][:, 0, 0] * affine(p, "conv5", v[..., :4] * v[..., 4:])
    close(m.predict(x), out.transpose(0, 3, 1, 2))


def rotate(x, base=10000.0, interleaved=True):
    """Complex numbers, one for each pair."""
    half = x.shape[-1] // 2
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    t = np.arange(x.shape[-2])[:, None] / base ** (np.arange(half) / half)
    z = (a + 1j * b) * np.exp(1j * t)
    if not interleaved:
        return np.concatenate([z.real, z.imag], -1)
    return np.stack([z.real, z.imag], -1).reshape(x.shape)


@pytest.mark.parametrize("pairs", ["interleaved", "halves"])
def test_rotary(rng, pairs):
    x = rng.normal(size=(3, 7, 6))
    m, _ = model({"rotary_embedding": {"base": 500, "pairs": pairs}}, (7, 6))
    close(m.predict(x), rotate(x, 500, pairs == "interleaved"))
    # The score of two vectors depends on the distance of their steps only.
    q, k = np.tile(rng.normal(size=6), (7, 1)), np.tile(rng.normal(size=6), (7, 1))
    scores = m.predict(q[None])[0] @ m.predict(k[None])[0].T
    for shift in range(-6, 7):
        diagonal = np.diagonal(scores, shift)
        close(diagonal, np.full_like(diagonal, diagonal[0]))


@pytest.mark.parametrize("positions", ["rotary", "alibi"])
@pytest.mark.parametrize("heads", [2, 3])
def test_attention_positions(rng, positions, heads):
    width, steps = 12, 5
    options = {"heads": heads, "positions": positions, "causal": True}
    m, p = model({"multi_head_attention": options}, (steps, width), rng)
    x = rng.normal(size=(2, steps, width))
    q, k, v = np.split(x @ p["in_proj_weight"].T + p["in_proj_bias"], 3, -1)
    q, k, v = (a.reshape(2, steps, heads, -1).transpose(0, 2, 1, 3) for a in (q, k, v))
    if positions == "rotary":
        q, k = rotate(q), rotate(k)
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
    if positions == "alibi":
        # The slopes of Press et al. for 2 heads; for 3 those of 2 and then the first of 4.
        slopes = [2**-4, 2**-8, 2**-2][:heads]
        scores -= np.array(slopes)[:, None, None] * abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    scores = np.where(np.tri(steps, dtype=bool), scores, -np.inf)
    seen = (softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(2, steps, width)
    close(m.predict(x), seen @ p["out_proj.weight"].T + p["out_proj.bias"])


@pytest.mark.parametrize("steps", [7, 8])
def test_fft_filter(rng, steps):
    x = rng.normal(size=(2, steps, 3))
    m, p = model({"fft_filter_layer": {"residual": False}}, (steps, 3), rng)
    weight = (p["filter"][0] + 1j * p["filter"][1]).T
    expected = np.fft.irfft(np.fft.rfft(x, axis=1, norm="ortho") * weight, steps, axis=1, norm="ortho")
    close(m.predict(x), expected)
    # A circular convolution with the filter's own signal.
    kernel = np.fft.irfft(weight, steps, axis=0)
    by_hand = sum(kernel[s] * np.roll(x, s, axis=1) for s in range(steps))
    close(m.predict(x), by_hand)
    p["filter"][0], p["filter"][1] = 1, 0
    close(m.predict(x), x)
    low, _ = model({"fft_filter_layer": {"residual": False, "filter": "low_pass", "high": 2}}, (steps, 3))
    wave = np.cos(2 * np.pi * 3 * np.arange(steps) / steps)[None, :, None] * np.ones((1, 1, 3))
    close(low.predict(wave), 0 * wave)
    slow = np.cos(2 * np.pi * np.arange(steps) / steps)[None, :, None] * np.ones((1, 1, 3))
    close(low.predict(slow), slow)


def test_fft_filter_block(rng):
    m, p = model("fft_filter_layer", (6, 4), rng)
    x = rng.normal(size=(3, 6, 4))
    weight = (p["filter"][0] + 1j * p["filter"][1]).T
    h = norm(x + np.fft.irfft(np.fft.rfft(x, axis=1) * weight, 6, axis=1), p["norm.weight"], p["norm.bias"])
    inner = affine(p, "ffn2", gelu(affine(p, "ffn1", h)))
    close(m.predict(x), norm(h + inner, p["ffn_norm.weight"], p["ffn_norm.bias"]), 1e-9)


@pytest.mark.parametrize("mask", ["1d_flattened", "2d"])
def test_frequency_preference_control(rng, mask):
    m, p = model({"frequency_preference_control": {"mask": mask}}, (3, 5, 4), rng)
    x = rng.normal(size=(2, 3, 5, 4))

    def fold(n):
        return np.minimum(np.arange(n), n - np.arange(n))

    if mask == "2d":
        factors = np.exp(-0.5 * (fold(5)[:, None] ** 2 + fold(4) ** 2) / (0.125 * 5) ** 2)
        low = np.fft.ifft2(np.fft.fft2(x) * factors).real
    else:
        flat = x.reshape(2, 3, 20)
        low = np.fft.ifft(np.fft.fft(flat) * np.exp(-0.5 * (fold(20) / 2.5) ** 2)).real.reshape(x.shape)
    gate = 0.5 + 0.5 * sigmoid(x.mean((2, 3)) * p["gate.weight"] + p["gate.bias"])[..., None, None]
    close(m.predict(x), gate * low + (1 - gate) * (x - low))
    flat = np.broadcast_to(rng.normal(size=(2, 3, 1, 1)), x.shape)  # no high frequency: g x
    gate = 0.5 + 0.5 * sigmoid(flat.mean((2, 3)) * p["gate.weight"] + p["gate.bias"])[..., None, None]
    close(m.predict(flat), gate * flat)


def test_fourier_head(rng):
    bins, n = 11, 4
    m, p = model({"fourier_head": {"bins": bins, "num_frequencies": n}}, (5,), rng)
    x = rng.normal(size=(6, 5))
    numbers = affine(p, "linear", x)
    a = numbers[:, : n + 1] + 1j * numbers[:, n + 1 :]
    z = -1 + (2 * np.arange(bins) + 1) / bins
    # The density is that of |sum_l a_l exp(i pi l z)|^2.
    amplitude = abs(np.exp(1j * np.pi * np.outer(z, np.arange(n + 1))) @ a.T) ** 2
    density = (amplitude / (2 * (abs(a) ** 2).sum(1))).T
    close(density.sum(1), np.full(6, bins / 2))
    close(np.exp(m.predict(x)), density / density.sum(1, keepdims=True) + 1e-5, 1e-9)
    flat, _ = model({"fourier_head": {"bins": bins, "num_frequencies": 0}}, (5,), rng)
    close(np.exp(flat.predict(x)) - 1e-5, np.full((6, bins), 1 / bins))
    nothing, q = model({"fourier_head": {"bins": bins}}, (5,))
    for array in q.values():
        array[...] = 0
    assert np.isfinite(nothing.predict(x)).all()


def test_topk_gate(rng):
    m, p = model({"topk_softmax_gate": {"experts": 3, "K": 2}}, (3,))
    p["gate.weight"][...], p["gate.bias"][...] = np.eye(3), 0
    close(m.predict(np.array([[2.0, 1, 0]])), [[0.7310585786300049, 0.2689414213699951, 0]])
    close(m.predict(np.array([[1.0, 1, 1]])), [[0.5, 0.5, 0]])  # among equals the first
    dense, q = model({"topk_softmax_gate": {"experts": 4, "K": 4}}, (5,), rng)
    x = rng.normal(size=(7, 5))
    close(dense.predict(x), softmax(affine(q, "gate", x)))
    one, q = model({"topk_softmax_gate": {"experts": 4, "K": 1}}, (5,), rng)
    np.testing.assert_array_equal(one.predict(x), np.eye(4)[affine(q, "gate", x).argmax(1)])
    assert not one.vjp(x, rng.normal(size=(7, 4)), wrt=["x"])["x"].any()


def test_mixture_of_experts(rng):
    m, p = model({"mixture_of_experts": {"experts": 4, "K": 2, "layers": [{"dense": 3}, "tanh"]}}, (2, 5), rng)
    x = rng.normal(size=(6, 2, 5))
    u = affine(p, "gate", x)
    weights = np.zeros_like(u)
    for index in np.ndindex(6, 2):
        top = np.argsort(-u[index])[:2]
        weights[index][top] = softmax(u[index][top])
    each = [np.tanh(affine(p, f"expert{i}.0", x)) for i in range(4)]
    close(m.predict(x), sum(weights[..., i : i + 1] * each[i] for i in range(4)))


def test_softmax_gated_logistic_moe(rng):
    m, p = model({"softmax_gated_logistic_moe": {"classes": 4, "k": 3}}, (5,), rng)
    x = rng.normal(size=(6, 5))
    gate = softmax(affine(p, "gate", np.tanh(x)))
    each = softmax(affine(p, "experts", x).reshape(6, 3, 4))
    mixture = (gate[..., None] * each).sum(1)
    close(np.exp(m.predict(x)), mixture)
    p["gate.weight"] += rng.normal(size=5)  # the same vector for every expert
    p["gate.bias"] += 0.7
    close(np.exp(m.predict(x)), mixture)
    single, q = model({"softmax_gated_logistic_moe": {"classes": 4, "k": 1}}, (5,), rng)
    close(np.exp(single.predict(x)), softmax(affine(q, "experts", x)))


@pytest.mark.parametrize("normalize", [False, True])
def test_soft_moa(rng, normalize):
    options = {"experts": 3, "slots_per_expert": 2, "bottleneck": 4, "normalize": normalize, "scale": 0.5}
    fresh, _ = model({"soft_moa": {**options, "layers": ["tanh"]}}, (5, 8))
    x = rng.normal(size=(2, 5, 8))
    np.testing.assert_array_equal(
        fresh.predict(x), temper.Model(["tanh"], input=(5, 8), dtype="float64").predict(x) + x
    )
    m, p = model({"soft_moa": options}, (5, 8), rng)
    phi, tokens = p["phi"], x
    if normalize:
        phi = phi / np.linalg.norm(phi, axis=0)
        tokens = p["scale"] * x / np.linalg.norm(x, axis=-1, keepdims=True)
    scores = tokens @ phi
    slots = np.einsum("nts,ntd->nsd", softmax(scores, 1), x)
    out = np.stack([p["up"][s // 2] @ gelu(p["down"][s // 2] @ slots[:, s].T) for s in range(6)]).transpose(2, 0, 1)
    close(m.predict(x), x + 0.5 * softmax(scores) @ out)
    order = rng.permutation(5)
    close(m.predict(x[:, order]), m.predict(x)[:, order])


def test_decomposed_prompt(rng):
    m, p = model({"decomposed_prompt_tuning": {"c": 4, "b": 2}}, (3, 6))
    x = rng.normal(size=(2, 3, 6))
    y = m.predict(x)
    np.testing.assert_array_equal(y[:, 4:], x)
    close(y[0, :4], (p["a"] @ p["b"]).T)
    assert np.linalg.matrix_rank(y[0, :4]) == 2
    assert sum(a.size for a in p.values()) == 2 * (6 + 4)
    assert all(abs(a).max() <= 0.5 for a in p.values())


@pytest.mark.parametrize("separate", [False, True])
def test_residual_prompt(rng, separate):
    options = {"n_tokens": 3, "bottleneck": 5, "separate_mlps": separate}
    m, p = model({"residual_prompt_tuning": options}, (4, 6), rng)
    x = rng.normal(size=(2, 4, 6))
    rows = []
    for i, row in enumerate(p["prompt"]):
        c = i if separate else 0
        hidden = relu(p["down.weight"][c] @ row + p["down.bias"][c, 0])
        rows.append(row + norm(p["up.weight"][c] @ hidden + p["up.bias"][c, 0], p["norm.weight"], p["norm.bias"]))
    y = m.predict(x)
    np.testing.assert_array_equal(y[:, 3:], x)
    close(y[1, :3], rows)
    p["norm.weight"][...] = p["norm.bias"][...] = 0  # plain prompt tuning
    close(m.predict(x)[0, :3], p["prompt"])


def test_instruction_aware_prompt(rng):
    m, p = model({"instruction_aware_prompt": {"n_tokens": 2, "bottleneck": 3}}, (5, 6), rng)
    x = rng.normal(size=(3, 5, 6))
    z = x @ p["down.weight"].T
    pooled = softmax(z @ p["pool.weight"].T, 1).transpose(0, 2, 1) @ z

    def rational(z):
        top = sum(p["activation.a"][j] * z**j for j in range(7))
        return top / (1 + abs(sum(p["activation.b"][k] * z ** (k + 1) for k in range(5))))

    y = m.predict(x)
    np.testing.assert_array_equal(y[:, 2:], x)
    close(y[:, :2], affine(p, "up", rational(pooled)))
    p["pool.weight"][...] = 0
    close(m.predict(x)[:, :2], affine(p, "up", rational(np.repeat(z.mean(1, keepdims=True), 2, 1))))
    _, fresh = model({"instruction_aware_prompt": {"bottleneck": 3}}, (5, 6))
    p = fresh
    grid = np.linspace(-3, 3, 101)
    assert abs(rational(grid) - gelu(grid)).max() < 1e-2


def test_instruction_aware_prompts_of_layers(rng):
    """Each layer gets its own prompts in place of those before; the projections are shared."""
    inner = [{"multi_head_attention": 2}, {"multi_head_attention": 1}]
    m, p = model({"instruction_aware_prompt": {"n_tokens": 2, "bottleneck": 3, "layers": inner}}, (4, 6), rng)
    assert sum("down" in n or "up.w" in n for n in p) == 2
    h = x = rng.normal(size=(2, 4, 6))
    for index, layer in enumerate(inner):
        one, q = model({"instruction_aware_prompt": {"n_tokens": 2, "bottleneck": 3}}, (4, 6))
        for name, array in q.items():
            array[...] = p[name if name.startswith(("down", "up")) else f"{index}.{name}"]
        attend, r = model(layer, (6, 6))
        for name, array in r.items():
            array[...] = p[f"{index}.{name}"]
        h = attend.predict(one.predict(h))[:, 2:]
    close(m.predict(x), h)


def test_attsets_pooling(rng):
    m, p = model({"attsets_pooling": {"bias": True}}, (4, 5), rng)
    x = rng.normal(size=(3, 4, 5))
    close(m.predict(x), (x * softmax(affine(p, "score", x), 1)).sum(1))
    close(m.predict(x[:, ::-1]), m.predict(x))
    p["score.weight"][...] = 0
    close(m.predict(x), x.mean(1))
    p["score.weight"][...] = 1e4 * np.eye(5)
    close(m.predict(x), x.max(1))
    single, q = model("attsets_pooling", (1, 5), rng)
    close(single.predict(x[:, :1]), x[:, 0])
    assert not single.vjp(x[:, :1], np.ones((3, 5)), wrt=["0.score.weight"])["0.score.weight"].any()


def test_label_wise_attention(rng):
    m, p = model({"label_wise_attention_ldam": 3}, (4, 5), rng)
    x = rng.normal(size=(2, 4, 5))
    weights = softmax(np.tanh(x @ p["project.weight"].T) @ p["queries.weight"].T, 1)
    vectors = weights.transpose(0, 2, 1) @ x
    close(m.predict(x), (vectors * p["weight"]).sum(-1) + p["bias"])


def test_label_attention_pooling(rng):
    m, p = model({"label_attention_pooling": {"labels": 3, "window_r": 1, "hidden": 6}}, (5, 4), rng)
    x = rng.normal(size=(2, 5, 4))

    def unit(a):
        return a / np.linalg.norm(a, axis=-1, keepdims=True)

    likeness = np.pad(unit(p["labels"]) @ unit(x).transpose(0, 2, 1), ((0, 0), (0, 0), (1, 1)))
    kernel = p["window.weight"][:, :, 0]
    u = relu(sum(kernel[:, :, j] @ likeness[:, :, j : j + 5] for j in range(3)) + p["window.bias"][:, None])
    pooled = np.einsum("nl,nld->nd", softmax(u.max(1)), x)
    close(m.predict(x), affine(p, "classifier", relu(affine(p, "hidden", pooled))))
    plain, q = model({"label_attention_pooling": {"labels": 3, "window_r": 0, "hidden": 0}}, (5, 4), rng)
    q["window.weight"][...] = np.eye(3)[:, :, None, None]
    q["window.bias"][...] = 0
    weights = softmax(relu(unit(q["labels"]) @ unit(x).transpose(0, 2, 1)).max(1))
    close(plain.predict(x), np.einsum("nl,nld->nd", weights, x))
    same = np.repeat(x[:, :1], 5, 1)
    close(plain.predict(same), same[:, 0])


def test_pooling_leaves_padding_out(rng):
    """Rows of the padding index change nothing, whatever they are put behind."""
    for layer in (
        "attsets_pooling",
        {"label_wise_attention_ldam": 3},
        {"label_attention_pooling": {"labels": 3, "window_r": 0}},
    ):
        table = {"embedding": {"entries": 9, "size": 5, "padding_index": 0}}
        long = temper.Model([table, layer], input=(6,), dtype="float64", seed=3)
        short = temper.Model([table, layer], input=(4,), dtype="float64", seed=3)
        ids = rng.integers(1, 9, (4, 4))
        close(long.predict(np.pad(ids, ((0, 0), (0, 2)))), short.predict(ids))


@pytest.mark.parametrize(
    "prompt",
    [
        {"decomposed_prompt_tuning": {"c": 3, "b": 2}}, {"residual_prompt_tuning": {"n_tokens": 3, "bottleneck": 4}},
        {"instruction_aware_prompt": {"n_tokens": 3, "bottleneck": 4}},
        {"instruction_aware_prompt": {"bottleneck": 4, "layers": [ATTENTION]}},
    ],
    ids=str,
)  # fmt: skip
def test_prompts_carry_the_mask_on(rng, prompt):
    """With prompts in front attention leaves padding out as without: longer padding changes nothing before it."""
    table = {"embedding": {"entries": 9, "size": 6, "padding_index": 0}}
    layers = [table, prompt, ATTENTION]
    if "layers" in next(iter(prompt.values())):
        layers = layers[:2]
    ids = rng.integers(1, 9, (4, 4))
    short = temper.Model(layers, input=(4,), dtype="float64", seed=3).predict(ids)
    long = temper.Model(layers, input=(6,), dtype="float64", seed=3).predict(np.pad(ids, ((0, 0), (0, 2))))
    close(long[:, : short.shape[1]], short)


def test_discrete_key_value_bottleneck(rng):
    options = {"size": 3, "codebooks": 4, "keys_per_codebook": 6, "d_key": 2}
    m, p = model({"discrete_key_value_bottleneck": options}, (5,))
    x = rng.normal(size=(40, 5))
    p["values"][...] = rng.normal(size=p["values"].shape)
    y = m.predict(x)
    # Outputs are means of one value for each codebook; the value's gradient is 1 / C at the chosen ones.
    chosen = []
    for row in range(40):
        gradient = m.vjp(x[row : row + 1], np.ones((1, 3)), wrt=["0.values"])["0.values"]
        assert set(np.unique(gradient)) == {0, 0.25}
        picks = gradient[..., 0].argmax(1)
        assert (gradient[..., 0].sum(1) == 0.25).all()
        close(y[row], p["values"][np.arange(4), picks].mean(0))
        chosen.append(picks)
    # Locality: a change at one input's values leaves inputs that share no key bit for bit.
    p["values"][np.arange(4), chosen[0]] += 1
    after = m.predict(x)
    for row in range(40):
        shares = (chosen[row] == chosen[0]).any()
        assert (after[row] == y[row]).all() != shares
    one, q = model({"discrete_key_value_bottleneck": {**options, "keys_per_codebook": 1}}, (5,))
    assert (one.predict(x) == one.predict(x)[0]).all()


def test_condlr(rng):
    m, p = model({"condlr_linear": {"size": 8, "compression": 0.5}}, (10,))
    assert p["u"].shape == (8, 4) and p["v"].shape == (10, 4) and p["s"].shape == (4, 4)
    close(p["u"].T @ p["u"], np.eye(4))
    close(p["v"].T @ p["v"], np.eye(4))
    x = rng.normal(size=(3, 10))
    close(m.predict(x), x @ p["v"] @ p["s"].T @ p["u"].T + p["bias"])
    dy = rng.normal(size=(3, 8))
    gradient = m.vjp(x, dy, wrt=["0.u", "0.v", "0.s"])
    plain = {"u": dy.T @ (x @ p["v"] @ p["s"].T), "v": x.T @ (dy @ p["u"] @ p["s"])}
    for name, g in plain.items():
        tangent = (g - p[name] @ (p[name].T @ g)) / 1.1**2
        close(gradient["0." + name], tangent)
    close(gradient["0.s"], (dy @ p["u"]).T @ (x @ p["v"]))


def test_levi(rng):
    base = [{"dense": 6}, "tanh", {"dense": 4}]
    m, p = model(
        {"levi_layerwise_ensemble": {"backbone": base, "task": [{"dense": 3}], "size": 2, "layers": [1, 2]}}, (5,), rng
    )
    x = rng.normal(size=(4, 5))
    h = np.tanh(affine(p, "backbone.0", x))
    views = [h, affine(p, "backbone.2", h)]
    s = affine(p, "task.0", x)
    heads = [
        affine(p, f"head{i}.1", relu(affine(p, f"head{i}.0", np.concatenate([v, s], 1)))) for i, v in enumerate(views)
    ]
    close(m.predict(x), np.mean(heads, 0))
    learned, q = model(
        {
            "levi_layerwise_ensemble": {
                "backbone": base,
                "task": [{"dense": 3}],
                "size": 2,
                "layers": [1, 2],
                "combine": "learned",
            }
        },
        (5,),
    )
    for name, array in p.items():
        q[name][...] = array
    np.testing.assert_array_equal(learned.predict(x), m.predict(x))  # the weights start even


def test_layerwise_probe(rng):
    base = [{"dense": 5}, "tanh", {"dense": 5}]
    m, p = model({"layerwise_probe": {"backbone": base, "size": 3}}, (6, 4), rng)
    x = rng.normal(size=(2, 6, 4))
    h = [affine(p, "backbone.0", x)]
    h.append(np.tanh(h[0]))
    h.append(affine(p, "backbone.2", h[1]))
    mixed = sum(w * v.mean(1) for w, v in zip(softmax(p["weights"]), h))
    close(m.predict(x), affine(p, "classifier", mixed))
    # Without positions the transformers do not see the order of time, as long as the pooled steps stay together.
    probe = {"layerwise_probe": {"backbone": base, "size": 3, "head": "tl_tr", "pool": 2, "proj_dim": 4, "heads": 2}}
    m, _ = model(probe, (6, 4), rng)
    close(m.predict(x[:, [4, 5, 0, 1, 2, 3]]), m.predict(x), 1e-9)


def test_adaptive_smoothing_mix(rng):
    nets = {"accurate": [{"dense": 6}, "tanh", {"dense": 3}], "robust": [{"dense": 3}]}
    x = rng.normal(size=(5, 4))
    for alpha in (0, 0.3, 1):
        m, p = model({"adaptive_smoothing_mix": {**nets, "alpha_fixed": alpha}}, (4,), rng)
        g = affine(p, "accurate.2", np.tanh(affine(p, "accurate.0", x)))
        h = affine(p, "robust.0", x)
        close(np.exp(m.predict(x)), (1 - alpha) * softmax(2 * g) + alpha * softmax(h))
    m, p = model({"adaptive_smoothing_mix": {**nets, "alpha": "adaptive", "hidden": 7}}, (4,), rng)
    first = np.tanh(affine(p, "accurate.0", x))
    g, h = affine(p, "accurate.2", first), affine(p, "robust.0", x)
    gamma = affine(p, "mixer.1", relu(affine(p, "mixer.0", np.concatenate([first, h], 1)))) / np.sqrt(1 + 1e-5)
    share = 0.84 + 0.15 * sigmoid(2 * gamma + 1.3)
    close(np.exp(m.predict(x)), (1 - share) * softmax(2 * g) + share * softmax(h))


def test_weights_put_in_place(rng):
    x = rng.normal(size=(4, 5))
    inner = [{"dense": {"size": 3}}]
    m, p = model({"weight_norm": inner}, (5,), rng)
    v = p["0.weight"]
    close(m.predict(x), x @ (p["0.weight_g"] * v / np.linalg.norm(v, axis=1, keepdims=True)).T + p["0.bias"])
    for name in ("lora", "dora"):
        m, p = model({name: {"layers": inner, "rank": 2, "alpha": 3}}, (5,))
        plain, q = model({"dense": 3}, (5,))
        for key in ("weight", "bias"):
            q[key][...] = p["0." + key]
        close(m.predict(x), plain.predict(x))  # the update starts at 0
        for array in p.values():
            array[...] = rng.normal(size=array.shape)
        w = p["0.weight"] + 1.5 * p["0.weight_lora_b"] @ p["0.weight_lora_a"]
        if name == "dora":
            w = p["0.weight_magnitude"] * w / np.linalg.norm(w, axis=1, keepdims=True)
        close(m.predict(x), x @ w.T + p["0.bias"])
    m, p = model({"mixout": {"layers": inner, "p": 0.4}}, (5,))
    np.testing.assert_array_equal(p["0.weight_pretrained"], p["0.weight"])
    p["0.weight"] += 1
    close(m.predict(x), x @ p["0.weight"].T + p["0.bias"])


@pytest.mark.parametrize(
    "layer, shape, part",
    [
        ({"glu": 0}, (5,), "no two halves"),
        ({"rotary_embedding": 100}, (4, 5), "pairs"),
        ({"squeeze_excite": 2}, (5,), "images"),
        ({"nafnet_block": {"dw_expand": 1}}, (3, 4, 4), "even"),
        ({"drop_path": 1.5}, (4,), "[0.0, 1.0)"),
        ({"lora": {"layers": ["tanh"]}}, (4,), "no"),
        ({"topk_softmax_gate": {"layers": ["tanh"]}}, (4,), "experts"),
        ({"topk_softmax_gate": {"experts": 2, "layers": ["flatten"]}}, (2, 4), "last axis"),
        ({"manifold_mixup": {"layers": ["tanh"], "at": [3]}}, (4,), "0 to 0"),
        ({"levi_layerwise_ensemble": {"backbone": ["tanh"], "size": 2, "layers": [4]}}, (4,), "layers 0 to 0"),
        ({"layerwise_probe": {"backbone": [{"dense": 3}, {"dense": 4}], "size": 2}}, (4,), "one width"),
        ({"adaptive_smoothing_mix": {"accurate": [{"dense": 3}], "robust": [{"dense": 2}]}}, (4,), "same classes"),
        ({"fft_filter_layer": {"filter": "comb"}}, (4, 3), "low_pass"),
        ({"fft_filter_layer": {}}, (5000, 1), "4096"),
        ({"fourier_head": {"num_frequencies": 3}}, (4,), "bins"),
        ({"instruction_aware_prompt": {"layers": [{"dense": 7}]}}, (4, 6), "keep the shape"),
        ({"multi_head_attention": {"heads": 2, "positions": "rotary"}}, (4, 6), "pairs"),
    ],
)
def test_wrong_options_say_what_is_right(layer, shape, part):
    with pytest.raises(temper.Error) as caught:
        model(layer, shape)
    assert part in str(caught.value)


def test_ldam_bce(rng):
    """Margins C n^(-1/4) under the positives only; C = 0 is the plain loss; z = margin with y = 1 costs log 2."""
    z, y = rng.normal(size=(6, 3)), rng.integers(0, 2, (6, 3)).astype(float)
    counts = np.array([16.0, 256, 1e4])
    margins = np.array([1.5, 0.75, 0.3])
    shifted = z - y * margins
    expected = (np.logaddexp(0, shifted) - y * shifted).mean(1)
    close(temper.loss("ldam_bce")(z, y, class_counts=counts), expected)
    plain = temper.loss("binary_cross_entropy_with_logits")(z, y)
    close(temper.loss("ldam_bce", C=0)(z, y, class_counts=counts), plain)
    close(temper.loss("ldam_bce")(margins[None], np.ones((1, 3)), class_counts=counts), [np.log(2)])
    close(temper.loss("ldam_bce")([[3.0]], [[1.0]], class_counts=[0.0]), [np.log(2)])  # no positive counts as one


def test_smooth_labels(rng):
    ids = rng.integers(0, 4, 6)
    smooth = temper.op("smooth_labels", smoothing=0.2, num_classes=4)
    close(smooth(ids), 0.8 * np.eye(4)[ids] + 0.05)
    p, prior = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4))
    close(smooth(p), 0.8 * p + 0.05)
    close(smooth(p, prior), 0.8 * p + 0.2 * prior)
    logits = rng.normal(size=(6, 4))
    own = temper.loss("cross_entropy", label_smoothing=0.2)(logits, ids)
    close(temper.loss("cross_entropy")(logits, smooth(ids)), own)
    with pytest.raises(temper.Error, match="num_classes"):
        temper.op("smooth_labels")(ids)
    with pytest.raises(temper.Error, match="0 to 3; 4 came"):
        smooth(np.array([4]))


def test_nested_dropout_prefix(rng):
    h, w, y = rng.normal(size=(50, 7)), rng.normal(size=(4, 7)), rng.integers(0, 4, 50)
    each = np.array([((h[:, :k] @ w[:, :k].T).argmax(1) == y).mean() for k in range(1, 8)])
    close(temper.metric("nested_dropout_prefix", value="accuracies")(h, w, y), each)
    assert temper.metric("nested_dropout_prefix")(h, w, y) == (each - 1e-5 * np.arange(7)).argmax() + 1
    w[:, 3:] = 0  # the last features say nothing: the shortest of equals is chosen
    assert temper.metric("nested_dropout_prefix")(h, w, y) <= 3
    with pytest.raises(temper.Error, match="at least one sample"):
        temper.metric("nested_dropout_prefix")(h[:0], w, y[:0])
