"""From a `DataSpec` to files a worker reads: one pass to check, split and name the content, one to write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from finetune_sdk.data.canonical import content_digest, render
from finetune_sdk.data.checks import check
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.detect import Detection
from finetune_sdk.data.example import Example, kind_of
from finetune_sdk.data.methods import accepted, adapted, kinds_for, misfit, plain
from finetune_sdk.data.report import Report
from finetune_sdk.data.split import Split
from finetune_sdk.data.tally import ROLES, DataRole, Tally, role_named, running_hash
from finetune_sdk.data.writing import AtomicFile
from finetune_sdk.errors import DataError
from finetune_sdk.spec import DataSpec
from finetune_sdk.types import DataFile, Finding

Judge: TypeAlias = Callable[[Example], Iterable[Finding]]
"""What a provider has to say about a row; the findings get the row's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Checked data, not yet written. Holds no rows: `write` reads the sources again."""

    files: tuple[DataFile, ...]
    findings: tuple[Finding, ...]
    detection: tuple[Detection, ...]
    rows: Mapping[str, int]
    """Rows per role."""
    data: DataSpec
    method: str
    _split: Split | None = field(default=None, repr=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that forbid training on this data."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def examples(self) -> Iterator[tuple[DataRole, Example]]:
        """Every row with its role, read again from the sources: for providers with rules of their own."""
        datasets = _datasets(self.data, self.method)
        for role, example, _ in _rows(datasets, self.data, self.method, Report(), self._split):
            yield role, example

    def write(self, folder: Path | str) -> dict[str, Path]:
        """Write canonical `<role>.jsonl` files, atomically. Raises `DataError` when a source changed since then."""
        if self.errors:
            raise DataError(f"the data has errors, nothing was written: {self.errors[0]}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        hashes = {file.role: running_hash() for file in self.files}
        with ExitStack() as stack:
            outs = {file.role: stack.enter_context(AtomicFile(folder / f"{file.role}.jsonl")) for file in self.files}
            for role, example, digest in _rows(
                _datasets(self.data, self.method), self.data, self.method, Report(), self._split
            ):
                if role in outs:
                    hashes[role].update(digest)
                    outs[role].write(render(example) + b"\n")
            for file in self.files:
                if hashes[file.role].hexdigest() != file.sha256:
                    raise DataError(f"{file.source}: the data changed since it was planned. Plan again.")
            for out in outs.values():
                out.commit()
        return {file.role: folder / f"{file.role}.jsonl" for file in self.files}


def prepare(data: DataSpec, *, method: str, judge: Judge | None = None) -> Prepared:
    """Read everything once, check it, decide the split. Writes nothing.

    `judge` sees every row that fits the method and adds findings of its own, without a second reading.
    Raises `DataError` when a file is missing or the format's name is unknown; everything else is a finding.
    """
    kinds_for(method)
    tally = Tally(data)
    datasets = _datasets(data, method)
    for role, example, digest in _rows(datasets, data, method, tally.report, None, judge=judge):
        tally.add(role, example, digest)
    split = tally.finish()
    detection = tuple(found for dataset in datasets.values() for found in dataset.known_detection)
    return Prepared(
        files=tuple(_files(data, detection, tally)),
        findings=tally.report.findings(),
        detection=detection,
        rows={role: count for role, count in tally.rows.items() if count},
        data=data,
        method=method,
        _split=split,
    )


def _files(data: DataSpec, detection: tuple[Detection, ...], tally: Tally) -> Iterator[DataFile]:
    for role in ROLES:
        if not tally.rows[role]:
            continue
        given = getattr(data, role)
        share = f"{given:g} of " if isinstance(given, float) else ""
        paths = data.train if isinstance(given, float) else given
        yield DataFile(
            role=role,
            source=share + (paths if isinstance(paths, str) else ", ".join(paths)),
            format=", ".join(dict.fromkeys(found.format for found in detection)),
            rows=tally.rows[role],
            sha256=tally.hashes[role].hexdigest(),
        )


def _rows(
    datasets: Mapping[DataRole, Dataset],
    data: DataSpec,
    method: str,
    report: Report,
    split: Split | None,
    *,
    judge: Judge | None = None,
) -> Iterator[tuple[DataRole, Example, bytes]]:
    """All rows with their roles: held-out files first, so that training rows can be compared with them."""
    for role, dataset in datasets.items():
        limit = data.max_rows if role == "train" else None
        for example, digest in _learnable(dataset, method, report, limit, judge):
            side = role if role != "train" or split is None else split.role(example, digest)
            yield role_named(side), example, digest


def _datasets(data: DataSpec, method: str) -> dict[DataRole, Dataset]:
    found: dict[DataRole, Dataset] = {}
    for role in ("validation", "test", "train"):
        source = getattr(data, role)
        if source is not None and not isinstance(source, float):
            found[role] = Dataset.open(source, format=data.format, columns=data.columns, prefer=kinds_for(method))
    return found


def _learnable(
    dataset: Dataset, method: str, report: Report, limit: int | None, judge: Judge | None
) -> Iterator[tuple[Example, bytes]]:
    rows = 0
    for example, clean in dataset.scan_looked(report):
        if limit is not None and rows >= limit:
            return
        rows += 1
        source = example.source
        file, line = (source.file, source.line) if source else ("", None)
        if not accepted(example, method):
            report.add(misfit(kind_of(example), method, file, line))
            continue
        for finding in chain(check(example, clean=clean), judge(example) if judge is not None else ()):
            report.add(replace(finding, file=file, line=line))
        rows_of = adapted(plain(example), method)
        if len(rows_of) > 1:
            report.add(
                Finding(
                    rule="pair-split",
                    severity="info",
                    message="a preference pair becomes two rows, one good and one bad",
                    file=file,
                    line=line,
                )
            )
        for row in rows_of:
            yield row, content_digest(row)
