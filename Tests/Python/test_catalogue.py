"""The catalogue from Python: records, documentation, signatures, the command line."""

import importlib
import inspect
import json
import pydoc
import subprocess
import sys

import pytest

import temper

RECORDS = temper.catalog()
NAMESPACES = {
    "losses": ("loss",),
    "ops": ("op", "activation"),
    "decoders": ("decoder",),
    "metrics": ("metric",),
    "optimizers": ("optimizer",),
    "schedules": ("schedule",),
    "quantizers": ("quantizer",),
    "samplers": ("sampler",),
    "generators": ("generator",),
    "detectors": ("detector",),
    "calibrators": ("calibrator",),
}
CONSTRUCTORS = {
    "loss": temper.loss,
    "op": temper.op,
    "activation": temper.op,
    "decoder": temper.decoder,
    "metric": temper.metric,
    "optimizer": temper.optimizer,
    "schedule": temper.schedule,
    "quantizer": temper.quantizer,
    "sampler": temper.sampler,
    "generator": temper.generator,
    "detector": temper.detector,
    "calibrator": temper.calibrator,
}


def by_name(record):
    return record["name"]


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "temper", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("record", RECORDS, ids=by_name)
def test_records_are_whole(record):
    assert {"name", "aliases", "kind", "area", "summary", "parameters", "inputs", "state", "reference"} <= set(record)
    assert record["summary"].endswith(".")
    for entry in record["parameters"]:
        assert entry["doc"] and entry["type"] in ("real", "integer", "boolean", "choice", "text")
    for entry in record["inputs"]:
        assert entry["doc"] and entry["forms"]


def test_names_and_aliases_are_unique():
    names = [name for record in RECORDS for name in [record["name"], *record["aliases"]]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("record", [r for r in RECORDS if r["kind"] in CONSTRUCTORS], ids=by_name)
def test_methods_are_made_by_name_and_alias_and_say_what_they_are(record):
    make = CONSTRUCTORS[record["kind"]]
    for name in [record["name"], *record["aliases"]]:
        method = make(name)
        assert method.name == record["name"]
        text = pydoc.render_doc(method, renderer=pydoc.plaintext)
        for word in [record["summary"], *(entry["name"] for entry in record["parameters"] + record["inputs"])]:
            assert word in text
    assert repr(method) == f"temper.{method._kind}({name!r})"


@pytest.mark.parametrize("record", [r for r in RECORDS if r["kind"] in CONSTRUCTORS], ids=by_name)
def test_every_parameter_may_be_given_its_default(record):
    defaults = {
        entry["name"]: float(entry["default"]) if entry["default"] in ("inf", "-inf") else entry["default"]
        for entry in record["parameters"]
    }
    method = CONSTRUCTORS[record["kind"]](record["name"], **defaults)
    assert method.parameters == defaults


@pytest.mark.parametrize("module", NAMESPACES)
def test_every_method_of_a_kind_is_a_function(module):
    namespace = importlib.import_module(f"temper.{module}")
    records = [r for r in RECORDS if r["kind"] in NAMESPACES[module]]
    assert dir(namespace) == sorted(r["name"] for r in records)
    for record in records:
        function = getattr(namespace, record["name"])
        parameters = inspect.signature(function).parameters
        assert list(parameters) == [entry["name"] for entry in record["parameters"]]
        assert function.__doc__ == temper.describe(record["name"])
        assert function().name == record["name"]
    with pytest.raises(AttributeError):
        namespace.nothing_of_this_name


def test_signatures_of_calls_are_those_of_the_record():
    assert str(inspect.signature(temper.loss("cross_entropy"))) == "(logits, targets, class_weights=None, *, out=None)"
    assert str(inspect.signature(temper.op("softmax"))) == "(x, *, axis=-1, out=None)"
    assert inspect.signature(temper.Loss).parameters  # of the class, not of an instance


def test_catalogs_of_a_kind_or_area():
    losses = temper.catalog(kind="loss")
    assert losses and all(record["kind"] == "loss" for record in losses)
    noisy = temper.catalog(kind="loss", area="noisy-labels")
    assert 0 < len(noisy) < len(losses)


def test_the_command_line_lists_for_programs():
    result = run("catalog", "--json")
    assert result.returncode == 0 and json.loads(result.stdout) == RECORDS
    result = run("catalog", "--json", "--kind", "optimizer")
    assert json.loads(result.stdout) == temper.catalog(kind="optimizer")


def test_the_command_line_lists_for_people():
    lines = run("catalog").stdout.splitlines()
    assert len(lines) == len(RECORDS)
    for line, record in zip(lines, RECORDS):
        assert line.split()[:3] == [record["name"], record["kind"], record["area"]]


def test_the_command_line_describes():
    assert run("describe", "cross_entropy").stdout == temper.describe("cross_entropy")
    result = run("describe", "cross_entropi")
    assert result.returncode == 1 and "cross_entropy" in result.stderr and "Traceback" not in result.stderr
    assert run("version").stdout.strip() == temper.__version__


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m temper catalog --json | head -c 10"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert result.stderr == ""
