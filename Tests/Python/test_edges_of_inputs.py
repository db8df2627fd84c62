"""Every float input of every loss, operator and activation, not the scores alone, far out, at 0 and a little below it:
a number, infinity, or an error that says what is wrong, and slopes wherever the value is finite."""

import numpy as np
import pytest
import samples

import temper

METHODS = [record for kind in ("loss", "op", "activation") for record in temper.catalog(kind)]
WIDEST = {record["name"]: (record, variant) for record, variant, _ in samples.cases(METHODS)}
FIRST = {}  # targets of class ids, or of yes and no, that the widest way gives as probabilities
for record, variant, _ in samples.cases(METHODS):  # of all ways to call it the one with most arrays of floats
    best = WIDEST[record["name"]][1]
    if sum(f["dtype"] == "float" for _, f in variant) > sum(f["dtype"] == "float" for _, f in best):
        WIDEST[record["name"]] = (record, variant)
    if len(next((e["forms"] for e in record["inputs"] if e["name"] == "targets"), [])) > 1:
        FIRST.setdefault(record["name"], (record, variant))
SUBJECTS = [
    (record, variant, entry["name"], settings)
    for record, variant in [*WIDEST.values(), *FIRST.values()]
    for entry, form in variant
    if form["dtype"] == "float"
    for settings in samples.settings(record)
]
IDS = [
    f"{record['name']}-{name}{samples.shown(settings)}{'' if variant is WIDEST[record['name']][1] else '-ids'}"
    for record, variant, name, settings in SUBJECTS
]

# What is 0 / 0 by its formula, and cannot be told from single elements.
UNDEFINED = {
    ("backward_correction", "transition"): "a matrix without an inverse",
    ("balanced_softmax", "class_counts"): "no class has samples",
    ("logit_adjusted", "class_priors"): "no class has a share",
    ("conditional_transport", "p"): "no point has a weight",
    ("conditional_transport", "q"): "no point has a weight",
    ("perplexity_filter_and_greedy_soup_soup", "scores"): "no model has a score",
    ("self_adjust_softmax", "x"): "a range of nothing, to which eps adds nothing",
}
# What they need besides.
ONLY_WITH = {"perplexity_filter_and_greedy_soup_soup": {"soup": "weighted"}, "self_adjust_softmax": {"eps": 0.0}}


def at_edges(x, rng):
    signs = np.where(rng.random(x.shape) < 0.5, 1.0, -1.0)
    one = np.arange(x.size).reshape(x.shape) == 0
    return [1e4 * signs, 0 * x, np.where(one, 1e4, x), np.where(one, -0.25, x)]


ALIKE = [case for case in samples.cases(METHODS) if samples.differentiable(case[1])]


@pytest.mark.parametrize("record, variant", [case[:2] for case in ALIKE], ids=[case[2] for case in ALIKE])
def test_arrays_that_are_all_alike_have_slopes(rng, record, variant):
    """Every array with a gradient at 0, where distances, lengths and deviations are 0 and their roots have a kink."""
    method = (temper.loss if record["kind"] == "loss" else temper.op)(record["name"])
    inputs, wrt = samples.inputs(rng, record, variant), samples.differentiable(variant)
    for name in wrt:
        keys = {name, f"{record['name']}.{name}"}
        if not keys & (samples.POSITIVE | samples.SIMPLEX | samples.NEGATIVE | samples.ABOVE_ONE):
            inputs[name] = 0 * inputs[name]
    value = np.asarray(method(**inputs))
    if record["kind"] == "loss":
        slopes = method.value_and_grad(**inputs, reduction="sum", wrt=wrt)[1]
    else:
        slopes = method.vjp(dy=np.ones_like(value), **inputs, wrt=wrt)
        slopes = slopes if isinstance(slopes, dict) else {wrt[0]: slopes}
    assert not np.isnan(value).any()
    assert not any(np.isnan(slope).any() for slope in slopes.values()), slopes


@pytest.mark.parametrize("record, variant, name, settings", SUBJECTS, ids=IDS)
def test_no_number_of_an_input_gives_what_is_none(rng, record, variant, name, settings):
    method = (temper.loss if record["kind"] == "loss" else temper.op)(record["name"], **settings)
    inputs = samples.inputs(rng, record, variant)
    wrt = samples.differentiable(variant)
    for array in at_edges(inputs[name], rng):
        moved = {**inputs, name: array}
        try:
            value = np.asarray(method(**moved))
            if record["kind"] == "loss":
                slopes = method.value_and_grad(**moved, reduction="sum", wrt=wrt)[1] if wrt else {}
            else:
                slopes = method.vjp(dy=np.ones(value.shape, value.dtype), **moved) if wrt else {}
                slopes = slopes if isinstance(slopes, dict) else {wrt[0]: slopes}
        except temper.Error:
            continue
        is_undefined = (record["name"], name) in UNDEFINED and ONLY_WITH.get(record["name"], settings) == settings
        if is_undefined and np.isnan(value).any():
            continue
        assert not np.isnan(value).any(), (value, array)
        if np.isfinite(value).all():
            assert all(np.isfinite(slope).all() for slope in slopes.values()), (slopes, array)


def test_what_is_undefined_is_so():
    """The exceptions above are still needed."""
    named = {(record["name"], name) for record, _, name, _ in SUBJECTS}
    assert set(UNDEFINED) <= named
    for method, name in UNDEFINED:
        record, variant = WIDEST[method]
        inputs = samples.inputs(np.random.default_rng(0), record, variant)
        inputs[name] = 0 * inputs[name]
        make = temper.loss if record["kind"] == "loss" else temper.op
        assert np.isnan(make(method, **ONLY_WITH.get(method, {}))(**inputs)).any(), method


