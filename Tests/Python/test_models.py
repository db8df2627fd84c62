"""Models: description, parameters, prediction, files."""

import json

import numpy as np
import pytest

import samples
import temper

LAYERS = [{"dense": 8}, "relu", {"dense": 3}]


@pytest.fixture
def model():
    return temper.Model(LAYERS, input=(4,), seed=1)


def test_prediction_is_what_the_parameters_say(model, rng):
    x = rng.normal(size=(5, 4)).astype(np.float32)
    w1, b1, w2, b2 = model.parameters().values()
    expected = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
    out = np.empty((5, 3), np.float32)
    assert model.predict(x, out=out) is out
    np.testing.assert_array_equal(out, model.predict(x))


def test_parameters_share_the_models_memory(model):
    x = np.ones((1, 4), np.float32)
    for array in model.parameters().values():
        array[...] = 0
    np.testing.assert_array_equal(model.predict(x), 0)
    list(model.parameters().values())[-1][...] = 5
    np.testing.assert_array_equal(model.predict(x), 5)


def test_parameters_outlive_the_model():
    parameters = temper.Model(LAYERS, input=4, seed=1).parameters()
    again = temper.Model(LAYERS, input=4, seed=1).parameters()
    for name, array in parameters.items():
        np.testing.assert_array_equal(array, again[name])


def test_seeds_decide_the_parameters():
    weights = [next(iter(temper.Model(LAYERS, input=4, seed=s).parameters().values())) for s in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_what_a_model_says_of_itself(model):
    assert model.parameter_count == 4 * 8 + 8 + 8 * 3 + 3
    assert model.nbytes == 4 * model.parameter_count
    assert not model.is_quantized
    assert "dense" in model.summary() and str(model) == model.summary()
    assert temper.Model(model.description, input=4).parameter_count == model.parameter_count
    assert temper.Model(json.dumps(LAYERS), input=4).description == model.description


def test_lists_of_numbers_are_taken(model):
    np.testing.assert_array_equal(model.predict([[1, 2, 3, 4]]), model.predict(np.array([[1, 2, 3, 4]], np.float32)))


def test_gradients_are_those_of_finite_differences(rng):
    layers = [{"dense": 5}, "tanh", {"residual": [{"dense": 5}, "silu"]}, {"dense": 3}]
    model = temper.Model(layers, input=(4,), seed=1, dtype="float64")
    loss, x, y = temper.loss("cross_entropy"), rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    parameters = {"x": x, **model.parameters()}
    _, by_logits = loss.value_and_grad(model.predict(x), y)
    gradients = model.vjp(x, by_logits["logits"], wrt=list(parameters))
    assert list(gradients) == list(parameters)
    for name, array in parameters.items():
        expected = samples.numeric_gradient(lambda: loss(model.predict(x), y).mean(), array)
        np.testing.assert_allclose(gradients[name], expected, rtol=2e-6, atol=1e-8, err_msg=name)
    out = np.empty_like(x)
    assert model.vjp(x, by_logits["logits"], out={"x": out})["x"] is out
    np.testing.assert_array_equal(out, gradients["x"])


def test_gradients_that_there_are_not(model):
    x, dy = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32)
    for call in (
        lambda: model.vjp(x, dy, wrt="z"),
        lambda: model.vjp(x, dy[:, :2]),
        lambda: model.vjp(x[:, :2], dy),
        lambda: model.vjp(x, dy, wrt=("x", "x"), out={"x": x}),
    ):
        with pytest.raises(temper.Error):
            call()


def test_no_samples_give_no_outputs(model):
    assert model.predict(np.zeros((0, 4), np.float32)).shape == (0, 3)


def test_double_precision(rng):
    model = temper.Model(LAYERS, input=4, seed=1, dtype="float64")
    x = rng.normal(size=(5, 4))
    w1, b1, w2, b2 = model.parameters().values()
    assert w1.dtype == np.float64
    np.testing.assert_allclose(model.predict(x), np.maximum(x @ w1.T + b1, 0) @ w2.T + b2, rtol=1e-13)


def test_saving_and_loading(model, tmp_path, rng):
    x = rng.normal(size=(5, 4)).astype(np.float32)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = temper.load(path)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.description == model.description
    assert list(loaded.parameters()) == list(model.parameters())


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_files_are_errors(model, tmp_path, keep):
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(temper.errors.MalformedFile):
        temper.load(path)


def test_hostile_headers_are_errors(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    whole = path.read_bytes()
    for damaged in (b"\xff" * 8 + whole[8:], whole[:8] + b"[" * 500 + whole[508:], whole.replace(b"dense", b"dance")):
        path.write_bytes(damaged)
        with pytest.raises(temper.Error):
            temper.load(path)


def test_a_path_that_cannot_be_written_leaves_nothing(model, tmp_path):
    with pytest.raises(OSError):
        model.save(tmp_path / "nowhere" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "layers, shape",
    [
        ([{"dance": 3}], (4,)),
        ([{"dense": 0}], (4,)),
        ([{"dense": {"size": 3, "colour": "red"}}], (4,)),
        ("[{", (4,)),
        ("{}", (4,)),
        (LAYERS, (0,)),
        (LAYERS, (2**62,)),
        (LAYERS, (1,) * 9),
        ([{"dense": 2**40}], (2**40,)),
    ],
)
def test_descriptions_that_are_none(layers, shape):
    with pytest.raises(temper.Error):
        temper.Model(layers, input=shape)


@pytest.mark.parametrize("x", [np.zeros((2, 5)), np.zeros(4), np.zeros(()), np.zeros((2, 4), complex)])
def test_inputs_that_do_not_fit(model, x):
    with pytest.raises(temper.Error):
        model.predict(x)
