"""Whole files to other files: one pass, all or nothing, and it says what it did. `tools.files` builds on `write`."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec

from finetune_sdk.data import ranges
from finetune_sdk.data.chunked import MAX_LINE_BYTES
from finetune_sdk.data.containers import changed, stamp
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.example import Example
from finetune_sdk.data.features import FEATURES
from finetune_sdk.data.formats import Format, format_named
from finetune_sdk.data.outputs import RowFile
from finetune_sdk.data.ranges import convert_ranges
from finetune_sdk.data.renderer import Judge, Own, Renderer
from finetune_sdk.data.report import Report
from finetune_sdk.data.straight import TO_CHAT, Block
from finetune_sdk.data.writing import refuse_shared
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding

Choose: TypeAlias = Callable[[Example], int | str]
Change: TypeAlias = Callable[[Example, Report], Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an operation did."""

    rows_read: int
    written: Mapping[str, int]
    """Rows per output file; empty when nothing was written."""
    dropped: Mapping[str, int]
    """Rows left out, by reason."""
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Why nothing was written, if it was not."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def convert(
    dataset: Dataset, out: Path, *, to: str, allow: Collection[str] = (), workers: int | None = None
) -> Outcome:
    """Write all rows in another format. Nothing is written when a row cannot be read or would lose what matters.

    What is wrong with the content itself (an empty answer, say) is told, and written as it is. `workers` processes
    share a large plain file (None: one per core); the result is the same.
    """
    return write(dataset, [out], to=to, allow=allow, workers=workers)


def merge(dataset: Dataset, out: Path, *, to: str | None = None, allow: Collection[str] = ()) -> Outcome:
    """Write several files as one, in the first one's format or in `to`; rows of that format stay as they are."""
    return write(dataset, [out], to=to or own_format(dataset), allow=allow, as_is=to is None)


def own_format(dataset: Dataset) -> str:
    """The format of the first file that can be written too. Raises `DataError` when there is none."""
    for found in dataset.detection:
        if format_named(found.format).render is not None:
            return found.format
    found = dataset.detection[0]  # kinds with such formats have one of their own name
    how = f"`finetune data convert {found.file} --to {found.kind} --out FILE`"
    raise DataError(f"{found.file}: {found.format} can be read, not written; convert it first: {how}.")


def write(
    dataset: Dataset,
    outs: Sequence[Path],
    *,
    to: str,
    allow: Collection[str] = (),
    choose: Choose | None = None,
    change: Change | None = None,
    judge: Judge | None = None,
    skip_unreadable: bool = False,
    as_is: bool = False,
    workers: int | None = 1,
) -> Outcome:
    """Every row, changed, judged and rendered, into one of the files; in order, in constant memory.

    `choose` answers the position of the output, or a word for why the row is left out; `judge` adds findings, and an
    error among them forbids writing. All files appear, or none. A row that cannot be read forbids writing too, unless
    `skip_unreadable` counts it as left out. `as_is` writes rows that are of that format already as they are.
    """
    entry = format_named(to)
    if entry.render is None:
        raise DataError(f"{entry.name} can be read, not written.")
    refuse_unknown(allow)
    report = Report()
    reading = Report() if skip_unreadable else report
    _refuse_own_input(dataset, outs)
    refuse_shared(outs)
    dropped: dict[str, int] = {}
    counts = [0] * len(outs)
    rows = 0
    with ExitStack() as stack:
        files = [stack.push(RowFile(out)) for out in outs]  # left also when Ctrl-C comes while one is opened
        for file in files:
            file.__enter__()
        renderer = Renderer(entry, allow, report, as_json=all(file.takes_structs for file in files))
        straight = (
            entry.name == "chat" and files[0].takes_blocks and choose is None and change is None and judge is None
        )
        job = _job(dataset, files[0], entry, allow, workers) if straight else None
        if job is not None:
            with _naming(files[0].path):
                rows, counts[0] = _in_ranges(job, report, _processes(workers))
        for given, own, clean in () if job else _given(dataset, entry, reading, straight=straight, as_is=as_is):
            if isinstance(given, Block):
                rows += given.rows
                files[0].write_block(given)
                counts[0] += given.rows
                continue
            rows += 1
            place = choose(given) if choose is not None else 0
            if isinstance(place, str):
                dropped[place] = dropped.get(place, 0) + 1
                continue
            example = change(given, report) if change is not None else given
            renderer.judge(example, judge, clean=clean and example is given)
            same = own if example is given else None
            for row in renderer.rows(example, same, as_is=as_is):
                files[place].write(row)
                counts[place] += 1
        done = not (report.errors or reading.holds(changed().rule))  # that one is no matter of single rows
        if done:
            for file in files:
                file.finish()
            for file in files:
                file.commit()
    if skip_unreadable:
        for finding in reading.findings():
            dropped.update({finding.rule: finding.count} if finding.severity == "error" else {})
            report.add(replace(finding, severity="info") if done else finding)
    written = {str(out): count for out, count in zip(outs, counts, strict=True)} if done else {}
    return Outcome(rows_read=rows, written=written, dropped=dropped, findings=report.findings())


