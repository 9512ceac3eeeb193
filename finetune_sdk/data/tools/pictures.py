"""Pictures that lie beside a conversation, put into it: what hosted trainers and the local workers read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.data.example import ChatExample, Example, Message, Part, PreferenceExample, PromptExample
from finetune_sdk.data.jsonvalue import as_list, as_object

MARK = "<image>"
_COLUMNS = ("images", "image")
_ADDRESSES = ("image", "url", "path")
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
    folder, or where the marks are not as many as the pictures.
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
    if any(url is None for url in urls) or not (urls or _own_pictures(messages)):
        return example
    found = _filled(messages, [url for url in urls if url is not None], folder)
    if found is None:
        return example
    extra = {key: value for key, value in example.extra.items() if key != column}
    return msgspec.structs.replace(example, **{name: found}, extra=extra)


def _own_pictures(messages: list[Message]) -> bool:
    """Whether a part names its picture itself, as Qwen's templates have it."""
    return any(
        part.get("type") == "image" and not _is_placeholder(part)
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
    )


def _filled(messages: list[Message], urls: list[str], folder: Path) -> list[Message] | None:
    """The messages with the pictures in their places; None where they do not fit."""
    marks = sum(placeholders(message) for message in messages)
    as_text = not marks and bool(urls)
    if as_text:
        marks = sum(message.text.count(MARK) for message in messages)
    if as_text and not marks:  # nobody says where: before the first question, as TRL puts them
        first = next((index for index, message in enumerate(messages) if message.role == "user"), None)
        if first is None:
            return None
        return [*messages[:first], _in_front(messages[first], urls), *messages[first + 1 :]]
    if marks != len(urls):
        return None
    left = iter(urls)
    filled = [_with_parts(message, left, folder, as_text=as_text) for message in messages]
    return None if any(message is None for message in filled) else [message for message in filled if message]


def _in_front(message: Message, urls: list[str]) -> Message:
    content = message.content if isinstance(message.content, list) else [{"type": "text", "text": message.text}]
    return msgspec.structs.replace(message, content=[*map(_part, urls), *content])


def _with_parts(message: Message, urls: Iterator[str], folder: Path, *, as_text: bool) -> Message | None:
    """The message, its pictures taken from `urls` or read; None where one of its own cannot be read."""
    parts = message.content if isinstance(message.content, list) else [{"type": "text", "text": message.text}]
    found: list[Part] = []
    for part in parts:
        if part.get("type") == "text" and as_text and MARK in part["text"]:
            found += _split(part["text"], urls)
        elif part.get("type") != "image":
            found.append(part)
        elif _is_placeholder(part):
            found.append(_part(next(urls)))
        else:
            url = _url(next((part[key] for key in _ADDRESSES if part.get(key)), None), folder)
            if url is None:
                return None
            found.append(_part(url))
    changed = any(part.get("type") == "image_url" for part in found) and found != parts
    return msgspec.structs.replace(message, content=found) if changed else message


def _split(text: str, urls: Iterator[str]) -> Iterator[Part]:
    """A text with marks as parts: line breaks next to a mark go with it."""
    for index, piece in enumerate(text.split(MARK)):
        if index:
            yield _part(next(urls))
        said = piece.strip("\n")
        if said:
            yield {"type": "text", "text": said}


def _part(url: str) -> Part:
    return {"type": "image_url", "image_url": {"url": url}}


def _url(picture: Any, folder: Path) -> str | None:
    """A picture's address, its bytes as a `data:` URL; None where it cannot be had."""
    found = as_object(picture)
    if found is not None:
        data = found.get("bytes")
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
        if (folder / path).stat().st_size > _MOST_BYTES:
            return None
        return _data_url((folder / path).read_bytes())
    except (OSError, ValueError):  # not there, or no name of a file at all
        return None


def _data_url(data: bytes) -> str | None:
    kind = next((kind for mark, at, kind in _KINDS if data[at : at + len(mark)] == mark), None)
    return None if kind is None else f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
