"""One pass over a dataset: what it holds, what is wrong with it, and which targets accept it, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.canonical import content_digest, render
from finetune_sdk.data.checks import check as check_example
from finetune_sdk.data.classes import Classes
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.detect import Detection
from finetune_sdk.data.example import (
    KIND_NAMES,
    Example,
    Kind,
    kind_of,
)
from finetune_sdk.data.features import SHAPE_ONLY
from finetune_sdk.data.formats import Format, format_named
from finetune_sdk.data.losses import as_kind, losses
from finetune_sdk.data.methods import kinds_for
from finetune_sdk.data.report import Report
from finetune_sdk.data.targets import TARGETS, Profile, Row, Rule, Totals, profiles
from finetune_sdk.data.targets.rules import Refuses
from finetune_sdk.data.tools import tokens as token_counts
from finetune_sdk.data.tools.lengths import Lengths
from finetune_sdk.data.tools.media import media
from finetune_sdk.data.tools.scan import scan_example
from finetune_sdk.data.tools.texts import texts
from finetune_sdk.types import Finding, Severity

_TRACKED = 500_000  # rows compared for duplicates, 8 bytes of each digest; later ones are not
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All places that share a rule."""

    rule: str
    severity: Severity
    message: str
    """Of the first place."""
    fix: str
    count: int
    places: tuple[str, ...]
    """The first ones, as `file:line: path`."""
    source: str | None = None
    """Where the rule was read, for rules of targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one target takes the dataset, for some methods."""

    target: str
    methods: tuple[str, ...]
    family: str
    accepted: bool
    reasons: tuple[Group, ...]
    """Why not (errors), and what to know (warnings)."""
    notes: tuple[str, ...] = ()
    doc: str = ""
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything one pass shows. `ok` is about the rows themselves, `targets` about who takes them."""

    files: tuple[Detection, ...]
    rows: int
    kinds: Mapping[str, int]
    roles: Mapping[str, int]
    turns: Mapping[str, float]
    characters: Mapping[str, float]
    tokens: Mapping[str, float]
    tokens_by: str
    tokens_exact: bool
    labels: Mapping[str, int]
    features: Mapping[str, int]
    """How many rows use each feature."""
    findings: tuple[Group, ...]
    targets: tuple[Verdict, ...]
    character_bars: tuple[tuple[int, int, int], ...] = ()

    @property
    def errors(self) -> int:
        """Places that forbid training on this data anywhere."""
        return sum(group.count for group in self.findings if group.severity == "error")

    @property
    def ok(self) -> bool:
        """No errors in the rows, and every target that was asked about accepts them (one profile suffices)."""
        asked = {verdict.target for verdict in self.targets}
        taken = {verdict.target for verdict in self.targets if verdict.accepted}
        return not self.errors and asked == taken


def check(
    dataset: Dataset,
    targets: Sequence[str] = TARGETS,
    *,
    method: str | None = None,
    model: str | None = None,
    counter: token_counts.Counter = token_counts.ROUGH,
    search: bool = True,
    allow: Collection[str] = (),
) -> CheckReport:
    """Read the dataset once. Raises `DataError` for an unknown target or method; everything else is a finding.

    `search` looks for secrets and personal data; hosted targets refuse rows with them unless `allow` names
    "secret" or "personal-data".
    """
    if method is not None:
        kinds_for(method)
    checker = Checker(targets, method=method, model=model, counter=counter, search=search, allow=allow)
    for example in dataset.scan(checker.report):
        checker.add(example)
    return checker.finish(dataset.known_detection)


class _Bench:
    """One profile while rows pass by."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.gives_ids = profile.format is not None and format_named(profile.format).needs_call_ids
        """Writing its format gives ids to tool calls that came without."""
        self.rows = 0
        self.report = Report()
        self.sources: dict[str, str] = {}

    def add(self, rule: Rule, finding: Finding) -> None:
        self.sources.setdefault(finding.rule, f"{rule.doc.source} (read {rule.doc.read_on})")
        self.report.add(finding)


