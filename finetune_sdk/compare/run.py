"""Running a comparison: train what is to be trained, ask everybody everything, go on where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk.compare import asking, prompts
from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.candidates import expand
from finetune_sdk.compare.drift import neutral_items, write_rows
from finetune_sdk.compare.fitting import fitting
from finetune_sdk.compare.harness.running import interpreter
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.jobs import Jobs
from finetune_sdk.compare.judges import judge_all
from finetune_sdk.compare.pilots import Pilots, check
from finetune_sdk.compare.questions import Questions
from finetune_sdk.compare.split import Frozen, Parts, freeze
from finetune_sdk.compare.state import Folder, Standing
from finetune_sdk.compare.work import Stopped, Tell, Work


class Run:
    """One comparison, from its split to its last answer."""

    def __init__(self, bench: Bench, home: Path, tell: Tell | None = None) -> None:
        folder = Folder(home, bench.name)
        self.work = Work(
            bench=bench,
            home=home,
            folder=folder,
            parts=Parts(folder.split),
            budget=Budget(folder.path / "spent.json", bench.limits),
            candidates=expand(bench),
            tell=tell or _silent,
        )
        self.neutral = neutral_items(bench.forgetting)
        self.jobs = Jobs(self.work)
        self.questions = Questions(self.work, self.neutral)

    def begin(self) -> tuple[Frozen, Sequence[str]]:
        """Make or find the folder and the split; which metrics do not fit the rows, with the reason.

        Raises `SpecError`, `DataError`, also when the deciding metric does not fit: better now than after training.
        """
        work = self.work
        work.folder.open(work.bench)
        write_rows(self.neutral, self.jobs.neutral_rows)
        frozen = freeze(work.bench.data, work.folder.split, slices=work.bench.slices)
        check(work)
        return frozen, fitting(work.bench, work.parts.items())

    def all(self) -> None:
        """Train and ask every candidate that is not done. A failure is written down; the others go on.

        On Ctrl-C nothing more is begun, jobs that train go on by themselves, and the next run takes it up from there.
        Raises `WrongStatus` while another process is at it.
        """
        work = self.work
        with work.folder.claimed():
            asking.prepare()
            prompts.prepare(one.prompt for one in work.candidates)
            self.begin()
            self._reopen()
            if work.bench.lm_eval is not None:
                interpreter(work.bench.lm_eval, work.home)  # missing? better now than after hours of training
            with ThreadPoolExecutor(1, thread_name_prefix="comparison") as pool:
                doing = pool.submit(self._all, work.parts.items())
                try:
                    doing.result()
                except Stopped:
                    raise KeyboardInterrupt from None
                finally:
                    work.stop.set()  # Ctrl-C reaches this thread only; the pool is left once the others have noticed
            work.budget.save()

    def _all(self, items: Sequence[Item]) -> None:
        """Raises `Stopped` when `stop` was set before the end."""
        work, pilots = self.work, Pilots(self.work, self.jobs, self.questions)
        work.candidates += tuple(pilots.search())
        self.jobs.train([one for one in work.candidates if one.base_of is None])
        self.jobs.train([one for one in work.candidates if one.base_of is not None])  # it is made by the others
        self.questions.ask_all(work.candidates, items)
        pilots.curve(items)
        judge_all(work, items)

    def _reopen(self) -> None:
        """What failed is tried again, pilots too; a job that failed is not paid for twice, and says so again."""
        for name in self.work.folder.names():
            standing = self.work.folder.standing(name)
            if standing.stage in ("failed", "over budget"):
                standing.stage, standing.error = "waiting", None
                self.work.folder.save(name, standing)


def _silent(_name: str, _standing: Standing, _done: int, _of: int) -> None:
    """For those who do not watch."""


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
