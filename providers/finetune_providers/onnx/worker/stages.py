# pyright: basic
"""Stages that are done once: a marker with the hash of what went in and of every file that came out.

A stage writes into a folder aside, which is renamed when it is whole; its marker is written last. The next attempt
takes a stage as done when its marker carries the same key and its files are still what was written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .context import Context, Stopped

FOLDER = "stages"


@dataclass(frozen=True)
class Done:
    """What a finished stage left."""

    folder: Path
    result: dict[str, Any]
    key: str
    """Of what went in; stages that build on this one put it into their own."""
    seconds: float


class Stages:
    """The stages of one job."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self.root = ctx.dir / FOLDER
        self.root.mkdir(exist_ok=True)

    def run(self, name: str, inputs: dict[str, Any], work: Callable[[Path], dict[str, Any]], *, what: str) -> Done:
        """`work(folder)` unless it was done with the same `inputs`; it may be stopped, and then leaves nothing."""
        key = _key(inputs)
        final, marker = self.root / name, self.root / f"{name}.json"
        before = _read(marker)
        if before is not None and before["key"] == key and whole(final, before["files"]):
            self._ctx.event(f"{what}: done before")
            return Done(final, before["result"], key, before["seconds"])
        self.stop_if_told()
        marker.unlink(missing_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        part = self.root / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        self._ctx.event(what)
        began = time.monotonic()
        try:
            result = work(part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)  # an intermediate model may be large: it gives its room back
            raise
        seconds = time.monotonic() - began
        part.rename(final)
        _write(marker, {"key": key, "seconds": seconds, "result": result, "files": hashes(final)})
        self._ctx.event(f"{what}: finished", seconds=seconds)
        return Done(final, result, key, seconds)

    def drop(self, name: str) -> None:
        """Give a stage's files their room back; its marker goes too."""
        (self.root / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(self.root / name, ignore_errors=True)

    def stop_if_told(self) -> None:
        """Leave between two stages."""
        if self._ctx.stop:
            raise Stopped(self._ctx.stop)


def hashes(folder: Path) -> dict[str, list[Any]]:
    """Size and SHA-256 of every file, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, digest(path)] for path in files}


def whole(folder: Path, files: dict[str, list[Any]]) -> bool:
    """Whether the folder still holds exactly what was written."""
    return folder.is_dir() and hashes(folder) == files


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted `<sha256>  <relative path>` lines."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(item for item in path.rglob("*") if item.is_file())
    lines = "".join(f"{digest(item)}  {item.relative_to(path).as_posix()}\n" for item in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _key(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _read(marker: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"key", "files", "result", "seconds"} <= found.keys() else None


def _write(marker: Path, value: dict[str, Any]) -> None:
    part = marker.with_suffix(".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(marker)
