"""Bringing home what a rented machine left in the job's repository. Imports the vendor's SDK."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi, utils

from finetune_providers.hub.client import fetch
from finetune_providers.hub.journal import Journal
from finetune_sdk.errors import Unreachable
from finetune_sdk.worker import wire

_TEXTS = (wire.EVENTS, wire.LOG)
_KEPT = ("artifacts", "tensorboard", "base")


def result(api: HfApi, made: Journal) -> dict[str, Any] | None:
    """What became of the job; None while nobody has said so."""
    return _object(fetch(api, made.repo, f"out/{wire.RESULT}"))


def here(end: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The result with the places of its models on this machine."""
    listed = [cast("dict[str, Any]", one) for one in end.get("artifacts") or ()]
    artifacts = [{**one, "base_model": _placed(one.get("base_model"), folder)} for one in listed]
    return {**end, "model": _placed(end.get("model"), folder), "artifacts": artifacts}


def _placed(path: Any, folder: Path) -> Any:
    return str(folder / path) if isinstance(path, str) and path.startswith("./") else path


def claimant(api: HfApi, made: Journal) -> str | None:
    """The machine that runs the job; None while none has begun, or where it did not know its own name."""
    named = (_object(fetch(api, made.repo, "out/claim.json")) or {}).get("machine")
    return None if named is None else str(named)


def reports(api: HfApi, made: Journal, folder: Path) -> None:
    """The events and the log as they were last reported, into the job's folder here."""
    for name in _TEXTS:
        text = fetch(api, made.repo, f"out/{name}")
        if text is not None:
            part = folder / f"{name}.part"
            part.write_bytes(text)
            part.replace(folder / name)


def bring_home(api: HfApi, made: Journal, folder: Path, end: Mapping[str, Any]) -> None:
    """Everything, the result last: where that is written, all else is here and whole. Safe to repeat."""
    reports(api, made, folder)
    listed = [cast("dict[str, Any]", one) for one in end.get("artifacts") or ()]
    if listed:
        _folders(api, made, folder, listed)
    wire.write_json(folder / wire.RESULT, dict(end))


def _folders(api: HfApi, made: Journal, folder: Path, listed: list[dict[str, Any]]) -> None:
    came = folder / "out.part"
    vendor: Any = api
    with _quietly():
        vendor.snapshot_download(made.repo, allow_patterns=[f"out/{name}/*" for name in _KEPT], local_dir=came)
    for one in listed:
        path = came / "out" / str(one.get("path"))
        if not path.exists():
            raise Unreachable(f"[hub] {made.repo} lacks {one.get('path')}, which the result lists")
        if one.get("sha256") and digest(path) != one["sha256"]:
            shutil.rmtree(came)  # so that the next look fetches it anew
            raise Unreachable(f"[hub] {one.get('path')} of {made.repo} is not what the machine made: its hash differs")
    for name in _KEPT:
        shutil.rmtree(folder / name, ignore_errors=True)
        if (came / "out" / name).is_dir():
            (came / "out" / name).rename(folder / name)
    shutil.rmtree(came, ignore_errors=True)


@contextmanager
def _quietly() -> Generator[None]:
    """Without the vendor's progress bars: a library does not write to the terminal."""
    vendor: Any = utils
    shown = not vendor.are_progress_bars_disabled()
    vendor.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            vendor.enable_progress_bars()


def digest(path: Path) -> str:
    """Of a file, or of a folder's `<sha256>  <relative path>` lines in the order of the paths, as workers reckon it."""
    if path.is_file():
        return _of_file(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    lines = (f"{_of_file(one)}  {one.relative_to(path).as_posix()}\n" for one in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _object(text: bytes | None) -> dict[str, Any] | None:
    if text is None:
        return None
    found: Any = json.loads(text)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
