"""Plug-ins built with older and newer headers, and what revision 2 added: state by sample, second derivatives."""

import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import samples
import temper
from temper._library import _find

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = _find()[1].parent
ARCHIVED = ROOT / "Tests/ABI/released/headers-plugin-1"

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler to build plug-ins with")


@pytest.fixture
def build(tmp_path):
    def compile(source, headers=HEADERS):
        text = source if "\n" in source else (ROOT / "examples/plugins" / source).read_text()
        path = tmp_path / f"plugin{len(list(tmp_path.iterdir()))}.so"
        (tmp_path / "plugin.c").write_text(text)
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", "-I", headers, tmp_path / "plugin.c", "-o", path, "-lm"], check=True
        )
        return path

    return compile


@pytest.fixture
def context():
    return temper.Context(threads=1)


def revision(header):
    return int(re.search(r"#define TEMPER_PLUGIN_REVISION (\d+)", header.read_text())[1])


@pytest.mark.parametrize("name", ["barron", "focal_generalized"])
def test_plugins_of_older_headers_load_and_say_so(build, context, rng, name):
    assert revision(ARCHIVED / "temper_plugin.h") == 1 < revision(HEADERS / "temper_plugin.h")
    plugin = temper.load_plugin(build(name + ".c", ARCHIVED), context=context)
    assert "built for revision 1" in plugin.report()
    fresh = temper.Context(threads=1)
    assert "built for" not in temper.load_plugin(build(name + ".c"), context=fresh).report()
    x, y = rng.normal(size=(5, 3)), rng.integers(0, 3, 5) if "focal" in name else rng.normal(size=(5, 3))
    old, new = (c.loss(name).value_and_grad(x, y) for c in (context, fresh))
    assert old[0] == new[0]


@pytest.fixture
def newer(tmp_path):
    """The header as a later version may be: everything that may grow has grown."""
    folder = tmp_path / "newer"
    folder.mkdir()
    text = (HEADERS / "temper_plugin.h").read_text()
    now = revision(HEADERS / "temper_plugin.h")
    text = text.replace(f"TEMPER_PLUGIN_REVISION {now}", f"TEMPER_PLUGIN_REVISION {now + 1}")
    for struct in ("input", "parameter", "state", "loss", "descriptor"):
        text, count = re.subn(
            rf"\}} temper_plugin_{struct};", rf"  const char *future;\n}} temper_plugin_{struct};", text
        )
        assert count == 1
    (folder / "temper_plugin.h").write_text(text)
    return folder


def test_plugins_of_newer_headers_are_capped(build, context, newer, rng):
    source = (ROOT / "examples/plugins/barron.c").read_text()
    source = source.replace(".parameter_count = 2}", '.parameter_count = 2, .future = "what this host does not know"}')
    plugin = temper.load_plugin(build(source, newer), context=context)
    assert f"built for revision {revision(newer / 'temper_plugin.h')}" in plugin.report()
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    np.testing.assert_allclose(context.loss("barron", alpha=2.0)(x, y), ((x - y) ** 2).mean(1) / 2)


def test_plugins_that_cannot_do_without_a_newer_host_are_refused(build, context, newer):
    source = (ROOT / "examples/plugins/barron.c").read_text().replace(".min_host = 1", ".min_host = 3")
    with pytest.raises(temper.errors.PluginFailed) as caught:
        temper.load_plugin(build(source, newer), context=context)
    assert "needs a host of revision 3 or newer; this one has revision 2" in str(caught.value)


# What revision 2 added.


def expected(x, y, m, weight=0.5):
    return ((x - y) ** 2 + weight * (x - m) ** 2).mean(1) / 2


@pytest.mark.parametrize("isolated", [False, True])
def test_state_and_second_derivatives(build, context, rng, isolated):
    plugin = temper.load_plugin(build("steady.c"), context=context, isolated=isolated)
    assert "second derivatives as finite differences" in plugin.report()
    record = context.record("temporal.steady")
    assert [entry["name"] for entry in record["state"]] == ["average"]
    loss = context.loss("steady")
    x, y, m = (rng.normal(size=(6, 3)).astype("f4") for _ in range(3))
    np.testing.assert_allclose(loss(x, y, average=m), expected(x, y, m), rtol=1e-5)
    gradient = loss.value_and_grad(x, y, average=m, reduction="sum")[1]["predictions"]
    np.testing.assert_allclose(gradient, ((x - y) + 0.5 * (x - m)) / 3, rtol=1e-5, atol=1e-6)
    along = {"predictions": rng.normal(size=(6, 3)).astype("f4")}
    product = loss.hessian_product(x, y, average=m, directions=along, reduction="sum")["predictions"]
    np.testing.assert_allclose(product, 0.5 * along["predictions"], rtol=1e-5)


@pytest.mark.parametrize("isolated", [False, True])
def test_a_trainer_keeps_the_state(build, context, rng, isolated):
    """With a learning rate of 0 predictions stay, and the average moves towards them: m = (1 - keep^epoch) x."""
    temper.load_plugin(build("steady.c"), context=context, isolated=isolated)
    x, y = rng.normal(size=(12, 3)).astype("f4"), rng.normal(size=(12, 2)).astype("f4")
    model = temper.Model([{"dense": 2}], input=3, seed=1, context=context)
    still = context.optimizer("sgd", learning_rate=0.0)
    history = temper.Trainer(model, loss="steady", optimizer=still, batch_size=4).fit(x, y, epochs=4)
    p = model.predict(x)
    losses = [expected(p, y, (1 - 0.6**epoch) * p).mean() for epoch in range(4)]
    np.testing.assert_allclose(history["training_loss"], losses, rtol=1e-5)


@pytest.mark.parametrize(
    "right, wrong, says",
    [
        ("(1 + weight) / (float)width * direction[i]", "weight * direction[i]", "is not that of its gradient"),
        ("if (next) next[i]", "if (next && i % 2) next[i]", "of the new state average unwritten"),
        ("next[i] = keep", "((float *)m)[i] = keep", "the state average, which is only to be read"),
        ('.shape = "D", .initial', '.shape = "K", .initial', "the inputs' letters"),
        ('.name = "average"', '.name = "targets"', "stands for two"),
    ],
)
def test_lies_about_state_and_second_derivatives(build, context, right, wrong, says):
    source = (ROOT / "examples/plugins/steady.c").read_text()
    assert right in source
    with pytest.raises(temper.errors.PluginFailed) as caught:
        temper.load_plugin(build(source.replace(right, wrong, 1)), context=context)
    assert says in str(caught.value)


def test_examples_are_held_to_finite_differences(build, context, rng):
    temper.load_plugin(build("steady.c"), context=context)
    record = context.record("temporal.steady")
    loss = context.loss("steady")
    for _, variant, _ in samples.cases([record]):
        inputs = samples.inputs(rng, record, variant)
        gradient = loss.value_and_grad(**inputs, wrt="predictions")[1]["predictions"]
        m = np.zeros_like(inputs["predictions"])
        numeric = samples.numeric_gradient(
            lambda: float(expected(inputs["predictions"], inputs["targets"], m).mean()), inputs["predictions"]
        )
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)
