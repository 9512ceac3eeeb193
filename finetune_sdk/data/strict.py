"""JSON as strictly as any trainer reads it, with messages for people.

`decode` is the fast door: msgspec, and a count of colons that notices duplicated keys (no parser does: they all keep
the last): there is one for each key, beside those in texts. Whatever it doubts goes through `diagnose`, which is slow,
exact, and says what is wrong and where.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from finetune_sdk.data.jsonvalue import MAX_DEPTH, colons
from finetune_sdk.data.report import Fault

_decoder = msgspec.json.Decoder()


def decode(line: bytes) -> Any:
    """The value of one JSON document. Raises `Fault`."""
    try:
        value = _decoder.decode(line)
        if colons([value]) == line.count(b":") and not hides_colons(line):
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return diagnose(line.rstrip(b"\n"))


def decode_lines(chunk: bytes, lines: Sequence[bytes], *, clean: bool = False) -> list[Any] | None:
    """The values of whole lines; None where one of them has to be looked at by itself.

    `clean`: no text of the chunk holds such escapes as may stand for a colon.
    """
    try:
        decode_line = _decoder.decode
        values = [decode_line(line) for line in lines]  # the decoder's own way takes several values on a line
        whole = colons(values) == chunk.count(b":") and (clean or not hides_colons(chunk))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return values if whole else None


def hides_colons(text: bytes) -> bool:
    """Whether some escape may stand for a colon."""
    return b"\\u003" in text


def diagnose(line: bytes) -> Any:
    """The value, or the `Fault` that explains why there is none."""
    text = _text(line)
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise _syntax_fault(text, error) from None
    except RecursionError:
        raise _too_deep() from None
    _no_lone_surrogates(text, value)
    try:
        colons([value])
    except RecursionError:
        raise _too_deep() from None
    return value


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise invalid_utf8(line, error) from None


def invalid_utf8(line: bytes, error: UnicodeDecodeError) -> Fault:
    """What to say about bytes that are no UTF-8."""
    at = error.start
    if line[at : at + 1] == b"\xed":
        return Fault(
            "invalid-utf8",
            None,
            f"half an emoji (a lone surrogate, bytes {line[at : at + 3].hex(' ').upper()}) at byte {at + 1}",
            "Remove it, or write U+FFFD in its place.",
        )
    if error.end >= len(line) and error.reason == "unexpected end of data":
        return Fault(
            "invalid-utf8",
            None,
            f"ends inside a UTF-8 character, at byte {at + 1}: the file was cut short",
            "Fetch or write the file again.",
        )
    return Fault(
        "invalid-utf8",
        None,
        f"byte 0x{line[at]:02X} at byte {at + 1} of the line is not valid UTF-8; it looks like cp1252 or latin-1",
        "Convert the file: `iconv -f cp1252 -t utf-8 IN > OUT`.",
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Fault(
                "duplicate-key",
                key,
                f"key {key!r} appears twice in one object; its first value would be lost",
                "Keep one of them.",
            )
        seen.add(key)
    return found


def _no_constant(word: str) -> NoReturn:
    raise Fault("json-nan", None, f"{word} is not JSON", "Write null, or leave the key out.")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Fault("json-number", None, f"the number {text[:40]} is too large for any reader", "Write it as text.")
    return value


def _whole(text: str) -> int:
    if len(text) > 4000:  # Python refuses to parse integers beyond 4300 digits
        raise Fault("json-number", None, f"an integer of {len(text)} digits", "Write it as text.")
    return int(text)


def _too_deep() -> Fault:
    return Fault("json-depth", None, f"nested deeper than {MAX_DEPTH} levels", "Flatten the row, or store it as text.")


def _no_lone_surrogates(text: str, value: object) -> None:
    if "\\u" not in text:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        code = ord(str(error.object)[error.start])
        side = "high" if code < 0xDC00 else "low"
        raise Fault(
            "lone-surrogate",
            None,
            f"\\u{code:04x} is half an emoji: a lone {side} surrogate, which is no character",
            "Remove it, or write \\ufffd in its place.",
        ) from None


_PYTHON_REPR = re.compile(r"[{\[,:]\s*(?:'|None\b|True\b|False\b)")


def _syntax_fault(text: str, error: json.JSONDecodeError) -> Fault:
    at = error.pos
    if text.startswith("\ufeff"):
        what = "a byte order mark at the start of the line: files were put together with theirs"
        return _fault("byte-order-mark-inside", what, "Remove it: `sed -i 's/^\\xEF\\xBB\\xBF//' FILE`.")
    rest = text[at:].lstrip()
    before = text[:at].rstrip()
    known = (
        _extra_text(error.msg, rest, at + 1)
        or _foreign(before, rest, at + 1)
        or _trailing_comma(error.msg, before, rest, at + 1)
        or _inside_string(error.msg, text, at)
    )
    if known is not None:
        return known
    if not rest or error.msg.startswith("Unterminated string"):
        return _fault(
            "json-truncated",
            f"the row is cut off at column {len(text.rstrip()) + 1}: a bracket or quote never closes",
            "Write the row on one line and whole; was the file cut short, or is it pretty-printed?",
        )
    return _fault("json-syntax", f"{error.msg} at column {at + 1}", "Write the rows with a JSON library.")


def _extra_text(message: str, rest: str, column: int) -> Fault | None:
    if message != "Extra data":
        return None
    if rest.startswith("{"):
        return _fault("json-two-objects", f"a second object starts at column {column}", "Put each on its own line.")
    return _fault("json-syntax", f"unexpected text after the object at column {column}", "Remove it.")


def _foreign(before: str, rest: str, column: int) -> Fault | None:
    if rest.startswith(("//", "/*", "#")):
        return _fault("json-comment", f"a comment at column {column}; JSON has none", "Remove it.")
    if rest.startswith("'") or (_PYTHON_REPR.match(before[-1:] + rest) and not rest.startswith('"')):
        return _fault(
            "json-python-repr",
            f"this is a Python dict, not JSON (column {column})",
            "Write the rows with `json.dumps(row)`.",
        )
    return None


def _trailing_comma(message: str, before: str, rest: str, column: int) -> Fault | None:
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return _fault("json-trailing-comma", f"trailing comma at column {len(before)}", "Remove it.")
    if message.startswith("Illegal trailing comma"):
        return _fault("json-trailing-comma", f"trailing comma at column {column}", "Remove it.")
    return None


def _inside_string(message: str, text: str, at: int) -> Fault | None:
    if message.startswith("Invalid control character"):
        return _control_character(text, at)
    if message.startswith("Invalid \\"):
        at = text.rindex("\\", 0, at + 1)
        shown = text[at : at + (6 if text[at + 1 : at + 2] == "u" else 2)]
        return _fault("json-escape", f"bad escape {shown!r} at column {at + 1}", "Write a backslash as \\\\ in JSON.")
    return None


def _control_character(text: str, at: int) -> Fault:
    names = {"\t": "tab", "\n": "line feed", "\r": "carriage return", "\0": "NUL character"}
    name = names.get(text[at], f"control character U+{ord(text[at]):04X}")
    escape = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(text[at], f"\\u{ord(text[at]):04x}")
    return _fault("json-control-character", f"raw {name} at column {at + 1}", f"Write it as {escape}.")


def _fault(rule: str, message: str, fix: str) -> Fault:
    return Fault(rule, None, message, fix)
