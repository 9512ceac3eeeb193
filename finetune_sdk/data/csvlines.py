"""The records of a table line by line. To divide a line without quotes costs half of what `csv` does for the others."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain, count, repeat
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from finetune_sdk.data.chunked import MAX_LINE_BYTES, Chunk, chunks
from finetune_sdk.data.report import Fail, Fault
from finetune_sdk.data.strict import invalid_utf8

if TYPE_CHECKING:
    from _csv import Reader

Records = Iterator[tuple[int, Sequence[str]]]
"""The line each begins on, and its cells; none where the line is blank."""


Kind = Literal["plain", "mixed", "quoted"]


class _Chunk(NamedTuple):
    """Some lines of a table."""

    left: Iterator[str]
    """Those that nobody took yet."""
    end: str
    """What all of them ended with, and are without; nothing where they have their ends still."""
    kind: Kind
    """Plain: no line has quotes or is blank. Mixed: some have quotes. All others are quoted."""


class _Lines:
    def __init__(self, stream: BinaryIO, fail: Fail, before: int) -> None:
        self.here = _Chunk(iter(()), "", "quoted")
        self.again: list[str] = []
        """What `texts` gives before the lines left."""
        self._chunks = chunks(stream)
        self._fail = fail
        self._before = before
        self._begun = False

    def more(self) -> bool:
        """Whether lines are left that nobody was told of. Raises `Fault`."""
        begun, self._begun = self._begun, False
        return begun or self._load()

    def stay(self) -> None:
        """What is left shall be told of again."""
        self._begun = True

    def texts(self) -> Iterator[str]:
        """All, one by one, with their ends. Raises `Fault`."""
        while True:
            text = self.again.pop() if self.again else next(self.here.left, None)
            if text is not None:
                yield text + self.here.end
            elif self._load():
                self._begun = True
            else:
                return

    def all_left(self) -> Iterator[str]:
        """The same, to be read to the end."""
        self.stay()
        return chain.from_iterable(self._with_ends())

    def _with_ends(self) -> Iterator[Iterator[str]]:
        while self.more():
            left, end, _ = self.here
            yield (text + end for text in left) if end else left

    def _load(self) -> bool:
        first, chunk = next(self._chunks, (0, None))
        if chunk is None:
            return False
        chunk.count = chunk.data.count(b"\n")
        self.here = _divided(chunk) or self._with_own_ends(first, chunk)
        return True

    def _with_own_ends(self, first: int, chunk: Chunk) -> _Chunk:
        """A carriage return is one, too. A line that cannot be read is told, and empty."""
        lines: list[str] = []
        for line, text in enumerate(chunk.data.splitlines(keepends=True), self._before + first):
            try:
                lines.append(text.decode())
            except UnicodeDecodeError as error:
                lines.append("")
                self._fail(line, invalid_utf8(text, error))
        chunk.count = len(lines)
        return _Chunk(iter(lines), "", "quoted")


def _divided(chunk: Chunk) -> _Chunk | None:
    """None where lines end in several ways, or are no UTF-8."""
    data, feeds = chunk.data, chunk.count
    end = b"\r\n" if b"\r" in data else b"\n"
    if end == b"\r\n" and not data.count(end) == data.count(b"\r") == feeds:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    quotes = data.count(b'"')
    if quotes > len(chunk) or data.startswith(end) or end + end in data:
        return _Chunk(map(bytes.decode, BytesIO(data)), "", "quoted")
    left = iter(text.removesuffix(end.decode()).split(end.decode()))
    return _Chunk(left, end.decode(), "mixed" if quotes else "plain")


class Table:
    """What follows the lines before that one, among which the header was, if it is known. Says what cannot be read."""

    def __init__(self, stream: BinaryIO, fail: Fail, sign: str, header: list[str], line: int) -> None:
        self.header = header
        self._sign = sign
        self._line = line
        """Where the next record begins."""
        self._lines = _Lines(stream, fail, line - 1)
        self._fail = fail
        self._over = False
        csv.field_size_limit(MAX_LINE_BYTES)

    def read_header(self) -> None:
        """Unless it is known. Without one there are no records."""
        before, reader = self._line, self._reader(self._lines.texts())
        try:
            while not self.header and (cells := next(reader, None)) is not None:
                self.header = names(cells)
                self._line = before + reader.line_num
        except (Fault, csv.Error) as error:
            self._tell(error, self._line)
        self._lines.stay()

    def records(self) -> Records:
        """All that follow the header."""
        return chain.from_iterable(self._parts())  # of which each item costs less than with `yield from`

    def _parts(self) -> Iterator[Records]:
        try:
            while self.header and not self._over and self._lines.more():
                yield {"plain": self._plain, "mixed": self._mixed, "quoted": self._quoted}[self._lines.here.kind]()
        except Fault as fault:
            self._tell(fault, self._line)

    def _plain(self) -> Records:
        texts = list(self._lines.here.left)
        first, self._line = self._line, self._line + len(texts)
        return zip(count(first), map(str.split, texts, repeat(self._sign)), strict=False)

    def _mixed(self) -> Records:
        line, sign, reader = self._line, self._sign, self._reader(self._lines.texts())
        try:
            for text in self._lines.here.left:
                if '"' in text:
                    self._lines.again.append(text)
                    before = reader.line_num
                    yield line, next(reader)
                    line += reader.line_num - before
                else:
                    yield line, text.split(sign)
                    line += 1
        except (Fault, csv.Error) as error:
            self._tell(error, line)
        self._line = line

    def _quoted(self) -> Records:
        """All that is left."""
        reader = self._reader(self._lines.all_left())
        line = before = self._line
        try:
            for cells in reader:
                yield line, cells
                line = before + reader.line_num
        except (Fault, csv.Error) as error:
            self._tell(error, line)
        self._line = line

    def _reader(self, texts: Iterator[str]) -> Reader:
        return csv.reader(texts, delimiter=self._sign, strict=True)

    def _tell(self, error: Fault | csv.Error, line: int) -> None:
        self._fail(line, _csv_fault(error) if isinstance(error, csv.Error) else error)
        self._over = True


def names(cells: list[str]) -> list[str]:
    """The columns' names. Raises `Fault` if one comes twice."""
    found = [cell.strip() for cell in cells]
    repeated = {name for name in found if name and found.count(name) > 1}
    if repeated:
        raise Fault(
            "csv-duplicate-header",
            None,
            f"the header names {', '.join(sorted(map(repr, repeated)))} twice",
            "Rename one of the columns.",
            fatal=True,
        )
    return found


def guess_delimiter(start: bytes) -> str:
    """Of the common signs, the one that is most often in the first line that is not blank, outside of quotes."""
    line = re.split(rb"[\r\n]", start.lstrip(b"\r\n"), maxsplit=1)[0].decode(errors="replace")
    bare = re.sub('"[^"]*"', "", line)
    counts = {sign: bare.count(sign) for sign in ",;\t|"}
    return max(counts, key=lambda sign: counts[sign])


def _csv_fault(error: csv.Error) -> Fault:
    if "unexpected end of data" in str(error):
        return Fault(
            "csv-unclosed-quote", None, "a quote that opens here never closes", "Close it, or double it.", fatal=True
        )
    return Fault("csv-syntax", None, str(error), 'Quote the field and write a quote inside as "".', fatal=True)
