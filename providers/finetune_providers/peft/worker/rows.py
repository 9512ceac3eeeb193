# pyright: basic
"""Canonical rows -> token ids with a loss weight per token, and everything about rows worth knowing before training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from .findings import Findings
from .template import ChatTemplate, Rendered, Span, TemplateRefused, text_of


@dataclass(frozen=True)
class Sample:
    """One training sequence. `weights[i]` scales the loss of predicting token i; 0 = not trained on."""

    ids: Sequence[int]
    weights: Sequence[float]
    positions: Sequence[int] | None = None
    """Set where several samples share a sequence: each counts from 0."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The canonical rows of a file, one at a time."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


class Encoder:
    """Turns rows of kind `chat` and `text` into samples and records what is wrong with them."""

    def __init__(self, tokenizer: Any, *, train_on: str, max_length: int, findings: Findings) -> None:
        self._tokenizer = tokenizer
        self._train_on = train_on
        self._max_length = max_length
        self._findings = findings
        self._template = ChatTemplate(tokenizer) if tokenizer.chat_template else None
        self._specials = _special_texts(tokenizer)

    @property
    def rewrites_history(self) -> bool:
        """True when the template made us split conversations into one sample per assistant turn."""
        return self._template is not None and self._template.rewrites_history

    def encode(self, row: Mapping[str, Any]) -> list[Sample]:
        """The row's samples; none when it would contribute no loss (which is then a finding)."""
        self._look_for_specials(row)
        try:
            pieces = self._pieces(row)
        except TemplateRefused as exc:
            self._add("row-template", "error", str(exc), row, fix="Change the row, or set options.peft.chat_template.")
            return []
        samples = [sample for piece in pieces if (sample := self._cut(self._tokens(piece, row), row)) is not None]
        if not samples:
            fix = "It is left out; give it an assistant message with a weight above 0 inside max_seq_length."
            self._add("row-no-loss", "warning", "the row would contribute no loss", row, fix=fix)
        return samples

    def _pieces(self, row: Mapping[str, Any]) -> list[tuple[Rendered, list[float]]]:
        if row["kind"] == "text":
            text = row["text"] + (self._tokenizer.eos_token or "")
            return [(Rendered(text, (Span(0, len(text), 0),)), [1.0])]
        if self._template is not None:
            return self._chat(row, self._template)
        if row.get("shape") == "prompt_completion" and len(row["messages"]) == 2:
            return [self._raw(row)]
        raise TemplateRefused("the model's tokenizer has no chat template, and the row is a conversation")

    def _raw(self, row: Mapping[str, Any]) -> tuple[Rendered, list[float]]:
        """Prompt and completion as they are: for models without a chat template."""
        prompt, completion = (text_of(message["content"]) for message in row["messages"][-2:])
        text = prompt + completion + (self._tokenizer.eos_token or "")
        start = 0 if self._train_on == "all" else len(prompt)
        return Rendered(text, (Span(start, len(text), 0),)), [1.0]

    def _chat(self, row: Mapping[str, Any], template: ChatTemplate) -> list[tuple[Rendered, list[float]]]:
        messages = row["messages"]
        if any(message.get("spans") for message in messages):
            raise TemplateRefused("this provider trains on whole messages; it cannot honour spans inside one")
        weights = [float(message.get("weight", 1.0)) for message in messages]
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        trained = turns[-1:] if self._train_on == "last_assistant" else turns
        extra = template_extra(row)
        if self._train_on == "all":
            return [(whole, weights) for whole in _everything(template, messages, turns, weights, extra)]
        trained = [i for i in trained if weights[i] != 0.0]
        found = template.samples(messages, trained, **extra) if trained else []
        return [(_ended(sample, self._tokenizer.eos_token, self._specials), weights) for sample in found]

    def _tokens(self, piece: tuple[Rendered, list[float]], row: Mapping[str, Any]) -> Sample:
        rendered, by_message = piece
        plain = row["kind"] == "text" or self._template is None
        ids, offsets = tokenize(self._tokenizer, rendered, add_special_tokens=plain)
        weights = [0.0] * len(ids)
        for span in rendered.spans:
            weight = 1.0 if span.index < 0 else by_message[span.index]
            for i, (start, end) in enumerate(offsets):
                if end > span.start and start < span.end:
                    weights[i] = weight
        if weights:
            weights[0] = 0.0  # nothing predicts the first token
        return Sample(ids, weights)

    def _cut(self, sample: Sample, row: Mapping[str, Any]) -> Sample | None:
        if len(sample.ids) > self._max_length:
            text = f"{len(sample.ids)} tokens, cut to max_seq_length {self._max_length}"
            self._add("row-truncated", "warning", text, row, fix="Raise hyperparameters.max_seq_length or shorten it.")
            sample = Sample(sample.ids[: self._max_length], sample.weights[: self._max_length])
        return sample if any(sample.weights) else None

    def _look_for_specials(self, row: Mapping[str, Any]) -> None:
        texts = [str(row.get("text", ""))] if row["kind"] == "text" else _texts(row.get("messages", ()))
        for path, text in enumerate(texts):
            hit = next((token for token in self._specials if token in text), None)
            if hit is not None:
                where = "text" if row["kind"] == "text" else f"messages[{path}].content"
                message = f"{where} contains the special token {hit!r}, which becomes control structure, not text"
                self._add("special-token-in-text", "warning", message, row, fix="Remove it unless it is meant.")
                return

    def _add(self, rule: str, severity: str, message: str, row: Mapping[str, Any], *, fix: str) -> None:
        self._findings.add(rule, severity, message, fix=fix, source=row.get("source"))


