"""What stands behind every object that the library made."""

import threading
import weakref

from ._library import library


class Handle:
    """A handle of the library. It is given back when Python drops the object; at exit the process takes it along.

    `_lock` keeps two Python threads from one handle at a time, as temper.h asks; one thread may come in again, from a
    callback.
    """

    _kind: str

    def __init__(self, pointer, lock=None):
        self._as_parameter_ = pointer
        self._lock = lock or threading.RLock()
        weakref.finalize(self, getattr(library, self._kind + "_free"), pointer).atexit = False


class PerInstance:
    """An attribute that is one thing on the class and another, made when asked for, on its instances.

    For `__doc__` and `__signature__`, which Python's help looks up on either.
    """

    def __init__(self, make, of_class=None):
        self._make, self._of_class = make, of_class

    def __get__(self, instance, owner=None):
        return self._of_class if instance is None else self._make(instance)
