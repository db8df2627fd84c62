"""Attention layers without softmax, against plain loops over steps."""

import numpy as np
import pytest

import temper


def make(layer, shape, rng):
    """A model of one layer in float64, its parameters by their last names, and an input."""
    model = temper.Model([layer], input=shape, dtype="float64", seed=3)
    parameters = {name.split(".", 1)[1]: array for name, array in model.parameters().items()}
    for array in parameters.values():
        array += 0.1 * rng.normal(size=array.shape)
    return model, parameters, rng.normal(size=(2, *shape))


def heads_of(x, count):
    return x.reshape(len(x), count, -1)


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrent(q, k, v, decays):
    """S_t = lambda S_(t-1) + k_t^T v_t, o_t = q_t S_t, for (T, H, d)."""
    steps, count, _ = q.shape
    result = np.zeros(v.shape)
    for h in range(count):
        state = np.zeros((q.shape[2], v.shape[2]))
        for t in range(steps):
            state = decays[h] * state + np.outer(k[t, h], v[t, h])
            result[t, h] = q[t, h] @ state
    return result


@pytest.mark.parametrize("block", [1, 2, 8, 64])
@pytest.mark.parametrize("heads, options", [(2, {}), (3, {"decay": "linear"}), (2, {"lrpe": True})])
def test_decayed_linear_attention(rng, block, heads, options):
    steps, width = 37, 12
    layer = {"heads": heads, "layer": 1, "layers": 3, "block": block, **options}
    model, p, x = make({"decayed_linear_attention": layer}, (steps, width), rng)
    h = np.arange(1, heads + 1)
    if options.get("decay") == "linear":
        decays = np.exp(-8 * h / heads * (1 - 1 / 3))
    else:
        slopes = 2.0 ** (-8 * h / heads) if heads == 2 else np.array([2.0**-4, 2.0**-8, 2.0**-2])
        decays = np.exp(-slopes * (1 - 1 / 2 + 1e-5))
    for sample, y in zip(x, model.predict(x)):
        q, k, v, u = np.split(sample @ p["in_proj_weight"].T, 4, axis=1)
        q, k, v = (heads_of(z, heads) for z in (silu(q), silu(k), v))
        if options.get("lrpe"):
            assert p["theta"].shape == (heads, width // heads)
            angle = np.arange(steps)[:, None, None] * p["theta"]
            q, k = (np.concatenate([z * np.cos(angle), z * np.sin(angle)], -1) for z in (q, k))
        seen = recurrent(q, k, v, decays).reshape(steps, width)
        normed = seen / (np.sqrt((seen**2).mean(-1, keepdims=True)) + 1e-8)
        np.testing.assert_allclose(y, (normed * u) @ p["out_proj.weight"].T, rtol=1e-9, atol=1e-10)


def test_the_angles_of_lrpe_fall_over_all_heads():
    model = temper.Model([{"decayed_linear_attention": {"heads": 2, "lrpe": True}}], input=(4, 8), dtype="float64")
    theta = model.parameters()["0.theta"]
    np.testing.assert_allclose(theta.ravel(), 10_000.0 ** (-2 * np.arange(8) / 8), rtol=1e-12)


def test_twenty_thousand_steps_are_finite_and_take_linear_time(rng):
    model, _, _ = make({"decayed_linear_attention": {"heads": 2, "decay": "linear"}}, (20_000, 8), rng)
    y = model.predict(rng.normal(size=(1, 20_000, 8)))
    assert np.isfinite(y).all()


def rotated(x, base):
    """Pairs of neighbouring features turned by t / base^(2i / d), for (T, H, d)."""
    steps, _, d = x.shape
    angle = np.arange(steps)[:, None, None] * base ** (-2 * np.arange(d // 2) / d)
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


@pytest.mark.parametrize("window", [1, 3, 5, 17, 100])
@pytest.mark.parametrize("slopes", ["balanced", "recency", "none"])
def test_sliding_windows(rng, window, slopes):
    steps, width, heads = 17, 12, 3
    options = {"heads": heads, "window": window, "slopes": slopes, "normalise_bias": window == 5, "rope_theta": 100}
    model, p, x = make({"swat_sigmoid_window_attention": options}, (steps, width), rng)
    g = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    slope = {"balanced": np.array([-g[0], 0, g[0]]), "recency": -g, "none": np.zeros(heads)}[slopes]
    bias = -np.log(window) if window == 5 else 0
    for sample, y in zip(x, model.predict(x)):
        q, k, v = (heads_of(z, heads) for z in np.split(sample @ p["in_proj_weight"].T, 3, axis=1))
        q, k = rotated(q, 100), rotated(k, 100)
        # As inference would: a ring of the last `window` keys and values.
        seen, ring = np.zeros((steps, heads, width // heads)), []
        for m in range(steps):
            ring = [*ring, (m, k[m], v[m])][-window:]
            for n, key, value in ring:
                score = (q[m] * key).sum(-1) / np.sqrt(width // heads) + slope * (m - n) + bias
                seen[m] += sigmoid(score)[:, None] * value
        np.testing.assert_allclose(y, seen.reshape(steps, width) @ p["out_proj.weight"].T, rtol=1e-9, atol=1e-11)


def test_steps_outside_the_window_are_not_seen(rng):
    model, _, x = make({"swat_sigmoid_window_attention": {"heads": 2, "window": 3}}, (9, 8), rng)
    y = model.predict(x)
    changed = x.copy()
    changed[:, 4] += 1
    moved = (model.predict(changed) != y).any((0, 2))
    np.testing.assert_array_equal(moved, [False] * 4 + [True] * 3 + [False] * 2)


def gaussian(a, b):
    distance = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.exp(-distance / (2 * np.sqrt(a.shape[-1])))


@pytest.mark.parametrize("landmarks, normalize", [(3, True), (5, False), (49, True)])
def test_gaussian_kernel_attention(rng, landmarks, normalize):
    steps, width, heads = 11, 8, 2
    options = {"heads": heads, "n_landmarks": landmarks, "normalize": normalize, "newton_iters": 60}
    model, p, x = make({"soft_attention_gaussian": options}, (steps, width), rng)
    count = min(landmarks, steps)
    home = ((np.arange(steps) + 0.5 / count) * count // steps).astype(int)
    for sample, y in zip(x, model.predict(x)):
        q, v = (heads_of(z, heads) for z in np.split(sample @ p["in_proj_weight"].T, 2, axis=1))
        seen = np.zeros((steps, heads, width // heads))
        for h in range(heads):
            marks = np.array([q[home == i, h].mean(0) for i in range(count)])
            kernel, small = gaussian(q[:, h], marks), gaussian(marks, marks)
            inverse = np.linalg.inv(small + 0.01 * np.eye(count))
            if normalize:
                root = small.sum(-1) ** -0.5
                inverse = root[:, None] * inverse * root
            seen[:, h] = kernel @ inverse @ (kernel.T @ v[:, h])
        np.testing.assert_allclose(y, seen.reshape(steps, width) @ p["out_proj.weight"].T, rtol=1e-6, atol=1e-8)


def test_with_every_step_a_landmark_it_is_the_whole_kernel(rng):
    options = {"heads": 1, "reg": 0, "normalize": False, "newton_iters": 200}
    model, p, x = make({"soft_attention_gaussian": options}, (5, 8), rng)
    for sample, y in zip(3 * x, model.predict(3 * x)):
        q, v = np.split(sample @ p["in_proj_weight"].T, 2, axis=1)
        np.testing.assert_allclose(y, gaussian(q, q) @ v @ p["out_proj.weight"].T, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"positions": "rotary"}, {"causal": True, "key_mask": True}])
@pytest.mark.parametrize("steps", [7, 300])
def test_attention_in_blocks_is_attention(rng, steps, options):
    """The same outputs and gradients as with all weights kept."""
    results = []
    x, dy = rng.normal(size=(2, steps, 8)), rng.normal(size=(2, steps, 8))
    mask = rng.random((2, steps)) < 0.8 if "key_mask" in options else None
    for memory in ("whole", "blocks"):
        layer = {"multi_head_attention": {"heads": 2, "memory": memory, **options}}
        model = temper.Model([layer], input=(steps, 8), dtype="float64", seed=1)
        y = model.predict(x, mask=mask)
        results.append([y, *model.vjp(x, dy, wrt=["x", *model.parameters()], mask=mask).values()])
    for whole, blocks in zip(*results):
        np.testing.assert_allclose(blocks, whole, rtol=1e-9, atol=1e-11)


def test_attention_in_blocks_says_what_it_cannot():
    for option in ({"dropout": 0.1}, {"positions": "alibi"}, {"normaliser": "sparsemax"}):
        with pytest.raises(temper.Error, match="in blocks"):
            temper.Model([{"multi_head_attention": {"heads": 2, "memory": "blocks", **option}}], input=(4, 8))