def _everything(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    turns: Sequence[int],
    weights: Sequence[float],
    extra: Mapping[str, Any],
) -> list[Rendered]:
    """All text, in which assistant turns of another weight are spans of their own."""
    text = template.render(messages, **extra)
    special = [i for i in turns if weights[i] != 1.0]
    if not special:
        return [Rendered(text, (Span(0, len(text), -1),))]
    found = template.samples(messages, special, **extra)
    if len(found) != 1 or found[0].text != text:
        raise TemplateRefused("train_on: all with message weights needs a template that does not rewrite history")
    return [Rendered(text, (Span(0, len(text), -1), *found[0].spans))]


def _ended(sample: Rendered, end: str | None, specials: Sequence[str]) -> Rendered:
    """A turn that closes the text without any end mark gets the tokenizer's: or the model would never learn to stop."""
    last = max(sample.spans, key=lambda span: span.end)
    if end is None or last.end < len(sample.text) or sample.text.rstrip().endswith((end, *specials)):
        return sample
    text = sample.text + end
    return Rendered(text, tuple(replace(span, end=len(text)) if span is last else span for span in sample.spans))


def template_extra(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row hands to the chat template beside its messages."""
    extra = dict(row.get("chat_template_kwargs") or {})
    if row.get("tools"):
        extra["tools"] = row["tools"]
    return extra


def tokenize(
    tokenizer: Any, rendered: Rendered, *, add_special_tokens: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and their character ranges; a tokenizer without offsets is asked piece by piece at the span borders."""
    if tokenizer.is_fast:
        out = tokenizer(rendered.text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
        return out["input_ids"], out["offset_mapping"]
    borders = sorted({0, len(rendered.text), *(edge for span in rendered.spans for edge in (span.start, span.end))})
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, end in pairwise(borders):
        piece = tokenizer(rendered.text[start:end], add_special_tokens=add_special_tokens and start == 0)["input_ids"]
        ids += piece
        offsets += [(start, end)] * len(piece)
    return ids, offsets


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [content if isinstance(content := message.get("content"), str) else "" for message in messages]


def _special_texts(tokenizer: Any) -> list[str]:
    return [
        token.content for token in tokenizer.added_tokens_decoder.values() if token.special and len(token.content) > 2
    ]
