"""How far long work has got, told to whoever watches. Costs nothing while it goes on: a thread looks now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple


class Reading(NamedTuple):
    """A file that is being read or fetched."""

    file: str
    done: int
    """Bytes taken from the file, compressed ones where it is compressed."""
    total: int


Tell = Callable[[Reading | None], None]
"""Called from another thread while a file is read; with None, from the reading one, when it is closed."""

_open: dict[int, tuple[Callable[[], int], str, int]] = {}
_tells: list[Tell] = []


@contextmanager
def reading(stream: BinaryIO, path: Path) -> Generator[None]:
    """The stream is read inside this block."""
    with going(stream.tell, str(path), path.stat().st_size if path.is_file() else 0):
        yield


@contextmanager
def going(done: Callable[[], int], name: str, total: int) -> Generator[None]:
    """Inside this block `done` answers how much of `total` is behind us; it is called from another thread."""
    if not _tells:
        yield
        return
    key = id(done)
    _open[key] = (done, name, total)
    try:
        yield
    finally:
        del _open[key]
        for tell in _tells:
            tell(None)


@contextmanager
def watched(tell: Tell, *, every_s: float = 0.25) -> Generator[None]:
    """Inside this block `tell` hears of files of 1 byte and more that take longer than `every_s`."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every_s):
            for done, name, total in list(_open.values())[-1:]:
                with suppress(ValueError, OSError):  # closed meanwhile
                    if total:
                        tell(Reading(name, done(), total))

    thread = threading.Thread(target=look, daemon=True)
    _tells.append(tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _tells.remove(tell)
