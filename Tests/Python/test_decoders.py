"""Every decoder of the catalogue against its formula in NumPy, and by its record."""

import hashlib

import numpy as np
import pytest

import samples
import temper

CASES = samples.cases(temper.catalog(kind="decoder"))


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def instructive_decoding(logits, noisy_logits, epsilon=0.3):
    return logits - epsilon * noisy_logits


def top_n_sigma(logits, n=1.0, temperature=1.0, ddof=1):
    kept = []
    for row in logits:
        there = row[row > -np.inf]
        threshold = there.max() - n * there.std(ddof=ddof)
        kept.append(np.where(row >= threshold, row / temperature, -np.inf))
    return softmax(np.array(kept))


def knn_lm(logits, queries, keys, next_tokens, k=1024, lam=0.25, temperature=1.0):
    result = []
    for scores, query in zip(logits, queries):
        distances = ((query - keys) ** 2).sum(-1)
        near = np.argsort(distances)[:k]
        weights = softmax(-distances[near] / temperature)
        neighbours = np.zeros(len(scores))
        np.add.at(neighbours, next_tokens[near], weights)
        result.append(lam * neighbours + (1 - lam) * softmax(scores))
    return np.array(result)


def uncertainty_contrastive_decoding(logits, lame_logits, w_s=1.0, w_n=-0.7, threshold=0.005, filter=2 / 3):
    result = []
    for scores, lame in zip(logits, lame_logits):
        p, q = softmax(scores), softmax(lame)
        if p.std(ddof=1) > threshold:
            result.append(np.log(p))
            continue
        plausible = p >= filter * p.mean()
        argument = w_s * np.where(plausible, p, 0) + w_n * np.where(plausible, q, 0)
        positive = plausible & (argument > 0)
        contrast = np.where(positive, np.log(np.where(positive, argument, 1)), -np.inf)
        result.append(contrast if positive.any() else np.log(p))
    return np.array(result)


def synonym_watermark(words):
    texts = [word.astype(np.uint8).tobytes().rstrip(b"\0") for word in words]
    return np.array([int(hashlib.sha256(a + b).hexdigest(), 16) % 2 for a, b in zip(texts, texts[1:])])


FORMULAS = {
    "instructive_decoding": instructive_decoding,
    "top_n_sigma": top_n_sigma,
    "alignment_resampling": lambda rewards: rewards.argmax(-1),
    "alignment_resampling_kgw": lambda logits, green, delta=2.0: logits + delta * green,
    "alignment_resampling_gumbel": lambda logits, uniforms: np.argmax(uniforms ** (1 / softmax(logits)), -1),
    "alignment_resampling_gumbel_multinomial": lambda logits, uniforms: (
        uniforms ** (1 / softmax(logits)) / (uniforms ** (1 / softmax(logits))).sum(-1, keepdims=True)
    ),
    "alignment_resampling_detect": lambda green_hits, gamma=0.25: (
        (green_hits.sum(-1) - gamma * green_hits.shape[-1]) / np.sqrt(green_hits.shape[-1] * gamma * (1 - gamma))
    ),
    "knn_lm": knn_lm,
    "synonym_watermark": synonym_watermark,
    "synonym_watermark_detect": lambda bits: (bits.sum(-1) - bits.shape[-1] / 2) / np.sqrt(bits.shape[-1] / 4),
    "uncertainty_contrastive_decoding": uncertainty_contrastive_decoding,
}

# Numbers at which a formula takes another turn.
SETTINGS = [
    ("instructive_decoding", {"epsilon": 0.0}),
    ("top_n_sigma", {"n": 0.0}),
    ("top_n_sigma", {"n": 0.5, "temperature": 3.0, "ddof": 0}),
    ("knn_lm", {"k": 1}),
    ("knn_lm", {"k": 3, "lam": 0.8, "temperature": 0.2}),
    ("knn_lm", {"lam": 0.0}),
    ("uncertainty_contrastive_decoding", {"threshold": 1.0}),
    ("uncertainty_contrastive_decoding", {"threshold": 1.0, "w_n": -3.0, "filter": 0.9}),
    ("uncertainty_contrastive_decoding", {"threshold": 0.15, "w_s": 2.0}),
    ("alignment_resampling_kgw", {"delta": -1.0}),
    ("alignment_resampling_detect", {"gamma": 0.5}),
]


def test_every_decoder_has_its_formula_here():
    assert set(FORMULAS) == {record["name"] for record in temper.catalog(kind="decoder")}


@pytest.mark.parametrize("name, settings", [(name, {}) for name in FORMULAS] + SETTINGS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_are_those_of_the_formula(rng, name, settings, dtype):
    decoder = temper.decoder(name, **settings)
    for _ in range(20):
        (variant,) = [c[1] for c in CASES if c[0]["name"] == name]
        inputs = samples.inputs(rng, decoder.record, variant, dtype)
        result = decoder(**inputs)
        wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in inputs.items()}
        expected = FORMULAS[name](**wide, **settings)
        assert result.shape == expected.shape
        assert (result.dtype == np.int64) == ("whole" in decoder.record["properties"])
        tight = result.dtype != np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-12 if tight else 3e-5, atol=1e-13 if tight else 1e-5)


