"""Every quantizer on whole models: what it tells of each layer, what the model then gives, and what it refuses."""

import numpy as np
import pytest

import temper

CONTEXT = temper.Context(threads=1)
# Name: layers, the shape of a sample, and below what its indices are, if it takes indices.
MODELS = {
    "images": ([{"conv2d": {"channels": 6, "padding": "same"}}, "batch_norm", "relu", {"max_pool": 2}, "flatten",
                {"dense": 32}, "relu", {"dense": 5}], (2, 8, 8), None),
    "letters": ([{"embedding": {"entries": 12, "size": 32}},
                 {"residual": ["layer_norm", {"multi_head_attention": {"heads": 2, "causal": True}}]},
                 {"residual": ["layer_norm", {"dense": 64}, "gelu", {"dense": 32}]}, {"gru": 16}, {"dense": 12}], (6,), 12),
}  # fmt: skip
SHORT = {
    "adaround": {"iterations": 40}, "adaquant": {"iters": 20}, "saliency_regularized_quantization": {"iterations": 20},
    "evopress": {"generations": 2, "offspring": 4, "survivors": "2,1", "tokens": "32,64"},
    "additive_codebooks": {"codebook_bits": 5, "iterations": 3}, "multi_codebook_vq": {"K": 8, "iterations": 3},
    "pd_quant": {"iters": 10, "correction_iters": 2}, "metaaug_ptq": {"iters": 10, "alternating_iters": 1},
}  # fmt: skip
# What does not pack a model, and the words that say why.
REFUSED = {("sigma_delta_rff", "letters"): r"in \[-1, 1\]", ("metaaug_ptq", "letters"): "indices"}
# Relative error of the model's outputs, root of the ratio of squares: by the bits of its weights; for methods that drop
# weights, have a budget of bits over all layers or columns, more bits in the first and the last layer, or levels far
# apart among large numbers; none where features are packed, not weights.
BOUNDS = {16: 0.005, 8: 0.03, 6: 0.1, 4: 0.3, 2: 0.9, 1: 0.95}
OTHERS = {
    "magnitude_pruning": 0.7, "wanda": 0.7, "sparsegpt": 0.6, "evopress": 0.6, "mixed_precision": 0.6,
    "baq_bit_allocation": 0.3, "pd_quant": 0.3, "metaaug_ptq": 0.3, "multi_codebook_vq": 0.9, "fp4_e2m1": 0.45,
    "fp6_e3m2": 0.2, "mxfp6_e3m2": 0.2, "fp8_e5m2": 0.2, "mxfp8_e5m2": 0.2, "fp8_e4m3": 0.1, "mxfp8_e4m3": 0.1,
    "mxfp4": 0.4, "gguf_blocks": 0.1, "sigma_delta_rff": np.inf,
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """(name, model, calibration, what the model gives for it)."""
    layers, shape, below = MODELS[request.param]
    rng = np.random.default_rng(5)
    x = rng.integers(0, below, (64, *shape)) if below else rng.standard_normal((64, *shape)).astype(np.float32)
    model = temper.Model(layers, input=shape, seed=1, context=CONTEXT)
    if request.param == "images":  # statistics of the normalization, of these images
        temper.Trainer(model, loss="cross_entropy", optimizer="adam", batch_size=16).fit(x, rng.integers(0, 5, 64), epochs=20)
    return request.param, model, x, model.predict(x)


@pytest.mark.parametrize("name", [record["name"] for record in temper.catalog("quantizer")])
def test_whole_models(name, case, tmp_path):
    label, model, x, expected = case
    quantizer = CONTEXT.quantizer(name, **SHORT.get(name, {}))
    if (name, label) in REFUSED:
        with pytest.raises(temper.Error, match=REFUSED[name, label]):
            quantizer.quantize_model(model, calibration=x)
        return
    packed, before = quantizer.quantize_model(model, calibration=x), model.parameters()
    after, told = packed.parameters(), packed.quantization
    assert set(told) == {key for key, value in before.items() if value.ndim > 1}
    changes_weights = name in ("batch_norm_reestimation", "cross_layer_equalization")  # before they are rounded
    for key, report in told.items():
        assert 0 < report["bits"] <= report["effective_bits"] and report["float_byte_count"] == 4 * before[key].size
        assert report["effective_bits"] == pytest.approx(8 * report["byte_count"] / before[key].size)
        assert ("output_error" in report) == (key != "0.weight" or label == "images")  # a table multiplies nothing
        if not changes_weights:
            lost = np.square(before[key].astype(float) - after[key]).sum() / np.square(before[key].astype(float)).sum()
            assert report["relative_error"] == pytest.approx(lost, rel=1e-3, abs=1e-9), key
    assert packed.nbytes < model.nbytes or name == "multi_codebook_vq"  # of layers so small the words are most
    bits = max(int(np.ceil(report["bits"])) for report in told.values())
    answers = packed.predict(x)
    error = np.sqrt(np.square(answers - expected).sum() / np.square(expected).sum())
    print(f"{label} {name} {bits} bits: {error:.4f}")
    assert error < (OTHERS[name] if name in OTHERS else BOUNDS[bits]), error
    packed.save(tmp_path / "packed.safetensors")
    np.testing.assert_array_equal(temper.load(tmp_path / "packed.safetensors", CONTEXT).predict(x), answers)
