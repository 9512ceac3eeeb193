"""How contents of several parts are copied: see `copied`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import TEXT_HEADS, Piece, Row, Turn, head_of, unusual, value_of
from finetune_sdk.data.example import Role


class _Image(Struct, gc=False):
    url: str
    mime_type: str | None = None
    bucketOwner: str | None = None  # noqa: N815 - Bedrock's name


_image = msgspec.json.Decoder(_Image)
_parts = msgspec.json.Decoder(list[dict[str, Raw]])
_fields = msgspec.json.Decoder(dict[str, Raw])
_TEXT, _IMAGE = Raw(b'"text"'), Raw(b'"image_url"')
_TEXT_PART, _IMAGE_PART = ("type", "text"), ("type", "image_url")
_URL = ("url",)
_URL_DETAIL = ("url", "detail")
_LATER = (b',{"type":"text","text":', b',{"type":"image_url","image_url":{"url":', b",{")
"""What begins a text, an image, and another part."""


def _first(before: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """The same for the first part, and the content without parts."""
    text, image, other = (b"%b[%b" % (before, start[1:]) for start in _LATER)
    return text, image, other, before + b"[]"


_OF_CONTENT = _first(b',"content":')
_OF_TURN: Mapping[Role, tuple[bytes, bytes, bytes, bytes]] = {role: _first(head) for role, head in TEXT_HEADS.items()}


def add_parts(row: Row, role: Role, content: Raw) -> None:
    """Take a turn of several parts and nothing else. Raises like `copy_parts`, and where nothing is to be learned."""
    if not _write(row, row.pieces, content, _OF_TURN[role]) and role == "assistant":
        raise Odd
    row.roles.append(role)


def copy_parts(row: Row, content: Raw) -> tuple[bool, list[Piece]]:
    """Whether a content says something, and how it is written.

    Raises `Odd` for a text part without a text, `KeyError` for one without a type.
    """
    body: list[Piece] = []
    return _write(row, body, content, _OF_CONTENT), body


def _write(row: Row, pieces: list[Piece], content: Raw, first: tuple[bytes, bytes, bytes, bytes]) -> bool:
    a_text, an_image, another, nothing = first
    parts = _parts.decode(content)
    if not parts:
        pieces.append(nothing)
        return False
    says = False
    for part in parts:
        keys = tuple(part)
        if keys == _TEXT_PART and part["type"] == _TEXT and not unusual(part["text"]):
            says = True
            pieces += (a_text, part["text"], b"}")
        elif keys == _IMAGE_PART and part["type"] == _IMAGE and (image := _usual_image(part["image_url"])):
            says = True
            pieces += (an_image, *image)
        else:
            written, told = _other(row, part)
            says = says or told
            pieces += (another, written, b"}")
        a_text, an_image, another = _LATER
    pieces.append(b"]")
    return says


def _usual_image(raw: Raw) -> tuple[Piece, ...] | None:
    """An image with its address, and no more than its detail, in this order: what follows the key of the address."""
    try:
        image = _fields.decode(raw)
    except msgspec.ValidationError:
        return None
    keys = tuple(image)
    if keys == _URL:
        url = image["url"]
        return None if unusual(url) else (url, b"}}")
    if keys == _URL_DETAIL:
        url, detail = image.values()
        if not unusual(url) and not unusual(detail):
            return url, b',"detail":', detail, b"}}"
    return None


def _other(row: Row, part: Turn) -> tuple[bytes, bool]:
    """How any other part is written without its brackets, and whether it says something."""
    kind, text = bytes(part["type"]), part.get("text")
    says = True
    if kind == b'"text"':
        if text is None:
            raise Odd
        blank = unusual(text)
        if blank and bytes(text)[:1] != b'"':
            raise Odd
        says = not blank
    elif kind[:1] != b'"':
        raise Odd
    found = {key: value_of(raw) for key, raw in part.items()}
    if kind == b'"image_url"':
        image = found["image_url"]
        if image[:1] == b'"':
            found["image_url"] = b'{"url":%b}' % image
            row.gained += 1
        else:
            _image.decode(image)
    return b",".join([head_of(key)[1:] + value for key, value in found.items()]), says
