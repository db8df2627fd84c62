"""A bar of text on stderr."""

import sys
import time

_WIDTH = 24
_SECONDS_BETWEEN = 0.1


class _Line:
    """Drawn on one line of a terminal, at most ten times a second; elsewhere only its last state is written.

    title: True for none, a text to stand before the bar, False for no bar at all.
    """

    def __init__(self, title):
        self._title = title if isinstance(title, str) else ""
        self._is_drawn = bool(title)
        self._next = 0.0
        self._line = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._line:
            print(("\r" if sys.stderr.isatty() else "") + self._line, file=sys.stderr, flush=True)

    def _draw(self, share, what):
        filled = round(_WIDTH * share)
        title = self._title and self._title + " "
        line = f"{title}[{'#' * filled}{'.' * (_WIDTH - filled)}] {what}"
        # A shorter line covers what the longer one before it left.
        self._line = line.ljust(len(self._line.rstrip()))
        if time.monotonic() >= self._next and sys.stderr.isatty():
            self._next = time.monotonic() + _SECONDS_BETWEEN
            print("\r" + self._line, end="", file=sys.stderr, flush=True)


class Bar(_Line):
    """Of training, in epochs."""

    _numbers = ""

    def step(self, epoch, epochs, step, steps):
        if self._is_drawn and time.monotonic() >= self._next:
            self._draw((epoch - 1 + step / steps) / epochs, f"{epoch}/{epochs}{self._numbers}")

    def epoch(self, numbers):
        if not self._is_drawn:
            return
        shown = [(name, value) for name, value in numbers.items() if name.endswith(("loss", "accuracy"))]
        self._numbers = "".join(f"  {name.replace('_', ' ')} {value:.4f}" for name, value in shown)
        epoch, epochs = numbers["epoch"], numbers["epochs"]
        self._draw(epoch / epochs, f"{epoch}/{epochs}{self._numbers}")


class Work(_Line):
    """Of long work, in percent."""

    def show(self, share, what):
        if self._is_drawn and (share >= 1 or time.monotonic() >= self._next):
            self._draw(share, f"{share:4.0%} {what}")
