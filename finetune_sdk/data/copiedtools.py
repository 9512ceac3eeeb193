"""Lists of tools on their way to lines of the `chat` format, read once for all rows that share them: see `copied`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import msgspec
from msgspec import Raw

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import as_json, flat
from finetune_sdk.data.formats.messages import tools
from finetune_sdk.data.jsonvalue import as_list
from finetune_sdk.data.toolchecks import check_tools, functions_of, tool_name

Tools: TypeAlias = tuple[bytes, Collection[bytes], int]
"""How tools are written, the names of their functions as JSON, and how many colons they gain."""

NO_TOOLS: Tools = (b"", (), 0)
_NONE = (b"null", b'""')
_MANY, _SHORT = 256, 8192
"""How many lists are remembered, and up to how many bytes each."""
_text = msgspec.json.Decoder(str)
_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


class ToolLists:
    """Those of one file, as they stand."""

    def __init__(self) -> None:
        self._found: dict[bytes, Tools] = {}
        self._last = b""
        self._of_last = NO_TOOLS

    def __call__(self, raw: Raw) -> Tools:
        """What there is to know about a list, or its text. Raises `Odd`, or what reading raises."""
        text = bytes(raw)
        if text == self._last:
            return self._of_last
        found = self._found.get(text)
        if found is None:
            found = (b"", (), -1) if text in _NONE else _read(text)
            if len(text) < _SHORT and len(self._found) < _MANY:
                self._found[text] = found
        self._last, self._of_last = text, found
        return found


def _read(text: bytes) -> Tools:
    inside = _text.decode(text).encode() if text[:1] == b'"' else text
    value = _decoder.decode(inside)
    flat(inside, value)
    read = tools(value, "tools") if as_list(value) is not None else None
    if read is None or _hides_keys(inside, value):
        raise Odd
    written = _encoder.encode(read)
    functions = functions_of(written)
    if functions is None:
        if next(check_tools([], read), None) is not None:
            raise Odd
        functions = list(map(tool_name, read))
    return b',"tools":' + written, frozenset(map(as_json, functions)), written.count(b":") - text.count(b":")


def _hides_keys(text: bytes, value: object) -> bool:
    """Whether a key may come twice: there are other colons than in what was read, or escapes that stand for some."""
    return b"\\u003" in text or _encoder.encode(value).count(b":") != text.count(b":")
