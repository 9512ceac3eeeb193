"""Running a comparison: train what is to be trained, ask everybody everything, go on where it stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from finetune_sdk import registry
from finetune_sdk.compare.asking import Asker, reachable
from finetune_sdk.compare.bases import base_model
from finetune_sdk.compare.bench import Bench, Candidate, Prompt, Search
from finetune_sdk.compare.besides import Besides
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.candidates import expand, job_of, options_of, prices_of
from finetune_sdk.compare.drift import neutral_items, write_rows
from finetune_sdk.compare.harness.running import interpreter
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.judging import judged, save
from finetune_sdk.compare.machine import Energy
from finetune_sdk.compare.prompts import Ask, asking
from finetune_sdk.compare.scoring import in_order
from finetune_sdk.compare.searching import searched, winner
from finetune_sdk.compare.serving import answering, is_local
from finetune_sdk.compare.split import Frozen, Parts, freeze
from finetune_sdk.compare.state import Folder, Journal, Standing, answers_in
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.compare.training import trained
from finetune_sdk.errors import BudgetExceeded, FineTuneError, JobFailed, SpecError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Deployment

Tell = Callable[[str, Standing, int, int], None]
"""Called with a candidate's name, its standing, questions answered and questions in all, whenever one changes."""

_LETTERS_PER_TOKEN = 2.5  # a cautious guess for prompts whose tokens nobody has counted yet
_NEUTRAL_LOSS: Mapping[str, JsonValue] = {"metrics": ["perplexity"], "max_new_tokens": 1}


