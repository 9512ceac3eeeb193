"""Conversations already rendered to text (ChatML), text in segments (Axolotl), and texts for embedding models."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import msgspec

from finetune_sdk.data.example import ChatExample, EmbeddingExample, Example, Message, Span, conversation
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.messages import role_of
from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fault, Note

_GLUE = re.compile(r"<\|im_end\|>(\s*)")
_TURN = re.compile(r"<\|im_start\|>([^\n<]*)\n(.*?)<\|im_end\|>\s*", re.DOTALL)
_AXOLOTL = "https://github.com/axolotl-ai-cloud/axolotl"


def _match_chatml(row: Object) -> str | None:
    text = row.get("text")
    return "`text` in ChatML" if isinstance(text, str) and text.lstrip().startswith("<|im_start|>") else None


def _parse_chatml(row: Object, note: Note) -> ChatExample:
    text = need_text(row, "text")
    found: list[Message] = []
    at = len(text) - len(text.lstrip())
    while turn := _TURN.match(text, at):
        role, word = role_of(turn.group(1), f"text[{len(found)}]", note)
        found.append(Message(role=role, content=turn.group(2), source_role=word))
        at = turn.end()
    if not found or text[at:].strip():
        raise Fault(
            "chatml-syntax",
            "text",
            f"not ChatML from character {at + 1} on",
            "Write each turn as <|im_start|>role, a line end, the text, <|im_end|>.",
        )
    said = ChatExample(messages=found, extra=rest(row, "text"))
    glue = _GLUE.findall(text)
    return said if set(glue) == {"\n"} else msgspec.structs.replace(said, aside={"glue": glue})


def _render_chatml(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    ends: list[str] = example.aside.get("glue") or list[str]()
    if len(ends) != len(example.messages):
        ends = ["\n"] * len(example.messages)
    turns = zip(example.messages, ends, strict=True)
    said = "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>{end}" for turn, end in turns)
    return {"text": said, **example.extra}


def _marked(example: Example) -> str | None:
    """Where a text holds the marks of turns."""
    for index, message in enumerate(conversation(example)):
        if any(mark in message.text for mark in ("<|im_start|>", "<|im_end|>")):
            return f"messages[{index}].content"
    return None


def _match_segments(row: Object) -> str | None:
    items = as_list(row.get("segments"))
    first = as_object(items[0]) if items else None
    return "`segments` with text and label" if first is not None and {"label", "text"} <= first.keys() else None


def _parse_segments(row: Object, _note: Note) -> ChatExample:
    text = ""
    spans: list[Span] = []
    for index, item in enumerate(as_list(row.get("segments")) or []):
        found = as_object(item) or {}
        if not isinstance(found.get("text"), str) or not isinstance(found.get("label"), bool):
            raise Fault("span-type", f"segments[{index}]", "a segment has a text and a true/false label", "Fix it.")
        unknown = next((key for key in found if key not in ("text", "label")), None)
        if unknown is not None:
            fix = "Remove it: a segment has text and label."
            raise Fault("span-type", f"segments[{index}].{unknown}", f"a segment has no {unknown!r}", fix)
        spans.append(Span(begin=len(text), end=len(text) + len(found["text"]), train=found["label"]))
        text += found["text"]
    message = Message(role="assistant", content=text, spans=spans)
    return ChatExample(messages=[message], extra=rest(row, "segments"), shape="segments")


_EMBEDDING_NAMES = (
    ("anchor", "positive", "negative"),
    ("query", "positive", "negative"),
    ("query", "pos", "neg"),
    ("sentence1", "sentence2", "sentence3"),
    ("question", "positive", "negative"),
)


_NUMBERED = re.compile(r"negative_?(\d+)")
"""Names of several negatives, as sentence-transformers mines them."""


def _embedding_names(row: Object) -> tuple[str, ...] | None:
    for anchor, positive, negative in _EMBEDDING_NAMES:
        if isinstance(row.get(anchor), str) and isinstance(row.get(positive), str):
            numbered = [(int(found[1]), key) for key in row if (found := _NUMBERED.fullmatch(key))]
            negatives = (negative, *(key for _, key in sorted(numbered)))
            return (anchor, positive, *(key for key in negatives if isinstance(row.get(key), str)))
    if isinstance(row.get(_LISTED[0]), str) and _texts(row.get(_LISTED[1])):
        return _LISTED if _texts(row.get(_LISTED[2])) else _LISTED[:2]
    return None


_LISTED = ("query", "pos", "neg")
"""FlagEmbedding's rows: lists of texts that belong to a query and of texts that do not."""


def _texts(value: object) -> list[str]:
    items = as_list(value) or []
    return items if all(isinstance(item, str) for item in items) else []


def _match_embedding(row: Object) -> str | None:
    names = _embedding_names(row)
    if names is None or "label" in row or "target" in row:
        return None
    return ", ".join(f"`{name}`" for name in names)


