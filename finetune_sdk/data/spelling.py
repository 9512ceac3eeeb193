"""The keys that targets know, where a source wrote another one for the same thing."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    Message,
    PreferenceExample,
    PromptExample,
    UnpairedPreference,
)


def usual(example: Example, *, keep: str = "", null_content: bool = True) -> Example:
    """The example without its source's own spelling, but for the field `keep`; whole weights as whole numbers.

    It is itself where it has none.

    `null_content=False` leaves out the content that is null.
    """

    def plain(message: Message) -> Message:
        if message.spelling.keys() - {keep}:
            spelling = {field: key for field, key in message.spelling.items() if field == keep}
            message = msgspec.structs.replace(message, spelling=spelling)
        if message.content is None and not null_content:
            message = msgspec.structs.replace(message, content=UNSET)
        if isinstance(message.weight, float) and message.weight.is_integer():  # as columns of numbers have it
            message = msgspec.structs.replace(message, weight=int(message.weight))
        return message

    changed: dict[str, list[Message]] = {}
    for name in _SIDES.get(type(example), ()):
        messages: list[Message] = getattr(example, name)
        found = [plain(message) for message in messages]
        if any(new is not old for new, old in zip(found, messages, strict=True)):
            changed[name] = found
    return msgspec.structs.replace(example, **changed) if changed else example


_SIDES: dict[type[msgspec.Struct], tuple[str, ...]] = {
    ChatExample: ("messages",),
    PreferenceExample: ("prompt", "chosen", "rejected"),
    UnpairedPreference: ("prompt", "completion"),
    PromptExample: ("prompt",),
}
