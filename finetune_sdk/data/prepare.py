"""From a `DataSpec` to files a worker reads: one pass to check, split and name the content, one to write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from finetune_sdk.data.checks import check
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.detect import Detection
from finetune_sdk.data.example import Example, kind_of
from finetune_sdk.data.methods import accepted, adapted, kinds_for, misfit, plain
from finetune_sdk.data.plainrows import Lines
from finetune_sdk.data.report import Report
from finetune_sdk.data.rows import Row
from finetune_sdk.data.split import Split
from finetune_sdk.data.tally import ROLES, DataRole, Tally, role_named, running_hash
from finetune_sdk.data.writing import AtomicFile, refuse_shared
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
        for role, row in _rows(datasets, self.data, self.method, self._split, _Look(checked=True, examples=True)):
            if row.example is not None:
                yield role, row.example

    def write(self, folder: Path | str) -> dict[str, Path]:
        """Write canonical `<role>.jsonl` files, atomically. Raises `DataError` when a source changed since then."""
        if self.errors:
            raise DataError(f"the data has errors, nothing was written: {self.errors[0]}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths: dict[str, Path] = {file.role: folder / f"{file.role}.jsonl" for file in self.files}
        refuse_shared(paths.values())
        hashes = {file.role: running_hash() for file in self.files}
        with ExitStack() as stack:
            outs = {role: stack.enter_context(AtomicFile(path)) for role, path in paths.items()}
            datasets = _datasets(self.data, self.method)
            for role, row in _rows(datasets, self.data, self.method, self._split, _Look(checked=True)):
                if role in outs:
                    hashes[role].update(row.digest)
                    outs[role].write(row.line())
            for file in self.files:
                if hashes[file.role].hexdigest() != file.sha256:
                    raise DataError(f"{file.source}: the data changed since it was planned. Plan again.")
            for out in outs.values():
                out.finish()
            for out in outs.values():
                out.commit()
        return paths


def prepare(data: DataSpec, *, method: str, judge: Judge | None = None) -> Prepared:
    """Read everything once, check it, decide the split. Writes nothing.

    `judge` sees every row that fits the method and adds findings of its own, without a second reading.
    Raises `DataError` when a file is missing or the format's name is unknown; everything else is a finding.
    """
    kinds_for(method)
    tally = Tally(data)
    datasets = _datasets(data, method)
    for role, row in _rows(datasets, data, method, None, _Look(tally.report, judge)):
        tally.add(role, row)
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


@dataclass(frozen=True, slots=True)
class _Look:
    """What is done with each row on the way, and said in `report`."""

    report: Report = field(default_factory=Report)
    judge: Judge | None = None
    checked: bool = False
    """Whether rows were checked before, and need not be again."""
    examples: bool = False
    """Whether the example of every row is wanted."""


def _rows(
    datasets: Mapping[DataRole, Dataset], data: DataSpec, method: str, split: Split | None, look: _Look
) -> Iterator[tuple[DataRole, Row]]:
    """All rows with their roles: held-out files first, so that training rows can be compared with them."""
    for role, dataset in datasets.items():
        limit = data.max_rows if role == "train" else None
        for row in _learnable(dataset, method, limit, look):
            yield role_named(role if role != "train" or split is None else split.role(row)), row


def _datasets(data: DataSpec, method: str) -> dict[DataRole, Dataset]:
    found: dict[DataRole, Dataset] = {}
    for role in ("validation", "test", "train"):
        source = getattr(data, role)
        if source is not None and not isinstance(source, float):
            found[role] = Dataset.open(source, format=data.format, columns=data.columns, prefer=kinds_for(method))
    return found


def _learnable(dataset: Dataset, method: str, limit: int | None, look: _Look) -> Iterator[Row]:
    for count, (given, clean) in enumerate(_given(dataset, method, look)):
        if count == limit:
            return
        if isinstance(given, Row):
            yield given
            continue
        for row in _checked(given, method, look, clean=clean):
            yield Row.of(row)


def _given(dataset: Dataset, method: str, look: _Look) -> Iterator[tuple[Example | Row, bool]]:
    """Examples, and whether their texts were looked at; of plain conversations rows, if nothing else is wanted."""
    if look.examples or look.judge is not None or "chat" not in kinds_for(method):
        yield from dataset.scan_looked(look.report)
        return
    for given, clean in dataset.scan_lines(look.report):
        if isinstance(given, Lines):
            for row in given.rows():
                yield row, clean
        else:
            yield given, clean


def _checked(example: Example, method: str, look: _Look, *, clean: bool) -> list[Example]:
    """The example as the method learns it, after what there is to say about it was told."""
    source = example.source
    file, line = (source.file, source.line) if source else ("", None)
    if not accepted(example, method):
        look.report.add(misfit(kind_of(example), method, file, line))
        return []
    said = () if look.checked else check(example, clean=clean)
    for finding in chain(said, look.judge(example) if look.judge is not None else ()):
        look.report.add(replace(finding, file=file, line=line))
    rows = adapted(plain(example), method)
    if len(rows) > 1:
        look.report.add(
            Finding(
                rule="pair-split",
                severity="info",
                message="a preference pair becomes two rows, one good and one bad",
                file=file,
                line=line,
            )
        )
    return rows
