"""A bar of text on stderr."""

import sys
import time

_WIDTH = 24
_SECONDS_BETWEEN = 0.1


class Bar:
    """Drawn on one line of a terminal, at most ten times a second; elsewhere only its last state is written.

    title: True for none, a text to stand before the bar, False for no bar at all.
    """

    def __init__(self, title):
        self._title = title if isinstance(title, str) else ""
        self._is_drawn = bool(title)
        self._next = 0.0
        self._line = self._numbers = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._line:
            print(("\r" if sys.stderr.isatty() else "") + self._line, file=sys.stderr, flush=True)

    def step(self, epoch, epochs, step, steps):
        if self._is_drawn and time.monotonic() >= self._next:
            self._draw(epoch - 1 + step / steps, epoch, epochs)

    def epoch(self, numbers):
        if not self._is_drawn:
            return
        shown = [(name, value) for name, value in numbers.items() if name.endswith(("loss", "accuracy"))]
        self._numbers = "".join(f"  {name.replace('_', ' ')} {value:.4f}" for name, value in shown)
        self._draw(numbers["epoch"], numbers["epoch"], numbers["epochs"])

    def part(self, done, parts):
        """So many of the parts are done."""
        if self._is_drawn:
            self._draw(done, done, parts)

    def _draw(self, done, epoch, epochs):
        filled = round(_WIDTH * done / max(epochs, 1))
        title = self._title and self._title + " "
        line = f"{title}[{'#' * filled}{'.' * (_WIDTH - filled)}] {epoch}/{epochs}{self._numbers}"
        # A shorter line covers what the longer one before it left.
        self._line = line.ljust(len(self._line.rstrip()))
        if time.monotonic() >= self._next and sys.stderr.isatty():
            self._next = time.monotonic() + _SECONDS_BETWEEN
            print("\r" + self._line, end="", file=sys.stderr, flush=True)
