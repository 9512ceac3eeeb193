"""What all parts of a comparison at work share: where things lie, what may be done, how far everybody has come."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from finetune_sdk import registry
from finetune_sdk.compare.bases import base_model
from finetune_sdk.compare.bench import Bench, Candidate
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.split import Parts
from finetune_sdk.compare.state import Folder, Stage, Standing
from finetune_sdk.errors import BudgetExceeded, FineTuneError, JobFailed
from finetune_sdk.job import FineTuneJob
from finetune_sdk.redact import redact

_log = logging.getLogger(__name__)
Tell = Callable[[str, Standing, int, int], None]
"""Called with a candidate's name, its standing, questions answered and questions in all, whenever one changes."""
Deed = Callable[[Candidate], None]


class Stopped(Exception):
    """Somebody wants the run to end (Ctrl-C); whatever is under way is taken up by the next one."""


@dataclass(kw_only=True)
class Work:
    """One comparison at work in its folder."""

    bench: Bench
    home: Path
    folder: Folder
    parts: Parts
    budget: Budget
    candidates: tuple[Candidate, ...]
    """With what searches have found so far."""
    tell: Tell
    stop: threading.Event = field(default_factory=threading.Event)
    """Set on Ctrl-C: nothing more is begun."""

    def over(self) -> bool:
        """Whether nothing more may be begun."""
        return self.stop.is_set() or self.budget.out_of_time

    def is_local(self, candidate: Candidate) -> bool:
        """Whether its provider works on this machine."""
        return registry.load(candidate.provider, home=self.home).environment is not None

    def here(self, candidate: Candidate) -> bool:
        """Whether it answers on this machine."""
        return candidate.at is None and self.is_local(candidate)

    def open(self, candidate: Candidate) -> bool:
        """Whether something is left to be done for it."""
        return self.standing(candidate).stage not in ("done", "failed", "over budget")

    def standing(self, candidate: Candidate) -> Standing:
        return self.folder.standing(str(candidate.name))

    def staged(self, candidate: Candidate, stage: Stage, *, error: str | None = None, done: int = 0) -> Standing:
        """Write down how far it has come, and tell. `done`: questions answered, of as many."""
        name, standing = str(candidate.name), self.standing(candidate)
        standing.stage, standing.error = stage, error
        self.folder.save(name, standing)
        self.tell(name, standing, done, done)
        return standing

    def guarded(self, candidate: Candidate, deed: Deed) -> None:
        """Do it; a failure of this candidate is written down and stops nobody else."""
        if self.stop.is_set() or not self.open(candidate):
            return
        try:
            deed(candidate)
        except Stopped:
            return  # it goes on from there the next time
        except BudgetExceeded as error:
            self.staged(candidate, "over budget", error=str(error))
        except (FineTuneError, JobFailed, OSError) as error:
            self.staged(candidate, "failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - a provider is anybody's code: its fault is this candidate's
            _log.error("candidate %s: %s", candidate.name, redact(traceback.format_exc()))
            self.staged(candidate, "failed", error=redact(f"internal error: {type(error).__name__}: {error}"))

    def each(self, deed: Deed, groups: Sequence[tuple[Sequence[Candidate], int]]) -> None:
        """The deed for every candidate, guarded; those of a group side by side up to its limit, the groups too.

        Raises `Stopped` when nothing more is to be begun because somebody said so.
        """
        pools = [(candidates, ThreadPoolExecutor(limit)) for candidates, limit in groups]
        running: list[Future[None]] = [
            pool.submit(self.guarded, one, deed) for candidates, pool in pools for one in candidates
        ]
        try:
            for future in running:
                future.result()
        finally:
            for _, pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)
        if self.stop.is_set():
            raise Stopped

    def job_of(self, candidate: Candidate) -> FineTuneJob | None:
        """The job that trained it, if one did."""
        job_id = self.standing(candidate).job_id
        return FineTuneJob.attach(job_id, home=self.home) if job_id is not None and candidate.tune is not None else None

    def base_of(self, candidate: Candidate) -> str:
        """The id or folder of its base model. Raises `SpecError` while it is still to be made."""
        others = self.candidates
        if candidate.base_of is not None:
            others = tuple(one for one in others if one.name == candidate.base_of)
            candidate = others[0]
        return base_model(self.bench, candidate, (self.job_of(one) for one in others))

    def known(self) -> Mapping[str, Candidate]:
        """The candidates by name."""
        return {str(one.name): one for one in self.candidates}
