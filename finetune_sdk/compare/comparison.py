"""`Comparison`: which provider, model and method is best on these rows, and whether tuning is worth it at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk import __version__
from finetune_sdk.compare import bench as benches
from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.costs import break_even
from finetune_sdk.compare.extras import Extras
from finetune_sdk.compare.judging import saved
from finetune_sdk.compare.metrics import Chosen
from finetune_sdk.compare.pilots import found as found_by_search
from finetune_sdk.compare.results import CandidateResult, Results
from finetune_sdk.compare.run import Run, now
from finetune_sdk.compare.scoring import Answered, candidate_result, in_order, score, shown
from finetune_sdk.compare.split import Frozen
from finetune_sdk.compare.state import Folder
from finetune_sdk.compare.tracking.writing import track
from finetune_sdk.compare.training import planned
from finetune_sdk.compare.verdict import verdict
from finetune_sdk.compare.work import Tell
from finetune_sdk.errors import FineTuneError, WrongStatus
from finetune_sdk.home import home_folder
from finetune_sdk.types import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCandidate:
    """What would be done for a candidate. Nothing was sent."""

    name: str
    provider: str
    tuned: bool
    cost_usd: float | None
    """Of training; None = unknown."""
    asking_usd: float | None
    """Of asking it the test rows, at most or nearly so; None = unknown."""
    basis: str
    error: str | None = None
    """Why it cannot be done."""
    findings: tuple[Finding, ...] = ()


class Comparison:
    """A comparison: a bench and a home. Everything else lies on disk, under the bench's name."""

    def __init__(
        self, bench: Bench | str | os.PathLike[str] | Mapping[str, Any], *, home: str | Path | None = None
    ) -> None:
        """`bench`: a `Bench`, the path of its YAML file, or the mapping such a file holds. Raises `SpecError`."""
        self.bench = bench if isinstance(bench, Bench) else benches.load(bench)
        self.home = home_folder(home)

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return Folder(self.home, self.bench.name).path

    def plan(self) -> tuple[Frozen, Sequence[PlannedCandidate]]:
        """The split, and what each candidate would cost. Writes the split, sends nothing.

        Raises `SpecError` (also when the folder belongs to another bench), `DataError`.
        """
        run = Run(self.bench, self.home)
        frozen, unfit = run.begin()
        frozen = msgspec.structs.replace(frozen, notes=[*frozen.notes, *unfit])
        items = run.work.parts.items()
        found: list[PlannedCandidate] = []
        for candidate in run.work.candidates:
            asking = run.questions.likely_usd(candidate, items)
            where = "given" if candidate.at is not None else candidate.provider
            head: dict[str, Any] = {"name": candidate.name, "provider": where, "asking_usd": asking}
            if candidate.tune is None:
                found.append(PlannedCandidate(**head, tuned=False, cost_usd=0.0, basis="not tuned"))
                continue
            if candidate.base_of is not None and run.work.standing(candidate).job_id is None:
                later = f"planned once {candidate.base_of} is trained: it starts from the same base model"
                cost = 0.0 if run.work.is_local(candidate) else None
                found.append(PlannedCandidate(**head, tuned=True, cost_usd=cost, basis=later))
                continue
            try:
                plan = planned(run.jobs.spec(candidate), self.home)
            except FineTuneError as error:
                found.append(PlannedCandidate(**head, tuned=True, cost_usd=None, basis="", error=str(error)))
                continue
            errors = "; ".join(str(one) for one in plan.errors) or None
            found.append(
                PlannedCandidate(
                    **head,
                    tuned=True,
                    cost_usd=plan.cost.usd,
                    basis=plan.cost.basis,
                    error=errors,
                    findings=tuple(plan.findings),
                )
            )
        return frozen, found

    def run(self, tell: Tell | None = None) -> Results:
        """Do all of it, or what is left of it, and write the reports. Blocks.

        A candidate that fails is in the results with its reason. A run that was killed is taken up by the next one:
        no job is submitted twice, no question that was answered is asked again.
        """
        run = Run(self.bench, self.home, tell)
        run.all()
        results = self.results()
        self.write(results)
        return results

    def results(self) -> Results:
        """What the answers on disk say, also while it runs.

        Raises `WrongStatus` before anything was asked, `SpecError` when the answers were given to another bench.
        """
        run = Run(self.bench, self.home)
        work, parts, budget = run.work, run.work.parts, run.work.budget
        if not parts.record.exists():
            raise WrongStatus(f"the comparison {self.bench.name!r} has not been run: there is nothing in {self.folder}")
        work.folder.check(self.bench)
        items = parts.items()
        work.candidates += tuple(found_by_search(work))
        everybody = [
            Answered(
                candidate=candidate,
                standing=work.standing(candidate),
                answers=in_order(items, work.folder.answers(str(candidate.name))),
            )
            for candidate in work.candidates
        ]
        answered = [one for one in everybody if one.standing.stage == "done"]
        extras = Extras(work, items, run.neutral)
        scored = score(self.bench, items, answered)
        metric = self.bench.metrics[0].chosen
        found = [
            extras.added(candidate_result(self.bench, items if one in answered else [], one, scored, work.known()))
            for one in everybody
        ]
        ranked = _ranked(found, metric.key, higher=metric.higher_is_better)
        chosen = [spec.chosen for spec in self.bench.metrics]
        units = {one.key: _unit(one, ranked) for one in chosen}
        summary, findings = verdict(
            ranked,
            scored.pairs,
            metric=metric.key,
            title=metric.title,
            unit=units[metric.key],
            higher=metric.higher_is_better,
        )
        return Results(
            name=self.bench.name,
            bench_sha256=self.bench.sha256,
            sdk=__version__,
            created=now(),
            split=parts.frozen(),
            metric=metric.key,
            titles={one.key: one.title for one in chosen},
            units=units,
            higher={one.key: one.higher_is_better for one in chosen},
            candidates=tuple(ranked),
            pairs=scored.pairs,
            summary=summary,
            findings=(*findings, *self._money(ranked)),
            shown=shown(items, answered, scored),
            requests_per_month=self.bench.requests_per_month,
            curve=extras.curve(units[metric.key]),
            judged=saved(work.folder.path / "judged.json"),
            spent_usd=budget.spent_usd,
            spent_unknown=budget.unknown,
            took_s=budget.took_s,
        )

    def write(self, results: Results) -> dict[str, Path]:
        """`report.html`, `report.md` and `report.json` in the comparison's folder, and the trackers the bench names.

        Raises `EnvError` and `FineTuneError` for a tracker that cannot be written to; the reports are there by then.
        """
        from finetune_sdk.compare.report import html, markdown  # noqa: PLC0415 - only when shown

        texts = {"html": html(results), "md": markdown(results), "json": results.json().decode()}
        paths = {kind: self.folder / f"report.{kind}" for kind in texts}
        for kind, text in texts.items():
            part = paths[kind].with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.replace(paths[kind])
        if self.bench.tracking is not None:
            track(self.bench.tracking, results, home=self.home, folder=self.folder, report=paths["html"])
        return paths

    def _money(self, ranked: Sequence[CandidateResult]) -> Sequence[str]:
        """Tuned against the best of those that are not, in money."""
        if self.bench.requests_per_month is None and not self.bench.prices:
            return ()
        tuned = next((one for one in ranked if one.kind == "tuned" and one.scores), None)
        other = next((one for one in ranked if one.kind != "tuned" and one.scores), None)
        return () if tuned is None or other is None else (break_even(tuned, other)[1],)


def _unit(metric: Chosen, candidates: Sequence[CandidateResult]) -> float:
    """What one whole is shown as. A user's function that goes beyond 0 to 1 counts something, and is shown as it is."""
    values = [one.scores[metric.key].value for one in candidates if metric.key in one.scores]
    return 1.0 if metric.metric.foreign and any(not 0 <= value <= 1 for value in values) else metric.metric.unit


def _ranked(found: Sequence[CandidateResult], metric: str, *, higher: bool) -> list[CandidateResult]:
    """Best first; those without a score last, in the order of the bench."""

    def place(one: CandidateResult) -> tuple[int, float]:
        score = one.scores.get(metric)
        return (1, 0.0) if score is None else (0, -score.value if higher else score.value)

    return sorted(found, key=place)
