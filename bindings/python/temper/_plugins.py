"""Plug-ins: losses from shared libraries."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING

from . import _context
from ._handles import Handle
from ._library import library

if TYPE_CHECKING:
    from ._types import Path


class Plugin(Handle):
    """A plug-in that is loaded: made by temper.load_plugin. Its losses are in the catalogue, and stay there."""

    _kind = "plugin"

    def __init__(self, context: _context.Context, path: Path, time_limit: float | None = None):
        limit = 0 if time_limit is None else max(1, round(time_limit * 1000))
        options = library.struct("plugin_options", time_limit_milliseconds=limit)
        super().__init__(library.handle(library.plugin_load, context, os.fsencode(path), ctypes.byref(options)))
        self.path = os.fspath(path)

    def report(self) -> str:
        """What the probe found: each check of each loss, with numbers, as text."""
        return library.text(library.plugin_report, self)

    def __repr__(self):
        return f"<temper.Plugin: {self.path}>"


def load_plugin(path: Path, time_limit: float | None = None, context: _context.Context | None = None) -> Plugin:
    """Loads a plug-in, probes each of its losses in a process of its own, and adds them to the catalogue under
    "<plug-in>.<loss>", and where that is free under "<loss>".

    time_limit: seconds for each loss in the probe, 10 without it. A plug-in that crashes, hangs or lies about its
    gradient is refused with the probe's report.
    """
    return Plugin(context or _context.default(), path, time_limit)


def inspect_plugin(path: Path, context: _context.Context | None = None) -> dict:
    """What a plug-in file says of itself and of its losses, as a dict, read without running any of its code."""
    context = context or _context.default()
    return json.loads(
        library.text(library.plugin_inspect, context, os.fsencode(path), library.constants["TEMPER_FORMAT_JSON"])
    )
