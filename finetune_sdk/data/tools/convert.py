"""Any format in, any format or target's format out: streaming, in order, whole or not at all, no loss unsaid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.example import KIND_NAMES, Example, Kind, PreferenceExample, kind_of
from finetune_sdk.data.features import FEATURES, SHAPE_ONLY, features
from finetune_sdk.data.formats import Format, format_named
from finetune_sdk.data.methods import adapted
from finetune_sdk.data.report import Report
from finetune_sdk.data.targets import TARGETS, Problem, Profile, Row, profiles
from finetune_sdk.data.tools.outputs import Output, output
from finetune_sdk.data.tools.strip import STRIP, without
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding, Severity

Progress = Callable[[int], None]
"""Called with the number of rows done so far, every few hundred rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What came of a conversion. `path` is None when it was refused: then nothing was written."""

    path: Path | None
    format: str
    rows: int
    findings: tuple[Finding, ...]
    """Errors that refused it, or what to know about what was written."""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Allowed losses: how many rows lost each feature."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Why nothing was written; empty when it was."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


def convert(
    source: Dataset,
    to: str,
    out: str | Path,
    *,
    allow_loss: Collection[str] = (),
    model: str | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write `source` in the format `to`, or in the format the target `to` takes. Raises `DataError` when refused."""
    done = try_convert(source, to, out, allow_loss=allow_loss, model=model, progress=progress)
    if done.errors:
        more = f" And {len(done.errors) - 1} more kinds of problems." if len(done.errors) > 1 else ""
        raise DataError(f"{next(iter(done.errors))}{more} Nothing was written.")
    return done


def try_convert(
    source: Dataset,
    to: str,
    out: str | Path,
    *,
    allow_loss: Collection[str] = (),
    model: str | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Like `convert`, but a refusal is an answer with findings. Unknown names still raise `DataError`."""
    path = Path(out)
    refuse_overwriting(source, path)
    for name in allow_loss:
        if name not in FEATURES:
            raise DataError(f"--allow-loss {name}: no such rule. Known: {', '.join(FEATURES)}.")
    renderer = Renderer(to, allow_loss=allow_loss, model=model)
    with output(path) as file:
        rows = write_rows(source, renderer, file, progress)
        findings = renderer.report.findings()
        if renderer.report.errors:
            return Conversion(path=None, format=renderer.name, rows=0, findings=findings, dropped=renderer.dropped)
        file.commit()
    return Conversion(path=path, format=renderer.name, rows=rows, findings=findings, dropped=renderer.dropped)


def write_rows(source: Dataset, renderer: Renderer, file: Output, progress: Progress | None = None) -> int:
    """Every row of the source, rendered; returns how many were written. After an error rows are only checked."""
    rows = 0
    for row in renderer.rows(source.scan(renderer.report)):
        if not renderer.report.errors:
            file.write(row)
        rows += 1
        if progress is not None and rows % 500 == 0:
            progress(rows)
    return rows


def refuse_overwriting(source: Dataset, path: Path) -> None:
    """Raises `DataError` when the output is one of the inputs: it would be destroyed while it is read."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {str(path.parent)!r} does not exist.")
    for file in source.files:
        if path.exists() and path.samefile(file):
            raise DataError(f"{path}: is the input itself. Write to another file, then move it.")


