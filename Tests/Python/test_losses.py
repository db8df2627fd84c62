"""Every loss of the catalogue, by its record: values, gradients, types, layouts."""

import numpy as np
import pytest

import samples
import temper

CASES = samples.cases(temper.catalog(kind="loss"))


def each(cases):
    return pytest.mark.parametrize("record, variant", [c[:2] for c in cases], ids=[c[2] for c in cases])


WITH_GRADIENT = [case for case in CASES if samples.differentiable(case[1])]


@each(CASES)
def test_values_are_one_for_each_sample_or_one_for_the_batch(rng, record, variant):
    inputs = samples.inputs(rng, record, variant)
    values = temper.loss(record["name"])(**inputs)
    assert values.dtype == np.float64
    assert values.ndim == 1
    assert len(values) == (1 if "batch" in record["properties"] else samples.count(variant, inputs))
    assert np.isfinite(values).all()


@each(CASES)
def test_reductions_are_of_the_values(rng, record, variant):
    inputs = samples.inputs(rng, record, variant)
    loss = temper.loss(record["name"])
    values = loss(**inputs)
    mean, none = loss.value_and_grad(**inputs, wrt=())
    total, _ = loss.value_and_grad(**inputs, wrt=(), reduction="sum")
    assert none == {}
    np.testing.assert_allclose([mean, total], [values.mean(), values.sum()], rtol=1e-12)


# Where the method holds a part of its formula constant, differences see it move. Settings that take the part out, or
# nothing can be seen from here; the tests of TemperCatalogue hold these parts fixed in their differences, too.
WITHOUT_CONSTANTS = {
    "bco": ({}, {}),
    "early_learning_regularization": ({"beta": 1.0}, {"ema_targets": np.full((6, 5), 0.2)}),
    "influence_balanced": ({"through_influence": True}, {}),
    "isogclr_loss": ({}, {}),
    "ldr_kl_loss": ({}, {}),
    "napo_loss": ({"q": 0.5}, {}),
    "sepclr_loss": ({}, {}),
}
HOLD_CONSTANTS = {case[0]["name"] for case in CASES if "holds_constants" in case[0]["properties"]}


@each([case for case in WITH_GRADIENT if case[0]["name"] not in HOLD_CONSTANTS - WITHOUT_CONSTANTS.keys()])
def test_gradients_are_those_of_finite_differences(rng, record, variant):
    settings, more = WITHOUT_CONSTANTS.get(record["name"], ({}, {}))
    inputs = {**samples.inputs(rng, record, variant), **more}
    names = samples.differentiable(variant)
    loss = temper.loss(record["name"], **settings)
    value, gradients = loss.value_and_grad(**inputs, wrt=names)
    assert list(gradients) == names
    noise = 1e-8 + 1e-9 * abs(value)  # a last bit of the value over the step
    for name in names:
        expected = samples.numeric_gradient(lambda: loss.value_and_grad(**inputs, wrt=())[0], inputs[name])
        np.testing.assert_allclose(gradients[name], expected, rtol=2e-6, atol=noise, err_msg=name)


@pytest.mark.parametrize("name", sorted(HOLD_CONSTANTS - WITHOUT_CONSTANTS.keys()))
def test_what_is_said_to_hold_constants_does(rng, name):
    """Else the property would only hide a wrong gradient from the test above."""
    errors = []
    for record, variant, _ in (case for case in WITH_GRADIENT if case[0]["name"] == name):
        inputs, loss = samples.inputs(rng, record, variant), temper.loss(name)
        for wrt in samples.differentiable(variant):
            gradient = loss.value_and_grad(**inputs, wrt=wrt)[1][wrt]
            slopes = samples.numeric_gradient(lambda: loss.value_and_grad(**inputs, wrt=())[0], inputs[wrt])
            errors.append(np.abs(gradient - slopes).max() / np.abs(slopes).max())
    assert max(errors) > 1e-3


