"""Tokens with a tag each, for token classification."""

from __future__ import annotations

from typing import Any

from finetune_sdk.data.example import Example, LabelledExample
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.jsonvalue import Object, as_list, type_name
from finetune_sdk.data.report import Fault, Note

_TAG_KEYS = ("tags", "ner_tags", "labels")
_TOKEN_KEYS = ("tokens", "words")


def _keys(row: Object) -> tuple[str, str] | None:
    tokens = next((key for key in _TOKEN_KEYS if as_list(row.get(key)) is not None), None)
    tags = next((key for key in _TAG_KEYS if as_list(row.get(key)) is not None), None)
    return (tokens, tags) if tokens and tags else None


def _match(row: Object) -> str | None:
    keys = _keys(row)
    return None if keys is None else f"`{keys[0]}` and `{keys[1]}`, both lists"


def _parse(row: Object, _note: Note) -> LabelledExample:
    """The tokens become one text, joined by spaces: split it at them to have the tokens again."""
    first, second = _keys(row) or ("tokens", "tags")
    tokens, tags = _items(row, first), _items(row, second)
    for index, token in enumerate(tokens):
        if not isinstance(token, str):
            raise Fault("field-type", f"{first}[{index}]", f"a token is text, this is {type_name(token)}", "Fix it.")
        if not token or " " in token:
            text = f"{token!r} is no token: it is empty or has a space in it"
            raise Fault("token-space", f"{first}[{index}]", text, "Split it, or remove the space.")
    if len(tokens) != len(tags):
        text = f"{len(tokens)} tokens, but {len(tags)} tags"
        raise Fault("tags-count", second, text, "Give each token exactly one tag.")
    for index, tag in enumerate(tags):
        if not isinstance(tag, str | int) or isinstance(tag, bool):
            raise Fault("label-type", f"{second}[{index}]", f"a tag is text, this is {type_name(tag)}", "Fix the tag.")
    if len({isinstance(tag, str) for tag in tags}) > 1:
        raise Fault("label-type", second, "tags are texts or numbers, these are both", "Write all of them as text.")
    return LabelledExample(
        text=" ".join(tokens),
        label=[str(tag) for tag in tags],
        extra=rest(row, first, second),
        shape="tagged",
        aside={"keys": [first, second], "numbers": any(isinstance(tag, int) for tag in tags)},
    )


def _items(row: Object, key: str) -> list[Any]:
    return as_list(row.get(key)) or []


def _render(example: Example) -> Object:
    assert isinstance(example, LabelledExample), "this format writes labelled texts"  # noqa: S101
    own = example.aside.get("keys") if example.shape == "tagged" else None
    tokens, tags = own or ["tokens", "tags"]
    label: list[Any] = example.label if isinstance(example.label, list) else [example.label]
    if example.aside.get("numbers"):
        label = [int(tag) for tag in label]
    return {tokens: example.text.split(" "), tags: label, **example.extra}


FORMATS = (
    Format(
        name="tagged",
        kind="labelled",
        summary="tokens with a tag each, for token classification",
        match=_match,
        parse=_parse,
        render=_render,
        cannot=frozenset({"label-of-the-whole"}),
        reserved=frozenset((*_TOKEN_KEYS, *_TAG_KEYS)),
        rank=16,
        aliases=("token-classification", "ner"),
        source="https://github.com/huggingface/autotrain-advanced/tree/v0.8.36",
        read_on="2026-11-21",
    ),
)
