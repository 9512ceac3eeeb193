"""How far reading has got, told to whoever watches. Costs nothing while rows are read: a thread looks now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple


class Reading(NamedTuple):
    """A file that is being read."""

    file: str
    done: int
    """Bytes taken from the file, compressed ones where it is compressed."""
    total: int


Tell = Callable[[Reading | None], None]
"""Called from another thread while a file is read; with None, from the reading one, when it is closed."""

_open: dict[int, tuple[BinaryIO, Path, int]] = {}
_tells: list[Tell] = []


@contextmanager
def reading(stream: BinaryIO, path: Path) -> Generator[None]:
    """The stream is read inside this block."""
    if not _tells:
        yield
        return
    _open[id(stream)] = (stream, path, path.stat().st_size if path.is_file() else 0)
    try:
        yield
    finally:
        del _open[id(stream)]
        for tell in _tells:
            tell(None)


@contextmanager
def watched(tell: Tell, *, every_s: float = 0.25) -> Generator[None]:
    """Inside this block `tell` hears of files of 1 byte and more that take longer than `every_s`."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(every_s):
            for stream, path, total in list(_open.values())[-1:]:
                with suppress(ValueError, OSError):  # closed meanwhile
                    if total:
                        tell(Reading(str(path), stream.tell(), total))

    thread = threading.Thread(target=look, daemon=True)
    _tells.append(tell)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _tells.remove(tell)
