"""joint_optimization takes the means of a batch piece by piece: as by the definition, however small they are."""

import numpy as np
import pytest

import temper


def plain(z, ids, alpha=1.2, beta=0.8):
    """Value and gradient by the definition."""
    rows, classes = z.shape
    shifted = z - z.max(1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p, peak = np.exp(logp), np.maximum(logp.max(0), -1e30)
    log_means = peak + np.log(np.exp(logp - peak).mean(0))
    finite = np.where(p == 0, 0, logp)
    entropy = (p * finite).sum(1, keepdims=True)
    spread = (np.log(1 / classes) - log_means).mean()
    value = -logp[np.arange(rows), ids].mean() + alpha * spread - beta * entropy.mean()
    share = np.exp(logp - log_means) / classes
    slopes = p - beta * p * (finite - entropy) + alpha * (p * share.sum(1, keepdims=True) - share)
    slopes[np.arange(rows), ids] -= 1
    return value, slopes / rows


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-6), (np.float64, 1e-11)])
@pytest.mark.parametrize("rows, classes, scale", [
    (1, 3, 1), (65, 10, 3), (5000, 10, 1), (300, 40, 2), (2000, 33, 100), (40, 12, 1e4), (30, 40, 1e4)])
def test_value_and_gradient_by_the_definition(rng, dtype, tolerance, rows, classes, scale):
    logits, ids = (scale * rng.normal(size=(rows, classes))).astype(dtype), rng.integers(0, classes, rows)
    value, slopes = plain(logits.astype(np.float64), ids)
    results = []
    for threads in [1, 2]:
        loss = temper.Context(threads=threads).loss("joint_optimization")
        results.append(loss.value_and_grad(logits, ids))
        np.testing.assert_allclose(results[-1][0], value, rtol=tolerance)
        np.testing.assert_allclose(results[-1][1]["logits"], slopes, rtol=0, atol=tolerance * abs(slopes).max())
    assert results[0][0] == results[1][0]
    assert results[0][1]["logits"].tobytes() == results[1][1]["logits"].tobytes()


def test_a_class_that_is_masked_everywhere_has_no_gradient(rng):
    logits = rng.normal(size=(50, 6))
    logits[:, 2] = -np.inf
    ids, priors = rng.integers(3, 6, 50), np.array([0.2, 0.2, 0, 0.2, 0.2, 0.2])
    loss = temper.loss("joint_optimization")
    value, gradients = loss.value_and_grad(logits, ids, class_priors=priors)
    present = np.delete(logits, 2, 1)
    expected, slopes = loss.value_and_grad(present, ids - 1, class_priors=np.full(5, 0.2))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(np.delete(gradients["logits"], 2, 1), slopes["logits"], rtol=1e-9, atol=1e-15)
    assert (gradients["logits"][:, 2] == 0).all()
