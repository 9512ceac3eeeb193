"""Training the candidates: each by an ordinary job, side by side up to the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from finetune_sdk import registry
from finetune_sdk.compare.bench import Candidate
from finetune_sdk.compare.candidates import job_of, prices_of
from finetune_sdk.compare.training import trained
from finetune_sdk.compare.work import Work
from finetune_sdk.spec import JobSpec

_NEUTRAL_LOSS: Mapping[str, JsonValue] = {"metrics": ["perplexity"], "max_new_tokens": 1}


class Jobs:
    """The jobs of a comparison at work."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._rows: dict[str, Path] = {}

    @property
    def neutral_rows(self) -> Path:
        """The neutral sample as rows."""
        return self._work.folder.path / "neutral.jsonl"

    def on(self, candidate: Candidate, share: float) -> None:
        """Train this one on a share of the training rows."""
        if share < 1.0:
            self._rows[str(candidate.name)] = self._work.parts.share(share)

    def spec(self, candidate: Candidate) -> JobSpec:
        """The job that trains a candidate. Raises `SpecError`, also before the model of `base_of` is there."""
        work = self._work
        if candidate.base_of is not None:
            candidate = candidate.model_copy(update={"model": work.base_of(candidate), "base_of": None})
        rows = self._rows.get(str(candidate.name))
        data = self._data(rows)
        if rows is not None or not self._measures_loss(candidate):
            return job_of(work.bench, candidate, data)
        neutral = {"test": str(self.neutral_rows)}
        measured = candidate.model_copy(update={"tune": {"evaluation": dict(_NEUTRAL_LOSS), **(candidate.tune or {})}})
        return job_of(work.bench, measured, {**data, **neutral})

    def _data(self, rows: Path | None) -> dict[str, JsonValue]:
        """The `data:` of every job here: the frozen training rows, or some of them."""
        parts = self._work.parts
        found: dict[str, JsonValue] = {"train": str(rows or parts.rows("train")), "format": "chat"}
        if parts.rows("validation").exists():
            found["validation"] = str(parts.rows("validation"))
        return found

    def _measures_loss(self, candidate: Candidate) -> bool:
        """Whether its worker tells the loss on the neutral sample before and after, at no price."""
        provider = registry.load(candidate.provider, home=self._work.home)
        asked = "evaluation" in (candidate.tune or {}) or "evaluation" in self._work.bench.base
        claims = bool(provider.capabilities.claim("feature.evaluate").support)
        return claims and provider.environment is not None and not asked

    def train(self, candidates: Sequence[Candidate]) -> None:
        """Jobs on this machine and at vendors side by side, each kind up to its limit."""
        work, limits = self._work, self._work.bench.limits
        waiting = [one for one in candidates if one.tune is not None and work.open(one)]
        local = [one for one in waiting if work.is_local(one)]
        hosted = [one for one in waiting if one not in local]
        work.each(self._train_one, [(local, limits.jobs), (hosted, limits.hosted_jobs)])

    def _train_one(self, candidate: Candidate) -> None:
        work, name = self._work, str(candidate.name)
        if work.standing(candidate).stage in ("serving", "asking", "done"):
            return
        work.tell(name, work.standing(candidate), 0, 0)
        price = prices_of(work.bench, candidate).compute_per_hour if work.is_local(candidate) else None
        spec = self.spec(candidate)
        trained(work.folder, name, spec, home=work.home, budget=work.budget, usd_per_hour=price, stop=work.stop.is_set)
        work.tell(name, work.standing(candidate), 0, 0)
