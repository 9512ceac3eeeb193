"""What the results say beyond the answers: loss curves, receipts, forgetting, the learning curve."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from finetune_sdk.compare.curve import foretold
from finetune_sdk.compare.drift import drift
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.metrics import Unfit
from finetune_sdk.compare.pilots import on_the_curve, rows_at
from finetune_sdk.compare.results import CandidateResult, CurveResult, Drift, TaskScore
from finetune_sdk.compare.scoring import in_order, model_name
from finetune_sdk.compare.state import answers_in
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.compare.work import Work
from finetune_sdk.errors import FineTuneError
from finetune_sdk.evaluate import evaluate_predictions
from finetune_sdk.home import job_folder
from finetune_sdk.store import JobStore

_MOST_POINTS = 200  # of a loss curve


class Extras:
    """Reads the folders of one comparison and of its jobs; asks nobody."""

    def __init__(self, work: Work, items: Sequence[Item], neutral: Sequence[Item]) -> None:
        self._work, self._items, self._neutral = work, items, neutral

    def added(self, result: CandidateResult) -> CandidateResult:
        """The result with the harness's tasks, its loss curve, its receipt and its drift."""
        result = msgspec.structs.replace(result, tasks=self._tasks(result.name))
        if result.job_id is None:
            return result
        folder = job_folder(self._work.home, result.job_id)
        return msgspec.structs.replace(
            result, losses=self._losses(result.job_id), receipt=_receipt(folder), drift=self._drift(result, folder)
        )

    def _tasks(self, name: str) -> tuple[TaskScore, ...]:
        path = self._work.folder.candidate(name) / "lm-eval" / "scores.json"
        return tuple(msgspec.json.decode(path.read_bytes(), type=list[TaskScore])) if path.exists() else ()

    def _losses(self, job_id: str) -> tuple[tuple[int, float], ...]:
        try:
            events = JobStore(self._work.home).events(job_id)
        except FineTuneError:
            return ()
        points = [(one.step, one.metrics["loss"]) for one in events if one.step is not None and "loss" in one.metrics]
        return tuple(points[:: max(1, len(points) // _MOST_POINTS)])

    def _drift(self, result: CandidateResult, folder: Path) -> Drift | None:
        """Against the answers of the same base model, asked plainly."""
        after = answers_in(self._work.folder.candidate(result.name) / "neutral.jsonl")
        known = self._work.known()
        for name, other in known.items():
            path = self._work.folder.candidate(name) / "neutral.jsonl"
            base = (other.provider, model_name(self._work.bench, other, self._work.standing(other), known))
            if other.tune is None and base == (result.provider, result.model) and path.exists():
                return drift(self._neutral, answers_in(path), after, _neutral_losses(folder))
        return None

    def curve(self, unit: float) -> CurveResult | None:
        """The learning curve, as far as its pilots have come; `unit`: its metric's. None with fewer than two points."""
        bench = self._work.bench
        if bench.curve is None:
            return None
        metric = bench.metrics[0].chosen
        measured: dict[int, Measured] = {}
        for share in bench.curve.shares:
            candidate = on_the_curve(self._work, share)
            name = str(candidate.name)
            if self._work.folder.standing(name).stage == "done":
                try:
                    answers = in_order(self._items, self._work.folder.answers(name))
                    measured[rows_at(self._work, share)] = metric.measure(self._items, answers)
                except Unfit:
                    return None
        if len(measured) < 2:
            return None
        return foretold(
            str(on_the_curve(self._work, 1.0).name),
            measured,
            times=bench.curve.times,
            seed=bench.seed,
            unit=unit,
            higher=metric.higher_is_better,
            title=metric.title,
        )


def _receipt(folder: Path) -> str | None:
    path = folder / "artifacts" / "receipt.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _neutral_losses(folder: Path) -> tuple[float | None, float | None]:
    """Loss per token of the neutral sample before and after, where the job measured it."""
    path = folder / "artifacts" / "predictions.jsonl"
    if not path.is_file():
        return None, None
    metric = evaluate_predictions(path, ("perplexity",)).metrics[0]
    before, after = (None if one is None else math.log(one.value) for one in (metric.base, metric.tuned))
    return before, after
