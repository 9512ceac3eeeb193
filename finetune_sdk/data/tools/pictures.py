"""Pictures that lie beside a conversation, put into it: what hosted trainers and the local workers read."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.data.example import ChatExample, Example, Message, Part, PreferenceExample, PromptExample
from finetune_sdk.data.jsonvalue import as_list, as_object

MARK = "<image>"
_COLUMNS = ("images", "image")
_ADDRESSES = ("image", "url", "path")
_PICTURE_KEYS = ("bytes", "path", "url")
_REPOSITORIES = ("datasets--", "models--", "spaces--")
"""What the folder of a repository begins with in Hugging Face's cache."""
_ELSEWHERE = ("http://", "https://", "data:", "s3://", "gs://")
_MOST_BYTES = 50 * 1024 * 1024
_KINDS: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpeg"),
    (b"GIF8", 0, "gif"),
    (b"WEBP", 8, "webp"),
)
"""First bytes of pictures, where they stand, and the name of the kind."""


def placeholders(message: Message) -> int:
    """How many parts of a message only say that a picture belongs here, as TRL writes it."""
    content = message.content
    return sum(map(_is_placeholder, content)) if isinstance(content, list) else 0


def _is_placeholder(part: Part) -> bool:
    return part.get("type") == "image" and not any(value for key, value in part.items() if key != "type")


def inlined(example: Example) -> Example:
    """The example with its pictures as `image_url` parts, files as `data:` URLs.

    It stays as it is where a picture cannot be read, is no PNG, JPEG, GIF or WebP, lies outside the dataset's
    folder (links are followed), where the marks are not as many as the pictures, or where nothing marks the place of
    those in a column though the conversation has others. So does a part with keys that an `image_url` has no place for.
    """
    if not isinstance(example, ChatExample | PromptExample | PreferenceExample):
        return example
    column = next((key for key in _COLUMNS if example.extra.get(key)), None)
    folder = Path(example.source.file).parent if example.source is not None else Path()
    given: Any = example.extra[column] if column is not None else []
    items = as_list(given)
    urls = [_url(item, folder) for item in ([given] if items is None else items)]
    name = "messages" if isinstance(example, ChatExample) else "prompt"
    messages: list[Message] = getattr(example, name)
    if any(url is None for url in urls) or not (urls or _any_part(messages, _names_its_own)):
        return example
    found = _filled(messages, [url for url in urls if url is not None], folder)
    if found is None or found == messages:
        return example
    extra = {key: value for key, value in example.extra.items() if key != column}
    return msgspec.structs.replace(example, **{name: found}, extra=extra)


def _any_part(messages: list[Message], test: Callable[[Part], bool]) -> bool:
    return any(test(part) for message in messages if isinstance(message.content, list) for part in message.content)


def _names_its_own(part: Part) -> bool:
    """Whether a part names its picture, and nothing else, as Qwen's templates have it."""
    said = [key for key, value in part.items() if value is not None and key != "type"]
    return part.get("type") == "image" and len(said) == 1 and said[0] in _ADDRESSES and bool(part[said[0]])


def _is_picture(part: Part) -> bool:
    return part.get("type") in ("image", "image_url")


def _filled(messages: list[Message], urls: list[str], folder: Path) -> list[Message] | None:
    """The messages with the pictures in their places; None where they do not fit."""
    marks = sum(placeholders(message) for message in messages)
    as_text = not marks and bool(urls)
    if as_text:
        marks = sum(_marks(message) for message in messages)
        if marks != sum(
            message.text.count(MARK) for message in messages
        ):  # one lies across parts, or must not be taken out
            return None
    if as_text and not marks:  # nobody says where: before the first question, as TRL puts them
        first = next((index for index, message in enumerate(messages) if message.role == "user"), None)
        if first is None or _any_part(messages, _is_picture):  # they may be the same ones
            return None
        return [*messages[:first], _in_front(messages[first], urls), *messages[first + 1 :]]
    if marks != len(urls):
        return None
    left = iter(urls)
    filled = [_with_parts(message, left, folder, as_text=as_text) for message in messages]
    if any(message is None for message in filled) or next(left, None) is not None:
        return None
    return [message for message in filled if message]


