"""PyTorch as an oracle for losses: values by sample, means, gradients."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")
F = torch.nn.functional


def check(loss, inputs, expected, wrt="logits"):
    """Values by sample and gradient of their mean, against `expected`: a function of PyTorch tensors."""
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in inputs.items()}
    tensors[wrt].requires_grad_()
    values = expected(**tensors)
    values.mean().backward()
    np.testing.assert_allclose(loss(**inputs), values.detach().numpy(), rtol=1e-11, atol=1e-13)
    value, gradients = loss.value_and_grad(**inputs, wrt=wrt)
    assert value == pytest.approx(values.mean().item(), rel=1e-11)
    np.testing.assert_allclose(gradients[wrt], tensors[wrt].grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("classes", [2, 7, 130])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("is_soft", [False, True])
def test_cross_entropy(rng, classes, smoothing, is_weighted, is_soft):
    logits = 3 * rng.normal(size=(33, classes))
    targets = rng.dirichlet(np.ones(classes), 33) if is_soft else rng.integers(0, classes, 33)
    weights = {"class_weights": rng.uniform(0.5, 2, classes)} if is_weighted else {}
    check(
        temper.loss("cross_entropy", label_smoothing=smoothing),
        {"logits": logits, "targets": targets, **weights},
        lambda logits, targets, class_weights=None: F.cross_entropy(
            logits, targets, class_weights, reduction="none", label_smoothing=smoothing
        ),
    )


def test_cross_entropy_leaves_out_ignored_targets(rng):
    logits, targets = rng.normal(size=(12, 4)), rng.integers(0, 4, 12)
    targets[[1, 5, 6]] = -7
    loss = temper.loss("cross_entropy", ignore_index=-7)
    x = torch.from_numpy(logits).requires_grad_()
    mean = F.cross_entropy(x, torch.from_numpy(targets), ignore_index=-7)
    mean.backward()
    value, gradients = loss.value_and_grad(logits, targets)
    assert value == pytest.approx(mean.item(), rel=1e-12)
    np.testing.assert_allclose(gradients["logits"], x.grad.numpy(), atol=1e-14)
    np.testing.assert_array_equal(loss(logits, targets)[[1, 5, 6]], 0)


@pytest.mark.parametrize("elements", ["mean", "sum"])
@pytest.mark.parametrize("name, expected", [
    ("mse", lambda p, t: F.mse_loss(p, t, reduction="none")),
    ("mae", lambda p, t: F.l1_loss(p, t, reduction="none")),
    ("huber", lambda p, t: F.huber_loss(p, t, delta=0.7, reduction="none")),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 2, 3)])
def test_regression(rng, name, expected, elements, shape):
    settings = {"delta": 0.7} if name == "huber" else {}
    reduce = torch.mean if elements == "mean" else torch.sum

    def by_sample(predictions, targets):
        values = expected(predictions, targets).reshape(9, -1)
        return reduce(values, dim=1)

    inputs = {"predictions": rng.normal(size=shape), "targets": rng.normal(size=shape)}
    check(temper.loss(name, elements=elements, **settings), inputs, by_sample, wrt="predictions")


@pytest.mark.parametrize("is_soft", [False, True])
def test_binary_cross_entropy(rng, is_soft):
    logits = 20 * rng.normal(size=(9, 6))
    targets = rng.random((9, 6)) if is_soft else (rng.random((9, 6)) < 0.5).astype(float)
    check(
        temper.loss("binary_cross_entropy_with_logits"),
        {"logits": logits, "targets": targets},
        lambda logits, targets: F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1),
    )


def test_cross_entropy_of_large_logits_stays_exact():
    logits = np.array([[1000.0, 0.0, -1000.0], [-1000.0, 1000.0, 999.0]])
    targets = np.array([1, 0])
    x = torch.from_numpy(logits)
    expected = F.cross_entropy(x, torch.from_numpy(targets), reduction="none").numpy()
    np.testing.assert_allclose(temper.loss("cross_entropy")(logits, targets), expected, rtol=1e-15)
    assert np.isfinite(temper.loss("cross_entropy").value_and_grad(logits, targets)[1]["logits"]).all()


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-13)])
def test_cross_entropy_over_many_classes(rng, dtype, tolerance):
    logits, targets = rng.normal(size=(40, 5000)).astype(dtype), rng.integers(0, 5000, 40)
    x = torch.from_numpy(logits).requires_grad_()
    F.cross_entropy(x, torch.from_numpy(targets)).backward()
    _, gradients = temper.loss("cross_entropy").value_and_grad(logits, targets)
    np.testing.assert_allclose(
        gradients["logits"], x.grad.numpy(), rtol=1e-4 if dtype == np.float32 else 1e-9, atol=tolerance * 1e-2
    )
