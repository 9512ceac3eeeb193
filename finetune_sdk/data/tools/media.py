"""Pictures, videos and sounds that rows name by a path: whether they are there, and whether they should be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from finetune_sdk.data.example import ChatExample
from finetune_sdk.data.jsonvalue import as_list
from finetune_sdk.data.targets.base import Row, image_urls
from finetune_sdk.data.tools.pictures import MARK, placeholders
from finetune_sdk.types import Finding, Severity

_COLUMNS = ("images", "image", "videos", "audios")
_WEB = ("http://", "https://", "hf://", "s3://", "gs://", "data:")


def media(row: Row, file: str | None) -> Iterator[Finding]:
    """What is odd about the media of a row that was read from `file`."""
    yield from _marks(row)
    if "images" not in row.features and not any(key in row.example.extra for key in _COLUMNS):
        return
    for path, name in _named(row):
        yield from _place(path, name, file)


def _named(row: Row) -> Iterator[tuple[str, str]]:
    for key in _COLUMNS:
        value = row.example.extra.get(key)
        items = as_list(value)
        for index, name in enumerate([value] if items is None else items):
            if isinstance(name, str):
                yield (key if items is None else f"{key}[{index}]"), name
    for path, message in row.turns:
        for index, url in image_urls(message):
            yield f"{path}.content[{index}].image_url.url", url


def _place(path: str, name: str, file: str | None) -> Iterator[Finding]:
    if name.lower().startswith(_WEB):
        if not path.startswith(("messages", "prompt")):
            what = f"{name.split('?', maxsplit=1)[0][:80]!r} is an address: whoever trains would fetch it"
            yield _found("media-remote", "warning", path, what, "Download it, and give the file.")
        return
    inside = name.removeprefix("file://")
    if inside != name or Path(inside).is_absolute() or ".." in Path(inside).parts:
        what = f"{name[:80]!r} leads out of the dataset's folder"
        yield _found("media-outside", "warning", path, what, "Copy it beside the data; other trainers refuse it.")
    elif file is not None and Path(file).is_file() and not _exists(Path(file).parent / inside):
        what = f"there is no file {name[:80]!r} beside the data"
        yield _found("media-missing", "warning", path, what, "Fetch it, or correct the path.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name of a file at all
        return False


def _marks(row: Row) -> Iterator[Finding]:
    """As many marks of pictures (LLaMA-Factory's in texts, TRL's as parts) as pictures beside the conversation."""
    example = row.example
    pictures = as_list(example.extra.get("images")) if isinstance(example, ChatExample) else None
    if pictures is None:
        return
    there = len(pictures)
    parts = sum(placeholders(message) for _, message in row.turns)  # TRL's way to say where they belong
    marks = parts or sum(message.text.count(MARK) for _, message in row.turns)
    if marks != there:
        kind = '`{"type": "image"}` parts' if parts else f"`{MARK}` marks"
        what = f"{marks} {kind} but {there} image{'s' if there != 1 else ''}"
        fix = "Write one mark per image, where it belongs"
        if marks:
            yield _found("image-marks", "error", "images", what, f"{fix}.")
        else:  # as TRL has it
            before = "`finetune data fix --with images-inline` puts them before the first question"
            yield _found("image-marks", "warning", "images", what, f"{fix}; {before}.")


def _found(rule: str, severity: Severity, path: str, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, path=path)
