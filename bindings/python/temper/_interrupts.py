"""Control-C while the library works.

Python would raise KeyboardInterrupt at the start of the next Python function, a callback of the library's, which it
could not leave. So it is noted, the callback asks the library to stop, and it is raised when the call has returned.
"""

import signal
import threading


class Interrupts:
    """Within the block `came` says whether Control-C was pressed; on leaving KeyboardInterrupt is raised if so.

    Only the main thread gets it, and handlers that the program has set stay.
    """

    def __init__(self):
        self.came = False

    def __enter__(self):
        self._replaces = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._replaces:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number, frame):
        self.came = True

    def __exit__(self, kind, *_):
        if self._replaces:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.came and kind is None:
            raise KeyboardInterrupt