def test_a_clean_sample_may_be_seen_without_noise():
    """The share of the sample's own noise, (0 / 0)^2, is none."""
    clean = dict(predictions=[[1.0, 2.0]], targets=[[0.0, 4.0]], noisy_inputs=[[3.0, 3.0]], sigma=[0.0])
    assert temper.loss("ambient_denoising_loss")(**clean, sigma_noisy=[0.0]) == pytest.approx([5.0])


@pytest.mark.parametrize("far", [1e4, 1e15, 1e30, np.inf])
def test_the_soft_top_k_of_numbers_far_apart(far):
    """One that is masked by a large number, or by an infinite one, is not there."""
    rest, top = np.array([3.0, 1.0, 2.0]), temper.op("soft_topk", k=2)
    np.testing.assert_allclose(top(np.array([-far, *rest])), [0, *top(rest)], rtol=1e-9)
    is_there = float(np.isfinite(far))
    np.testing.assert_allclose(top(np.array([-far, -2 * far, 0.0])), [is_there, 0, 1], atol=1e-12)


def test_kernels_that_vanish_keep_their_divergence():
    """Predictions 100 from the targets: exp(-5000) is 0, and its logarithm is not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    loss = temper.loss("cauchy_schwarz_divergence", form="marginal")
    near, far = (loss(features=x, targets=y, predictions=y + shift)[0] for shift in (1.0, 100.0))
    gaps = (y + 100 - y.T) ** 2 / 2
    most = gaps.min()
    within = np.exp(-((y - y.T) ** 2) / 2).mean()
    assert far == pytest.approx(2 * np.log(within) + 2 * most - 2 * np.log(np.exp(most - gaps).mean()), rel=1e-12)
    assert 0 < near < far
    slope = loss.value_and_grad(features=x, targets=y, predictions=y + 100, wrt="predictions")[1]["predictions"]
    assert slope.sum() == pytest.approx(200, rel=5e-2)  # of 2 · shift² / 2


def test_ordered_classes_far_out():
    """-log(F_2 - F_1) = softplus(-u) + softplus(l) - log(1 - exp(l - u)); where cuts cross it is infinite."""
    loss, inputs = temper.loss("presto_ordinal", lam=0), {"thresholds": [-1.0, 1.0], "targets": [1, 1]}
    values = loss(features=[[3000.0], [-3000.0]], weights=[[1.0], [1.0]], **inputs)
    rest = np.log(-np.expm1(-2))
    np.testing.assert_allclose(values, [3000 - 1 - rest, 3000 - 1 - rest], rtol=1e-13)
    crossed = loss.value_and_grad(features=[[3.0], [0.0]], weights=[[2.0], [-2.0]], reduction="sum", **inputs)
    assert crossed[0] == np.inf and np.isfinite(crossed[1]["features"]).all()


def test_large_relevances_are_ratios():
    """2^r overflows at 1024; what it is in shares of the largest does not."""
    scores, relevance = np.array([[0.5, 1.0, -1.0, 0.2]]), np.array([[3.0, 0.0, 1.0, 2.0]])
    for name in ("approx_ndcg", "lambda_rank"):
        loss = temper.loss(name)
        high = loss(scores, relevance + 5000)
        assert np.isfinite(high).all()
        np.testing.assert_allclose(high, loss(scores, relevance + 60), rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6)])
def test_the_dominant_singular_share_of_any_shape(rng, shape):
    """Wide, tall, and of less than full rank: the values that are 0 have no slope."""
    for rank in (min(shape), 2):
        z = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
        inputs = dict(logits=np.zeros((shape[0], 3)), targets=np.zeros(shape[0], int), pretrained_features=z)
        with_it, without = temper.loss("nmtune", lam=1.0), temper.loss("nmtune", lam=0.0)

        def share(z):
            centred = z - z.mean(0)
            c = centred.T @ centred / (len(z) - 1)
            covariance = ((c**2).sum() - (np.diag(c) ** 2).sum()) / z.shape[1]
            return covariance - (with_it(features=z, **inputs) - without(features=z, **inputs))[0]

        s = np.linalg.svd(z, compute_uv=False)
        u, _, v = np.linalg.svd(z)
        s, u, v = s[:rank], u[:, :rank], v[:rank]
        assert share(z) == pytest.approx(s[0] / s.sum(), rel=1e-9)
        expected = np.outer(u[:, 0], v[0]) / s.sum() - s[0] / s.sum() ** 2 * u @ v
        slope = with_it.value_and_grad(features=z, reduction="mean", wrt="features", **inputs)[1]["features"]
        centred = z - z.mean(0)
        c = centred.T @ centred / (len(z) - 1)
        back = 4 / (z.shape[1] * (len(z) - 1)) * centred @ (c - np.diag(np.diag(c)))
        np.testing.assert_allclose(back - slope, expected, rtol=1e-6, atol=1e-9)


def test_domains_are_checked_in_a_fraction_of_the_time():
    """Elements far apart in a large array: found wherever they are."""
    loss, predictions = temper.loss("poisson_nll"), np.zeros(100_003, np.float32)
    for at in (0, 63, 64, 100_001, 100_002):
        targets = np.ones(100_003, np.float32)
        targets[at] = -1
        with pytest.raises(temper.Error, match=f"element {at} is"):
            loss(predictions, targets)
    targets[:] = np.nan  # not a number below 0
    assert np.isnan(loss(predictions, targets)).all()
