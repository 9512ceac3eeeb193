"""How turns of ShareGPT and of chat that are more than a text are copied: see `copied`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedparts import add_parts, copy_parts
from finetune_sdk.data.copiedrow import (
    Piece,
    Row,
    Speech,
    Turn,
    as_json,
    flat,
    head_of,
    name_as_json,
    unusual,
    value_of,
)
from finetune_sdk.data.example import ROLES, Role
from finetune_sdk.data.features import MESSAGE_KEYS
from finetune_sdk.data.formats.messages import NO_TOOLS, REASONING_KEYS, ROLE_WORDS
from finetune_sdk.data.formats.messages import weight as number
from finetune_sdk.data.formats.sharegpt import CALL_WORDS, TEXT_ROLES, role_of
from finetune_sdk.data.strict import decode
from finetune_sdk.data.toolchecks import are_arguments


class Asked(Struct, forbid_unknown_fields=True, gc=False):
    """A call."""

    name: str
    arguments: dict[str, Any] | str


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    function: Asked
    type: str = ""
    id: str | UnsetType | None = UNSET


_MANY = 1000
_text = msgspec.json.Decoder(str)
_asked: msgspec.json.Decoder[Asked | list[Asked]] = msgspec.json.Decoder(Asked | list[Asked])
_calls = msgspec.json.Decoder(list[_Call])
_encoder = msgspec.json.Encoder()


class _Layout(NamedTuple):
    """What a turn holds, by its keys."""

    keys: frozenset[str]
    rest: tuple[tuple[str, bytes], ...]
    """Keys that have a meaning, in the order in which they are written, those of names and calls left out."""
    own: tuple[tuple[str, bytes], ...]
    """The other keys."""
    odd: bool


_REST = ("weight", *REASONING_KEYS, "refusal", "function_call", "training", "train", "train_detail")
_SPOKEN = frozenset((*REASONING_KEYS, "refusal"))
_OF_TOOLS = frozenset(("tool_calls", "tool_call_id"))
_CLASHES = MESSAGE_KEYS.difference(("weight",))
"""What a turn of ShareGPT cannot hold: it would mean something else."""


@lru_cache(_MANY)
def _layout(keys: tuple[str, ...], speech: tuple[str, str]) -> _Layout:
    held = frozenset(keys)
    own = tuple((key, head_of(key)) for key in keys if key not in MESSAGE_KEYS and key not in speech)
    rest = tuple((key, head_of(key)) for key in _REST if key in held)
    clashes = "role" not in speech and not held.isdisjoint(_CLASHES)
    odd = clashes or len(held.intersection(REASONING_KEYS)) > 1
    return _Layout(held, rest, own, odd)


@lru_cache(_MANY)
def _weight(text: bytes) -> tuple[float, bytes]:
    """The weight, and how it is written."""
    value = number(decode(text), "weight")
    return value, b',"weight":' + _encoder.encode(value)


def _rest(row: Row, turn: Turn, layout: _Layout) -> tuple[float | None, list[Piece]]:
    """The weight, and what is written after a turn's calls."""
    weight: float | None = None
    body: list[Piece] = []
    for key, head in layout.rest:
        text = bytes(turn[key])
        if text == b"null" and key not in REASONING_KEYS:
            row.gained -= 1
        elif key == "weight":
            weight, written = _weight(text)
            body.append(written)
        elif text[:1] == b'"' and key in _SPOKEN:
            body += (head, text)
        else:
            raise Odd
    for key, head in layout.own:
        body.append(head)
        body.append(value_of(turn[key]))
    return weight, body


@lru_cache(_MANY)
def speaker(word: bytes) -> Role | None:
    """Who speaks; None for a call."""
    said = _text.decode(word)
    simple = said.strip().lower().replace("-", "_")
    return None if simple in CALL_WORDS else role_of(said, simple, "")


_NOTHING: Sequence[Piece] = ()


def _more_of_sharegpt(row: Row, turn: Turn) -> tuple[float | None, Sequence[Piece]]:
    layout = _layout(tuple(turn), ("from", "value"))
    if layout.odd:
        raise Odd
    return _rest(row, turn, layout)


def _sharegpt(row: Row, turn: Turn) -> None:
    text = turn["value"]
    role = speaker(bytes(turn["from"]))
    weight, rest = _more_of_sharegpt(row, turn) if len(turn) > 2 else (None, _NOTHING)
    if role is None:
        row.add("assistant", (b',"tool_calls":', _asked_calls(row, bytes(text)), *rest), weight=weight)
    elif unusual(text):
        raise Odd
    elif role == "tool":
        name = row.asked().answer(b"")
        row.gained += bool(name)
        row.add(role, (b',"content":', text, *((b',"tool_call_id":', name) if name else ()), *rest))
    else:
        row.add(role, (b',"content":', text, *rest), weight=weight)


def _asked_calls(row: Row, value: bytes) -> bytes:
    """The calls that are described in a text."""
    text = _text.decode(value)
    asked = _asked.decode(text)
    names: list[bytes] = []
    said: list[bytes] = []
    colons = 0
    for call in asked if isinstance(asked, list) else (asked,):
        name, arguments = name_as_json(call.name), arguments_as_json(value, call.arguments)
        colons += 2 + name.count(b":") + arguments.count(b":")
        names.append(name)
        said.append(arguments)
    if not names or colons != text.count(":") or "\\u" in text:  # a key that comes twice, or escapes that may hide one
        raise Odd
    ids = row.asked().ask(names)
    written = b",".join([_MADE_CALL % parts for parts in zip(ids, names, said, strict=True)])
    row.gained += written.count(b":") - value.count(b":")
    return b"[%b]" % written


