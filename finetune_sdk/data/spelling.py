"""The keys that targets know, where a source wrote another one for the same thing."""

from __future__ import annotations

import msgspec

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    Message,
    PreferenceExample,
    PromptExample,
    UnpairedPreference,
)


def usual(example: Example, *, keep: str = "") -> Example:
    """The example without its source's own spelling, but for the field `keep`; itself where it has none."""
    if isinstance(example, ChatExample):
        return _with(example, keep, "messages")
    if isinstance(example, PreferenceExample):
        return _with(example, keep, "prompt", "chosen", "rejected")
    if isinstance(example, UnpairedPreference):
        return _with(example, keep, "prompt", "completion")
    return _with(example, keep, "prompt") if isinstance(example, PromptExample) else example


def _with(example: Example, keep: str, *names: str) -> Example:
    changed: dict[str, list[Message]] = {}
    for name in names:
        messages: list[Message] = getattr(example, name)
        if any(message.spelling.keys() - {keep} for message in messages):
            changed[name] = [_plain(message, keep) for message in messages]
    return msgspec.structs.replace(example, **changed) if changed else example


def _plain(message: Message, keep: str) -> Message:
    spelling = {field: key for field, key in message.spelling.items() if field == keep}
    return msgspec.structs.replace(message, spelling=spelling)
