"""Plain text, and texts with a label."""

from __future__ import annotations

import math
from typing import Any

from finetune_sdk.data.example import Example, Label, LabelledExample, TextExample
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

_TEXT_KEYS = ("text", "sentence", "content", "review", "tweet", "utterance")
_LABEL_KEYS = ("label", "labels", "target", "class", "category", "sentiment", "emotion", "intent")
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text", "text_pair"),
    ("question1", "question2"),
    ("question", "sentence"),
)


def _match_text(row: Object) -> str | None:
    if not isinstance(row.get("text"), str) or as_object(row.get("labels")) is not None:  # several heads' labels
        return None
    return "`text`"


def _parse_text(row: Object, _note: Note) -> TextExample:
    return TextExample(text=need_text(row, "text"), extra=rest(row, "text"))


def _label_key(row: Object) -> str | None:
    return next((key for key in _LABEL_KEYS if key in row), None)


def _text_keys(row: Object) -> tuple[str, str | None] | None:
    for first, second in _PAIRS:
        if isinstance(row.get(first), str) and isinstance(row.get(second), str):
            return first, second
    key = next((key for key in _TEXT_KEYS if isinstance(row.get(key), str)), None)
    return (key, None) if key else None


def _match_labelled(row: Object) -> str | None:
    label, texts = _label_key(row), _text_keys(row)
    if label is None or texts is None:
        return None
    if not isinstance(row[label], str | int | float | list | None):
        return None
    return " and ".join(f"`{key}`" for key in (*texts, label) if key)


def _parse_labelled(row: Object, _note: Note) -> LabelledExample:
    texts = _text_keys(row)
    first, second = texts or ("text", None)
    key = _label_key(row) or "label"
    fields: dict[str, Any] = {"text_pair": row[second]} if second else {}
    names = [first, *([second] if second else []), key]
    usual = ["text", *(["text_pair"] if second else []), "label"]
    aside: dict[str, Any] = {"keys": names} if names != usual else {}
    if any(type(item) is int for item in as_list(row.get(key)) or ()):
        aside["numbers"] = True
    return LabelledExample(
        text=need_text(row, first),
        label=_label(row.get(key), key),
        **fields,
        extra=rest(row, *names),
        aside=aside,
    )


def _label(value: Any, path: str) -> Label:
    items = as_list(value)
    if items is not None:
        if items and all(type(item) is int for item in items):
            return [str(item) for item in items]
        if not all(isinstance(item, str) for item in items):
            raise Fault("label-type", path, "a list of labels must hold texts", "Write the labels as text.")
        return items
    if value is None or (isinstance(value, float) and math.isnan(value)) or value == "":
        raise Fault("label-missing", path, "the label is missing", "Add the label, or remove the row.")
    if not isinstance(value, str | int | float):
        raise Fault("label-type", path, f"a label is text or a number, this is {type_name(value)}", "Fix the label.")
    return value


def _render_text(example: Example) -> Object:
    assert isinstance(example, TextExample), "this format writes plain text"  # noqa: S101
    return {"text": example.text, **example.extra}


def _texts(example: LabelledExample) -> list[str]:
    return [example.text] if example.text_pair is None else [example.text, example.text_pair]


def _render_labelled(example: Example) -> Object:
    assert isinstance(example, LabelledExample), "this format writes labelled texts"  # noqa: S101
    pair = example.text_pair
    own = example.aside.get("keys") if example.shape != "tagged" else None
    names = own or ["text", *(["text_pair"] if pair is not None else []), "label"]
    label: object = example.label
    if isinstance(example.label, list) and example.aside.get("numbers") and example.shape != "tagged":
        label = [int(item) for item in example.label]
    return {**dict(zip(names, [*_texts(example), label], strict=True)), **example.extra}


FORMATS = (
    Format(
        name="text",
        kind="text",
        summary="one text per row, for continued pre-training",
        match=_match_text,
        parse=_parse_text,
        render=_render_text,
        reserved=frozenset(("text",)),
        rank=1,
        aliases=("plain", "completion"),
        source="https://huggingface.co/docs/trl/v1.16.0/dataset_formats",
        read_on="2026-11-20",
    ),
    Format(
        name="labelled",
        kind="labelled",
        summary="a text, or a pair of texts, with a label",
        match=_match_labelled,
        parse=_parse_labelled,
        render=_render_labelled,
        reserved=frozenset((*_TEXT_KEYS, *_LABEL_KEYS, *(key for pair in _PAIRS for key in pair))),
        rank=15,
        aliases=("classification", "text-classification"),
        source="https://github.com/huggingface/autotrain-advanced/tree/v0.8.36",
        read_on="2026-11-20",
    ),
)