def arguments_as_json(source: bytes, arguments: dict[str, Any] | str) -> bytes:
    """The arguments as a text. `source`: what they stand in."""
    if isinstance(arguments, str):
        if not are_arguments(arguments):
            raise Odd
        return as_json(arguments)
    flat(source, arguments)
    return as_json(_encoder.encode(arguments).decode())


_MADE_CALL = b'{"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}'
_CALL = b'{"id":%b,"type":%b,"function":{"name":%b,"arguments":%b}}'
_WORDS: dict[str, Role] = {**ROLE_WORDS, **TEXT_ROLES}
SHAREGPT = Speech(
    ("from", "value"),
    frozenset(),
    {as_json(word): role for word, role in _WORDS.items() if role != "tool"},
    _more_of_sharegpt,
    _sharegpt,
)


_ROLES: dict[bytes, Role] = {as_json(role): role for role in ROLES}


def _more_of_chat(row: Row, turn: Turn) -> tuple[float | None, Sequence[Piece]]:
    layout = _layout(tuple(turn), ("role", "content"))
    if layout.odd:
        raise Odd
    weight, rest = _rest(row, turn, layout)
    return weight, _named(row, turn) + rest if "name" in layout.keys else rest


def _named(row: Row, turn: Turn) -> list[Piece]:
    name = _stated(row, turn, "name")
    return [b',"name":', name] if name else []


def _chat(row: Row, turn: Turn) -> None:
    role = _ROLES[bytes(turn["role"])]
    if len(turn) == 2 and role != "tool" and "content" in turn:
        says, body = _content(row, role, turn, optional=False)
        row.add(role, body, says=says)
        return
    if role == "tool" and tuple(turn) == _RESULT and not unusual(turn["content"]):
        answered = bytes(turn["tool_call_id"])
        if answered[:1] == b'"':
            name = row.asked().answer(answered)
            row.add(role, (b',"content":', turn["content"], b',"tool_call_id":', name))
            return
    layout = _layout(tuple(turn), ("role", "content"))
    keys = layout.keys
    if layout.odd:
        raise Odd
    weight, rest = _rest(row, turn, layout) if layout.rest or layout.own else (None, _NOTHING)
    calls = _stated(row, turn, "tool_calls") if "tool_calls" in keys else b""
    answers = _stated(row, turn, "tool_call_id") if "tool_call_id" in keys else b""
    refusal = bytes(turn["refusal"]) if "refusal" in keys else b"null"
    says, body = _content(row, role, turn, optional=bool(calls) or refusal != b"null")
    if "name" in keys:
        body += _named(row, turn)
    if calls:
        if role != "assistant":
            raise Odd
        body += (b',"tool_calls":', _written_calls(row, calls))
    if role == "tool":
        found = row.asked().answer(answers)
        row.gained += bool(found) - bool(answers)
        body += (b',"tool_call_id":', found) if found else ()
    elif answers:
        raise Odd
    body += rest
    row.add(role, body, says=says or refusal not in _SILENT or calls not in _NO_CALLS, weight=weight)


_RESULT = ("role", "content", "tool_call_id")
_SILENT = (b"null", b'""')
_NO_CALLS = (b"", b"[]")


def _stated(row: Row, turn: Turn, key: str) -> bytes:
    """A value, unless it is null."""
    text = bytes(turn[key])
    if text == b"null":
        row.gained -= 1
        return b""
    if (text[:1] == b'"') == (key == "tool_calls"):
        raise Odd
    return text


def _content(row: Row, role: Role, turn: Turn, *, optional: bool) -> tuple[bool, list[Piece]]:
    """Whether it says something, and how it is written. Raises `Odd` for a silent turn that is not the model's."""
    content = turn.get("content")
    if content is None:
        if not optional or role != "assistant":
            raise Odd
        return False, []
    odd = unusual(content)
    if odd is None:
        return True, [b',"content":', content]
    start = odd[0][:1]
    if start == b"[":
        return copy_parts(row, content)
    if role != "assistant" or start not in _BLANK_OR_NULL:
        raise Odd
    return False, [b',"content":', content]


_BLANK_OR_NULL = (b'"', b"n")


def _written_calls(row: Row, text: bytes) -> bytes:
    calls = _calls.decode(text)
    if not calls:
        return b"[]"
    names: list[bytes] = []
    ids: list[bytes] = []
    rest: list[tuple[bytes, bytes, bytes]] = []
    for call in calls:
        if call.id is UNSET:
            row.gained += 1
        elif call.id is not None:
            ids.append(as_json(call.id))
        row.gained += not call.type
        name = name_as_json(call.function.name)
        names.append(name)
        rest.append((name_as_json(call.type or "function"), name, arguments_as_json(text, call.function.arguments)))
    if ids and len(ids) < len(calls):
        raise Odd
    found = zip(row.asked().ask(names, ids), rest, strict=True)
    return b"[%b]" % b",".join([_CALL % (id_, *more) for id_, more in found])


CHAT = Speech(
    ("role", "content"), _OF_TOOLS, {as_json(role): role for role in NO_TOOLS}, _more_of_chat, _chat, add_parts
)
