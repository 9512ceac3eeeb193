# pyright: basic
"""Checkpoints that are whole or absent: written aside, hashed, renamed; resume takes the newest whole one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from .context import Context

MANIFEST = "manifest.json"
PART = ".part"
_PREFIX = "checkpoint-"


def seal(part: Path, final: Path, *, step: int, metrics: dict[str, float]) -> None:
    """Turn a written folder into a checkpoint: manifest, flush to disk, rename. An older one of that name gives way."""
    _rewrite_paths(part / "trainer_state.json", str(part.parent), str(final.parent))
    files = {str(path.relative_to(part)): _digest(path) for path in sorted(part.rglob("*")) if path.is_file()}
    manifest = part / MANIFEST
    manifest.write_text(json.dumps({"step": step, "metrics": metrics, "files": files}, indent=1), encoding="utf-8")
    for path in [*(part / name for name in files), manifest]:
        _flush(path)
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    part.parent.rmdir()
    _flush(final.parent)


def why_broken(folder: Path) -> str | None:
    """None for a whole checkpoint, else what is wrong with it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, list[Any]] = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest is missing or unreadable"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or _digest(path)[1] != digest:
            return f"{name} differs from what was written"
    return None


def listed(root: Path) -> list[Path]:
    """All checkpoint folders, lowest step first, whole or not."""
    found = [path for path in root.glob(f"{_PREFIX}*") if path.name[len(_PREFIX) :].isdigit()]
    return sorted(found, key=lambda path: int(path.name[len(_PREFIX) :]))


def kept(root: Path) -> str:
    """The checkpoints there are, for a message."""
    names = [folder.name for folder in listed(root)]
    return f"kept: {', '.join(names)}" if names else "there is no checkpoint"


def newest_whole(ctx: Context, root: Path) -> Path | None:
    """The checkpoint to go on from, None to start over; broken ones are named in a warning and passed over."""
    for folder in reversed(listed(root)):
        broken = why_broken(folder)
        if broken is None:
            return folder
        ctx.event(f"{folder.name} is not whole ({broken}); trying the one before", level="warning")
    return None


def prune(root: Path, *, keep: int, best: str | None) -> None:
    """Delete the oldest checkpoints beyond `keep`; the best one stays."""
    spare = [path for path in listed(root)[:-keep] if best is None or path.name != Path(best).name]
    for path in spare:
        shutil.rmtree(path, ignore_errors=True)


def _rewrite_paths(state: Path, old: str, new: str) -> None:
    # the trainer wrote the aside folder's name as the best checkpoint's path
    if state.is_file():
        state.write_text(state.read_text(encoding="utf-8").replace(f'"{old}/', f'"{new}/'), encoding="utf-8")


def _digest(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
