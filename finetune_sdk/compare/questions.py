"""Asking the candidates: each is stood up, asked what it has not answered yet, measured besides, and taken down."""

from __future__ import annotations

import time
from collections.abc import Sequence

from finetune_sdk.compare.asking import Asker, reachable
from finetune_sdk.compare.bench import Candidate, Prompt
from finetune_sdk.compare.besides import Besides
from finetune_sdk.compare.candidates import options_of, prices_of
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.machine import Energy
from finetune_sdk.compare.meter import Meter
from finetune_sdk.compare.prompts import Ask, asking
from finetune_sdk.compare.serving import answering, is_local
from finetune_sdk.compare.state import Journal, answers_in
from finetune_sdk.compare.work import Stopped, Work
from finetune_sdk.errors import BudgetExceeded
from finetune_sdk.types import Deployment


class Questions:
    """Asks the candidates of a comparison at work. `neutral`: the sample that tells what tuning changed besides."""

    def __init__(self, work: Work, neutral: Sequence[Item]) -> None:
        self._work, self._neutral = work, neutral
        self._besides = Besides(
            bench=work.bench, home=work.home, folder=work.folder, stop=work.over, left_s=lambda: work.budget.left_s
        )

    def ask_all(self, candidates: Sequence[Candidate], items: Sequence[Item]) -> None:
        """One candidate of this machine at a time, so that none slows the other; those elsewhere beside it."""
        here = [one for one in candidates if self._work.open(one) and self._work.here(one)]
        there = [one for one in candidates if one not in here]
        groups = [(here, 1), (there, self._work.bench.limits.hosted_jobs)]
        self._work.each(lambda one: self.ask(one, items), groups)

    def ask(self, candidate: Candidate, items: Sequence[Item], *, pilot: bool = False) -> None:
        """Ask what is missing. A `pilot` is measured by the deciding metric only. Raises what asking raises."""
        name, work = str(candidate.name), self._work
        known = work.folder.answers(name)
        missing = [item for item in items if item.id not in known or known[item.id].error]
        if missing or self._besides.missing(name, items, pilot=pilot):
            messages = asking(candidate.prompt, work.parts.examples, seed=work.bench.seed)
            with self._meter(candidate) as meter:
                meter.begin(items, known, messages, at_once=work.bench.limits.requests)
                self._stand_and_ask(candidate, meter, messages, missing, items, pilot=pilot)
        work.staged(candidate, "done", done=len(items))

    def _meter(self, candidate: Candidate) -> Meter:
        work = self._work
        prices = prices_of(work.bench, candidate)
        free = work.here(candidate)  # on this machine only hours count
        return Meter(work.budget, str(candidate.name), prices, max_tokens=work.bench.max_tokens, free=free)

    def likely_usd(self, candidate: Candidate, items: Sequence[Item]) -> float | None:
        """What asking it these comes to, if every answer is as long as it may be. None = unknown."""
        messages = asking(candidate.prompt, self._work.parts.examples, seed=self._work.bench.seed)
        return 0.0 if self._work.here(candidate) else self._meter(candidate).likely(items, messages)

    def _stand_and_ask(
        self, candidate: Candidate, meter: Meter, messages: Ask, missing: Sequence[Item], items: Sequence[Item], *,
        pilot: bool,
    ) -> None:  # fmt: skip
        name, work = str(candidate.name), self._work
        job = work.job_of(candidate)
        model = None if job is not None or candidate.at is not None else work.base_of(candidate)
        work.staged(candidate, "serving")
        begun = time.monotonic()
        with (
            work.budget.by_the_hour(name, self._usd_per_hour(candidate), what="standing"),
            answering(
                work.home,
                candidate,
                name=f"{work.bench.name}-{name}",
                model=model,
                job=job,
                most=work.bench.limits.requests,
                options=options_of(work.bench, candidate),
            ) as deployment,
        ):
            standing = work.staged(candidate, "asking")
            standing.ready_s = time.monotonic() - begun
            standing.model = standing.model or model or deployment.model
            standing.base_url = deployment.base_url
            work.folder.save(name, standing)
            self._put(candidate, deployment, meter, messages, missing, len(items))
            if not pilot:
                self._ask_neutral(candidate, deployment)
            self._besides.all(name, deployment, items, messages, pilot=pilot)

    def _usd_per_hour(self, candidate: Candidate) -> float | None:
        """What its standing costs for as long as it is asked; what stands anyhow costs nothing more."""
        prices = prices_of(self._work.bench, candidate)
        if candidate.at is not None:
            return None
        return prices.compute_per_hour if self._work.is_local(candidate) else prices.hosting_per_hour

    def _put(  # noqa: PLR0917 - one call
        self, candidate: Candidate, to: Deployment, meter: Meter, messages: Ask, missing: Sequence[Item], of: int
    ) -> None:
        """The questions themselves, each answer kept as it comes. Raises `BudgetExceeded` when some were not asked."""
        name, work, bench = str(candidate.name), self._work, self._work.bench
        standing = work.standing(candidate)
        reachable(to, bench.limits)
        journal = work.folder.journal(name)
        begun, before, energy = time.monotonic(), standing.asking_s or 0.0, Energy()
        done = of - len(missing)
        try:
            with Asker(
                to, limits=bench.limits, max_tokens=bench.max_tokens, temperature=bench.temperature, meter=meter
            ) as asker:
                for answer in asker.all(missing, messages, work.over):
                    journal.add(answer)
                    done += 1
                    work.tell(name, standing, done, of)
                    work.budget.keep()
        finally:
            journal.close()
            standing.asking_s = before + time.monotonic() - begun
            used = energy.joules() if is_local(work.home, to) else None
            standing.asking_j = None if used is None else used + (standing.asking_j or 0.0)
            work.folder.save(name, standing)
        if done < of and work.stop.is_set():
            raise Stopped
        if done < of:
            raise BudgetExceeded(f"{of - done} questions were not asked: {work.budget.over_text}")

    def _ask_neutral(self, candidate: Candidate, to: Deployment) -> None:
        """The neutral sample, of tuned models and of base models that are asked plainly: see `drift`."""
        work, name = self._work, str(candidate.name)
        plain = candidate.tune is not None or candidate.prompt == Prompt()
        if not plain or not work.here(candidate):
            return
        path = work.folder.candidate(name) / "neutral.jsonl"
        known = answers_in(path)
        missing = [item for item in self._neutral if item.id not in known]
        journal = Journal(path)
        try:
            with Asker(to, limits=work.bench.limits, max_tokens=64, temperature=0.0) as asker:
                for answer in asker.all(missing, lambda item: item.messages, work.over):
                    journal.add(answer)
        finally:
            journal.close()
