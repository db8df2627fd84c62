"""Losses of one's own as formulas, functions of libraries, and Python: values, gradients, training, mistakes."""

import json
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest

import samples
import temper

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/plugins"


@pytest.fixture
def context():
    return temper.Context()


@pytest.fixture(scope="module")
def legacy(tmp_path_factory):
    """The declaration of functions of a library, beside that library."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler to build a library with")
    folder = tmp_path_factory.mktemp("legacy")
    shutil.copy(EXAMPLES / "legacy.toml", folder)
    subprocess.run(["cc", "-shared", "-fPIC", EXAMPLES / "legacy.c", "-o", folder / "legacy.so", "-lm"], check=True)
    return folder / "legacy.toml"


@pytest.fixture
def example(legacy):
    return lambda name: legacy if name == "legacy.toml" else EXAMPLES / name


def _probability(inputs):
    logits = inputs["logits"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True))[np.arange(len(p)), inputs["targets"]]


def _error(inputs):
    return inputs["predictions"] - inputs["targets"]


# Every loss of the examples, as NumPy has it.
EXPECTED = {
    "formulas.tail": lambda i: (1 - _probability(i) ** 0.7) / 0.7,
    "formulas.welsch": lambda i: (1 - np.exp(-_error(i) ** 2 / 2)).mean(1),
    "formulas.tilted": lambda i: [np.log(np.exp(0.5 * (_error(i) ** 2).mean(1)).mean()) / 0.5],
    "legacy.huber": lambda i: np.where(
        np.abs(i["residual"]) <= 1, i["residual"] ** 2 / 2, np.abs(i["residual"]) - 0.5
    ).mean(1),
    "legacy.pinball": lambda i: (np.abs(_error(i)) / 2).mean(1),
    "legacy.distance": lambda i: np.sqrt(1 + (_error(i) ** 2).sum(1)),
    "legacy.hypotenuse": lambda i: np.hypot(i["predictions"], i["targets"]).sum(1),
    "hyperbolic.log_cosh": lambda i: np.log(np.cosh(_error(i))).mean(1),
    "hyperbolic.cauchy": lambda i: np.log1p(_error(i) ** 2).mean(1),
    "plain.quadratic": lambda i: (_error(i) ** 2).sum(1) / 2,
}
FORMS = {
    "formulas.toml": ("formula", {"host"}),
    "legacy.toml": ("foreign", {"own", "numerical"}),
    "log_cosh.py": ("python", {"own", "numerical"}),
    "quadratic.py": ("python", {"own"}),
}


@pytest.mark.parametrize("file", FORMS)
def test_examples_have_the_values_and_gradients_of_their_formulas(example, context, rng, file):
    plugin = temper.load_plugin(example(file), context=context)
    names = [record["name"] for record in context.catalog("loss") if record["plugin"]]
    assert names and all(name in plugin.report() for name in names)
    gradients = set()
    for name in names:
        record = context.record(name)
        gradients.add(record["plugin"]["gradient"])
        assert record["plugin"]["form"] == FORMS[file][0] and record["plugin"]["licence"] == "Apache-2.0"
        loss, exact = context.loss(name), name != "legacy.distance"
        for _, variant, _ in samples.cases([record]):
            inputs = samples.inputs(rng, record, variant)
            if name == "formulas.tail" and inputs["targets"].ndim == 2:
                continue  # the next test
            np.testing.assert_allclose(loss(**inputs), EXPECTED[name](inputs), rtol=1e-12 if exact else 1e-6)
            (wrt,) = samples.differentiable(variant)
            gradient = loss.value_and_grad(**inputs, wrt=wrt)[1][wrt]
            expected = samples.numeric_gradient(lambda: float(np.mean(EXPECTED[name](inputs))), inputs[wrt])
            np.testing.assert_allclose(gradient, expected, rtol=2e-6 if exact else 2e-2, atol=1e-8 if exact else 1e-3)
    assert gradients == FORMS[file][1]


def test_a_formula_is_the_loss_of_the_catalogue(context, rng):
    """Value, gradient, soft targets, Hessian product, both types."""
    temper.load_plugin(EXAMPLES / "formulas.toml", context=context)
    names = "formulas.tail", "generalized_cross_entropy"
    ours, theirs = (context.loss(name, q=0.4) for name in names)
    linear = [context.loss(name, q=1.0) for name in names]  # for soft targets p[y] is an expectation
    for dtype in ("f4", "f8"):
        logits = rng.normal(size=(6, 5)).astype(dtype)
        for targets, pair in (
            (rng.integers(0, 5, 6), (ours, theirs)),
            (rng.dirichlet(np.ones(5), 6).astype(dtype), linear),
        ):
            (a, first), (b, second) = (loss.value_and_grad(logits, targets) for loss in pair)
            assert a == pytest.approx(b, rel=1e-6)
            np.testing.assert_allclose(first["logits"], second["logits"], rtol=1e-5, atol=1e-7)
        along = {"logits": rng.normal(size=(6, 5)).astype(dtype)}
        ids = np.arange(6) % 5
        first, second = (loss.hessian_product(logits, ids, directions=along)["logits"] for loss in (ours, theirs))
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "formula, column, says",
    [
        ("(1 - p[y]^^q) / q", 11, 'a value was expected, and "^" came'),
        ("mean(x", 7, "its end came"),
        ("1 +", 4, "its end came"),
        ("p[y] p", 6, "an operator or the end"),
        ("p[y] + nope", 8, 'there is no "nope"'),
        ("mean(foo(x))", 6, 'there is no function "foo"'),
        ("where(x)", 1, "where takes 3 arguments"),
        ("mean(x, 1.5)", 1, "an axis is a whole number"),
        ("mean(x, 9)", 1, "axis 9"),
        ("y * p", 3, "class ids are no numbers"),
        ("p[x]", 3, "reads p and x"),
        ("1.2.3 + p[y]", 1, "is not a number"),
        ("p[y] $ 2", 6, "nothing in a formula begins"),
        ("a = 1, p[y]", 6, '";" was expected after the value of a'),
        ("(" * 300 + "x" + ")" * 300, 101, "nested deeper"),
    ],
)
def test_errors_of_formulas_point_at_the_column(context, formula, column, says):
    with pytest.raises(temper.errors.InvalidArgument) as caught:
        temper.register_loss("mine.wrong", formula, context=context)
    assert says in str(caught.value)
    if "reads" not in says:
        assert f"column {column}:" in str(caught.value)


def test_formulas_of_the_wrong_shape_or_not_finite(context):
    with pytest.raises(temper.errors.InvalidShape, match="one value for each sample"):
        temper.register_loss("mine.wide", "x - y", context=context)
    with pytest.raises(temper.errors.PluginFailed, match="nan"):
        temper.register_loss("mine.nan", "mean(log(x - 9))", context=context)


@pytest.mark.parametrize(
    "text, says",
    [
        ("name = ", "TOML, line 1, column 8"),
        ("name = 'a'\nname = 'b'", "given twice"),
        ("name = 'a'\n[[loss]]\nname = 'b'\nformula = 'x'\ncolour = 'red'", '"colour" is unknown here'),
        ("name = 'Has Spaces'\n[[loss]]\nname = 'b'\nformula = 'x'", "is no name"),
        ("name = 'a'", "at least one"),
        ('{"name": "a", "loss": [{"name": "b"}]}', '"formula"'),
        ("name = 'a'\n[[loss]]\nname = 'b'\nformula = 'x'\nlibrary = 'c'", "does not go with a formula"),
        ("name = 'a'\n[[loss]]\nname = 'b'\nformula = 'mean(x)'\nparameters = {q = {default = 3, range = '[0, 1]'}}",
         "outside its range"),
        ("name = 'a'\n[[loss]]\nname = 'b'\nformula = 'mean(x)'\ninputs = {x = {shape = 'lots'}}", "capital letters"),
    ],
)  # fmt: skip
def test_declarations_that_are_wrong(context, text, says):
    with pytest.raises(temper.Error) as caught:
        temper.define_plugin(text, context=context)
    assert says in str(caught.value)


def _foreign(signature, library="libm.so.6", symbol="hypot", **more):
    return {"name": "f", "loss": [{"name": "g", "library": library, "symbol": symbol, "signature": signature, **more}]}


@pytest.mark.parametrize(
    "signature, says",
    [
        ("double (double predictions", "column 27"),
        ("double (quad predictions)", "a type was expected"),
        ("double (double tea)", "is no input"),
        ("void (double predictions)", "gives no value"),
        ("double *(double predictions)", "pointer as the result"),
        ("void (double predictions, double values)", "pointer to float or double"),
        ("void (float *predictions, double *targets, int N, int D, float *values)", "float and of double"),
        ("double (int predictions)", "another type"),
    ],
)
def test_signatures_that_are_wrong(context, signature, says):
    with pytest.raises(temper.Error) as caught:
        temper.define_plugin(_foreign(signature), context=context)
    assert says in str(caught.value)


def test_libraries_and_symbols_that_are_not_there(context, tmp_path):
    two = "double (double predictions, double targets)"
    with pytest.raises(temper.errors.PluginFailed, match="no function"):
        temper.define_plugin(_foreign(two, symbol="no_such_thing"), context=context)
    with pytest.raises(temper.errors.PluginFailed, match="could not load"):
        temper.define_plugin(_foreign(two, library="libnothing.so.9"), context=context)
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(temper.errors.PluginFailed, match="could not load"):
        temper.define_plugin(_foreign(two, library=str(tmp_path / "text.so")), context=context)
    strict = temper.Context(plugin_directories=[tmp_path])
    temper.define_plugin(_foreign(two), context=strict)  # libm is in the process already
    with pytest.raises(temper.errors.PluginFailed, match="outside the directories"):
        outside = _foreign(two, library=str(EXAMPLES / "legacy.c")) | {"name": "h"}
        temper.define_plugin(outside, context=strict)


CLASSES = """#include <math.h>
/* One sample: cross-entropy of `count` scores, in floats, and its gradient. */
float row(const float *z, int target, long count, float *gradient) {
  double sum = 0;
  for (long i = 0; i < count; ++i) sum += exp(z[i]);
  for (long i = 0; i < count; ++i) gradient[i] = exp(z[i]) / sum - (i == target);
  return log(sum) - z[target];
}
/* The elements of a sample, by their addresses, as Fortran has it. */
void element_(double *x, double *y, double *value, double *slope) { *value = (*x - *y) * (*x - *y), *slope = 2 * (*x - *y); }
"""


def test_samples_and_elements_by_address(context, rng, tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler to build a library with")
    (tmp_path / "classes.c").write_text(CLASSES)
    subprocess.run(["cc", "-shared", "-fPIC", tmp_path / "classes.c", "-o", tmp_path / "classes.so", "-lm"], check=True)
    library = str(tmp_path / "classes.so")
    row = "float row(const float *logits, int targets, long C, float *gradient)"
    element = "void element(double *predictions, double *targets, double *value, double *gradient)"
    temper.define_plugin(
        {"name": "f", "loss": [
            {"name": "row", "library": library, "symbol": "row", "signature": row},
            {"name": "element", "library": library, "symbol": "element", "signature": element, "reduce": "sum"},
        ]}, context=context)  # fmt: skip
    assert {context.record(name)["plugin"]["gradient"] for name in ("f.row", "f.element")} == {"own"}
    logits, targets = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    pairs = [(context.loss(name).value_and_grad(logits, targets)) for name in ("f.row", "cross_entropy")]
    assert pairs[0][0] == pytest.approx(pairs[1][0], rel=1e-5)
    np.testing.assert_allclose(pairs[0][1]["logits"], pairs[1][1]["logits"], rtol=1e-4, atol=1e-6)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    value, slopes = context.loss("f.element").value_and_grad(x, y, reduction="sum")
    assert value == pytest.approx(((x - y) ** 2).sum())
    np.testing.assert_allclose(slopes["predictions"], 2 * (x - y), rtol=1e-12)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("symbol, says", [("abort", "SIGABRT"), ("exit", "exit status"), ("pause", "did not return")])
def test_functions_that_do_not_return_cost_an_error(context, symbol, says, isolated):
    declared = _foreign("double (double predictions)", library="libc.so.6", symbol=symbol)
    with pytest.raises(temper.errors.PluginFailed, match=says):
        temper.define_plugin(declared, time_limit=0.5, context=context, isolated=isolated)


def test_a_wrong_gradient_function_is_found_out(context):
    wrong = _foreign("double (double predictions)", symbol="sin", inputs={"predictions": {"shape": "N,D"}},
                     gradient={"symbol": "sin", "signature": "double (double predictions)"})  # fmt: skip
    with pytest.raises(temper.errors.PluginFailed, match="not that of its value"):
        temper.define_plugin(wrong, context=context)
    wrong["loss"][0]["gradient"]["symbol"] = "cos"
    temper.define_plugin(wrong, context=context)


# Python functions, handed over.


def _square(predictions, targets, weight):
    """Half the squared error."""
    return weight * ((predictions - targets) ** 2).sum(1) / 2


def _square_and_slope(predictions, targets, weight):
    return _square(predictions, targets, weight), weight * (predictions - targets)


@pytest.mark.parametrize(
    "function, options, gradient",
    [
        (_square, {}, "numerical"),
        (_square_and_slope, {"gradients": True}, "own"),
        (_square, {"arrays": "torch"}, "own"),
        (_square, {"arrays": "jax"}, "own"),
    ],
)
def test_python_functions(context, rng, function, options, gradient):
    pytest.importorskip(options.get("arrays", "numpy"), reason="is not installed")
    weight = {"default": 2.0, "range": "(0, inf)", "doc": "The weight."}
    temper.register_loss("mine.square", function, parameters={"weight": weight}, context=context, **options)
    record = context.record("mine.square")
    assert (record["plugin"]["form"], record["plugin"]["gradient"]) == ("python", gradient)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    for dtype, tolerance in (("f8", 1e-9), ("f4", 1e-5)):
        a, b = x.astype(dtype), y.astype(dtype)
        loss = context.loss("square", weight=3.0)
        np.testing.assert_allclose(loss(a, b), 1.5 * ((x - y) ** 2).sum(1), rtol=tolerance, atol=tolerance)
        value, slopes = loss.value_and_grad(a, b, reduction="sum")
        assert value == pytest.approx(1.5 * ((x - y) ** 2).sum(), rel=1e-5)
        np.testing.assert_allclose(slopes["predictions"], 3 * (x - y), rtol=1e-5, atol=1e-6)
    with pytest.raises(temper.errors.OutOfRange):
        context.loss("square", weight=-1.0)


def test_a_classification_loss_in_pytorch(context, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def focal(logits, targets, gamma):
        log_p = torch.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0]
        return -((1 - log_p.exp()) ** gamma) * log_p

    temper.register_loss(
        "mine.focal", focal, arrays="torch", inputs="classification", parameters={"gamma": 2.0}, context=context
    )
    logits, targets = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    ours, theirs = context.loss("mine.focal", gamma=1.5), context.loss("focal", gamma=1.5)
    np.testing.assert_allclose(ours(logits, targets), theirs(logits, targets), rtol=1e-10)
    first, second = (loss.value_and_grad(logits, targets)[1]["logits"] for loss in (ours, theirs))
    np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-12)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "function, says",
    [
        (lambda p, t: _raise(ValueError("the moon is full")), "ValueError: the moon is full"),
        (lambda p, t: _raise(SystemExit(3)), "SystemExit: 3"),
        (lambda p, t: p, "have the shape (6,), and an array of shape (6, 7)"),
        (lambda p, t: "tea", "array of numbers"),
        (lambda p, t: (p - t).sum(1) * np.nan, "nan"),
        (lambda p, t: __import__("os")._exit(4), "exit status 4"),
        (lambda p, t: __import__("os").abort(), "SIGABRT"),
        (lambda p, t: __import__("time").sleep(60), "did not return within"),
        (lambda p, t: __import__("ctypes").string_at(0), "SIGSEGV"),
        (lambda: 0, "takes 0 positional arguments"),
    ],
)
def test_python_functions_that_misbehave_cost_an_error(context, function, says):
    with pytest.raises(temper.errors.PluginFailed) as caught:
        temper.register_loss("mine.bad", function, time_limit=1, context=context)
    assert says in str(caught.value)
    assert "mine.bad" not in context.names("loss")


def test_a_gradient_in_python_that_is_a_lie(context):
    lie = lambda p, t: (((p - t) ** 2).sum(1), p - t)  # noqa: E731
    with pytest.raises(temper.errors.PluginFailed, match="not that of its value"):
        temper.register_loss("mine.lie", lie, gradients=True, context=context)


def test_an_exception_after_the_probe_reaches_the_caller_with_its_traceback(context):
    moods = []

    def moody(predictions, targets):
        if moods:
            raise RuntimeError("not today")
        return (predictions - targets).sum(1)

    temper.register_loss("mine.moody", moody, context=context)
    loss = context.loss("mine.moody")
    np.testing.assert_allclose(loss([[2.0]], [[1.0]]), [1])
    moods.append("bad")
    with pytest.raises(temper.errors.PluginFailed) as caught:
        loss([[2.0]], [[1.0]])
    assert "in moody" in str(caught.value) and "RuntimeError: not today" in str(caught.value)
    moods.clear()
    np.testing.assert_allclose(loss([[2.0]], [[1.0]]), [1])


def test_reloading_and_unloading(context, tmp_path):
    file = tmp_path / "changing.py"
    text = (EXAMPLES / "quadratic.py").read_text()
    file.write_text(text)
    plugin = temper.load_plugin(file, context=context)
    loss = context.loss("plain.quadratic")
    with pytest.raises(temper.errors.WrongState, match="1 loss made from it is in use"):
        plugin.unload()
    with pytest.raises(temper.errors.PluginFailed, match="plain 1.0.0"):
        temper.load_plugin(file, context=context)  # its names are taken
    del loss
    plugin.unload()
    with pytest.raises(KeyError):
        context.loss("plain.quadratic")
    twice = text.replace("/ 2 for row", "* 1 for row").replace("[n, d] for d", "[n, d] + x[n, d] - y[n, d] for d")
    file.write_text(twice.replace("sum(s * s", "sum(s * s / 4"))
    temper.load_plugin(file, context=context)
    np.testing.assert_allclose(context.loss("plain.quadratic")([[3.0]], [[1.0]]), [4])


def test_python_files_that_are_wrong(context, tmp_path):
    file = tmp_path / "wrong.py"
    good = (EXAMPLES / "quadratic.py").read_text()
    for text, says in [
        ("print('hello')\n", "no declaration"),
        ("# /// temper\n# name = 'a'\n", "does not end"),
        ("# /// temper\n# name = 'a\n# ///\n", "line 2"),
        (good.replace("def quadratic", "def other"), "no function quadratic"),
        (good + "\nraise RuntimeError('too late')\n", "RuntimeError: too late"),
        (good + "\nimport sys; sys.exit(5)\n", "SystemExit: 5"),
        (good + "\nimport os; os._exit(5)\n", "exit status 5"),
        (good + "\nthis is no Python\n", "SyntaxError"),
    ]:
        file.write_text(text)
        with pytest.raises(temper.Error) as caught:
            temper.load_plugin(file, context=context)
        assert says in str(caught.value), text


def test_nothing_runs_before_it_is_loaded(context, tmp_path):
    file = tmp_path / "eager.py"
    file.write_text((EXAMPLES / "quadratic.py").read_text() + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    assert temper.inspect_plugin(file, context=context)["forms"] == ["python"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "file, name", [("formulas.toml", "welsch"), ("legacy.toml", "pinball"), ("log_cosh.py", "log_cosh")]
)
def test_training(example, context, rng, file, name):
    temper.load_plugin(example(file), context=context)
    x = rng.normal(size=(256, 3)).astype("f4")
    y = (x @ rng.normal(size=(3, 2))).astype("f4")
    model = temper.Model([{"dense": 2}], input=3, seed=1, context=context)
    trainer = temper.Trainer(model, loss=name, optimizer=context.optimizer("adam", learning_rate=0.05), batch_size=32)
    history = trainer.fit(x, y, epochs=20)
    assert history["training_loss"][-1] < 0.3 * history["training_loss"][0]


def test_one_python_loss_in_many_threads(context, rng):
    temper.load_plugin(EXAMPLES / "log_cosh.py", context=context)
    x, y = rng.normal(size=(64, 3)), rng.normal(size=(64, 3))
    expected = EXPECTED["hyperbolic.log_cosh"]({"predictions": x, "targets": y})
    wrong = []

    def work():
        loss = context.loss("log_cosh")
        for _ in range(50):
            if not np.allclose(loss(x, y), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_same_content_is_probed_once(tmp_path):
    file = tmp_path / "quadratic.py"
    file.write_text((EXAMPLES / "quadratic.py").read_text() + f"\n# {tmp_path}\n")
    first = temper.load_plugin(file, context=temper.Context()).report()
    second = temper.load_plugin(file, context=temper.Context()).report()
    assert "found before" not in first and "found before" in second


def test_declarations_as_json(context, tmp_path):
    declared = {"name": "j", "loss": [{"name": "mae", "formula": "mean(abs(x - y))", "parameters": {}}]}
    (tmp_path / "j.json").write_text(json.dumps(declared))
    temper.load_plugin(tmp_path / "j.json", context=context)
    assert context.loss("j.mae")([[1.0, 2.0]], [[0.0, 0.0]]) == pytest.approx([1.5])
