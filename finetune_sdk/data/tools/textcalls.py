"""Tool calls that stand in texts, as Hermes writes them: calls in `<tool_call>`, results in `<tool_response>`."""

from __future__ import annotations

import json
import re

import msgspec
from msgspec import UNSET

from finetune_sdk.data.example import FunctionCall, Message, ToolCall
from finetune_sdk.data.formats.messages import parsed_text
from finetune_sdk.data.jsonvalue import as_object
from finetune_sdk.data.report import Fault

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_RESULT = re.compile(r"\s*<tool_response>\s*(.*?)\s*</tool_response>\s*", re.DOTALL)


def with_calls(messages: list[Message], _name: str = "") -> list[Message]:
    """The conversation with such calls as tool calls; a turn of which one cannot be read stays as it is."""
    found: list[Message] = []
    asked = 0
    for message in messages:
        if message.role == "assistant":
            changed = _asking(message)
            asked = len(changed.tool_calls or ())
            found.append(changed)
        elif message.role == "tool" and asked:
            found += _answers(message, asked)
        else:
            found.append(message)
            asked = 0
    return found


def _asking(message: Message) -> Message:
    text = message.content
    if message.tool_calls or message.spans or not isinstance(text, str) or "<tool_call>" not in text:
        return message
    calls = [_read(match[1]) for match in _CALL.finditer(text)]
    known = [call for call in calls if call is not None]
    beside = _CALL.sub("", text).strip()
    if not known or len(known) < len(calls) or "<tool_call>" in beside:
        return message
    return msgspec.structs.replace(message, content=beside or UNSET, tool_calls=known)


def _read(text: str) -> ToolCall | None:
    """The call that JSON, or Python's way of writing a dictionary, describes."""
    try:
        found = as_object(parsed_text(text, "")) or {}
        arguments = as_object(found.get("arguments"))
        if not isinstance(found.get("name"), str) or arguments is None or len(found) > 2:
            return None
        written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (Fault, TypeError, ValueError):
        return None
    function = FunctionCall(name=found["name"], arguments=written)
    return ToolCall(id=UNSET, type="function", function=function, arguments_object=True)


def _answers(message: Message, asked: int) -> list[Message]:
    """One result for each that the turn holds, where that is one, or one for each call."""
    text = message.content
    results = [match[1] for match in _RESULT.finditer(text)] if isinstance(text, str) else []
    if not results or message.spans or _RESULT.sub("", str(text)):
        return [message]
    if len(results) > 1 and (len(results) != asked or message.tool_call_id is not None):
        return [message]
    return [msgspec.structs.replace(message, content=result) for result in results]