def _from_lists(row: Object, names: tuple[str, ...], note: Note) -> tuple[list[str], dict[str, Any]]:
    """A positive and all negatives, and what is kept aside: the other positives."""
    positives = _texts(row[names[1]])
    if len(positives) > 1:
        what = f"a row is one anchor and one positive: {len(positives) - 1} more texts of the list are kept aside"
        note("embedding-more", names[1], what, "")
    negatives = _texts(row[names[2]]) if len(names) > 2 else []
    return [positives[0], *negatives], {"more": positives[1:]}


def _number(value: object) -> int | float | None:
    """A number, which tables may hold as text; None for anything else."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _parse_embedding(row: Object, note: Note) -> EmbeddingExample:
    names = _embedding_names(row) or ("anchor", "positive")
    if names[1] == _LISTED[1] and as_list(row.get(names[1])) is not None:
        others, aside = _from_lists(row, names, note)
    else:
        others, aside = [need_text(row, name) for name in names[1:]], {}
    listed = _texts(row.get(_NEGATIVES))
    if listed:
        others += listed
        aside["listed"] = len(listed)
    if names not in (_USUAL, _USUAL[:2]):
        aside["keys"] = list(names)
    fields: dict[str, Any] = {"negative": others[1], "negatives": others[2:]} if len(others) > 1 else {}
    score = _number(row.get("score"))
    if score is not None:
        fields["score"] = score
    return EmbeddingExample(
        anchor=need_text(row, names[0]),
        positive=others[0],
        **fields,
        extra=rest(row, *names, *(("score",) if "score" in fields else ()), *((_NEGATIVES,) if listed else ())),
        aside=aside,
    )


def _render_embedding(example: Example) -> Object:
    assert isinstance(example, EmbeddingExample), "this format writes pairs and triplets"  # noqa: S101
    negatives = [*([] if example.negative is None else [example.negative]), *example.negatives]
    at = len(negatives) - example.aside.get("listed", 0)
    negatives, listed = negatives[:at], negatives[at:]
    first, second, *others = example.aside.get("keys") or _USUAL[: 2 + bool(negatives)]
    row: Object = {first: example.anchor, second: example.positive}
    if "more" in example.aside:
        row[second] = [example.positive, *example.aside["more"]]
        row |= dict.fromkeys(others, negatives)
    elif len(others) == len(negatives):
        row |= dict(zip(others, negatives, strict=True))
    else:
        row |= {f"negative_{index + 1}": text for index, text in enumerate(negatives)}
    if listed:
        row[_NEGATIVES] = listed
    if example.score is not None:
        row["score"] = example.score
    return {**row, **example.extra}


_USUAL = ("anchor", "positive", "negative")
_NEGATIVES = "negatives"


def _embedding_clash(example: Example) -> str | None:
    """A key that would be read as one more negative."""
    texts = (key for key, value in example.extra.items() if isinstance(value, str) and _NUMBERED.fullmatch(key))
    return next(texts, None) or (_NEGATIVES if _texts(example.extra.get(_NEGATIVES)) else None)


_LOSES = {
    "weights": "left out",
    "weights-fraction": "left out",
    "weights-elsewhere": "left out",
    "spans": "left out",
    "reasoning": "left out",
    "refusal": "left out",
    "name": "left out",
    "result-name": "left out",
    "message-keys": "left out",
    "content-list": "joined to one text",
    "content-null": "written as empty text",
    "tools": "left out",
    "empty-tools": "left out",
    "parallel-tool-calls": "left out",
    "template-kwargs": "left out",
}

FORMATS = (
    Format(
        name="chatml",
        kind="chat",
        summary="one text per row with <|im_start|> and <|im_end|> marks",
        match=_match_chatml,
        parse=_parse_chatml,
        render=_render_chatml,
        loses=_LOSES,
        cannot=frozenset(("tool-calls", "images", "other-parts")),
        breaks=_marked,
        reserved=frozenset(("text",)),
        rank=20,
        source="https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md",
        read_on="2026-11-20",
    ),
    Format(
        name="segments",
        kind="chat",
        summary="a text in segments, each learned or not: Axolotl's input_output",
        match=_match_segments,
        parse=_parse_segments,
        rank=60,
        aliases=("input-output",),
        source=_AXOLOTL,
        read_on="2026-11-20",
    ),
    Format(
        name="embedding",
        kind="embedding",
        summary="pairs, triplets or n-tuples of texts: anchor, positive, negative or negative_1, negative_2, ...",
        match=_match_embedding,
        parse=_parse_embedding,
        render=_render_embedding,
        reserved=frozenset((*(key for names in (*_EMBEDDING_NAMES, _LISTED) for key in names), "score")),
        clashes=_embedding_clash,
        rank=35,
        source="https://sbert.net/docs/sentence_transformer/dataset_overview.html",
        read_on="2026-11-20",
    ),
)