class Run:
    """One comparison at work in its folder."""

    def __init__(self, bench: Bench, home: Path, tell: Tell | None = None) -> None:
        self.bench, self.home = bench, home
        self.folder = Folder(home, bench.name)
        self.candidates: tuple[Candidate, ...] = expand(bench)
        self._tell = tell or _silent
        self._stop = threading.Event()
        self._parts = Parts(self.folder.split)
        self._rows: dict[str, Path] = {}  # pilots train on other rows than the candidates
        self._neutral: list[Item] = []

    def begin(self) -> Frozen:
        """Make or find the folder and the split. Raises `SpecError`, `DataError`."""
        self.folder.open(self.bench)
        self._neutral = neutral_items(self.bench.forgetting)
        write_rows(self._neutral, self.neutral_rows)
        return freeze(self.bench.data, self.folder.split, slices=self.bench.slices)

    def all(self) -> None:
        """Train and ask every candidate that is not done. A failure is written down; the others go on.

        On Ctrl-C nothing more is begun, jobs that train go on by themselves, and the next run takes it up from there.
        """
        self.begin()
        self._reopen()
        self.budget = Budget(self.folder.path / "spent.json", self.bench.limits)
        items = self._parts.items()
        if self.bench.lm_eval is not None:
            interpreter(self.bench.lm_eval, self.home)  # missing? better now than after hours of training
        try:
            self.candidates += tuple(self._searched())
            self._train([one for one in self.candidates if one.base_of is None])
            self._train([one for one in self.candidates if one.base_of is not None])  # it is made by the others
            for candidate in self.candidates:
                self._guarded(candidate, lambda one=candidate: self._ask(one, items))  # type: ignore[misc]
            self._curve(items)
            self._judge(items)
        except KeyboardInterrupt:
            self._stop.set()
            raise
        finally:
            self.budget.save()

    def _reopen(self) -> None:
        """What failed is tried again; a job that failed is not paid for twice, and says so again."""
        for candidate in self.candidates:
            standing = self.folder.standing(str(candidate.name))
            if standing.stage in ("failed", "over budget"):
                standing.stage, standing.error = "waiting", None
                self.folder.save(str(candidate.name), standing)

    # --- training ---------------------------------------------------------------------------------------------------

    @property
    def neutral_rows(self) -> Path:
        """The neutral sample as rows."""
        return self.folder.path / "neutral.jsonl"

    def data(self, rows: Path | None = None) -> dict[str, JsonValue]:
        """The `data:` of every job here: the frozen training rows, or some of them."""
        found: dict[str, JsonValue] = {"train": str(rows or self._parts.rows("train")), "format": "chat"}
        if self._parts.rows("validation").exists():
            found["validation"] = str(self._parts.rows("validation"))
        return found

    def job(self, candidate: Candidate) -> JobSpec:
        """The job that trains a candidate. Raises `SpecError`, also before the model of `base_of` is there."""
        if candidate.base_of is not None:
            candidate = candidate.model_copy(update={"model": self._base(candidate), "base_of": None})
        rows = self._rows.get(str(candidate.name))
        data = self.data(rows)
        if rows is not None or not self._measures_loss(candidate):
            return job_of(self.bench, candidate, data)
        neutral = {"test": str(self.neutral_rows)}
        measured = candidate.model_copy(update={"tune": {"evaluation": dict(_NEUTRAL_LOSS), **(candidate.tune or {})}})
        return job_of(self.bench, measured, {**data, **neutral})

    def _measures_loss(self, candidate: Candidate) -> bool:
        """Whether its worker tells the loss on the neutral sample before and after, at no price."""
        provider = registry.load(candidate.provider, home=self.home)
        asked = "evaluation" in (candidate.tune or {}) or "evaluation" in self.bench.base
        claims = bool(provider.capabilities.claim("feature.evaluate").support)
        return claims and provider.environment is not None and not asked

    def _train(self, candidates: Sequence[Candidate]) -> None:
        """Jobs on this machine and at vendors side by side, each kind up to its limit."""
        waiting = [one for one in candidates if one.tune is not None and self._open(one)]
        local = [one for one in waiting if self.is_local(one)]
        hosted = [one for one in waiting if one not in local]
        limits = self.bench.limits
        with ThreadPoolExecutor(limits.jobs) as here, ThreadPoolExecutor(limits.hosted_jobs) as there:
            running = [here.submit(self._guarded, one, lambda one=one: self._train_one(one)) for one in local]  # type: ignore[misc]
            running += [there.submit(self._guarded, one, lambda one=one: self._train_one(one)) for one in hosted]  # type: ignore[misc]
            for future in running:
                future.result()

    def _train_one(self, candidate: Candidate) -> None:
        name = str(candidate.name)
        if self._stop.is_set() or self.folder.standing(name).stage in ("serving", "asking", "done"):
            return
        self._told(name)
        trained(self.folder, name, self.job(candidate), home=self.home, budget=self.budget)
        self._told(name)

    def is_local(self, candidate: Candidate) -> bool:
        """Whether its provider works on this machine."""
        return registry.load(candidate.provider, home=self.home).environment is not None

    # --- asking -----------------------------------------------------------------------------------------------------

    def _open(self, candidate: Candidate) -> bool:
        return self.folder.standing(str(candidate.name)).stage not in ("done", "failed", "over budget")

    def _ask(self, candidate: Candidate, items: Sequence[Item]) -> None:
        name = str(candidate.name)
        known = self.folder.answers(name)
        missing = [item for item in items if item.id not in known or known[item.id].error]
        if missing or self._besides().missing(name, items):
            self._afford(candidate, missing)
            self._ask_these(candidate, missing, items)
        standing = self.folder.standing(name)
        standing.stage = "done"
        self.folder.save(name, standing)
        self._told(name, len(items), len(items))

    def _besides(self) -> Besides:
        return Besides(
            bench=self.bench,
            home=self.home,
            folder=self.folder,
            stop=self._over,
            left_s=lambda: self.budget.left_s,
        )

    def _ask_these(self, candidate: Candidate, missing: Sequence[Item], items: Sequence[Item]) -> None:
        name = str(candidate.name)
        job = self._job_of(candidate)
        model = None if job is not None or candidate.at is not None else self._base(candidate)
        self._stage(name, "serving")
        begun = time.monotonic()
        with answering(
            self.home,
            candidate,
            name=f"{self.bench.name}-{name}",
            model=model,
            job=job,
            most=self.bench.limits.requests,
            options=options_of(self.bench, candidate),
        ) as deployment:
            standing = self._stage(name, "asking")
            standing.ready_s = time.monotonic() - begun
            standing.model = standing.model or model or deployment.model
            standing.base_url = deployment.base_url
            self.folder.save(name, standing)
            messages = asking(candidate.prompt, self._parts.examples, seed=self.bench.seed)
            self._questions(candidate, deployment, messages, missing, len(items))
            self._ask_neutral(candidate, deployment)
            if name not in self._rows:  # a pilot is measured by the deciding metric only
                self._besides().all(name, deployment, items, messages)

    def _ask_neutral(self, candidate: Candidate, to: Deployment) -> None:
        """The neutral sample, of tuned models and of base models that are asked plainly: see `drift`."""
        name, limits = str(candidate.name), self.bench.limits
        plain = candidate.tune is not None or candidate.prompt == Prompt()
        if candidate.at is not None or not plain or name in self._rows or not self.is_local(candidate):
            return
        path = self.folder.candidate(name) / "neutral.jsonl"
        known = answers_in(path)
        missing = [item for item in self._neutral if item.id not in known]
        journal = Journal(path)
        try:
            with Asker(to, limits=limits, max_tokens=64, temperature=0.0) as asker:
                for answer in asker.all(missing, lambda item: item.messages, self._over):
                    journal.add(answer)
        finally:
            journal.close()

    def _questions(self, candidate: Candidate, to: Deployment, messages: Ask, missing: Sequence[Item], of: int) -> None:
        name, bench = str(candidate.name), self.bench
        standing = self.folder.standing(name)
        reachable(to, bench.limits)
        journal = self.folder.journal(name)
        begun, before, energy = time.monotonic(), standing.asking_s or 0.0, Energy()
        done = of - len(missing)
        try:
            with Asker(to, limits=bench.limits, max_tokens=bench.max_tokens, temperature=bench.temperature) as asker:
                for answer in asker.all(missing, messages, self._over):
                    journal.add(answer)
                    done += 1
                    self._tell(name, standing, done, of)
        finally:
            journal.close()
            standing.asking_s = before + time.monotonic() - begun
            used = energy.joules() if is_local(self.home, to) else None
            standing.asking_j = None if used is None else used + (standing.asking_j or 0.0)
            self.folder.save(name, standing)
            self._settle(candidate)
        if done < of:
            raise BudgetExceeded(f"{of - done} questions were not asked: the time is over")

    def _over(self) -> bool:
        return self._stop.is_set() or self.budget.out_of_time

    def _job_of(self, candidate: Candidate) -> FineTuneJob | None:
        job_id = self.folder.standing(str(candidate.name)).job_id
        return FineTuneJob.attach(job_id, home=self.home) if job_id is not None and candidate.tune is not None else None

    def _base(self, candidate: Candidate) -> str:
        """The base model of a candidate that is not tuned."""
        others = self.candidates
        if candidate.base_of is not None:
            others = tuple(one for one in others if one.name == candidate.base_of)
            candidate = others[0]
        return base_model(self.bench, candidate, (self._job_of(one) for one in others))

    # --- pilots -----------------------------------------------------------------------------------------------------

    def _pilot(self, candidate: Candidate, share: float, items: Sequence[Item]) -> Measured | None:
        """Train on a share of the rows and measure on `items` by the deciding metric. None when it failed."""
        name = str(candidate.name)
        self._rows[name] = self._parts.share(share)
        self._train([candidate])
        self._guarded(candidate, lambda: self._ask(candidate, items))
        if self.folder.standing(name).stage != "done":
            return None
        found = self.folder.answers(name)
        return self.bench.metrics[0].chosen.measure(
            items, [found.get(item.id) or Answer(item=item.id, error="not asked") for item in items]
        )

    def _searched(self) -> Iterator[Candidate]:
        """The best setting of each search, as a candidate. Raises `SpecError` for a search without validation rows."""
        known = {str(one.name): one for one in self.candidates}
        sign = 1.0 if self.bench.metrics[0].chosen.higher_is_better else -1.0
        for search in self.bench.search:
            if not self._parts.rows("validation").exists():
                raise SpecError("search: settings are chosen on validation rows; give `data: validation: 0.1`")
            items = self._parts.examples("validation")

            def score(candidate: Candidate, share: float, items: Sequence[Item] = items) -> float | None:
                pilot = candidate.model_copy(update={"name": f"{candidate.name}.{share:g}"})
                measured = self._pilot(pilot, share, items)
                return None if measured is None else sign * measured.score

            found = searched(search, known, self.search_log(search), score)
            if found is not None:
                yield found

    def found(self) -> Iterator[Candidate]:
        """What searches that are over have found."""
        known = {str(one.name): one for one in self.candidates}
        for search in self.bench.search:
            best = winner(search, known, self.search_log(search))
            if best is not None:
                yield best

    def search_log(self, search: Search) -> Path:
        """Where a search keeps its trials."""
        return self.folder.path / "searches" / f"{search.candidate}.json"

    def _curve(self, items: Sequence[Item]) -> None:
        """Every share of the learning curve, as pilots of one tuned candidate."""
        curve = self.bench.curve
        if curve is None:
            return
        for share in curve.shares:
            if share < 1.0:
                self._pilot(self.on_the_curve(share), share, items)

    def rows_at(self, share: float) -> int:
        """Training rows at a share."""
        return len(self._parts.share(share).read_bytes().splitlines())

    def on_the_curve(self, share: float) -> Candidate:
        """The candidate of the learning curve at a share of the rows. Raises `SpecError` when there is none."""
        curve = self.bench.curve
        wanted = curve.candidate if curve is not None else None
        found = [one for one in self.candidates if one.tune is not None and wanted in (None, one.name)]
        if not found:
            raise SpecError("curve: there is no tuned candidate" + (f" {wanted!r}" if wanted else ""))
        return found[0] if share >= 1.0 else found[0].model_copy(update={"name": f"{found[0].name}.rows-{share:g}"})

    def _judge(self, items: Sequence[Item]) -> None:
        judge = self.bench.judge
        if judge is None:
            return
        done = [one for one in self.candidates if self.folder.standing(str(one.name)).stage == "done"]
        first = next((one for one in done if judge.against in (None, one.name)), None)
        if first is None:
            return
        theirs = in_order(items, self.folder.answers(str(first.name)))
        found = [
            judged(
                judge,
                items,
                ((str(first.name), theirs), (str(one.name), in_order(items, self.folder.answers(str(one.name))))),
                limits=self.bench.limits,
                journal=self.folder.candidate(str(one.name)) / f"judged-against-{first.name}.jsonl",
                stop=self._over,
            )
            for one in done
            if one is not first
        ]
        save(self.folder.path / "judged.json", found)

    # --- money ------------------------------------------------------------------------------------------------------

    def _afford(self, candidate: Candidate, missing: Sequence[Item]) -> None:
        name = str(candidate.name)
        with self.budget.reserved(name, self._dearest(candidate, missing), what="asking"):
            pass

    def _dearest(self, candidate: Candidate, missing: Sequence[Item]) -> float | None:
        """What asking costs at most; 0 on this machine, where only hours count."""
        prices = prices_of(self.bench, candidate)
        if candidate.at is None and self.is_local(candidate):
            return 0.0
        if prices.input_per_mtok is None or prices.output_per_mtok is None:
            return None
        messages = asking(candidate.prompt, self._parts.examples, seed=self.bench.seed)
        letters = sum(len(str(one.get("content") or "")) for item in missing for one in messages(item))
        read = letters / _LETTERS_PER_TOKEN + 20 * len(missing)
        written = self.bench.max_tokens * len(missing)
        return (read * prices.input_per_mtok + written * prices.output_per_mtok) / 1e6

    def _settle(self, candidate: Candidate) -> None:
        """The tokens that were counted replace the cautious guess."""
        prices = prices_of(self.bench, candidate)
        if prices.input_per_mtok is None or prices.output_per_mtok is None:
            return
        answers: Mapping[str, Answer] = self.folder.answers(str(candidate.name))
        read = sum(one.prompt_tokens or 0 for one in answers.values())
        written = sum(one.completion_tokens or 0 for one in answers.values())
        if read:
            usd = (read * prices.input_per_mtok + written * prices.output_per_mtok) / 1e6
            self.budget.settle(str(candidate.name), usd, what="asking")

    # --- what became of it ------------------------------------------------------------------------------------------

    def _guarded(self, candidate: Candidate, deed: Callable[[], None]) -> None:
        """Do it; a failure of this candidate is written down and stops nobody else."""
        name = str(candidate.name)
        if not self._open(candidate):
            return
        try:
            deed()
        except BudgetExceeded as error:
            self._failed(name, "over budget", str(error))
        except (FineTuneError, JobFailed, OSError) as error:
            self._failed(name, "failed", str(error))

    def _failed(self, name: str, stage: str, error: str) -> None:
        standing = self.folder.standing(name)
        standing.stage = "failed" if stage == "failed" else "over budget"
        standing.error = error
        self.folder.save(name, standing)
        self._told(name)

    def _stage(self, name: str, stage: str) -> Standing:
        standing = self.folder.standing(name)
        standing.stage = "serving" if stage == "serving" else "asking"
        self.folder.save(name, standing)
        self._told(name)
        return standing

    def _told(self, name: str, done: int = 0, of: int = 0) -> None:
        self._tell(name, self.folder.standing(name), done, of)


def _silent(_name: str, _standing: Standing, _done: int, _of: int) -> None:
    """For those who do not watch."""


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
