"""Ids for tool calls that came without: formats that pair results with calls by id cannot be written otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    Message,
    PreferenceExample,
    PromptExample,
    ToolCall,
    UnpairedPreference,
)


def with_call_ids(example: Example) -> Example:
    """The example with an id on every call and every result; the example itself where none is missing.

    Results without an id answer the open calls in their order.
    """
    if isinstance(example, ChatExample):
        return (
            msgspec.structs.replace(example, messages=_paired(example.messages))
            if _lacks(example.messages)
            else example
        )
    if isinstance(example, PromptExample):
        return msgspec.structs.replace(example, prompt=_paired(example.prompt)) if _lacks(example.prompt) else example
    if isinstance(example, PreferenceExample) and _lacks([*example.prompt, *example.chosen, *example.rejected]):
        size = len(example.prompt)
        chosen = _paired([*example.prompt, *example.chosen])
        rejected = _paired([*example.prompt, *example.rejected])
        return msgspec.structs.replace(example, prompt=chosen[:size], chosen=chosen[size:], rejected=rejected[size:])
    if isinstance(example, UnpairedPreference) and _lacks([*example.prompt, *example.completion]):
        size = len(example.prompt)
        said = _paired([*example.prompt, *example.completion])
        return msgspec.structs.replace(example, prompt=said[:size], completion=said[size:])
    return example


def _lacks(messages: Sequence[Message]) -> bool:
    for message in messages:
        if message.role == "tool" and message.tool_call_id is None:
            return True
        if message.tool_calls and any(not isinstance(call.id, str) for call in message.tool_calls):
            return True
    return False


def _paired(messages: Sequence[Message]) -> list[Message]:
    taken = {call.id for message in messages for call in message.tool_calls or () if isinstance(call.id, str)}
    number = 0
    open_ids: list[str] = []
    found: list[Message] = []
    for message in messages:
        if message.tool_calls:
            calls: list[ToolCall] = []
            for call in message.tool_calls:
                while not isinstance(call.id, str):
                    number += 1
                    if f"call_{number}" not in taken:
                        call = msgspec.structs.replace(call, id=f"call_{number}")  # noqa: PLW2901
                calls.append(call)
                open_ids.append(str(call.id))
            message = msgspec.structs.replace(message, tool_calls=calls)  # noqa: PLW2901
        elif message.role == "tool" and message.tool_call_id is None and open_ids:
            message = msgspec.structs.replace(message, tool_call_id=open_ids.pop(0))  # noqa: PLW2901
        elif message.tool_call_id in open_ids:
            open_ids.remove(str(message.tool_call_id))
        found.append(message)
    return found
