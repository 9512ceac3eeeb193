"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from finetune_sdk.errors import DataError


def refuse_shared(outs: Iterable[Path]) -> None:
    """Raise `DataError` where two outputs lead to the same file, be it by links: their rows would mix."""
    seen: dict[str, Path] = {}
    for out in outs:
        goal = os.path.realpath(out)
        if goal in seen:
            what = f"{seen[goal]} and {out} lead to the same file, {goal}"
            raise DataError(f"{what}; nothing was written. Give each output a file of its own.")
        seen[goal] = out


class AtomicFile:
    """Write into `<name>.part`; `commit` syncs and renames it. Leaving without a commit deletes what was written.

    Where several files belong together, `finish` all of them before the first one is committed: no disk is full then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._goal = _end_of_links(path) if path.is_symlink() else path
        """The file itself: a link to it stays one."""
        self._part = self._goal.with_name(f"{self._goal.name}.{os.getpid()}.part")
        self._stream: BinaryIO | None = None
        self._done = False

    def __enter__(self) -> AtomicFile:
        try:
            self._stream = self._part.open("wb", buffering=1 << 16)  # blocks are larger and pass by it
        except OSError as error:
            if error.errno == errno.ENOENT and self._goal != self.path:
                what = f"it is a link to {self._goal}, and there is no such folder"
                raise DataError(
                    f"{self.path}: cannot be written: {what}. Create the folder, or remove the link."
                ) from error
            raise self._named(error) from error
        return self

    @property
    def part(self) -> Path:
        """Where the bytes are until `commit`."""
        return self._part

    def write(self, data: bytes) -> None:
        """Append bytes."""
        assert self._stream is not None, "write happens inside the context"  # noqa: S101
        try:
            self._stream.write(data)
        except OSError as error:
            raise self._named(error) from error

    def finish(self) -> None:
        """Bring all bytes to the disk, under the other name still."""
        assert self._done or self._stream is not None, "finish happens inside the context"  # noqa: S101
        if self._stream is None:
            return
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream, self._done = None, True
        except OSError as error:
            raise self._named(error) from error

    def commit(self) -> None:
        """Make the file appear under its name."""
        self.finish()
        try:
            self._part.replace(self._goal)
        except OSError as error:
            raise self._named(error) from error

    def _named(self, error: OSError) -> OSError:
        """The error with the file's name, which a full disk does not tell."""
        return OSError(error.errno, error.strerror, str(self.path))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError):  # a full disk fails here again; the first error is the one to tell
                self._stream.close()
        with suppress(NotADirectoryError):
            self._part.unlink(missing_ok=True)  # also where Ctrl-C came while it was opened; a commit leaves none


def _end_of_links(path: Path) -> Path:
    """The file that a link leads to, whether it exists or not. Raises `DataError` where links lead in a circle."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            what = "it is a link that leads back to itself"
            raise DataError(f"{path}: cannot be written: {what}. Remove the link, or name another file.") from error
    return path.resolve()
