"""Every operator and activation of the catalogue, by its record: values, axes, vector-Jacobian products."""

import numpy as np
import pytest

import samples
import temper

CASES = samples.cases(temper.catalog(kind="op") + temper.catalog(kind="activation"))


def each(cases):
    return pytest.mark.parametrize("record, variant", [c[:2] for c in cases], ids=[c[2] for c in cases])


# Their gradient is another than the derivative, which is what they are for.
NOT_THE_DERIVATIVE = {"gradient_reversal", "quantized_softmax", "wta_crs_matmul"}


def test_gradient_reversal():
    x, dy = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    operator = temper.op("gradient_reversal", lam=0.5)
    np.testing.assert_array_equal(operator(x), x)
    np.testing.assert_array_equal(operator.vjp(x, dy), -0.5 * dy)


@each(CASES)
def test_products_with_the_jacobian_are_those_of_finite_differences(rng, record, variant):
    inputs = samples.inputs(rng, record, variant)
    names = samples.differentiable(variant)
    operator = temper.op(record["name"])
    if not names:
        with pytest.raises(TypeError, match="no gradient"):
            operator.vjp(**inputs, dy=operator(**inputs))
        return
    result = operator(**inputs)
    assert result.dtype == (np.int64 if "whole" in record["properties"] else np.float64) and np.isfinite(result[result != -np.inf]).all()
    dy = rng.normal(size=result.shape)
    got = operator.vjp(**inputs, dy=dy, wrt=names)
    gradients = {names[0]: got} if len(record["inputs"]) == 1 else got
    assert list(gradients) == names
    if record["name"] in NOT_THE_DERIVATIVE:
        return
    for name in names:
        expected = samples.numeric_gradient(lambda: np.sum(dy * operator(**inputs)), inputs[name])
        np.testing.assert_allclose(gradients[name], expected, rtol=2e-6, atol=1e-8, err_msg=name)


@each(CASES)
def test_float32_agrees_with_float64(rng, record, variant):
    inputs = samples.inputs(rng, record, variant, np.float32)
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in inputs.items()}
    operator = temper.op(record["name"])
    result = operator(**inputs)
    has_floats = any(array.dtype == np.float32 for array in inputs.values())
    is_whole = "whole" in record["properties"]
    assert result.dtype == (np.int64 if is_whole else np.float32 if has_floats else np.float64)
    np.testing.assert_allclose(result, operator(**wide), rtol=1e-4, atol=1e-5)


ON_ROWS = [r for r in temper.catalog(kind="op") if [e["forms"][0]["shape"] for e in r["inputs"]] == [["...", "D"]]]


@pytest.mark.parametrize("record", ON_ROWS, ids=lambda record: record["name"])
@pytest.mark.parametrize("axis", [0, 1, -2, -3])
def test_any_axis_is_the_last_one_moved(rng, record, axis):
    operator = temper.op(record["name"], **({"k": 2} if "topk" in record["name"] else {}))
    x = rng.normal(size=(4, 3, 5))
    result = operator(x, axis=axis)
    if "reduces_axis" in record["properties"]:
        np.testing.assert_array_equal(result, operator(np.moveaxis(x, axis, -1)))
        return
    np.testing.assert_array_equal(np.moveaxis(result, axis, -1), operator(np.moveaxis(x, axis, -1)))
    if not record["differentiable"]:
        return
    dy = rng.normal(size=result.shape)
    np.testing.assert_array_equal(
        np.moveaxis(operator.vjp(x, dy, axis=axis), axis, -1),
        operator.vjp(np.moveaxis(x, axis, -1), np.moveaxis(dy, axis, -1)),
    )


def test_results_go_where_out_says():
    operator = temper.op("softmax")
    x, dy = np.array([[1.0, 2.0, 4.0]]), np.array([[1.0, 0.0, -1.0]])
    result, gradient = np.empty((1, 3)), np.empty((1, 3))
    assert operator(x, out=result) is result
    assert operator.vjp(x, dy, out=gradient) is gradient
    np.testing.assert_array_equal(result, operator(x))
    np.testing.assert_array_equal(gradient, operator.vjp(x, dy=dy))
    np.testing.assert_array_equal(gradient, operator.vjp(dy=dy, x=x))


def test_a_result_laid_out_with_strides():
    x = np.random.default_rng(1).normal(size=(4, 3))
    into = np.zeros((3, 8)).T[::2]
    assert not into.flags.c_contiguous
    temper.op("softmax")(x, out=into)
    np.testing.assert_array_equal(into, temper.op("softmax")(x))


def test_vjp_needs_dy():
    with pytest.raises(TypeError, match="dy"):
        temper.op("softmax").vjp(x=[[1.0, 2.0]])
