"""Whole files to other files: convert, split, sample, dedupe, merge, fix. Each is one pass, each says what it did."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.canonical import content_digest, content_key
from finetune_sdk.data.checks import check
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.example import Example
from finetune_sdk.data.formats import Format, format_named
from finetune_sdk.data.losses import as_kind, losses, wrong_kind
from finetune_sdk.data.outputs import RowFile
from finetune_sdk.data.report import Report
from finetune_sdk.data.split import Keys, Split
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding


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


def convert(dataset: Dataset, out: Path, *, to: str, allow: Collection[str] = ()) -> Outcome:
    """Write all rows in another format. Nothing is written when a row cannot be read or would lose what matters."""
    return _write(dataset, [out], to, allow, lambda _example, _digest: 0)


def merge(dataset: Dataset, out: Path, *, to: str | None = None, allow: Collection[str] = ()) -> Outcome:
    """Write several files as one, in the first one's format or in `to`."""
    return _write(dataset, [out], to or _own_format(dataset), allow, lambda _example, _digest: 0)


def dedupe(dataset: Dataset, out: Path, *, by: str = "content") -> Outcome:
    """Keep the first of equal rows: equal in content, or ("prompt") in what they ask. 16 bytes of memory a row."""
    seen: set[bytes] = set()

    def choose(example: Example, digest: bytes) -> int | str:
        key = digest if by == "content" else Keys.prompt_digest(example)
        if key in seen:
            return "duplicate"
        seen.add(key)
        return 0

    return _write(dataset, [out], _own_format(dataset), (), choose)


def sample(dataset: Dataset, out: Path, *, rows: int, seed: int = 0) -> Outcome:
    """Keep that many rows, chosen by content: the same rows whatever their order, in their order."""
    keys = sorted(content_key(example, seed) for example in dataset.scan(Report()))
    limit = keys[min(rows, len(keys)) - 1] if keys and rows > 0 else -1
    left = rows

    def choose(example: Example, _digest: bytes) -> int | str:
        nonlocal left
        if left <= 0 or content_key(example, seed) > limit:
            return "not sampled"
        left -= 1
        return 0

    return _write(dataset, [out], _own_format(dataset), (), choose)


def split(dataset: Dataset, outs: Mapping[str, Path], *, shares: Mapping[str, float], seed: int = 0) -> Outcome:
    """Write a row to `train` or to one of the shares: decided by content, equal prompts together, labels stratified."""
    keys = Keys(seed)
    for example in dataset.scan(Report()):
        keys.add(example, content_digest(example))
    plan: Split = keys.split(shares)
    names = list(outs)
    return _write(
        dataset,
        list(outs.values()),
        _own_format(dataset),
        (),
        lambda example, digest: names.index(plan.role(example, digest)),
    )


def fix(dataset: Dataset, out: Path) -> Outcome:
    """Write the rows that can be trained on, repaired where reading repairs; leave out and count the others."""
    report = Report()
    entry = format_named(_own_format(dataset))
    dropped: dict[str, int] = {}
    rows = written = 0
    seen: set[bytes] = set()
    with RowFile(out) as file:
        for example in dataset.scan(report):
            rows += 1
            reason = _reason_to_drop(example, entry, seen)
            if reason is None:
                file.write(_render(entry, example))
                written += 1
            else:
                dropped[reason] = dropped.get(reason, 0) + 1
        file.commit()
    found = report.findings()
    for finding in found:
        if finding.severity == "error":
            dropped[finding.rule] = dropped.get(finding.rule, 0) + finding.count
    findings = tuple(replace(finding, severity="info") if finding.severity == "error" else finding for finding in found)
    return Outcome(rows_read=rows, written={str(out): written}, dropped=dropped, findings=findings)


def _reason_to_drop(example: Example, entry: Format, seen: set[bytes]) -> str | None:
    bad = next((finding for finding in check(example) if finding.severity == "error"), None)
    if bad is not None:
        return bad.rule
    lost = next((finding for finding in losses(example, entry) if finding.severity == "error"), None)
    if lost is not None:
        return lost.rule
    digest = content_digest(example)
    if digest in seen:
        return "duplicate"
    seen.add(digest)
    return None


def _own_format(dataset: Dataset) -> str:
    for found in dataset.detection:
        if format_named(found.format).render is not None:
            return found.format
    raise DataError(f"{dataset.files[0]}: this format is read only; name another one with `to`.")


def _write(
    dataset: Dataset,
    outs: Sequence[Path],
    to: str,
    allow: Collection[str],
    choose: Callable[[Example, bytes], int | str],
) -> Outcome:
    entry = format_named(to)
    if entry.render is None:
        raise DataError(f"{entry.name} can be read, not written.")
    _refuse_own_input(dataset, outs)
    report = Report()
    dropped: dict[str, int] = {}
    counts = [0] * len(outs)
    rows = 0
    with ExitStack() as stack:
        files = [stack.enter_context(RowFile(out)) for out in outs]
        for example in dataset.scan(report):
            rows += 1
            place = choose(example, content_digest(example))
            if isinstance(place, str):
                dropped[place] = dropped.get(place, 0) + 1
                continue
            for row in _writable(example, entry, allow, report):
                files[place].write(_render(entry, row))
                counts[place] += 1
        done = not report.errors
        if done:
            for file in files:
                file.commit()
    written = {str(out): count for out, count in zip(outs, counts, strict=True)} if done else {}
    return Outcome(rows_read=rows, written=written, dropped=dropped, findings=report.findings())


def _writable(example: Example, entry: Format, allow: Collection[str], report: Report) -> Iterator[Example]:
    where = example.source
    file, line = (where.file, where.line) if where else (None, None)
    rows = [with_call_ids(row) if entry.needs_call_ids else row for row in as_kind(example, entry)]
    if not rows:
        report.add(replace(wrong_kind(example, entry), file=file, line=line))
    for row in rows:
        found = list(losses(row, entry, allow))
        for finding in found:
            report.add(replace(finding, file=file, line=line))
        if not any(finding.rule.startswith("cannot-") for finding in found):
            yield row


def _render(entry: Format, example: Example) -> dict[str, object]:
    assert entry.render is not None, "checked before the first row"  # noqa: S101
    return entry.render(example)


def _refuse_own_input(dataset: Dataset, outs: Sequence[Path]) -> None:
    inputs = {path.resolve() for path in dataset.files}
    for out in outs:
        if out.resolve() in inputs:
            raise DataError(f"{out}: would overwrite its own input; write to another file.")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
