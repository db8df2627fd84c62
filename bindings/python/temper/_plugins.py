"""Plug-ins: losses of one's own, from files, formulas and functions."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING

from . import _context, errors
from ._handles import Handle
from ._library import library

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from ._types import Path


class Plugin(Handle):
    """A plug-in that is loaded: made by temper.load_plugin, define_plugin and register_loss. Its losses are in the
    catalogue, and stay there until it is unloaded."""

    _kind = "plugin"

    def __init__(self, pointer, name: str):
        super().__init__(pointer)
        self.name = name

    def report(self) -> str:
        """What the probe found: each check of each loss, with numbers, as text."""
        return library.text(library.plugin_report, self)

    def unload(self) -> None:
        """Takes its losses out of the catalogue; an error while one of them is in use."""
        library.plugin_unload(self)

    def __repr__(self):
        return f"<temper.Plugin: {self.name}>"


def load_plugin(
    path: Path,
    time_limit: float | None = None,
    context: _context.Context | None = None,
    *,
    isolated: bool = False,
    retries: int = 0,
    on_failure: Literal["error", "nan"] = "error",
    memory_limit: int = 0,
) -> Plugin:
    """Loads a plug-in, probes each of its losses in a process of its own, and adds them to the catalogue under
    "<plug-in>.<loss>", and where that is free under "<loss>".

    path: a library (.so), a declaration (.toml, .json) of formulas and of functions of libraries, or a Python file
    (.py). time_limit: seconds for each loss in the probe, 10 without it. A plug-in that crashes, hangs or lies about
    its gradient is refused with the probe's report.

    isolated: functions run in a process of their own, always; what goes wrong there is an error. time_limit: then also
    for each call. retries: how often a call that ended the process is made again. on_failure: "error", or "nan", with
    which a trainer with skip_non_finite goes on. memory_limit: bytes for the process, 2 GB without it.
    """
    context = context or _context.default()
    options = _options(time_limit, **_isolation(isolated, retries, on_failure, memory_limit))
    return Plugin(library.handle(library.plugin_load, context, os.fsencode(path), options), os.fspath(path))


def define_plugin(
    declaration: str | dict,
    time_limit: float | None = None,
    context: _context.Context | None = None,
    *,
    isolated: bool = False,
    retries: int = 0,
    on_failure: Literal["error", "nan"] = "error",
    memory_limit: int = 0,
) -> Plugin:
    """Adds the losses that a declaration in TOML or JSON, or a dict, declares: formulas, and functions of libraries.
    The options are those of load_plugin."""
    text = declaration if isinstance(declaration, str) else json.dumps(declaration)
    context = context or _context.default()
    options = _options(time_limit, **_isolation(isolated, retries, on_failure, memory_limit))
    return Plugin(library.handle(library.plugin_define, context, text.encode(), options), "a declaration")


def register_loss(
    name: str,
    loss: str | Callable,
    *,
    inputs: str | dict | None = None,
    parameters: dict | None = None,
    arrays: str = "numpy",
    gradients: bool = False,
    summary: str | None = None,
    time_limit: float | None = None,
    context: _context.Context | None = None,
) -> Plugin:
    """Adds a loss of one's own under `name`, "<namespace>.<name>": a formula, or a Python function.

    loss: a formula such as "(1 - p[y]^q) / q", or a function of the inputs in their order, and of the parameters by
    name, that gives the value of each sample. inputs: "classification" (logits, targets), "regression" (predictions,
    targets), or a dict by name. parameters: defaults by name, or dicts with default, range and doc. arrays: what a
    function works with: "numpy", "torch", "jax" (both differentiate it), or "buffer" (memoryviews). gradients: the
    function gives (values, gradients). A function of NumPy without gradients has them from finite differences.
    """
    namespace, dot, short = name.rpartition(".")
    declared = {"name": short, "parameters": parameters or {}}
    options = {}
    if callable(loss):
        declared.update(arrays=arrays, gradients=gradients)
        summary = summary or next(iter((loss.__doc__ or "").strip().splitlines()), None)
        options["callable"] = id(loss)
    else:
        declared["formula"] = loss
    if inputs is not None:
        declared["inputs"] = inputs
    if summary:
        declared["summary"] = summary
    text = json.dumps({"name": namespace if dot else "user", "loss": [declared]})
    handle = library.handle(
        library.plugin_define, context or _context.default(), text.encode(), _options(time_limit, **options)
    )
    return Plugin(handle, name)


def _isolation(isolated, retries, on_failure, memory_limit):
    constants = library.constants
    choices = {"error": constants["TEMPER_FAILURE_ERROR"], "nan": constants["TEMPER_FAILURE_NAN"]}
    if on_failure not in choices:
        raise errors.InvalidArgument(f"on_failure is one of {', '.join(choices)}; {on_failure!r} came.")
    return {
        "flags": constants["TEMPER_PLUGIN_ISOLATED"] if isolated else 0,
        "retries": retries,
        "on_failure": choices[on_failure],
        "memory_limit": memory_limit,
    }


def _options(time_limit, **fields):
    limit = 0 if time_limit is None else max(1, round(time_limit * 1000))
    return ctypes.byref(library.struct("plugin_options", time_limit_milliseconds=limit, **fields))


def inspect_plugin(path: Path, context: _context.Context | None = None) -> dict:
    """What a plug-in file says of itself and of its losses, as a dict, read without running any of its code."""
    context = context or _context.default()
    return json.loads(
        library.text(library.plugin_inspect, context, os.fsencode(path), library.constants["TEMPER_FORMAT_JSON"])
    )


def list_plugins(context: _context.Context) -> list[dict]:
    """What lies in the plug-in directories of a context, as dicts like those of inspect_plugin, with "path"; a file that
    is meant to be a plug-in and is none has an "error". None of their code runs."""
    return json.loads(library.text(library.plugin_list, context, library.constants["TEMPER_FORMAT_JSON"]))
