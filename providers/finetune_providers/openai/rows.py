"""Canonical examples as the vendor's training rows: pure translation, and what is wrong with a row there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample, PromptExample, kind_of
from finetune_sdk.types import Finding

from .rules import Rules

Row = dict[str, Any]

KINDS = {"sft": "chat", "dpo": "preference", "rft": "prompt"}
"""The kind of example each method learns from."""


def render(example: Example, method: str, *, last_answer_only: bool = False) -> Row | None:
    """The example as the vendor's row; None when the method cannot learn from such an example."""
    if method == "sft" and isinstance(example, ChatExample):
        return _chat(example, last_answer_only=last_answer_only)
    if method == "dpo" and isinstance(example, PreferenceExample):
        return _preference(example)
    if method == "rft" and isinstance(example, PromptExample):
        return {**example.extra, "messages": [message_row(one) for one in example.prompt], **_tools(example)}
    if method == "rft" and isinstance(example, ChatExample):
        return {**example.extra, "messages": [message_row(one) for one in example.messages], **_tools(example)}
    return None


def _chat(example: ChatExample, *, last_answer_only: bool) -> Row:
    messages = [message_row(one) for one in example.messages]
    if last_answer_only:
        answers = [one for one in messages if one["role"] == "assistant"]
        for one in answers[:-1]:
            one["weight"] = 0
    return {"messages": messages, **_tools(example)}


def _preference(example: PreferenceExample) -> Row:
    return {
        "input": {"messages": [message_row(one) for one in example.prompt], **_tools(example)},
        "preferred_output": [message_row(one) for one in example.chosen],
        "non_preferred_output": [message_row(one) for one in example.rejected],
    }


def _tools(example: ChatExample | PreferenceExample | PromptExample) -> Row:
    tools: Row = {} if example.tools is None else {"tools": example.tools}
    if example.parallel_tool_calls is not None:
        tools["parallel_tool_calls"] = example.parallel_tool_calls
    return tools


def message_row(message: Message) -> Row:
    """A message as the wire has it, training weights included."""
    row: Row = {"role": message.role}
    if message.content is not UNSET and message.content is not None:  # the schema has no null
        row["content"] = message.content
    for key in ("name", "tool_call_id", "weight", "refusal"):
        if (value := getattr(message, key)) is not None:
            row[key] = value
    if message.tool_calls is not None:
        row["tool_calls"] = [
            {
                **({} if call.id is UNSET else {"id": call.id}),
                "type": call.type,
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    return row


def check(example: Example, method: str, rules: Rules, *, tokens: float = 0) -> Iterator[Finding]:
    """Everything about one example that the vendor refuses, or that its row cannot carry."""
    if render(example, method) is None:
        yield Finding(
            rule="row-wrong-kind",
            severity="error",
            message=f"{method} learns from {KINDS[method]} rows; this is a {kind_of(example)} row",
            fix="Convert the data, or choose the method that fits it.",
            file=example.source.file if example.source else None,
            line=example.source.line if example.source else None,
        )
        return
    yield from rules.row(example, method, tokens=tokens)


def images(messages: Sequence[Message]) -> int:
    """How many images the messages show."""
    return sum(
        part.get("type") == "image_url" for one in messages if isinstance(one.content, list) for part in one.content
    )