@each(WITH_GRADIENT)
def test_float32_agrees_with_float64(rng, record, variant):
    inputs = samples.inputs(rng, record, variant, np.float32)
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in inputs.items()}
    names = samples.differentiable(variant)
    loss = temper.loss(record["name"])
    value, gradients = loss.value_and_grad(**inputs, wrt=names)
    expected, wide_gradients = loss.value_and_grad(**wide, wrt=names)
    assert value == pytest.approx(expected, rel=2e-5, abs=1e-6)
    for name in names:
        assert gradients[name].dtype == np.float32
        scale = np.abs(wide_gradients[name]).max()
        if record["name"] == "auc_margin" and name not in ("scores", "targets"):
            scale = max(scale, 0.02)  # at the saddle, where these are if they do not all come, it is 0 by its formula
        np.testing.assert_allclose(gradients[name], wide_gradients[name], rtol=2e-4, atol=2e-5 * scale, err_msg=name)


def spread_out(array):
    """The same values, read-only, columns first, backwards and with a gap along every axis."""
    if array.ndim == 0:
        return array
    view = np.flip(np.flip(np.repeat(array, 2, axis=-1)).copy(order="F"))[..., ::2]
    np.testing.assert_array_equal(view, array)
    view.flags.writeable = False
    return view


@each(WITH_GRADIENT)
def test_strides_and_read_only_arrays_change_nothing(rng, record, variant):
    inputs = samples.inputs(rng, record, variant)
    names = samples.differentiable(variant)
    loss = temper.loss(record["name"])
    value, gradients = loss.value_and_grad(**inputs, wrt=names)
    spread = {name: spread_out(array) for name, array in inputs.items()}
    again, same = loss.value_and_grad(**spread, wrt=names)
    assert again == value
    for name in names:
        np.testing.assert_array_equal(same[name], gradients[name])


@each(CASES)
def test_torch_tensors_are_taken(rng, record, variant):
    torch = pytest.importorskip("torch", reason="PyTorch, whose tensors are passed, is not installed")
    inputs = samples.inputs(rng, record, variant)
    loss = temper.loss(record["name"])
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
    np.testing.assert_array_equal(loss(**tensors), loss(**inputs))


# Losses that are not smooth everywhere have second derivatives where they are: a few points lie on no kink.
NO_SECOND_DERIVATIVE = {case[0]["name"] for case in CASES if "first_order" in case[0]["properties"]}
# What follows the batch is constant in these; the tests of TemperCatalogue hold it fixed in their differences.
FOLLOW_THE_BATCH = {"bco", "isogclr_loss"} | HOLD_CONSTANTS - WITHOUT_CONSTANTS.keys()
SECOND_ORDER = [case for case in WITH_GRADIENT if case[0]["name"] not in FOLLOW_THE_BATCH | NO_SECOND_DERIVATIVE]


@each(SECOND_ORDER)
def test_hessian_products_are_differences_of_gradients(rng, record, variant):
    settings, more = WITHOUT_CONSTANTS.get(record["name"], ({}, {}))
    inputs = {**samples.inputs(rng, record, variant), **more}
    name = samples.differentiable(variant)[0]
    direction = rng.normal(size=inputs[name].shape)
    loss = temper.loss(record["name"], **settings)
    product = loss.hessian_product(**inputs, directions={name: direction})[name]
    step, kept = 2e-5, inputs[name]
    at = {s: loss.value_and_grad(**{**inputs, name: kept + s * step * direction}, wrt=name)[1][name]
          for s in (-2, -1, 1, 2)}  # fmt: skip
    expected = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-7 * max(1, np.abs(expected).max()))


def test_what_has_no_second_derivative_says_so(rng):
    for name in NO_SECOND_DERIVATIVE:
        record, variant, _ = next(case for case in WITH_GRADIENT if case[0]["name"] == name)
        inputs = samples.inputs(rng, record, variant)
        first = {"features": np.ones_like(inputs["features"])}
        with pytest.raises(temper.Error, match="second derivative"):
            temper.loss(name).hessian_product(**inputs, directions=first)


LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]])
IDS = np.array([0, 2])