class _Shared(NamedTuple):
    """A rule, and the profiles that have it: Azure and OpenAI share most of theirs."""

    rule: Rule
    gives_ids: bool
    benches: list[_Bench]


def _shared(benches: Sequence[_Bench]) -> list[_Shared]:
    found: dict[tuple[int, bool], _Shared] = {}
    for bench in benches:
        for rule in bench.profile.rules:
            key = (id(rule), bench.gives_ids)
            found.setdefault(key, _Shared(rule, bench.gives_ids, [])).benches.append(bench)
    return list(found.values())


class _Writer(NamedTuple):
    """A format that rows are sent in, and the features that writing it loses, other than spelling."""

    format: Format
    losing: frozenset[str]


def _writers(benches: Sequence[_Bench]) -> list[_Writer]:
    names = dict.fromkeys(bench.profile.format for bench in benches if bench.profile.format is not None)
    entries = [format_named(name) for name in names]
    return [_Writer(entry, entry.cannot | (entry.loses.keys() - SHAPE_ONLY)) for entry in entries]


class Checker:
    """Feed it rows with `add`; `finish` is the report."""

    def __init__(
        self,
        targets: Sequence[str] = TARGETS,
        *,
        method: str | None = None,
        model: str | None = None,
        counter: token_counts.Counter = token_counts.ROUGH,
        search: bool = True,
        allow: Collection[str] = (),
    ) -> None:
        self.report = Report()
        self._targets = tuple(targets)
        self._method = method
        self._benches = [
            _Bench(profile) for target in targets for profile in profiles(target, method=method, model=model)
        ]
        self._refusals: dict[str, list[_Shared]] = {}
        self._others: list[_Shared] = []
        self._writers = _writers(self._benches)
        self._unwritten: dict[tuple[str, str | None], Report] = {}
        """What writing a format would lose of the rows of a file, other than spelling."""
        for shared in _shared(self._benches):
            if isinstance(shared.rule, Refuses):
                self._refusals.setdefault(shared.rule.of, []).append(shared)
            elif type(shared.rule).row is not Rule.row:
                self._others.append(shared)
        self._counter = counter
        self._search = search
        self._allow = frozenset(allow)
        self._hits = Report()
        self._totals = Totals()
        self._kinds: Counter[Kind] = Counter()
        self._roles: Counter[str] = Counter()
        self._features: Counter[str] = Counter()
        self._classes = Classes()
        self._turns, self._characters, self._tokens = Lengths(), Lengths(), Lengths()
        self._seen: set[int] = set()

    def add(self, example: Example) -> None:
        """Count and judge one row."""
        row = Row.of(example, tokens=self._counter.row(example))
        self._count(row)
        file, line = _place(example)
        for finding in check_example(example):
            self.report.add(replace(finding, file=file, line=line))
        for finding in media(row, file):
            self.report.add(replace(finding, file=file, line=line))
        self._compare(example, file, line)
        if self._search:
            self._look_for_secrets(example, file, line)
        self._judge(row, file, line)

    def _count(self, row: Row) -> None:
        example = row.example
        self._kinds[kind_of(example)] += 1
        self._features.update(row.features.keys())
        self._roles.update(message.role for _, message in row.turns)
        if row.turns:
            self._turns.add(len(row.turns))
        self._characters.add(sum(len(text) for _, text in texts(example)))
        self._tokens.add(round(row.tokens))
        self._classes.add(example)
        self._totals.rows += 1
        self._totals.bytes += len(render(example))
        self._totals.image_rows += bool(row.images)
        self._totals.most_tokens = max(self._totals.most_tokens, row.tokens)

    def _compare(self, example: Example, file: str | None, line: int | None) -> None:
        digest = int.from_bytes(content_digest(example)[:8], "big")
        if digest in self._seen:
            self.report.add(
                Finding(
                    rule="duplicate-row",
                    severity="warning",
                    message="the row was seen before",
                    fix="Remove it: `finetune data dedupe`.",
                    file=file,
                    line=line,
                )
            )
        elif len(self._seen) < _TRACKED:
            self._seen.add(digest)

    def _look_for_secrets(self, example: Example, file: str | None, line: int | None) -> None:
        for hit in scan_example(example):
            self._hits.add(
                Finding(
                    rule=hit.rule,
                    severity=hit.severity,
                    message=f"{hit.what}: {hit.masked}",
                    fix=f"{hit.fix} `finetune data scan` lists all.".lstrip(),
                    file=file,
                    line=line,
                    path=hit.path,
                )
            )

    def _judge(self, row: Row, file: str | None, line: int | None) -> None:
        kind = kind_of(row.example)
        numbered = row
        if "tool-calls-without-ids" in row.features:
            numbered = Row.of(with_call_ids(row.example), tokens=row.tokens)
        for bench in self._benches:
            bench.rows += kind in bench.profile.kinds
        for feature in row.features:
            for shared in self._refusals.get(feature, ()):
                self._apply(shared, numbered if shared.gives_ids else row, file, line)
        for shared in self._others:
            self._apply(shared, numbered if shared.gives_ids else row, file, line)
        for writer in self._writers:
            if row.example.extra or not writer.losing.isdisjoint(row.features):
                self._note_losses(writer.format, row.example, file, line)

    def _note_losses(self, entry: Format, example: Example, file: str | None, line: int | None) -> None:
        for written in as_kind(example, entry)[:1]:
            for finding in losses(written, entry):
                if finding.severity == "error":
                    report = self._unwritten.setdefault((entry.name, file), Report())
                    report.add(replace(finding, file=file, line=line))

    def _apply(self, shared: _Shared, row: Row, file: str | None, line: int | None) -> None:
        kind = kind_of(row.example)
        benches = [bench for bench in shared.benches if kind in bench.profile.kinds]
        if not benches:
            return
        for finding in _findings(shared.rule, row, file, line):
            for bench in benches:
                bench.add(shared.rule, finding)

    def finish(self, files: tuple[Detection, ...]) -> CheckReport:
        """The report on all rows added."""
        for remark in self._classes.remarks():
            self.report.add(Finding(rule=remark.rule, severity=remark.severity, message=remark.message, fix=remark.fix))
        findings = (*groups(self.report), *groups(self._hits))
        return CheckReport(
            files=files,
            rows=self._totals.rows,
            kinds=dict(self._kinds.most_common()),
            roles=dict(self._roles.most_common()),
            turns=self._turns.summary(),
            characters=self._characters.summary(),
            tokens=self._tokens.summary(),
            tokens_by=self._counter.name,
            tokens_exact=self._counter.exact,
            labels=self._classes.counts,
            features=dict(self._features.most_common()),
            findings=tuple(sorted(findings, key=lambda group: _ORDER.index(group.severity))),
            targets=tuple(verdict for target in self._targets for verdict in self._verdicts(target, files)),
            character_bars=tuple(self._characters.bars()),
        )

    def _verdicts(self, target: str, files: Sequence[Detection]) -> list[Verdict]:
        benches = [bench for bench in self._benches if bench.profile.target == target]
        used = [bench for bench in benches if bench.rows]
        return [self._verdict(bench, files) for bench in used] if used else [self._not_taken(target, benches)]

    def _verdict(self, bench: _Bench, files: Sequence[Detection]) -> Verdict:
        profile = bench.profile
        for rule in profile.rules:
            for problem in rule.whole(self._totals):
                bench.add(
                    rule, Finding(rule=rule.rule, severity=rule.severity, message=problem.message, fix=problem.fix)
                )
        reasons = [
            *self._errors_in_rows(),
            *(replace(group, source=bench.sources.get(group.rule)) for group in groups(bench.report)),
            *self._losses_of(bench, files),
            *(self._sent_away() if profile.hosted else ()),
        ]
        others = self._totals.rows - bench.rows
        if others:
            reasons.append(_group("kind-mixed", f"{others:,} rows are of another kind", "Split the file by kind."))
        return Verdict(
            target=profile.target,
            methods=profile.methods,
            family=profile.family,
            accepted=not any(reason.severity == "error" for reason in reasons),
            reasons=tuple(sorted(reasons, key=lambda group: _ORDER.index(group.severity))),
            notes=profile.notes,
            doc=f"{profile.doc.source} (read {profile.doc.read_on})",
            format=profile.format,
        )

    def _losses_of(self, bench: _Bench, files: Sequence[Detection]) -> list[Group]:
        """What `convert --to` the target would refuse to lose; rows of its format already are sent as they are."""
        told = {finding.rule for finding in bench.report.findings() if finding.severity == "error"}
        own = {found.file for found in files if found.format == bench.profile.format}
        return [
            group
            for (name, file), report in self._unwritten.items()
            if name == bench.profile.format and file not in own
            for group in groups(report)
            if group.rule.partition("-")[2] not in told
        ]

    def _errors_in_rows(self) -> tuple[Group, ...]:
        if not self.report.errors:
            return ()
        message = f"the rows have errors of their own: {self.report.errors:,}"
        return (_group("row-errors", message, "See the findings.", count=self.report.errors),)

    def _sent_away(self) -> list[Group]:
        """Secrets and personal data, errors where rows leave this machine and nobody allowed it."""
        found = [group for group in groups(self._hits) if group.severity != "info" and group.rule not in self._allow]
        return [
            replace(group, severity="error", fix=f"{group.fix} Or allow it: `--allow {group.rule}`.") for group in found
        ]

    def _not_taken(self, target: str, benches: list[_Bench]) -> Verdict:
        held = ", ".join(KIND_NAMES[kind] for kind in self._kinds) or "no rows"
        takes = dict.fromkeys(KIND_NAMES[kind] for bench in benches for kind in bench.profile.kinds)
        what = f"takes {', '.join(takes)}" if takes else "has no entry for this method or model"
        if self._kinds or not takes:
            reason = _group(
                "kind-not-taken", f"{target} {what}; the dataset holds {held}", "Convert it, or choose another."
            )
        else:
            reason = _group("no-rows", "no row can be read", "See the findings.")
        methods = (self._method,) if self._method else ()
        return Verdict(target=target, methods=methods, family="", accepted=False, reasons=(reason,))