class Renderer:
    """Turns examples into rows of one format, and says what does not survive."""

    def __init__(self, to: str, *, allow_loss: Collection[str] = (), model: str | None = None) -> None:
        self.report = Report()
        self._to = to
        self._allowed = frozenset(allow_loss)
        self._target = profiles(to, model=model) if to in TARGETS else ()
        self._named = None if self._target else format_named(to)
        self._dropped: Counter[str] = Counter()
        self._format: Format | None = self._named

    @property
    def name(self) -> str:
        """The format rows are written in; the target's name before the first row."""
        return self._format.name if self._format else self._to

    @property
    def dropped(self) -> dict[str, int]:
        """Rows that lost each allowed feature."""
        return dict(self._dropped)

    def rows(self, examples: Iterable[Example]) -> Iterator[msgspec.Raw | dict[str, object]]:
        """The rows that can be written, in order; the others are findings."""
        for example in examples:
            profile, entry = self._entry(kind_of(example))
            if entry is None:
                self._say_kind(example)
                continue
            self._format = entry
            for each in _of_kind(example, entry.kind):
                row = self._row(each, entry, profile)
                if row is not None:
                    yield row

    def _entry(self, kind: Kind) -> tuple[Profile | None, Format | None]:
        if self._named is not None:
            fits = kind == self._named.kind or (kind, self._named.kind) == ("preference", "unpaired")
            return None, self._named if fits and self._named.render is not None else None
        profile = next((each for each in self._target if kind in each.kinds and each.format), None)
        return (profile, format_named(profile.format)) if profile and profile.format else (None, None)

    def _row(self, example: Example, entry: Format, profile: Profile | None) -> dict[str, object] | None:
        assert entry.render is not None, "formats without a writer were refused before"  # noqa: S101
        used = dict(reversed(list(features(example))))
        for feature in self._allowed & used.keys():
            if feature in STRIP:
                example = without(example, feature)
                self._dropped[feature] += 1
        if self._allowed:
            used = {name: path for name, path in used.items() if name not in self._allowed or name not in STRIP}
        good = self._losses(example, entry, used)
        if profile is not None:
            good = self._demands(example, profile) and good
        return entry.render(example) if good else None

    def _losses(self, example: Example, entry: Format, used: Mapping[str, str]) -> bool:
        good = True
        for feature, path in used.items():
            if feature in entry.cannot:
                good = False
                self._say(
                    example, feature, "error", Problem(path, f"{FEATURES[feature]}: {entry.name} cannot say it", _OTHER)
                )
            elif feature in entry.loses and feature in self._allowed:
                self._dropped[feature] += 1
            elif feature in entry.loses:
                shape = feature in SHAPE_ONLY
                good = good and shape
                fix = "" if shape else f"Drop it: `--allow-loss {feature}`. Or {_OTHER[0].lower()}{_OTHER[1:]}"
                what = f"{FEATURES[feature]} in {entry.name}: {entry.loses[feature]}"
                self._say(example, feature, "warning" if shape else "error", Problem(path, what, fix))
        return good

    def _demands(self, example: Example, profile: Profile) -> bool:
        good = True
        row = Row.of(example)
        for rule in profile.rules:
            for problem in rule.row(row):
                good = good and rule.severity != "error"
                named = problem._replace(message=f"[{profile.target}] {problem.message}")
                self._say(example, rule.rule, rule.severity, named)
        return good

    def _say_kind(self, example: Example) -> None:
        held = KIND_NAMES[kind_of(example)]
        if self._named is not None and self._named.render is None:
            message = f"the format {self._named.name} is read only"
        elif self._named is not None:
            message = f"the row is one of {held}; the format {self._named.name} holds {KIND_NAMES[self._named.kind]}"
        else:
            taken = dict.fromkeys(KIND_NAMES[kind] for each in self._target for kind in each.kinds)
            message = f"the row is one of {held}; {self._to} takes {', '.join(taken)}"
        self._say(example, "kind-mismatch", "error", Problem("", message, _OTHER))

    def _say(self, example: Example, rule: str, severity: Severity, problem: Problem) -> None:
        source = example.source
        self.report.add(
            Finding(
                rule=rule,
                severity=severity,
                message=problem.message,
                fix=problem.fix,
                file=source.file if source else None,
                line=source.line if source else None,
                path=problem.path or None,
            )
        )


_OTHER = "Choose another format: `finetune data formats`."


def _of_kind(example: Example, kind: Kind) -> list[Example]:
    if kind == "unpaired" and isinstance(example, PreferenceExample):
        return adapted(example, "kto")
    return [example]
