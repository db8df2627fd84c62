"""lovasz_softmax sorts only what has a weight: the same as sorting all samples of every class."""

import numpy as np
import pytest

import temper


def plain(logits, ids, of_all):
    """Value and gradient by the definition, one class after the other."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    value, slopes = 0, np.zeros_like(p)
    counting = [c for c in range(p.shape[1]) if of_all or (ids == c).any()]
    for c in counting:
        own = ids == c
        errors = np.where(own, 1 - p[:, c], p[:, c])
        order = np.argsort(-errors, kind="stable")
        inside, outside = own[order].cumsum(), (~own[order]).cumsum()
        weights = np.diff(1 - (own.sum() - inside) / (own.sum() + outside), prepend=0)
        value += (errors[order] * weights).sum() / len(counting)
        slopes[order, c] = weights / len(counting) * np.where(own[order], -1, 1)
    return value, p * (slopes - (slopes * p).sum(1, keepdims=True))


@pytest.mark.parametrize("of_all", [False, True])
@pytest.mark.parametrize("samples, classes", [(1, 3), (7, 1), (300, 16), (200, 37), (40, 100)])
def test_value_and_gradient_by_the_definition(rng, samples, classes, of_all):
    logits, ids = 3 * rng.normal(size=(samples, classes)), rng.integers(0, classes, samples)
    logits[0] = 0  # equal probabilities
    for strength in [0, 4]:  # errors of own samples from large to small: few or many samples have weights
        logits[np.arange(samples), ids] += strength
        expected = plain(logits, ids, of_all)
        for threads in [1, 2]:
            loss = temper.Context(threads=threads).loss("lovasz_softmax", classes="all" if of_all else "present")
            value, gradients = loss.value_and_grad(logits, ids)
            np.testing.assert_allclose(value, expected[0], rtol=1e-12)
            np.testing.assert_allclose(gradients["logits"], expected[1], rtol=1e-9, atol=1e-14)
