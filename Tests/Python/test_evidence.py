"""Every method of the pages noisy-labels, imbalance and data has properties, a trace and a measured claim: evidence.py."""

import ast
import functools
import inspect
import pathlib
import re

import pytest

import temper
from evidence import EVIDENCE, methods
from temper.experiments import find
from temper.study import imbalance, noisy_labels

TESTS = pathlib.Path(__file__).resolve().parent
RECORDS = {record["name"]: record for record in methods()}


@functools.cache
def definitions(path):
    """What a file defines at its top: {name: (source, names that it uses)}. A formula's name is what it registers."""
    text = pathlib.Path(path).read_text()
    lines, found = text.splitlines(), {}
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        source = "\n".join(lines[first - 1 : node.end_lineno])
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        used |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        names = [node.name] if hasattr(node, "name") else [
            part.id for target in getattr(node, "targets", ()) for part in ast.walk(target) if isinstance(part, ast.Name)]  # fmt: skip
        for name in [*names, *re.findall(r'^@formula\("(\w+)"\)', source)]:
            found[name] = source, used
    return found


def reached(path, name, seen=None):
    """The source of a definition and of those of the same file that it uses, directly or not."""
    seen = set() if seen is None else seen
    if name in seen or name not in definitions(path):
        return ""
    seen.add(name)
    source, used = definitions(path)[name]
    return "\n".join([source, *(reached(path, other, seen) for other in sorted(used))])


def stands_in(record, source):
    return any(re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", source) for name in [record["name"], *record["aliases"]])


def shown(record, place):
    """Whether there is such a place and it speaks of the method; a word on what is wrong, else None."""
    if place.startswith("study "):
        rows = {"study noisy-labels": [re.split(r" [*(]", label)[0] for label in noisy_labels.METHODS],
                "study imbalance": imbalance.METHODS}[place]  # fmt: skip
        detection = reached(inspect.getfile(noisy_labels), "_detect") if place == "study noisy-labels" else ""
        return None if record["name"] in rows or stands_in(record, detection) else f"no row in {place}"
    if place.startswith("experiment "):
        name, _, part = place.removeprefix("experiment ").partition("::")
        experiment = find(name)
        if experiment is None:
            return f"no {name}"
        path = inspect.getfile(experiment._function)
        if part not in definitions(path).get(name, ("", ()))[1]:
            return f"{name} does not use {part}"
        seeds = inspect.signature(experiment._function).parameters["seeds"].default
        if seeds < 5:
            return f"{name} takes {seeds} seeds"
        # What a page claims of noise or of a matrix may be measured without the method that says how much there is.
        return None if stands_in(record, reached(path, part)) or record["name"] in MEASURED_WITHOUT else f"not in {place}"
    file, _, name = place.partition("::")
    path = TESTS / file
    if not path.exists() or name not in definitions(path):
        return f"no {place}"
    return None if stands_in(record, reached(path, name)) else f"{place} does not name it"


# relative_signal_strength says past which share of wrong labels nothing is learned; the audit that labels of a test are
# wrong as those of training; both are measured on what follows from it.
MEASURED_WITHOUT = {"relative_signal_strength", "confident_learning_test_audit", "majority_vote"}


def test_all_methods_are_here():
    assert set(EVIDENCE) == set(RECORDS)


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_is_there(name):
    assert name in RECORDS
    problems = [shown(RECORDS[name], place) for place in EVIDENCE[name]]
    assert problems == [None] * 3


@pytest.mark.parametrize("name", [n for n, places in EVIDENCE.items() if not places[2].startswith(("study", "experiment"))])
def test_claims_in_tests_take_five_seeds(name):
    """Or more graphs, or crowds."""
    file, _, function = EVIDENCE[name][2].partition("::")
    counts = [int(n) for n in re.findall(r"\brange\((\d+)\)", definitions(TESTS / file)[function][0])]
    assert max(counts, default=0) >= 5


def test_what_is_missing_is_found():
    """A name that no test knows, a place that is not there, and one that speaks of something else."""
    record = {"name": "no_such_method", "aliases": []}
    place = EVIDENCE["tabasco"][1]
    assert shown(record, place) and shown(record, place + "_") and shown(record, "no_such_file.py::test_it")
    assert shown(record, "study noisy-labels") and shown(record, "experiment data_behaviour_study::_pages")
    assert shown(RECORDS["tabasco"], "experiment data_behaviour_study::_none") and not shown(RECORDS["tabasco"], place)
