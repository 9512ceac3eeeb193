"""Plain conversations as lines of canonical JSON, without making examples: cut where their skeleton is.

What a row's line holds is what its example would be written as (see `canonical`), its origin left out, so that the line
is also what names the row's content. Examples are decoded from it, all at once. Only rows are taken about which `check`
says nothing; any other goes another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import force_setattr

from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.example import CALL, ChatExample, Role, Source, Texts, Turns
from finetune_sdk.data.formats.messages import NO_TOOLS
from finetune_sdk.data.formats.sharegpt import USUAL
from finetune_sdk.data.rows import Row
from finetune_sdk.data.shapes import NotPlain, call_in
from finetune_sdk.data.skeleton import Skeleton, Written, one_of
from finetune_sdk.data.straight import Block

_decode = msgspec.json.Decoder(ChatExample).decode_lines
_encode = msgspec.json.Encoder().encode
_role, _content = attrgetter("role"), attrgetter("content")


class Plain:
    """How plain rows of one format become canonical lines."""

    def __init__(
        self, keys: tuple[str, str, str], roles: Mapping[str, Role], *, shape: str = "", call: str = ""
    ) -> None:
        self.start = b'{"kind":"chat",' + (b'"shape":%b,' % _encode(shape) if shape else b"")
        """What a line begins with; the origin would follow."""
        heads = {
            word: f'{{"role":"{role}",{_CALLS if word == call else _TEXT}'.encode() for word, role in roles.items()
        }
        last = [word for word, role in roles.items() if role == "assistant"]
        self._skeleton = Skeleton(keys, Written(heads, row=self.start + b'"messages":[', end=b'"}]}\n', last=last))
        words = list(roles)
        calls = [code for code in range(2 * len(words)) if words[code % len(words)] == call]
        self._calls = re.compile(one_of(calls), re.DOTALL)

    def lines(self, chunk: Chunk) -> Block | None:
        """The lines of rows; None where one is not plain."""
        try:
            found = self._skeleton.cut(chunk.data)
            if found is None:
                return None
            chunk.count = found.rows
            pieces = found.pieces
            for match in self._calls.finditer(found.words):
                at = 2 * match.start() + 1
                pieces[at] = b'[%b,"arguments_object":true}]' % call_in(b'"%b"' % pieces[at])[:-1]
                pieces[at + 1] = pieces[at + 1][1:]
            return Block(b"".join(pieces), found.rows)
        except NotPlain:
            return None


_TEXT, _CALLS = '"content":"', '"tool_calls":'
PLAIN: Mapping[str, Plain] = {
    "sharegpt": Plain(("conversations", "from", "value"), USUAL, shape="sharegpt", call="function_call"),
    "chat": Plain(("messages", "role", "content"), {role: role for role in NO_TOOLS}),
}
"""By the format that is read."""


_PARTS = 8
"""Of a chunk that is not plain as a whole."""
_PAUSE = 32
"""Chunks that pass untried at most before the next one is tried."""


class Trip:
    """One file's trip. `divided`: where not all rows of a chunk are plain, its parts are tried.

    That pays for lines alone: examples of plain rows cost little more on the way that is left to the others.
    """

    def __init__(self, plain: Plain, *, divided: bool) -> None:
        self._plain = plain
        self._divided = divided
        self._bad = 0
        """Chunks in a row, few parts of which were plain."""
        self._left = 0
        """How many chunks pass untried."""

    def pieces(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        """The chunk, or its parts, each with its first line, and with its block if it is plain."""
        if self._left:
            self._left -= 1
            yield first, chunk, None
            return
        block = self._plain.lines(chunk)
        if block is not None:
            self._bad = 0
            yield first, chunk, block
            return
        odd = 0
        for at, part, block in self._parts(first, chunk) if self._divided else ((first, chunk, None),):
            odd += len(part) if block is None else 0
            yield at, part, block
        self._bad = self._bad + 1 if 2 * odd > len(chunk) else 0
        self._left = min(1 << self._bad, _PAUSE) if self._bad else 0

    def _parts(self, first: int, chunk: Chunk) -> Iterator[tuple[int, Chunk, Block | None]]:
        lines = chunk.lines
        size = len(lines) // _PARTS + 1
        for start in range(0, len(lines), size):
            part = Chunk(b"".join(lines[start : start + size]), lines[start : start + size])
            yield first + start, part, self._plain.lines(part)


class Lines(NamedTuple):
    """Plain rows that follow each other in a file."""

    text: bytes
    file: str
    first: int
    """The line of the first one."""
    start: int
    """Where in each line its origin would stand."""

    def rows(self) -> Iterator[Row]:
        """The rows one by one."""
        for at, line in enumerate(self.text.split(b"\n")[:-1], self.first):
            yield Row(line, Source(self.file, at), self.start)

    def examples(self) -> Iterator[ChatExample]:
        """What the lines stand for."""
        for at, example in enumerate(_decode(self.text), self.first):
            messages = example.messages
            layout: tuple[str, ...] = tuple(map(_role, messages))
            if "tool" in layout or UNSET in map(_content, messages):
                turns = Turns(tuple([CALL if turn.tool_calls else turn.role for turn in messages]), messages)
            else:
                turns = Texts(layout, messages)
            force_setattr(example, "messages", turns)  # nobody has seen it yet
            force_setattr(example, "source", Source(self.file, at))
            yield example
