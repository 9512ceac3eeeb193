"""The questions of a comparison and the answers to them: plain records, one JSON line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from finetune_sdk.data.canonical import content_digest
from finetune_sdk.data.example import ChatExample, Example, LabelledExample, Message, PromptExample, ToolCall

_BUILTINS = (str, int, float, bool)


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One test row: what is asked, what is expected."""

    id: str
    """Hash of the row's content: the same row has the same id in every run and every file."""
    messages: list[dict[str, Any]]
    """In OpenAI's form, without the answer."""
    reference: str | None = None
    """The expected text; None = the row expects a tool call, or has no reference."""
    calls: list[dict[str, Any]] | None = None
    """The expected tool calls: `name`, `arguments` (JSON text)."""
    tools: list[dict[str, Any]] | None = None
    slices: dict[str, str] = {}
    """What the row belongs to, for scores by slice."""
    file: str | None = None
    line: int | None = None

    @property
    def question(self) -> str:
        """What the last user message says: for search and for reading."""
        asked = [text_of(one.get("content")) for one in self.messages if one.get("role") == "user"]
        return asked[-1] if asked else ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate's answer to one item. An error is an answer too: it is counted, never averaged away."""

    item: str
    text: str | None = None
    calls: list[dict[str, Any]] | None = None
    error: str | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    nll: float | None = None
    """Negative log-likelihood of the *reference*, summed over `nll_tokens` tokens, natural logarithm."""
    nll_tokens: int | None = None
    finish: str | None = None
    tries: int = 1
    """How often it was asked until this came of it."""
    at: float | None = None
    """When it was asked, seconds since the epoch."""


def text_of(content: object) -> str:
    """The text of a message's content, parts joined."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportUnknownArgumentType]
    return ""


def item_of(example: Example, *, slices: tuple[str, ...] = ()) -> Item | None:
    """The row as a question. None for kinds that ask nothing (plain text, pairs of answers)."""
    source = example.source
    place: dict[str, Any] = {"file": source.file, "line": source.line} if source else {}
    place |= {"id": content_digest(example).hex()[:24], "slices": _slices(example, slices)}
    match example:
        case ChatExample():
            messages, last = _parted(example.messages)
            if last is None:
                return None
            calls = [_call(one) for one in last.tool_calls or []] or None
            return Item(
                messages=messages,
                reference=None if calls and not last.text else last.text,
                calls=calls,
                tools=example.tools or None,
                **place,
            )
        case PromptExample():
            return Item(messages=[_wire(one) for one in example.prompt], tools=example.tools or None, **place)
        case LabelledExample():
            asked = example.text if example.text_pair is None else f"{example.text}\n\n{example.text_pair}"
            return Item(messages=[{"role": "user", "content": asked}], reference=_label(example.label), **place)
        case _:
            return None


def _parted(messages: list[Message]) -> tuple[list[dict[str, Any]], Message | None]:
    """Everything before the last answer of the assistant, and that answer."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return [_wire(one) for one in messages[:index]], messages[index]
    return [], None


def _wire(message: Message) -> dict[str, Any]:
    """A message as OpenAI's chat API takes it."""
    made: dict[str, Any] = {"role": message.role, "content": None if message.content is UNSET else message.content}
    if message.name is not None:
        made["name"] = message.name
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id or f"call_{index}", "type": "function", "function": _call(call)}
            for index, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    return made


def _call(call: ToolCall) -> dict[str, Any]:
    return {"name": call.function.name, "arguments": call.function.arguments}


def _label(label: object) -> str:
    return ", ".join(map(str, label)) if isinstance(label, list | tuple) else str(label)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _slices(example: Example, names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        value = example.extra.get(name, getattr(example, name, None))
        if isinstance(value, _BUILTINS):
            found[name] = str(value)
    return found
