"""What an evaluation asks: each held-out row without its last answer, and the answer that the data gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample, PromptExample, Source

from .rows import Row, message_row

Wanted = Mapping[str, Any]
"""`evaluation` of a job description, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask a model."""

    messages: Sequence[Row]
    """As the chat API takes them."""
    expected: str | None
    """None = nothing to compare with: a prompt without an answer."""
    tools: Sequence[Row] | None = None
    source: Source | None = None


def question(example: Example) -> Question | None:
    """What the row asks; None for one that is no conversation, or begins with the answer."""
    if not isinstance(example, ChatExample | PreferenceExample | PromptExample):
        return None
    messages = list(example.messages if isinstance(example, ChatExample) else example.prompt)
    if isinstance(example, PreferenceExample):
        messages += example.chosen
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    asked = messages[: answers[-1]] if answers and not isinstance(example, PromptExample) else messages
    if not asked:
        return None
    return Question(
        messages=[_asked(message) for message in asked],
        expected=_expected(messages[answers[-1]]) if len(asked) < len(messages) else None,
        tools=example.tools or None,
        source=example.source,
    )


def free(prompt: str) -> Question:
    """A prompt of the user's own."""
    return Question(messages=[{"role": "user", "content": prompt}], expected=None)


def _asked(message: Message) -> Row:
    row = message_row(message)
    row.pop("weight", None)  # a word of training data; the chat API refuses it
    return row


def _expected(message: Message) -> str:
    if message.tool_calls:
        return calls_text([(call.function.name, call.function.arguments) for call in message.tool_calls])
    return message.text if message.content is not UNSET else ""


def calls_text(calls: Sequence[tuple[str, str]]) -> str:
    """Tool calls as a text that can be compared: ids, which differ each time, and the arguments' spacing left out."""
    return json.dumps([{"name": name, "arguments": _plain(given)} for name, given in calls], ensure_ascii=False)


def _plain(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
