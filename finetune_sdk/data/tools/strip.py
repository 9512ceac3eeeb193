"""Taking one feature out of an example: what `--allow-loss FEATURE` does before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from finetune_sdk.data.example import Content, Example, Message, Part
from finetune_sdk.data.features import FEATURES, IMAGE_KEYS, PART_KEYS, in_the_cloud
from finetune_sdk.errors import DataError

Take: TypeAlias = Callable[[Example], Example]


def without(example: Example, feature: str) -> Example:
    """The example without the feature. Raises `DataError` for a feature that cannot be taken out alone."""
    take = STRIP.get(feature)
    if take is None:
        known = feature in FEATURES
        what = "cannot be dropped: without it the row says something else" if known else "is no known feature"
        raise DataError(f"{feature!r} {what}. Can be dropped: {', '.join(sorted(STRIP))}.")
    return take(example)


def _messages(change: Callable[[Message], Message]) -> Take:
    def take(example: Example) -> Example:
        changed: dict[str, Any] = {}
        for name in ("messages", "prompt", "chosen", "rejected", "completion"):
            part = getattr(example, name, None)
            if isinstance(part, list):
                changed[name] = [change(message) for message in part]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return msgspec.structs.replace(example, **changed) if changed else example

    return take


def _field(name: str, empty: Any = None) -> Take:
    def take(example: Example) -> Example:
        return msgspec.structs.replace(example, **{name: empty}) if hasattr(example, name) else example

    return take


def _message_field(name: str, empty: Any = None) -> Take:
    return _messages(lambda message: msgspec.structs.replace(message, **{name: empty}))


def _weight(*, keep: Callable[[Message], bool]) -> Take:
    def change(message: Message) -> Message:
        if message.weight is None or keep(message):
            return message
        return msgspec.structs.replace(message, weight=None)

    return _messages(change)


def _parts(keep: Callable[[Part], Part | None]) -> Take:
    def change(message: Message) -> Message:
        if not isinstance(message.content, list):
            return message
        content: Content = [kept for part in message.content if (kept := keep(part)) is not None]
        return msgspec.structs.replace(message, content=content)

    return _messages(change)


def _image_keys(part: Part, keep: Callable[[str], bool]) -> Part:
    if part.get("type") != "image_url":
        return part
    return {**part, "image_url": {key: value for key, value in part["image_url"].items() if keep(key)}}


def _spans(message: Message) -> Message:
    content = message.content
    if isinstance(content, list):
        content = [{key: value for key, value in part.items() if key not in ("weight", "train")} for part in content]
    return msgspec.structs.replace(message, spans=None, content=content)


def _extra_keys(message: Message) -> Message:
    if isinstance(message.content, list):
        known = [_known_keys(part) if part.get("type") in ("text", "image_url") else part for part in message.content]
        message = msgspec.structs.replace(message, content=known)
    calls = message.tool_calls
    if calls is not None:
        calls = [msgspec.structs.replace(call, extra={}) for call in calls]
    if message.role == "assistant":
        return msgspec.structs.replace(message, extra={}, tool_calls=calls)
    return msgspec.structs.replace(message, extra={}, tool_calls=None, reasoning=None, refusal=None)


def _known_keys(part: Part) -> Part:
    known = {key: value for key, value in part.items() if key in PART_KEYS}
    return _image_keys(known, lambda key: key in IMAGE_KEYS or in_the_cloud(part, key))


def _developer(message: Message) -> Message:
    return msgspec.structs.replace(message, role="system") if message.role == "developer" else message


def _joined(message: Message) -> Message:
    plain = isinstance(message.content, list) and all(part.get("type") == "text" for part in message.content)
    return msgspec.structs.replace(message, content=message.text) if plain else message


STRIP: dict[str, Take] = {
    "weights": _weight(keep=lambda message: message.role != "assistant"),
    "weights-elsewhere": _weight(keep=lambda message: message.role == "assistant"),
    "weights-fraction": _weight(keep=lambda message: message.weight in (0, 1)),
    "spans": _messages(_spans),
    "images": _parts(lambda part: None if part.get("type") == "image_url" else part),
    "image-detail": _parts(lambda part: _image_keys(part, lambda key: key != "detail")),
    "image-type": _parts(lambda part: _image_keys(part, lambda key: not in_the_cloud(part, key))),
    "other-parts": _parts(lambda part: part if part.get("type") in ("text", "image_url") else None),
    "content-list": _messages(_joined),
    "reasoning": _message_field("reasoning"),
    "refusal": _message_field("refusal"),
    "name": _message_field("name"),
    "message-keys": _messages(_extra_keys),
    "developer": _messages(_developer),
    "row-keys": _field("extra", {}),
    "tools": _field("tools"),
    "empty-tools": lambda example: example if getattr(example, "tools", None) else _field("tools")(example),
    "parallel-tool-calls": _field("parallel_tool_calls"),
    "template-kwargs": _field("chat_template_kwargs"),
    "margin": _field("margin"),
}
"""Features that can be dropped by themselves, each with what becomes of the example."""