def test_positions_follow_the_record():
    loss = temper.loss("cross_entropy")
    weights = np.array([1.0, 2.0, 3.0])
    expected = loss(logits=LOGITS, targets=IDS, class_weights=weights)
    np.testing.assert_array_equal(loss(LOGITS, IDS, weights), expected)
    np.testing.assert_array_equal(loss(LOGITS, IDS, class_weights=weights), expected)
    assert not np.array_equal(expected, loss(LOGITS, IDS))


def test_none_is_an_input_that_does_not_come():
    loss = temper.loss("cross_entropy")
    np.testing.assert_array_equal(loss(LOGITS, IDS, None), loss(LOGITS, IDS))


def test_the_gradient_is_of_the_first_input_unless_said_otherwise():
    assert list(temper.loss("cross_entropy").value_and_grad(LOGITS, IDS)[1]) == ["logits"]
    assert list(temper.loss("mse").value_and_grad(LOGITS, LOGITS)[1]) == ["predictions"]
    value, gradients = temper.loss("cross_entropy").value_and_grad(LOGITS, IDS, wrt="logits")
    assert isinstance(value, float) and gradients["logits"].shape == LOGITS.shape


def test_results_go_where_out_says():
    loss = temper.loss("cross_entropy")
    values, gradient = np.full(2, np.nan), np.full(LOGITS.shape, np.nan)
    assert loss(LOGITS, IDS, out=values) is values
    _, gradients = loss.value_and_grad(LOGITS, IDS, out={"logits": gradient})
    assert gradients["logits"] is gradient
    np.testing.assert_array_equal(values, loss(LOGITS, IDS))
    np.testing.assert_array_equal(gradient, loss.value_and_grad(LOGITS, IDS)[1]["logits"])


def test_lists_take_the_type_of_the_arrays_beside_them():
    loss = temper.loss("cross_entropy")
    logits = LOGITS.astype(np.float32)
    assert loss(logits, [0, 2], class_weights=[1.0, 2.0, 3.0]).dtype == np.float32
    assert loss(LOGITS.tolist(), [0, 2]).dtype == np.float64
    np.testing.assert_array_equal(loss(LOGITS.tolist(), [0, 2]), loss(LOGITS, IDS))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_class_ids_of_every_integer_type(dtype):
    loss = temper.loss("cross_entropy")
    np.testing.assert_array_equal(loss(LOGITS, IDS.astype(dtype)), loss(LOGITS, IDS))


def test_parameters_of_every_python_type():
    assert (
        temper.loss("cross_entropy", label_smoothing=0.1)(LOGITS, IDS)[0]
        != temper.loss("cross_entropy")(LOGITS, IDS)[0]
    )
    smooth = [
        temper.loss("cross_entropy", label_smoothing=s)(LOGITS, IDS)[0] for s in (1, 1.0, np.float32(1), np.int64(1))
    ]
    assert len(set(smooth)) == 1
    assert temper.loss("mse", elements="sum")(LOGITS, LOGITS + 1)[0] == pytest.approx(3)
    assert temper.loss("active_passive_loss", A=-6.0).parameters == {"A": -6.0}


def test_one_loss_from_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    loss = temper.loss("cross_entropy")
    arrays = [np.random.default_rng(seed).normal(size=(seed % 7 + 1, 4)) for seed in range(64)]
    expected = [temper.loss("cross_entropy")(a, np.zeros(len(a), int)) for a in arrays]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda a: loss(a, np.zeros(len(a), int)), arrays))
    for result, wanted in zip(results, expected):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("classes", [4, 5])
def test_determinant_loss_has_a_second_derivative(classes):
    """Also where a class is missing and the matrix has no inverse."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(30, classes)), rng.integers(0, 4, 30)
    loss, direction, step = temper.loss("determinant_mutual_information"), rng.normal(size=(30, classes)), 1e-6
    product = loss.hessian_product(logits=logits, targets=targets, directions={"logits": direction})["logits"]
    ends = [loss.value_and_grad(logits + s * direction, targets)[1]["logits"] for s in (step, -step)]
    difference = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(product, difference, rtol=1e-5, atol=1e-7 * max(1e-9, np.abs(difference).max()))
