"""Would the tests of methods over arrays see a wrong kernel? A plugin of pytest that answers it for the binding:

    cd Tests/Python && python -m pytest -p mutants_of_arrays test_samplers.py test_generators.py ...

After each test that passes, it runs again once for each thing that it touched, which is then wrong: a result or a kept
array (all of its elements, or the middle one), or a parameter (another value in its range). What no test minds is listed in
the end, and is an error of the tests or an array that promises nothing.
"""

import collections

import numpy as np
import pytest

import temper
from evidence import AREAS
from temper import _array_methods, _methods, _operators

KINDS = ("sampler", "generator", "detector", "calibrator", "op")
RECORDS = {
    name: record
    for record in temper.catalog()
    if record["area"] in AREAS and record["kind"] in KINDS
    for name in [record["name"], *record["aliases"]]
}
active, touched = None, set()
minded = collections.defaultdict(bool)


def changed(value, is_whole):
    if isinstance(value, list):  # texts
        return [text[:-1] + ("y" if text.endswith("x") else "x") for text in value]
    value = np.array(value)
    flat = value.reshape(-1)
    at = slice(None) if is_whole else slice(flat.size // 2, flat.size // 2 + 1)
    if value.dtype == bool:
        flat[at] = ~flat[at]
    elif value.dtype.kind in "iu":
        flat[at] += 1
    elif flat.size:
        flat[at] = 1.02 * flat[at] + 0.01 * (np.abs(flat).max() + 1e-9)
    return value if value.ndim else value[()]


def seen(name, what, arrays):
    """Notes what a test touches, and spoils what is active."""
    for key in arrays:
        for is_whole in (True, False):
            mutant = name, what, key, is_whole
            touched.add(mutant)
            if mutant == active:
                arrays[key] = changed(arrays[key], is_whole)
    return arrays


def wrapped(original, what):
    def method(self, *inputs, **named):
        result = original(self, *inputs, **named)
        if self._given not in RECORDS:
            return result
        name = RECORDS[self._given]["name"]
        return seen(name, what, result) if isinstance(result, dict) else seen(name, what, {"": result})[""]

    return method


def others_than(entry, value):
    if entry.get("choices"):
        return [choice for choice in entry["choices"] if choice != value]
    if isinstance(value, bool):
        return [not value]
    if not isinstance(value, (int, float)):
        return []
    return [value + 1, value - 1, 2 * value] if entry["type"] == "integer" else [1.3 * value, 0.7 * value, value + 0.3]


def made(original):
    def method(self, context, name, parameters):
        record = RECORDS.get(name)
        for entry in record["parameters"] if record and record["kind"] == self._kind else ():
            mutant = record["name"], "parameter", entry["name"], True
            touched.add(mutant)
            if mutant != active:
                continue
            names = [entry["name"], *entry["aliases"]]
            value = next((parameters[key] for key in names if key in parameters), entry["default"])
            rest = {key: own for key, own in parameters.items() if key not in names}
            for other in others_than(entry, value):
                try:
                    return original(self, context, name, {**rest, entry["name"]: other})
                except temper.Error:
                    continue
        return original(self, context, name, parameters)

    return method


_array_methods._ArrayMethod._perform = wrapped(_array_methods._ArrayMethod._perform, "result")
_operators.Operator.__call__ = wrapped(_operators.Operator.__call__, "result")
_array_methods._Stateful.state = property(wrapped(_array_methods._Stateful.state.fget, "kept"))
_methods.Method.__init__ = made(_methods.Method.__init__)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    global active
    touched.clear()
    outcome = yield
    if outcome.excinfo is not None:
        return
    for mutant in sorted(touched):
        if minded[mutant]:
            continue
        active = mutant
        if "rng" in item.funcargs:
            item.funcargs["rng"] = np.random.default_rng(np.frombuffer(item.nodeid.encode(), np.uint8))
        try:
            item.runtest()
        except pytest.skip.Exception:
            pass
        except (Exception, pytest.fail.Exception):
            minded[mutant] = True
        finally:
            active = None


def pytest_terminal_summary(terminalreporter):
    alive = sorted(mutant for mutant, is_minded in minded.items() if not is_minded)
    terminalreporter.write_line(f"{len(minded)} mutants, of which no test minds {len(alive)}:")
    for name, what, key, is_whole in alive:
        terminalreporter.write_line(f"  {name}: {what} {key}{'' if is_whole else ', one element'}")
