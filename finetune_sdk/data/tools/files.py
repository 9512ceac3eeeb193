"""Operations from files to files: for a target, split, sample, dedupe, fix. One or two passes, all or nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from finetune_sdk.data.canonical import content_key, prompt_key
from finetune_sdk.data.checks import check
from finetune_sdk.data.convert import Change, Outcome, own_format, refuse_unknown, write
from finetune_sdk.data.dataset import Dataset
from finetune_sdk.data.example import KIND_NAMES, Example, kind_of
from finetune_sdk.data.features import FEATURES, features
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.report import Report
from finetune_sdk.data.spelling import usual
from finetune_sdk.data.targets import Profile, Row, as_sent, profiles
from finetune_sdk.data.tools.dedupe import Dedupe
from finetune_sdk.data.tools.repairs import Repair, repaired
from finetune_sdk.data.tools.scan import scan
from finetune_sdk.data.tools.sides import asked_key
from finetune_sdk.data.tools.splits import Split, Units
from finetune_sdk.data.tools.strip import STRIP, without
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding


def convert_for(
    dataset: Dataset,
    out: Path,
    target: str,
    *,
    allow_loss: Collection[str] = (),
    allow: Collection[str] = (),
    model: str | None = None,
    repairs: Collection[Repair] = (),
) -> Outcome:
    """Write the rows as `target` takes them, refused where its rules forbid them.

    `allow_loss` names features to take out; `allow` lets "secret" and "personal-data" go to a hosted target.
    """
    refuse_unknown(allow_loss)
    profile = profile_for(dataset, target, model=model)
    assert profile.format is not None, "profile_for answers written formats only"  # noqa: S101
    return write(
        dataset,
        [out],
        to=profile.format,
        allow=allow_loss,
        change=_changes(allow_loss, repairs, sent_to=profile),
        judge=lambda example: demands(profile, example, allow=allow),
    )


def convert_to(
    dataset: Dataset,
    out: Path,
    to: str,
    *,
    allow_loss: Collection[str] = (),
    repairs: Collection[Repair] = (),
) -> Outcome:
    """Write the rows in the format `to`, repaired on the way; a loss that nobody allowed refuses it."""
    change = _changes((), repairs) if repairs else None
    return write(dataset, [out], to=to, allow=allow_loss, change=change, workers=None)


def profile_for(dataset: Dataset, target: str, *, model: str | None = None) -> Profile:
    """What the target takes of this kind of rows, judged by the first. Raises `DataError` when nothing."""
    known = profiles(target, model=model)
    first = next(islice(dataset.scan(Report()), 1), None)
    if first is None:
        raise DataError(f"{dataset.files[0]}: no row can be read: `finetune data check` says why.")
    kind = kind_of(first)
    found = next((profile for profile in known if kind in profile.kinds and profile.format), None)
    if found is None:
        taken = ", ".join(dict.fromkeys(KIND_NAMES[kind] for profile in known for kind in profile.kinds))
        raise DataError(f"{target} takes {taken or 'no such model'}; {dataset.files[0]} holds {KIND_NAMES[kind]}.")
    return found


def demands(profile: Profile, example: Example, *, allow: Collection[str] = ()) -> Iterator[Finding]:
    """What the target objects to in one row, secrets and personal data included where rows leave this machine."""
    row = Row.of(as_sent(example, profile))
    for rule in profile.rules:
        for problem in rule.row(row):
            yield Finding(
                rule=rule.rule,
                severity=rule.severity,
                message=f"[{profile.target}] {problem.message}",
                fix=problem.fix,
                path=problem.path or None,
            )
    if profile.hosted:
        for finding in scan([example]):
            if finding.severity != "info" and finding.rule not in allow:
                yield Finding(
                    rule=finding.rule,
                    severity="error",
                    message=f"[{profile.target}] would be sent away: {finding.message}",
                    fix=f"{finding.fix} Or allow it: `--allow {finding.rule}`.",
                    path=finding.path,
                )


def _changes(allow_loss: Collection[str], repairs: Collection[Repair], *, sent_to: Profile | None = None) -> Change:
    """Repairs, then the allowed losses that a row uses; both are told. In the keys that a target knows."""
    allowed = frozenset(STRIP if "all" in allow_loss else allow_loss) & STRIP.keys()

    def change(example: Example, report: Report) -> Example:
        example = repaired(example, repairs, report)
        if sent_to is not None:  # under which key reasoning is read, a chat template decides
            keep = "" if sent_to.hosted else "reasoning"
            example = usual(example, keep=keep, null_content=sent_to.null_content)
        if not allowed:
            return example
        used = dict(features(example))
        for feature in sorted(allowed & used.keys()):
            example = without(example, feature)
            report.add(_dropped(feature, used[feature], example))
        return example

    return change


def _dropped(feature: str, path: str, example: Example) -> Finding:
    where = example.source
    return Finding(
        rule=f"dropped-{feature}",
        severity="info",
        message=f"{FEATURES[feature]}: left out, as allowed",
        path=path,
        file=where.file if where else None,
        line=where.line if where else None,
    )


def split(
    dataset: Dataset, outs: Mapping[str, Path], sizes: Mapping[str, float], units: Units, *, exact: bool = True
) -> Outcome:
    """Write each row to its part. `exact`: sizes as asked; otherwise a row's part depends on nothing but the row.

    Raises `DataError` where a part would be empty; without `exact` that is a warning.
    """
    if exact:
        found = _planned(dataset, sizes, _fair(dataset, units))
        if isinstance(found, Outcome):
            return found
        plan = found
    else:
        plan = Split.by_hash(sizes, units)
    names = list(outs)
    done = write(
        dataset,
        list(outs.values()),
        to=own_format(dataset),
        choose=lambda example: names.index(plan.part(example)),
        as_is=True,
    )
    empty = [
        Finding(
            rule="part-empty",
            severity="warning",
            message=f"{out}: chance gave it no row",
            fix="Give more rows or a larger share, or leave out `--stable`.",
        )
        for out, rows in done.written.items()
        if not rows
    ]
    return replace(done, findings=(*done.findings, *empty)) if empty else done


def _planned(dataset: Dataset, sizes: Mapping[str, float], units: Units) -> Split | Outcome:
    """The split; where rows cannot be read, what is wrong with them, before anything about sizes."""
    report = Report()
    try:
        plan = Split.plan(dataset.scan(report), sizes, units)
        _refuse_empty(plan.rows, sizes)
    except DataError:
        if not report.errors:
            raise
    else:
        if not report.errors:
            return plan
    rows = sum(1 for _ in dataset.scan(Report()))
    return Outcome(rows_read=rows, written={}, dropped={}, findings=report.findings())


def _refuse_empty(rows: Mapping[str, int], sizes: Mapping[str, float]) -> None:
    total = sum(rows.values())
    for name, count in rows.items():
        if total and not count:
            why = f"{name}={sizes[name]:g} of {total} row{'s' if total != 1 else ''} leaves no {name} row"
            raise DataError(
                f"{why}. Give more rows, or ask for a number of them such as {name}=1; rows that belong "
                "together (same question, `--group-by`) stay on one side."
            )


def _fair(dataset: Dataset, units: Units) -> Units:
    """Units by content where most rows ask the same: they could not be divided otherwise."""
    if units.group_by is not None or units.by_content:
        return units
    asked, rows = set[int](), 0
    for example in islice(dataset.scan(Report()), 10_000):
        asked.add(asked_key(example, 0))
        rows += 1
    return units if 2 * len(asked) >= rows else Units(seed=units.seed, stratify_by=units.stratify_by, by_content=True)


def sample(dataset: Dataset, out: Path, *, rows: int, seed: int = 42) -> Outcome:
    """Write that many rows, in their order: chosen by content, so a larger sample contains a smaller one."""
    keys = sorted(content_key(example, seed) for example in dataset.scan(Report()))
    limit = keys[min(rows, len(keys)) - 1] if keys and rows > 0 else -1
    left = rows

    def choose(example: Example) -> int | str:
        nonlocal left
        if left <= 0 or content_key(example, seed) > limit:
            return "not sampled"
        left -= 1
        return 0

    done = write(dataset, [out], to=own_format(dataset), choose=choose, as_is=True)
    if not done.written or done.rows_read >= rows:
        return done
    few = Finding(
        rule="few-rows", severity="warning", message=f"{rows:,} rows were asked for, there are {done.rows_read:,}"
    )
    return replace(done, findings=(*done.findings, few))


def dedupe(dataset: Dataset, out: Path, *, near: float | None = None, by_prompt: bool = False) -> Outcome:
    """Write the rows that repeat none before them: in content, in what they ask (`by_prompt`), or (`near`) almost."""
    seen = Dedupe(near, by_prompt=by_prompt)
    asked: set[int] = set()

    def choose(example: Example) -> int | str:
        key = prompt_key(example, 0) if by_prompt else 0
        if by_prompt and key in asked:
            return "same prompt"
        twin = seen.twin(example)
        if twin is not None:
            return "duplicate" if twin.exact else "near duplicate"
        asked.add(key)
        return 0

    return write(dataset, [out], to=own_format(dataset), choose=choose, as_is=True)


def fix(
    dataset: Dataset, out: Path, repairs: Collection[Repair], *, to: str | None = None, drop: bool = False
) -> Outcome:
    """Write the rows repaired. `drop` leaves out, and counts, those that could not be trained on even so."""

    to = to or own_format(dataset)
    if "tool-call-ids" in format_named(to).loses:  # the format knows no ids: results follow their calls
        repairs = [repair for repair in repairs if repair.name != "tool-call-ids"]

    def choose(example: Example) -> int | str:
        if not drop:
            return 0
        after = repaired(example, repairs, Report())
        return next((finding.rule for finding in check(after) if finding.severity == "error"), 0)

    return write(
        dataset,
        [out],
        to=to,
        choose=choose,
        change=_changes((), repairs),
        skip_unreadable=drop,
    )
