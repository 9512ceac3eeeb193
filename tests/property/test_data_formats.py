"""Whatever is generated: a format that announces no loss keeps everything, and none crashes on what it accepts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from finetune_sdk.data import canonical
from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.example import (
    ChatExample,
    EmbeddingExample,
    Example,
    FunctionCall,
    LabelledExample,
    Message,
    PreferenceExample,
    PromptExample,
    Span,
    StepwiseExample,
    TextExample,
    ToolCall,
    UnpairedPreference,
)
from finetune_sdk.data.formats import FORMATS
from finetune_sdk.data.formats.base import Format
from finetune_sdk.data.losses import losses

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SOME_TEXT = TEXT.filter(lambda text: bool(text.strip()))
NAME = st.sampled_from(("search", "weather", "a-b_c"))
KEYS = st.from_regex(r"id|topic|label|text|messages|system|weight|score", fullmatch=True)
JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**64, 2**80), TEXT, st.lists(TEXT, max_size=2)
)
EXTRA: st.SearchStrategy[dict[str, Any]] = st.dictionaries(KEYS, JSON_VALUES, max_size=1)
ARGUMENTS = st.one_of(st.just('{"q": 1}'), st.just("{}"), st.just("not json"), st.just('{"b":1,"a":[2]}'))


@st.composite
def calls(draw: st.DrawFn) -> ToolCall:
    return ToolCall(
        id=draw(st.one_of(st.just(UNSET), st.sampled_from(("c1", "c2")))),
        type="function",
        function=FunctionCall(name=draw(NAME), arguments=draw(ARGUMENTS)),
    )


PART = st.one_of(
    TEXT.map(lambda text: {"type": "text", "text": text}),
    st.just({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}),
    st.just({"type": "image_url", "image_url": {"url": "https://x.test/a", "mime_type": "image/webp"}}),
    st.just(
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "mime_type": "image/png", "x": 1}}
    ),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}),
    st.just({"type": "input_audio", "input_audio": {"data": "AA=="}}),
    st.just({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
    st.just({"type": "file", "file": {"url": "gs://a/b.pdf", "mime_type": "application/pdf"}}),
)
CONTENT = st.one_of(SOME_TEXT, SOME_TEXT, SOME_TEXT, TEXT, st.lists(PART, min_size=1, max_size=3))
RARE = st.sampled_from((False, False, False, False, True))


@st.composite
def turns(draw: st.DrawFn, role: str | None = None) -> Message:
    role = role or draw(st.sampled_from(("system", "developer", "user", "user", "assistant", "assistant", "tool")))
    fields: dict[str, Any] = {"role": role, "content": draw(CONTENT)}
    if role == "assistant" and draw(RARE):
        fields["tool_calls"] = draw(st.lists(calls(), min_size=1, max_size=2))
        if draw(st.booleans()):
            fields["content"] = draw(st.sampled_from((UNSET, None)))
    if role == "tool":
        fields["tool_call_id"] = draw(st.sampled_from((None, "c1")))
        fields["content"] = draw(st.one_of(TEXT, TEXT, st.lists(PART, min_size=1, max_size=2)))
    for key, values in (
        ("weight", st.sampled_from((0, 1, -1, 0.5))),
        ("reasoning", SOME_TEXT),
        ("refusal", SOME_TEXT),
        ("name", NAME),
        ("spans", st.just([Span(begin=0, end=3, train=True)])),
        ("extra", st.dictionaries(KEYS, JSON_VALUES, max_size=1)),
    ):
        if draw(RARE) and draw(RARE):
            fields[key] = draw(values)
    return Message(**fields)


@st.composite
def dialogues(draw: st.DrawFn) -> list[Message]:
    """Mostly what people write: an optional system text, then turn and answer; sometimes anything."""
    if draw(RARE):
        return draw(st.lists(turns(), min_size=1, max_size=4))
    start = [draw(turns("system"))] if draw(st.booleans()) else []
    pairs = draw(st.integers(1, 2))
    return start + [draw(turns(role)) for _ in range(pairs) for role in ("user", "assistant")]


TOOLS = st.sampled_from(
    (
        None,
        None,
        [],
        [{"type": "function", "function": {"name": "search", "description": "d", "parameters": {"type": "object"}}}],
    )
)


@st.composite
def beside(draw: st.DrawFn, *, parallel: bool = True) -> dict[str, Any]:
    fields: dict[str, Any] = {"tools": draw(TOOLS), "extra": draw(EXTRA)}
    if parallel and draw(RARE):
        fields["parallel_tool_calls"] = draw(st.booleans())
    if draw(RARE):
        fields["chat_template_kwargs"] = {"thinking": False}
    return fields


@st.composite
def examples(draw: st.DrawFn, kind: str) -> Example:  # noqa: PLR0911 - one per kind
    if kind == "chat":
        return ChatExample(messages=draw(dialogues()), **draw(beside()))
    if kind == "prompt":
        return PromptExample(prompt=[*draw(dialogues()), draw(turns("user"))], **draw(beside()))
    if kind == "preference":
        return PreferenceExample(
            prompt=[*draw(st.one_of(st.just([]), dialogues())), draw(turns("user"))],
            chosen=[draw(turns("assistant"))],
            rejected=[draw(turns("assistant"))],
            margin=draw(st.sampled_from((None, None, 1.5))),
            **draw(beside()),
        )
    if kind == "unpaired":
        return UnpairedPreference(
            prompt=[draw(turns("user"))],
            completion=[draw(turns("assistant"))],
            label=draw(st.booleans()),
            **draw(beside(parallel=False)),
        )
    if kind == "text":
        return TextExample(text=draw(TEXT), extra=draw(EXTRA))
    if kind == "labelled":
        label = draw(st.one_of(SOME_TEXT, st.integers(), st.booleans(), st.lists(SOME_TEXT, min_size=1, max_size=2)))
        return LabelledExample(
            text=draw(TEXT), text_pair=draw(st.one_of(st.none(), TEXT)), label=label, extra=draw(EXTRA)
        )
    if kind == "stepwise":
        steps = draw(st.lists(st.tuples(TEXT, st.booleans()), max_size=3))
        return StepwiseExample(
            prompt=draw(TEXT),
            completions=[step for step, _ in steps],
            labels=[good for _, good in steps],
            extra=draw(EXTRA),
        )
    negatives = draw(st.lists(TEXT, max_size=3))
    return EmbeddingExample(
        anchor=draw(TEXT),
        positive=draw(TEXT),
        negative=negatives[0] if negatives else None,
        negatives=negatives[1:],
        extra=draw(EXTRA),
    )


def content(example: Example) -> Any:
    """What an example says, without how its source spelled it."""
    plain: Any = msgspec.to_builtins(example)
    return _without(plain, {"shape", "aside", "source", "source_role", "arguments_object", "mime_type"})


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, keys) for key, inner in value.items() if key not in keys}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_without(inner, keys) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def ignore(rule: str, path: str, message: str, fix: str) -> None:
    """Repairs are not what these tests are about."""


WRITERS = [entry for entry in FORMATS if entry.render is not None]
LAX = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)


@pytest.mark.parametrize("entry", WRITERS, ids=[entry.name for entry in WRITERS])
@given(data=st.data())
@LAX
def test_what_a_format_does_not_announce_as_lost_survives_it(entry: Format, data: st.DataObject) -> None:
    example = data.draw(examples(entry.kind))
    if entry.needs_call_ids:
        example = with_call_ids(example)
    found = list(losses(example, entry))
    assume(not any(finding.rule.startswith("cannot-") for finding in found))
    assert entry.render is not None
    row = json.loads(msgspec.json.encode(entry.render(example)))
    again = entry.parse(row, ignore)
    if not found:
        assert content(again) == content(example)


@pytest.mark.parametrize(
    "kind", ["chat", "preference", "unpaired", "prompt", "text", "labelled", "stepwise", "embedding"]
)
@given(data=st.data())
@LAX
def test_canonical_jsonl_keeps_everything(kind: str, data: st.DataObject) -> None:
    example = data.draw(examples(kind))
    assert canonical.parse(canonical.render(example)) == example
