# pyright: basic
"""Cancelling while AutoTrain is being imported, which takes from ten seconds to more than a minute."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator

from .context import Context

_LOOK_S = 0.2


class Leaving(BaseException):
    """The job was told to stop. No `Exception`: imports catch those."""


@contextlib.contextmanager
def when_told(ctx: Context) -> Iterator[None]:
    """Raise `Leaving` in here once the job is told to stop."""
    done, main = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not done.wait(_LOOK_S):
            if ctx.stop:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(Leaving))
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