def _marks(message: Message) -> int:
    """How many marks are in texts that can be split at them."""
    if message.spans is not None:  # they are counted in characters of the text as it is
        return 0
    return sum(part["text"].count(MARK) for part in _parts(message) if _is_text(part))


def _is_text(part: Part) -> bool:
    """Whether a part is a text, and nothing else."""
    said = {key for key, value in part.items() if value is not None}
    return said == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str)


def _parts(message: Message) -> list[Part]:
    return message.content if isinstance(message.content, list) else [{"type": "text", "text": message.text}]


def _in_front(message: Message, urls: list[str]) -> Message:
    return msgspec.structs.replace(message, content=[*map(_part, urls), *_parts(message)])


def _with_parts(message: Message, urls: Iterator[str], folder: Path, *, as_text: bool) -> Message | None:
    """The message, its pictures taken from `urls` or read; None where one of its own cannot be read."""
    parts = _parts(message)
    found: list[Part] = []
    for part in parts:
        if as_text and _is_text(part) and MARK in part["text"]:
            found += _split(part["text"], urls)
        elif _is_placeholder(part):
            found.append(_part(next(urls)))
        elif _names_its_own(part):
            url = _url(next(part[key] for key in _ADDRESSES if part.get(key)), folder)
            if url is None:
                return None
            found.append(_part(url))
        else:
            found.append(part)
    return message if found == parts else msgspec.structs.replace(message, content=found)


def _split(text: str, urls: Iterator[str]) -> Iterator[Part]:
    """A text with marks as parts: line breaks next to a mark go with it."""
    pieces = text.split(MARK)
    for index, piece in enumerate(pieces):
        said = piece
        if index:
            yield _part(next(urls))
            said = said.lstrip("\n")
        if index < len(pieces) - 1:
            said = said.rstrip("\n")
        if said:
            yield {"type": "text", "text": said}


def _part(url: str) -> Part:
    return {"type": "image_url", "image_url": {"url": url}}


def _url(picture: Any, folder: Path) -> str | None:
    """A picture's address, its bytes as a `data:` URL; None where it cannot be had."""
    found = as_object(picture)
    if found is not None:
        data = found.get("bytes")
        if any(value is not None and key not in _PICTURE_KEYS for key, value in found.items()):
            return None  # `detail` and the like have no place where it goes
        return _data_url(data) if isinstance(data, bytes) else _url(found.get("path") or found.get("url"), folder)
    if isinstance(picture, bytes):
        return _data_url(picture)
    if not isinstance(picture, str):
        return None
    return picture if picture.lower().startswith(_ELSEWHERE) else _read(picture, folder)


def _read(name: str, folder: Path) -> str | None:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    try:
        found, home = (folder / path).resolve(strict=True), folder.resolve(strict=True)
        if not (found.is_relative_to(home) or _is_blob(found, home)) or not found.is_file():
            return None
        with found.open("rb") as stream:  # a size that is told may be wrong
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError, RuntimeError):  # not there, no name of a file at all, or a link to itself
        return None
    return None if len(data) > _MOST_BYTES else _data_url(data)


def _is_blob(path: Path, folder: Path) -> bool:
    """Whether a snapshot of Hugging Face's cache links to the file: its bytes lie in `blobs` of the same repository."""
    snapshots = next((above for above in folder.parents if above.name == "snapshots"), None)
    if snapshots is None or not snapshots.parent.name.startswith(_REPOSITORIES):
        return False
    return path.parent == snapshots.parent / "blobs"


def _data_url(data: bytes) -> str | None:
    kind = next((kind for mark, at, kind in _KINDS if data[at : at + len(mark)] == mark), None)
    return None if kind is None else f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
