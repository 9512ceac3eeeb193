# pyright: basic
"""Chat rendering and the question which characters the model itself wrote, with or without generation marks.

With marks (`{% generation %}`) the template says it. Without, each assistant turn is what rendering adds when
the turn is appended: from the end of `render(history, add_generation_prompt=True)` to the end of `render(history +
turn)`. That is sound only if both are prefixes of the whole; a template that rewrites history (drops old reasoning)
fails the check, and then every supervised turn becomes a sample of its own, rendered as it is at inference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = [{"role": "user", "content": "A text to look for."}]


class TemplateRefused(ValueError):
    """The chat template cannot render this conversation; the text is the template's own."""


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of the text were written by message `index`."""

    start: int
    end: int
    index: int


@dataclass(frozen=True)
class Rendered:
    """One sample: the text and who wrote what. A conversation becomes several where the template rewrites history."""

    text: str
    spans: tuple[Span, ...]


class ChatTemplate:
    """A tokenizer's chat template, with the tolerance that templates in the wild need."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._developer = "developer" in tokenizer.get_chat_template()
        self._arguments_as_text = False
        self.rewrites_history = False
        """True once a conversation was seen whose history is rendered differently later on."""
        self._opening: str | None = None
        self._content_as_parts = False
        with suppress(TemplateRefused):  # whatever it minds in the probe, rows will tell
            # a template for image models reads lists of parts only, and renders nothing of a text
            self._content_as_parts = _PROBE[0]["content"] not in self.render(_PROBE)

    def render(self, messages: Sequence[Mapping[str, Any]], *, prompt: bool = False, **extra: Any) -> str:
        """The conversation as text; with `prompt` it ends where the model is to answer. `extra`: tools and kwargs."""
        return self._render(messages, prompt=prompt, marks=False, **extra)[0]

    def samples(self, messages: Sequence[Mapping[str, Any]], turns: Sequence[int], **extra: Any) -> list[Rendered]:
        """The conversation with the spans of the given assistant turns, in one sample or one per turn."""
        if self._marked(extra):
            text, marks = self._render(messages, prompt=False, marks=True, **extra)
            authors = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            if len(marks) == len(authors):
                spans = [Span(a, b, i) for (a, b), i in zip(marks, authors, strict=True) if i in turns]
                return [Rendered(text, tuple(spans))]
        text = self.render(messages, **extra)
        found = [self._turn(messages, i, extra) for i in turns]
        if all(text.startswith(turn.text) and turn.spans[0].start >= 0 for turn in found):
            return [Rendered(text, tuple(turn.spans[0] for turn in found))]
        self.rewrites_history = True
        return found

    def _turn(self, messages: Sequence[Mapping[str, Any]], i: int, extra: Mapping[str, Any]) -> Rendered:
        after = self.render(messages[: i + 1], **extra)
        if i == 0:
            start = self._start_of_first(after)
        else:
            before = self.render(messages[:i], prompt=True, **extra)
            start = len(before) if after.startswith(before) else self._diverging(messages[:i], before, after, extra)
        if start >= len(after):
            raise TemplateRefused(f"the chat template renders nothing for messages[{i}]")
        return Rendered(after, (Span(start, len(after), i),))

    def _diverging(self, history: Sequence[Mapping[str, Any]], before: str, after: str, extra: Any) -> int:
        """The prompt opens something the turn does not repeat (a `<think>`): the turn starts where they part."""
        plain = self.render(history, **extra)
        common = _common_prefix(before, after)
        if not after.startswith(plain) or common < len(plain):
            raise TemplateRefused(
                "the chat template renders the history differently once an answer follows, so the answer's tokens "
                "cannot be told from the prompt's"
            )
        return common

    def _start_of_first(self, after: str) -> int:
        if self._opening is None:
            self._opening = self.render(_PROBE, prompt=True)[len(self.render(_PROBE)) :]
        at = after.find(self._opening) if self._opening else -1
        if at < 0:
            raise TemplateRefused("the conversation starts with an assistant message the template does not set apart")
        return at + len(self._opening)

    def _marked(self, extra: Mapping[str, Any]) -> bool:
        return bool(_MARK.search(self._tokenizer.get_chat_template(tools=extra.get("tools"))))

    def _render(
        self, messages: Sequence[Mapping[str, Any]], *, prompt: bool, marks: bool, **extra: Any
    ) -> tuple[str, Any]:
        try:
            return self._attempt(messages, prompt=prompt, marks=marks, **extra)
        except TypeError:
            if self._arguments_as_text or not any(message.get("tool_calls") for message in messages):
                raise
        self._arguments_as_text = True  # this template concatenates the arguments instead of serialising them
        return self._attempt(messages, prompt=prompt, marks=marks, **extra)

    def _attempt(
        self, messages: Sequence[Mapping[str, Any]], *, prompt: bool, marks: bool, **extra: Any
    ) -> tuple[str, Any]:
        tools = extra.pop("tools", None)
        try:
            texts, indices = render_jinja_template(
                conversations=[[self._message(message) for message in messages]],
                tools=tools,
                chat_template=self._tokenizer.get_chat_template(tools=tools),
                return_assistant_tokens_mask=marks,
                add_generation_prompt=prompt,
                **{**self._tokenizer.special_tokens_map, **extra},
            )
        except TemplateError as exc:
            raise TemplateRefused(f"the chat template refuses the conversation: {exc}") from exc
        return texts[0], indices[0] if indices else []

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in message.items() if key != "weight" and value is not None}
        if plain["role"] == "developer" and not self._developer:
            plain["role"] = "system"
        text = text_of(message.get("content"))
        plain["content"] = [{"type": "text", "text": text}] if self._content_as_parts else text
        if calls := message.get("tool_calls"):
            plain["tool_calls"] = [self._call(call) for call in calls]
        return plain

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call["function"]
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, str) and not self._arguments_as_text:
            with suppress(ValueError):  # not JSON: hand the text over as it was sent
                arguments = json.loads(arguments)
        return {**call, "function": {**function, "arguments": arguments}}


def text_of(content: Any) -> str:
    """The text of a message's content: None is empty, text parts are joined, other parts are refused."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    kinds = sorted({str(part.get("type")) for part in content if part.get("type") != "text"})
    if kinds:
        raise TemplateRefused(f"content parts of type {', '.join(kinds)}: this provider trains on text only")
    return "".join(part["text"] for part in content)


def _common_prefix(one: str, other: str) -> int:
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)