def groups(report: Report) -> tuple[Group, ...]:
    """A report's findings by rule, over all files."""
    found: dict[tuple[str, Severity], Group] = {}
    for finding in report.findings():
        places = tuple(_where(place) for place in report.places(finding))
        before = found.get((finding.rule, finding.severity))
        if before is not None:
            more = replace(before, count=before.count + finding.count, places=(*before.places, *places)[:5])
            found[finding.rule, finding.severity] = more
            continue
        found[finding.rule, finding.severity] = Group(
            rule=finding.rule,
            severity=finding.severity,
            message=finding.message,
            fix=finding.fix,
            count=finding.count,
            places=tuple(place for place in places if place),
        )
    return tuple(found.values())


def _group(rule: str, message: str, fix: str, *, count: int = 1) -> Group:
    return Group(rule=rule, severity="error", message=message, fix=fix, count=count, places=())


def _where(finding: Finding) -> str:
    place = ":".join(str(part) for part in (finding.file, finding.line) if part is not None)
    return ": ".join(part for part in (place, finding.path) if part)


def _place(example: Example) -> tuple[str | None, int | None]:
    return (example.source.file, example.source.line) if example.source else (None, None)


def _findings(rule: Rule, row: Row, file: str | None, line: int | None) -> list[Finding]:
    return [
        Finding(
            rule=rule.rule,
            severity=rule.severity,
            message=problem.message,
            fix=problem.fix,
            file=file,
            line=line,
            path=problem.path or None,
        )
        for problem in rule.row(row)
    ]