@pytest.mark.parametrize("record, variant, _", CASES, ids=[c[2] for c in CASES])
def test_results_go_where_out_says_and_inputs_come_by_position(rng, record, variant, _):
    inputs = samples.inputs(rng, record, variant)
    decoder = temper.decoder(record["name"])
    result = decoder(*inputs.values())
    out = np.empty_like(result)
    assert decoder(**inputs, out=out) is out
    np.testing.assert_array_equal(out, result)
    if result.dtype != np.int64:
        with pytest.raises(temper.Error, match="floats"):
            decoder(**inputs, out=np.empty(result.shape, np.int64))


def test_numbers_of_the_pages():
    third = np.array([[5.0, 4, 1, 0, 0]])
    np.testing.assert_allclose(temper.decoder("top_n_sigma")(third), [[0.731059, 0.268941, 0, 0, 0]], atol=1e-6)
    for change in (third + 7, 0.2 * third):  # the set that is kept does not depend on shift or scale
        kept = temper.decoder("top_n_sigma")(change) > 0
        np.testing.assert_array_equal(kept, [[True, True, False, False, False]])
    np.testing.assert_array_equal(temper.decoder("top_n_sigma")(np.zeros((1, 4))), np.full((1, 4), 0.25))
    np.testing.assert_allclose(
        temper.decoder("instructive_decoding")([[2.0, 1.9, 0]], [[3.0, 0, 0]]), [[1.1, 1.9, 0]], rtol=1e-15
    )
    p, q = np.log([[0.4, 0.35, 0.25]]), np.log([[0.6, 0.1, 0.3]])
    scores = temper.decoder("uncertainty_contrastive_decoding", threshold=1.0)(p, q)
    np.testing.assert_allclose(np.exp(scores), [[0, 0.28, 0.04]], atol=1e-15)
    hits = np.arange(100)[None] < 65
    assert temper.decoder("alignment_resampling_detect", gamma=0.5)(hits)[0] == pytest.approx(3.0)
    assert temper.decoder("synonym_watermark_detect")(hits[0]) == pytest.approx(3.0)


def test_tokens_that_are_out_stay_out():
    logits = np.array([[2.0, -np.inf, 1.0, 0.0]])
    np.testing.assert_allclose(temper.decoder("top_n_sigma", n=9.0)(logits), softmax(logits), rtol=1e-14)
    assert temper.decoder("alignment_resampling_kgw")(logits, [[1, 1, 0, 0]])[0, 1] == -np.inf
    uniforms = np.array([[0.5, 0.999, 0.5, 0.5]])
    assert temper.decoder("alignment_resampling_gumbel")(logits, uniforms)[0] != 1
    assert temper.decoder("alignment_resampling_gumbel_multinomial")(logits, uniforms)[0, 1] == 0
    sure = temper.decoder("uncertainty_contrastive_decoding")(logits, np.zeros((1, 4)))
    np.testing.assert_allclose(np.exp(sure), softmax(logits), rtol=1e-14)
    assert sure[0, 1] == -np.inf


def test_the_gumbel_watermark_chooses_tokens_as_often_as_the_model(rng):
    p = np.array([0.5, 0.3, 0.15, 0.05])
    uniforms = rng.random((40_000, 4))
    tokens = temper.decoder("alignment_resampling_gumbel")(np.tile(np.log(p), (len(uniforms), 1)), uniforms)
    counts = np.bincount(tokens, minlength=4)
    expected = p * len(uniforms)
    assert ((counts - expected) ** 2 / expected).sum() < 16.27  # chi-square with 3 degrees, 0.1%
    # The mean of -log(1 - u) at the chosen token: 1.89 under the watermark, 1 without it.
    chosen = uniforms[np.arange(len(tokens)), tokens]
    assert -np.log1p(-chosen).mean() == pytest.approx(1.89, abs=0.03)
    weights = temper.decoder("alignment_resampling_gumbel_multinomial")(
        np.tile(np.log(p), (len(uniforms), 1)), uniforms
    )
    np.testing.assert_allclose(weights.mean(0), [0.474, 0.306, 0.163, 0.056], atol=0.004)


def test_words_of_any_script():
    words = ["the", "quick", "brüchig", "狐", "a", "", "no block of the hash has room for this: " + "long" * 30]
    expected = [hashlib.sha256((a + b).encode()).digest()[-1] % 2 for a, b in zip(words, words[1:])]
    np.testing.assert_array_equal(temper.decoder("synonym_watermark")(words), expected)
    np.testing.assert_array_equal(temper.decoder("synonym_watermark")(np.array(words)), expected)
    with pytest.raises(temper.Error, match="two words"):
        temper.decoder("synonym_watermark")(["alone"])
    # Long enough for every length of the last block of the hash.
    many = ["x" * (i % 200) for i in range(400)]
    bits = temper.decoder("synonym_watermark")(many)
    np.testing.assert_array_equal(
        bits, [hashlib.sha256((a + b).encode()).digest()[-1] % 2 for a, b in zip(many, many[1:])]
    )


def test_a_stored_context_returns_its_token(rng):
    keys, tokens = rng.normal(size=(20, 3)), rng.integers(0, 6, 20)
    probabilities = temper.decoder("knn_lm", lam=1.0, temperature=1e-6)(np.zeros((20, 6)), keys, keys, tokens)
    np.testing.assert_allclose(probabilities, np.eye(6)[tokens], atol=1e-12)
    mixed = temper.decoder("knn_lm")(rng.normal(size=(20, 6)), keys, keys, tokens)
    np.testing.assert_allclose(mixed.sum(-1), 1, atol=1e-12)
