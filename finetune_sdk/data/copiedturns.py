"""How turns of ShareGPT and of chat that are more than a text are copied: see `copied`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import Piece, Row, Speech, Turn, unusual, value_of
from finetune_sdk.data.example import ROLES, Role
from finetune_sdk.data.features import MESSAGE_KEYS
from finetune_sdk.data.formats.messages import NO_TOOLS, REASONING_KEYS
from finetune_sdk.data.formats.messages import weight as number
from finetune_sdk.data.formats.sharegpt import CALL_WORDS, TEXT_ROLES, role_of
from finetune_sdk.data.strict import decode
from finetune_sdk.data.toolchecks import are_arguments


class _Asked(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: Raw


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: Raw
    arguments: Raw


class _Image(Struct, gc=False):
    url: str


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    function: _Function
    type: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET


_MANY = 1000
_image = msgspec.json.Decoder(_Image)
_text = msgspec.json.Decoder(str)
_parts = msgspec.json.Decoder(list[dict[str, Raw]])
_asked: msgspec.json.Decoder[_Asked | list[_Asked]] = msgspec.json.Decoder(_Asked | list[_Asked])
_calls = msgspec.json.Decoder(list[_Call])
_encoder = msgspec.json.Encoder()


def as_json(word: str) -> bytes:
    """A text as JSON."""
    return _encoder.encode(word)


@lru_cache(_MANY)
def head_of(key: str) -> bytes:
    """A key, with all that stands between the value before it and its own."""
    return b",%b:" % as_json(key)


class _Layout(NamedTuple):
    """What a turn holds, by its keys."""

    keys: frozenset[str]
    rest: tuple[tuple[str, bytes], ...]
    """Keys that have a meaning, in the order in which they are written, those of names and calls left out."""
    own: tuple[tuple[str, bytes], ...]
    """The other keys."""


_REST = ("weight", *REASONING_KEYS, "refusal", "function_call", "training", "train", "train_detail")
_SPOKEN = frozenset((*REASONING_KEYS, "refusal"))


@lru_cache(_MANY)
def _layout(keys: tuple[str, ...], speech: tuple[str, str]) -> _Layout:
    own = tuple((key, head_of(key)) for key in keys if key not in MESSAGE_KEYS and key not in speech)
    return _Layout(frozenset(keys), tuple((key, head_of(key)) for key in _REST if key in keys), own)


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
        body.append(value_of(bytes(turn[key])))
    return weight, body


@lru_cache(_MANY)
def _speaker(word: bytes) -> Role | None:
    """Who speaks; None for a call."""
    said = _text.decode(word)
    simple = said.strip().lower().replace("-", "_")
    return None if simple in CALL_WORDS else role_of(said, simple, "")


_CLASHES = MESSAGE_KEYS.difference(("weight",))
_NOTHING: Sequence[Piece] = ()


def _sharegpt(row: Row, turn: Turn) -> None:
    text = turn["value"]
    role = _speaker(bytes(turn["from"]))
    weight, rest = None, _NOTHING
    if len(turn) > 2:
        layout = _layout(tuple(turn), ("from", "value"))
        if not _CLASHES.isdisjoint(layout.keys):
            raise Odd
        weight, rest = _rest(row, turn, layout)
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
    calls = asked if isinstance(asked, list) else [asked]
    names = [as_json(call.name) for call in calls]
    said = [_of_arguments(bytes(call.arguments)) for call in calls]
    colons = 2 * len(calls) + sum([text.count(b":") for text in (*names, *said)])
    if colons != text.count(":") or "\\u" in text:  # a duplicated key, or escapes that could hide one
        raise Odd
    ids = row.asked().ask(names)
    written = [_CALL % (id_, b'"function"', *call) for id_, *call in zip(ids, names, said, strict=True)]
    row.gained += b"".join(written).count(b":") - value.count(b":")
    return b"[%b]" % b",".join(written)


_CALL = b'{"id":%b,"type":%b,"function":{"name":%b,"arguments":%b}}'
SHAREGPT = Speech(
    ("from", "value"), {as_json(word): role for word, role in TEXT_ROLES.items() if role != "tool"}, _sharegpt
)


_ROLES: dict[bytes, Role] = {as_json(role): role for role in ROLES}


def _chat(row: Row, turn: Turn) -> None:
    layout = _layout(tuple(turn), ("role", "content"))
    keys = layout.keys
    role = _ROLES[bytes(turn["role"])]
    weight, rest = _rest(row, turn, layout) if layout.rest or layout.own else (None, _NOTHING)
    calls = _stated(row, turn, "tool_calls") if "tool_calls" in keys else b""
    refusal = bytes(turn["refusal"]) if "refusal" in keys else b"null"
    says, body = _content(row, role, turn, optional=bool(calls) or refusal != b"null")
    if len(layout.rest) > 1 and len(keys.intersection(REASONING_KEYS)) > 1:
        raise Odd
    if "name" in keys and (name := _stated(row, turn, "name")):
        body += (b',"name":', name)
    if calls:
        if role != "assistant":
            raise Odd
        body += (b',"tool_calls":', _written_calls(row, calls))
    answers = _stated(row, turn, "tool_call_id") if "tool_call_id" in keys else b""
    if role == "tool":
        found = row.asked().answer(answers)
        row.gained += bool(found) - bool(answers)
        body += (b',"tool_call_id":', found) if found else ()
    elif answers:
        raise Odd
    body += rest
    row.add(role, body, says=says or refusal not in _SILENT or calls not in _NO_CALLS, weight=weight)


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
    if not unusual(content):
        return True, [b',"content":', content]
    text = bytes(content)
    if text[:1] == b"[":
        return _of_parts(row, text)
    if role != "assistant" or (text[:1] != b'"' and text != b"null"):
        raise Odd
    return False, [b',"content":', text]


def _of_parts(row: Row, content: bytes) -> tuple[bool, list[Piece]]:
    says = False
    body: list[Piece] = []
    between = b',"content":['
    for part in _parts.decode(content):
        kind = bytes(part["type"])
        if kind == b'"text"':
            said = part["text"]
            blank = unusual(said)
            if blank and bytes(said)[:1] != b'"':
                raise Odd
            says = says or not blank
            if tuple(part) == _TEXT_PART:
                body += (between + b'{"type":"text","text":', said, b"}")
                between = b","
                continue
        elif kind[:1] == b'"':
            says = True
        else:
            raise Odd
        body.append(between + _part(row, part, is_image=kind == b'"image_url"'))
        between = b","
    if not body:
        raise Odd
    body.append(b"]")
    return says, body


_TEXT_PART = ("type", "text")


def _part(row: Row, part: Turn, *, is_image: bool) -> bytes:
    """A part that is more than a text."""
    found = {key: value_of(bytes(raw)) for key, raw in part.items()}
    if is_image:
        image = found["image_url"]
        if image[:1] == b'"':
            found["image_url"] = b'{"url":%b}' % image
            row.gained += 1
        else:
            _image.decode(image)
    return b"{%b}" % b",".join([head_of(key)[1:] + text for key, text in found.items()])


def _written_calls(row: Row, text: bytes) -> bytes:
    calls = _calls.decode(text)
    if not calls:
        return b"[]"
    names = [_of_text(call.function.name) for call in calls]
    kinds = [b'"function"' if call.type is UNSET else _of_text(call.type) for call in calls]
    row.gained += [call.type for call in calls].count(UNSET) + [call.id for call in calls].count(UNSET)
    given = [bytes(call.id) for call in calls if call.id is not UNSET and bytes(call.id) != b"null"]
    if given and len(given) < len(calls):
        raise Odd
    ids = row.asked().ask(names, given)
    said = [_of_arguments(bytes(call.function.arguments)) for call in calls]
    return b"[%b]" % b",".join([_CALL % parts for parts in zip(ids, kinds, names, said, strict=True)])


def _of_text(raw: Raw) -> bytes:
    text = bytes(raw)
    if text[:1] != b'"':
        raise Odd
    return text


def _of_arguments(text: bytes) -> bytes:
    """The arguments as a text: as they are, or of the object that they are."""
    if text[:1] == b"{":
        return as_json(value_of(text).decode())
    if not are_arguments(_text.decode(text)):
        raise Odd
    return text


CHAT = Speech(("role", "content"), {as_json(role): role for role in NO_TOOLS}, _chat)
