"""A dataset: any number of files, read lazily into examples, as often as you like, in constant memory."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import count, repeat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias, cast

from msgspec.structs import force_setattr

from finetune_sdk.data import interop
from finetune_sdk.data.canonical import content_digest
from finetune_sdk.data.chunked import Chunk, chunks, guarded
from finetune_sdk.data.columns import renamed
from finetune_sdk.data.containers import Opened, changed, find_files, open_file, stamp
from finetune_sdk.data.copied import COPIED, Copied, Copying
from finetune_sdk.data.declared import Declared, declared
from finetune_sdk.data.detect import Detection, another, detect
from finetune_sdk.data.example import Example, Kind, Source
from finetune_sdk.data.formats import FORMATS, Format, format_named
from finetune_sdk.data.formats.published import YIELDS
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.lanes import READ, Express, Lane
from finetune_sdk.data.marks import is_clean
from finetune_sdk.data.plainrows import PLAIN, Lines, Plain, Trip
from finetune_sdk.data.readers import read_rows, rows_of_chunk
from finetune_sdk.data.report import Fault, Report
from finetune_sdk.data.straight import TO_CHAT, Block, Journey, Straight
from finetune_sdk.data.strict import decode
from finetune_sdk.data.tables import artefacts
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding


class Table(Protocol):
    """A table of pandas, polars, pyarrow or `datasets`."""

    @property
    def shape(self) -> Any: ...


class Dataset:
    """Iterate to get examples; iterating again reads the files again. Reading stops at the first faulty row.

    Use `scan` to go on past faulty rows and collect findings instead.
    """

    def __init__(
        self, files: Sequence[Path], named: str | None, columns: Mapping[str, str], prefer: Sequence[Kind] = ()
    ) -> None:
        self.files = tuple(files)
        self._format = named
        self._columns = dict(columns)
        self._prefer = tuple(prefer)
        self._detected: dict[Path, Detection] = {}
        self._rows: int | None = None
        self._wanted = ""
        self._given: _Own = None

    @classmethod
    def open(
        cls,
        source: str | Path | Sequence[str | Path] | Sequence[Mapping[str, Any]] | Table,
        *,
        format: str | None = None,  # noqa: A002 - the name users write
        columns: Mapping[str, str] | None = None,
        prefer: Sequence[Kind] = (),
    ) -> Dataset:
        """A dataset from paths, globs, folders and addresses, rows, or a table of pandas, polars, pyarrow, `datasets`.

        Reads no file yet, but raises `DataError` for a missing one. `format` overrides detection; `columns` maps our
        names to yours.
        """
        if format is not None:
            format_named(format)
        if interop.is_table(source) or interop.are_rows(source):
            return cls.from_rows(source, format=format, columns=columns, prefer=prefer)
        interop.refuse_no_paths(source)
        return cls(find_files(cast("str | Path | Sequence[str | Path]", source)), format, columns or {}, prefer)

    @classmethod
    def from_rows(
        cls,
        rows: object,
        *,
        format: str | None = None,  # noqa: A002 - the name users write
        columns: Mapping[str, str] | None = None,
        prefer: Sequence[Kind] = (),
    ) -> Dataset:
        """A dataset from an iterable of dictionaries, or a table. They are copied to a temporary file, which goes
        when the dataset does; an iterable is consumed. Raises `DataError` for a row that is no JSON.
        """
        if format is not None:
            format_named(format)
        folder, remove = interop.temporary_folder()
        try:
            found = cls([interop.put_aside(rows, folder)], format, columns or {}, prefer)
        except BaseException:
            remove()
            raise
        weakref.finalize(found, remove)
        return found

    @property
    def detection(self) -> tuple[Detection, ...]:
        """How each file is read, with evidence. Raises `DataError` where that cannot be told."""
        found: list[Detection] = []
        for path in self.files:
            try:
                found.append(self._detect(path))
            except Fault as fault:
                raise DataError(str(self._first_fault(path) or fault.finding(str(path), None))) from None
        return tuple(found)

    def _first_fault(self, path: Path) -> Finding | None:
        """What reading the file says first, where it holds no row that can be read."""
        report = Report()
        next(self._scan_file(path, report), None)
        return next(iter(report.findings()), None)

    @property
    def known_detection(self) -> tuple[Detection, ...]:
        """What `detection` has found so far, by earlier reading; never raises."""
        return tuple(self._detected[path] for path in self.files if path in self._detected)

    def __iter__(self) -> Iterator[Example]:
        report = Report()
        rows = 0
        for example in self.scan(report):
            if report.errors:
                break
            rows += 1
            yield example
        if report.errors:
            raise DataError(str(report.findings()[0]))
        self._rows = rows

    def __len__(self) -> int:
        """Rows of the last whole pass. Raises `TypeError` before one: counting means reading everything."""
        if self._rows is None:
            raise TypeError("the number of rows is known after a whole pass: `sum(1 for _ in dataset)`")
        return self._rows

    def __repr__(self) -> str:
        """The files, and how they are read as far as that is known; reads nothing."""
        formats = dict.fromkeys(found.format for found in self.known_detection)
        names = [*map(str, self.files[:1]), *([f"{len(self.files) - 1:,} more"] if self.files[1:] else [])]
        return f"<Dataset {', '.join([' and '.join(names), *formats])}>"

    def __bool__(self) -> bool:
        """Always true: whether there are rows is only known by reading."""
        return True

    def rows(self, to: str | None = None) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, in the format `to` or their own. Raises `DataError` where that would lose."""
        return interop.rows_as(self, to or self._own())

    def to_arrow(self, to: str | None = None) -> Any:
        """All rows as a `pyarrow.Table`, in the format `to` or their own; tools are JSON text in it."""
        return interop.to_arrow(self, to or self._own())

    def to_pandas(self, to: str | None = None) -> Any:
        """All rows as a `pandas.DataFrame`, like `to_arrow`."""
        return interop.to_pandas(self, to or self._own())

    def to_polars(self, to: str | None = None) -> Any:
        """All rows as a `polars.DataFrame`, like `to_arrow`."""
        return interop.to_polars(self, to or self._own())

    def to_hf(self, to: str | None = None) -> Any:
        """All rows as a `datasets.Dataset`, like `to_arrow`; `to="trl-chat"` is what TRL's trainers take."""
        return interop.to_hf(self, to or self._own())

    def _own(self) -> str:
        return self.detection[0].format

    def scan(self, report: Report, *, fast: bool = True) -> Iterator[Example]:
        """All examples that can be read; what cannot goes to `report`. `fast=False` reads usual rows slowly too."""
        for example, _ in self.scan_looked(report, fast=fast):
            yield example

    def scan_looked(self, report: Report, *, fast: bool = True) -> Iterator[tuple[Example, bool]]:
        """Like `scan`, and whether all texts were looked at and hold nothing that deserves a finding."""
        for path in self.files:
            yield from self._scan_file(path, report, fast=fast)

    def scan_lines(self, report: Report) -> Iterator[tuple[Example | Lines, bool]]:
        """Like `scan_looked`, with plain rows that need no finding as canonical lines, many at a time."""
        for path in self.files:
            yield from self._scan_file(path, report, as_lines=True)

    def scan_to_chat(self, report: Report) -> Iterator[tuple[Example | Block, bool]]:
        """Like `scan_looked`, with blocks of rows that need no finding already as lines of the `chat` format."""
        for path in self.files:
            yield from self._scan_file(path, report, to_chat=True)

    def keeping(self, wanted: str) -> Dataset:
        """The same files, read the same way, where `own` knows the row of each example of the format `wanted`."""
        found = copy(self)
        found._wanted, found._given = wanted, None
        return found

    def own(self) -> Object | None:
        """The row of the example that was read last, as it was: see `keeping`. None also where columns were mapped."""
        given = self._given
        if isinstance(given, tuple):
            given = given[0].lines[given[1]]
        return decode(given) if isinstance(given, bytes) else given

    def fingerprint(self) -> str:
        """A hash of the content in order: equal examples, equal fingerprint in any container. Reads everything."""
        digest = hashlib.sha256()
        for example in self:
            digest.update(content_digest(example))
        return digest.hexdigest()

    def _detect(self, path: Path) -> Detection:
        if path not in self._detected:
            found = self._declaration(path)
            named = found.format if found else self._format
            detection = detect(path, format=named, columns=self._columns, prefer=self._prefer)
            if found:
                detection = replace(detection, evidence=found.evidence)
            self._detected[path] = detection
        return self._detected[path]

    def _declaration(self, path: Path) -> Declared | None:
        """What a `dataset_info.json` says; the user's own word on format or columns goes first."""
        return None if self._format is not None or self._columns else declared(path)

    def _scan_file(
        self, path: Path, report: Report, *, to_chat: bool = False, as_lines: bool = False, fast: bool = True
    ) -> Iterator[tuple[Any, bool]]:
        name = str(path)
        seen = _Seen(report, name)
        before = stamp(path)
        try:
            with open_file(path) as opened:
                seen.repairs(opened)
                entry = self._entry(path, opened, seen)
                layout = self._declaration(path) if entry else None
                seen.warn(None, layout.findings if layout else ())
                plain = opened.container == "jsonl" and not self._columns and layout is None
                if entry:
                    way = _way(entry.name, to_chat=to_chat, as_lines=as_lines) if plain and fast else _SLOWLY
                    yield from self._read(entry, _rows(opened, way, seen), layout, seen)
            if stamp(path) != before:
                raise changed()
        except Fault as fault:
            seen.fault(None, fault)
        if not seen.rows and not seen.faults:
            report.add(_empty(path))

    def scan_part(self, entry: Format, stream: BinaryIO, report: Report) -> Iterator[tuple[Example | Block, bool]]:
        """Like `scan_to_chat`, of some lines of the only file, whose format is known. Lines count from 1."""
        seen = _Seen(report, str(self.files[0]))
        rows = _rows(Opened(stream=stream, container="jsonl"), _way(entry.name, to_chat=True), seen)
        yield from self._read(entry, rows, None, seen)

    def plain_file(self) -> bool:
        """Whether the only file is uncompressed JSONL in UTF-8, whose rows are read as they are."""
        if len(self.files) != 1 or not self.files[0].is_file() or self._columns:
            return False
        path = self.files[0]
        try:
            with open_file(path) as opened:
                as_it_is = opened.compression is None and not opened.repairs
                return as_it_is and opened.container == "jsonl" and self._declaration(path) is None
        except Fault:  # of the file or of its declaration: reading will say it
            return False

    @property
    def named(self) -> bool:
        """Whether the user named the format."""
        return self._format is not None

    def _read(
        self, entry: Format, rows: Iterator[_Given], layout: Declared | None, seen: _Seen
    ) -> Iterator[tuple[Any, bool]]:
        kept = entry.name == self._wanted and layout is None and not self._columns
        for line, done, row in rows:
            self._given = row if kept else None
            example, clean = done, seen.clean
            if isinstance(row, dict):
                clean = clean and not any(map(_is_packed, row.values()))
                example = self._parse(entry, line, row, seen, layout)
                if example is None:
                    continue
                force_setattr(example, "source", Source(seen.file, line))  # nobody has seen it yet
            seen.rows += 1
            yield example, clean

    def _entry(self, path: Path, opened: Opened, seen: _Seen) -> Format | None:
        try:
            return format_named(self._detect(path).format)
        except Fault as fault:
            if fault.rule == "no-rows":  # faulty rows only, or none: let reading them say why
                for _ in read_rows(opened, seen.fault):
                    pass
            else:
                seen.fault(1, fault)
            return None

    def _parse(
        self, entry: Format, line: int, row: Object, seen: _Seen, layout: Declared | None = None
    ) -> Example | None:
        try:
            seen.line = line
            if self._columns:
                row = renamed(row, self._columns)
            if entry.name in YIELDS and self._format is None and (beside := another(row, entry.name)) is not None:
                raise _mixture(beside, entry)
            return entry.parse(row if layout is None else layout.row(row, seen.note), seen.note)
        except Fault as fault:
            seen.fault(line, fault if layout is not None else self._mixed(entry, row) or fault)
            return None

    def _mixed(self, entry: Format, row: Object) -> Fault | None:
        """The better explanation: the row is fine, but of another format than the file."""
        if self._format is not None or entry.match(row):
            return None
        other = next((candidate.name for candidate in FORMATS if candidate.match(row)), None)
        if other is None or other in _SAYS_LESS.get(entry.name, ()):
            return None
        return _mixture(other, entry)


