"""Losses from plug-ins: loading, probing, refusing, using."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import samples
import temper
from temper import _context
from temper._library import _find

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = _find()[1].parent

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler to build plug-ins with")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")

    def compile(name, source):
        path = folder / f"{name}.so"
        (folder / f"{name}.c").write_text(source)
        flags = ["-O1", "-shared", "-fPIC", "-I", HEADERS]
        subprocess.run(["cc", *flags, folder / f"{name}.c", "-o", path, "-lm"], check=True)
        return path

    return compile


@pytest.fixture(scope="module")
def examples(build):
    return {p.stem: build(p.stem, p.read_text()) for p in sorted((ROOT / "examples/plugins").glob("*.c"))}


@pytest.fixture
def context():
    return temper.Context()


def test_a_plugin_says_what_it_is_before_its_code_runs(examples, context):
    says = temper.inspect_plugin(examples["focal_generalized"], context=context)
    assert says["name"] == "example" and says["licence"] == "Apache-2.0"
    assert [loss["name"] for loss in says["losses"]] == ["example.focal_generalized"]
    with pytest.raises(KeyError):
        context.loss("example.focal_generalized")


@pytest.mark.parametrize("name", ["focal_generalized", "barron"])
def test_losses_of_plugins_are_in_the_catalogue_with_their_gradients(examples, context, rng, name):
    plugin = temper.load_plugin(examples[name], context=context)
    assert name in plugin.report() and repr(plugin) == f"<temper.Plugin: {examples[name]}>"
    record = context.record(name)
    assert record["name"].endswith("." + name) and record["origin"]
    loss = context.loss(record["name"])
    for _, variant, _ in samples.cases([record]):
        inputs = samples.inputs(rng, record, variant)
        for wrt in samples.differentiable(variant):
            gradient = loss.value_and_grad(**inputs, wrt=wrt)[1][wrt]
            expected = samples.numeric_gradient(lambda: loss.value_and_grad(**inputs, wrt=())[0], inputs[wrt])
            np.testing.assert_allclose(gradient, expected, rtol=2e-6, atol=1e-8)


def test_a_plugin_is_of_one_context(examples, context):
    temper.load_plugin(examples["barron"], context=context)
    assert "barron" not in {record["name"].split(".")[-1] for record in temper.Context().catalog()}
    with pytest.raises(temper.Error):
        temper.load_plugin(examples["barron"], context=context)  # its names are taken


@pytest.fixture
def context_of_the_module():
    """A new one for the test, and another for those that follow."""
    _context.default.cache_clear()
    yield
    _context.default.cache_clear()


def test_the_functions_of_the_module_see_a_plugin_too(examples, context_of_the_module):
    temper.load_plugin(examples["focal_generalized"])
    logits, targets = np.array([[1.0, 2.0, 0.5]]), np.array([1])
    p = temper.op("softmax")(logits)[0, 1]
    loss = temper.loss("example.focal_generalized", q=0.5, gamma=2.0)
    np.testing.assert_allclose(loss(logits, targets), [(1 - p**0.5) / 0.5 * (1 - p) ** 2], rtol=1e-12)
    model = temper.Model([{"dense": 3}], input=3, seed=1)
    history = temper.Trainer(model, loss="example.focal_generalized").fit(np.eye(3, dtype="f4"), [0, 1, 2], epochs=50)
    assert history["training_loss"][-1] < history["training_loss"][0]


def test_a_gradient_that_is_a_lie_is_found_out(build, context):
    honest = (ROOT / "examples/plugins/barron.c").read_text()
    lie = honest.replace("*slope = z * pow(base, a / 2 - 1);", "*slope = 2 * z * pow(base, a / 2 - 1);")
    assert lie != honest
    with pytest.raises(temper.errors.PluginFailed, match="gradient"):
        temper.load_plugin(build("lie", lie), context=context)
    assert "barron" not in {name.split(".")[-1] for name in context.names("loss")}


@pytest.mark.parametrize(
    "name, does",
    [
        ("crash", "*(volatile int *)0 = 1;"),
        ("exit", "_exit(0);"),
        ("hang", "for (volatile int i = 1; i;) {}"),
        ("wild", "((float *)call->values)[call->count + 4096] = 1;"),
        ("nan", "((float *)call->values)[0] = NAN; return 0;"),
        ("error", "return 1;"),
    ],
)
def test_plugins_that_misbehave_cost_an_error(build, context, name, does):
    honest = (ROOT / "examples/plugins/barron.c").read_text()
    bad = "#include <unistd.h>\n" + honest.replace("(void)state;", f"(void)state; {does}", 1)
    assert does in bad
    with pytest.raises(temper.errors.PluginFailed):
        temper.load_plugin(build(name, bad), time_limit=1, context=context)
    assert "barron" not in {name.split(".")[-1] for name in context.names("loss")}


def test_files_that_are_no_plugins(tmp_path, build, context):
    text = tmp_path / "text.so"
    text.write_text("not a library")
    empty = tmp_path / "empty.so"
    empty.write_bytes(b"")
    plain = build("plain", "int nothing(void) { return 0; }\n")
    for path in (text, empty, plain, tmp_path / "missing.so", tmp_path):
        for call in (temper.inspect_plugin, temper.load_plugin):
            with pytest.raises(temper.Error):
                call(path, context=context)


def test_only_permitted_directories(examples, tmp_path):
    path = examples["barron"]
    with pytest.raises(temper.Error):
        temper.load_plugin(path, context=temper.Context(plugin_directories=[tmp_path]))
    temper.load_plugin(path, context=temper.Context(plugin_directories=[tmp_path, path.parent]))