def _given(
    dataset: Dataset, entry: Format, report: Report, *, straight: bool, as_is: bool
) -> Iterator[tuple[Any, Own, bool]]:
    """Examples or finished blocks; beside an example what knows its row, where that is of the format already.

    Last, whether the example's texts were looked at and are clean.
    """
    source = dataset.keeping(entry.name)
    if as_is:
        for example in source.scan(report, fast=False):
            yield example, source.own, False
        return
    for given, clean in source.scan_to_chat(report) if straight else source.scan_looked(report):
        yield given, source.own, clean


def _in_ranges(job: ranges.Job, report: Report, processes: int) -> tuple[int, int]:
    """Rows read and written by several processes."""
    source = Path(job.source)
    before = stamp(source)
    totals = convert_ranges(job, convert_range, report, processes, MAX_LINE_BYTES)
    if stamp(source) != before:
        report.add(changed().finding(job.source, None))
    return totals.rows, totals.written


@contextmanager
def _naming(out: Path) -> Generator[None]:
    """A disk that is full says which file it has no place for."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(error.errno, error.strerror, str(out)) from error
        raise


def _processes(workers: int | None) -> int:
    return max(1, workers if workers is not None else len(os.sched_getaffinity(0)))


def _job(
    dataset: Dataset, out: RowFile, entry: Format, allow: Collection[str], workers: int | None
) -> ranges.Job | None:
    """The work to share; None where one process does it: small files, other containers, a format without a lane."""
    if _processes(workers) == 1 or out.part is None or not sys.executable or not dataset.plain_file():
        return None
    path = dataset.files[0]
    if path.stat().st_size <= ranges.LARGE_BYTES or dataset.detection[0].format not in TO_CHAT:
        return None
    found = dataset.detection[0].format
    return ranges.Job(str(path), str(out.part), found, dataset.named, entry.name, tuple(allow))


def convert_range(job: ranges.Job, stream: BinaryIO, report: Report) -> tuple[list[bytes], int, int]:
    """Lines to lines of the `chat` format: the output in pieces, the rows read and the rows written."""
    dataset = Dataset([Path(job.source)], job.read_as if job.named else None, {}).keeping(job.write_as)
    renderer = Renderer(format_named(job.write_as), job.allow, report, as_json=True)
    encoder = msgspec.json.Encoder()
    out: list[bytes] = []
    rows = written = 0
    for given, clean in dataset.scan_part(format_named(job.read_as), stream, report):
        if isinstance(given, Block):
            out.append(given.lines)
            rows += given.rows
            written += given.rows
            continue
        rows += 1
        renderer.judge(given, clean=clean)
        found = renderer.rows(given, dataset.own)
        out.append(encoder.encode_lines(found))
        written += len(found)
    return out, rows, written


def refuse_unknown(losses: Collection[str]) -> None:
    """Raise `DataError` for a loss that is allowed and that no format has: it is a slip of the pen."""
    for name in losses:
        if name not in FEATURES and name != "all":
            close = difflib.get_close_matches(name, FEATURES, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise DataError(f"--allow-loss {name}: no such rule.{meant} Known: {', '.join(FEATURES)}.")


def _refuse_own_input(dataset: Dataset, outs: Sequence[Path]) -> None:
    for out in outs:
        if out.exists() and any(path.exists() and out.samefile(path) for path in dataset.files):
            raise DataError(f"{out}: would overwrite its own input; write to another file.")