def _mixture(other: str, entry: Format) -> Fault:
    what = f"this row is {other}, the file is {entry.name}"
    fix = "Put each format into a file of its own; a dataset may consist of several files."
    return Fault("format-mixed", None, what, fix)


_SAYS_LESS = {"labelled": ("text",), "unpaired": ("prompt-completion",)}
"""Formats that match a row of another one which lacks its label: no mixture, the label is what is wrong."""


class _Seen:
    """What happened in one file so far."""

    def __init__(self, report: Report, file: str) -> None:
        self._report = report
        self.file = file
        self.line = 0
        self.rows = 0
        self.faults = 0
        self.clean = False
        """The chunk that is being read was looked at: no text in it deserves a finding, unless it is blank."""

    def note(self, rule: str, path: str, message: str, fix: str) -> None:
        self._report.add(
            Finding(rule=rule, severity="info", message=message, fix=fix, file=self.file, line=self.line, path=path)
        )

    def fault(self, line: int | None, fault: Fault) -> None:
        self.faults += 1
        self._report.add(fault.finding(self.file, line))

    def warn(self, line: int | None, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._report.add(replace(finding, file=self.file, line=line))

    def repairs(self, opened: Opened) -> None:
        for rule, message in opened.repairs:
            self._report.add(Finding(rule=rule, severity="info", message=message, file=self.file))


class _Way(NamedTuple):
    """How rows may be read."""

    straight: Straight | None
    copied: Copied | None
    plain: Plain | None
    lane: Lane | None
    as_lines: bool = False


_SLOWLY = _Way(None, None, None, None)


def _way(name: str, *, to_chat: bool, as_lines: bool = False) -> _Way:
    straight, copied = (TO_CHAT.get(name), COPIED.get(name)) if to_chat else (None, None)
    plain = PLAIN.get(name) if straight is None and copied is None else None
    return _Way(straight, copied, plain, READ.get(name), as_lines)


_Own: TypeAlias = Object | bytes | tuple[Chunk, int] | None
"""A row as it was read, or where it stands in its chunk."""
_Given: TypeAlias = tuple[int, Any, _Own]
"""A row's line; the finished example with the row, or finished rows, or nothing with its JSON object."""


def _rows(opened: Opened, way: _Way, seen: _Seen) -> Iterator[_Given]:
    if opened.container != "jsonl":
        return _others(opened, seen)
    express = Express(way.lane, seen.file) if way.lane is not None else None
    if way.plain is not None:
        return _plain(opened, way.plain, express, seen, as_lines=way.as_lines)
    if way.straight is None and way.copied is None:
        return _lines(opened, express, seen)
    return _finished(opened, way, express, seen)


def _others(opened: Opened, seen: _Seen) -> Iterator[_Given]:
    table = opened.container in ("csv", "tsv", "excel")
    for line, row in read_rows(opened, seen.fault):
        if table:
            seen.warn(line, artefacts(row))
        yield line, None, row


def _lines(opened: Opened, express: Express | None, seen: _Seen) -> Iterator[_Given]:
    for first, chunk in guarded(chunks(opened.stream), seen.fault):
        yield from _looked_at(first, chunk, express, seen)


def _is_packed(value: object) -> bool:
    """Whether turns stand in a text, where escapes are escaped themselves: nobody has looked at what they hide."""
    return isinstance(value, str) and value.lstrip().startswith(("[", "{"))


def _looked_at(first: int, chunk: Chunk, express: Express | None, seen: _Seen) -> Iterator[_Given]:
    seen.clean = is_clean(chunk.data)
    found = express.rows(first, chunk, clean=seen.clean) if express is not None else None
    if found is None:
        for line, row in rows_of_chunk(first, chunk, seen.fault, clean=seen.clean):
            yield line, None, row
        return
    for line, example, text in found:
        if example is not None:
            yield line, example, text
            continue
        for at, row in rows_of_chunk(line, Chunk(text, [text]), seen.fault):
            yield at, None, row


def _plain(opened: Opened, plain: Plain, express: Express | None, seen: _Seen, *, as_lines: bool) -> Iterator[_Given]:
    """Plain rows from their canonical lines, or these lines; the others as examples."""
    trip = Trip(plain, divided=as_lines)
    for first, chunk in guarded(chunks(opened.stream), seen.fault):
        for start, some, block in trip.pieces(first, chunk):
            if block is None:
                yield from _looked_at(start, some, express, seen)
                continue
            seen.clean = True
            lines = Lines(block.lines, seen.file, start, len(plain.start))
            if as_lines:
                yield start, lines, None
            else:
                yield from zip(count(start), lines.examples(), zip(repeat(some), count()))


def _finished(opened: Opened, way: _Way, express: Express | None, seen: _Seen) -> Iterator[_Given]:
    """Blocks of plain rows, then of what is left those of rows that are copied, and examples of the rest."""
    journey = Journey(way.straight, followed=way.copied is not None) if way.straight is not None else None
    copying = Copying(way.copied) if way.copied is not None else None
    for first, chunk in guarded(chunks(opened.stream), seen.fault):
        for start, some, done in journey.pieces(first, chunk) if journey is not None else ((first, chunk, None),):
            left = copying.pieces(start, some) if done is None and copying is not None else ((start, some, done),)
            for line, piece, block in left:
                if block is not None:
                    yield line, block, None
                else:
                    yield from _looked_at(line, piece, express, seen)


def _empty(path: Path) -> Finding:
    with open_file(path) as opened:
        lines = sum(1 for _ in opened.stream) if opened.container in ("jsonl", "text") else 0
        if not opened.head and opened.compression is None:
            message = "the file is empty (0 bytes)"
        elif lines:
            message = f"no rows: {lines:,} line{'s' if lines != 1 else ''}, all blank"
        elif opened.container in ("csv", "tsv") and opened.head.strip():
            message = "no rows: a header, and nothing below it"
        else:
            message = "no rows: nothing inside"
    return Finding(
        rule="file-empty", severity="error", message=message, fix="Write at least one row.", file=str(path), line=1
    )
