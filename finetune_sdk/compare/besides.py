"""What is measured besides the answers while a candidate stands: likelihoods, the harness's tasks, this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.harness import running
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.likelihood import Likelihood, NotTold
from finetune_sdk.compare.machine import peak_memory
from finetune_sdk.compare.prompts import Ask
from finetune_sdk.compare.serving import is_local
from finetune_sdk.compare.state import Folder
from finetune_sdk.deploy import record
from finetune_sdk.errors import BudgetExceeded, FineTuneError
from finetune_sdk.types import Deployment

_TASKS, _LOSSES = "lm_eval: ", "likelihood: "  # how a candidate's notes about these begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Besides:
    """The further measurements of one comparison; a failure of one is noted, and the candidate goes on."""

    bench: Bench
    home: Path
    folder: Folder
    stop: Callable[[], bool]
    left_s: Callable[[], float | None]

    def _likely(self, *, pilot: bool) -> bool:
        """Whether likelihoods are wanted; of a pilot only for the metric that decides."""
        return self.bench.metrics[0].chosen.metric.likelihood if pilot else self.bench.likelihood

    def missing(self, name: str, items: Sequence[Item], *, pilot: bool) -> bool:
        """Whether something is left to be measured of a candidate that has answered everything."""
        tasks = not pilot and self.bench.lm_eval is not None and not (self._tasks(name) / "scores.json").exists()
        told = any(note.startswith(_LOSSES) for note in self.folder.standing(name).notes)  # it has been tried
        return tasks or (self._likely(pilot=pilot) and not told and bool(self._unknown(name, items)))

    def all(self, name: str, to: Deployment, items: Sequence[Item], messages: Ask, *, pilot: bool) -> None:
        """Measure what is missing and what the bench asks for. What has a price nobody set aside is not begun."""
        if self._likely(pilot=pilot):
            self._noted(name, _LOSSES, lambda: self._likelihood(name, to, items, messages))
        if self.bench.lm_eval is not None and not pilot:
            self._noted(name, _TASKS, lambda: self._harness(name, to))
        memory = serving_memory(self.home, to)
        if memory is not None:
            standing = self.folder.standing(name)
            standing.serving_memory_bytes = max(memory, standing.serving_memory_bytes or 0)
            self.folder.save(name, standing)

    def _unknown(self, name: str, items: Sequence[Item]) -> list[Item]:
        known = self.folder.answers(name)
        return [one for one in items if one.reference and one.id in known and known[one.id].nll is None]

    def _likelihood(self, name: str, to: Deployment, items: Sequence[Item], messages: Ask) -> None:
        self._affordable(to)
        known = self.folder.answers(name)
        journal = self.folder.journal(name)
        try:
            with Likelihood(to, self.bench.limits) as asker:
                for answer in asker.all(self._unknown(name, items), messages, lambda item: known[item.id], self.stop):
                    journal.add(answer)
        except NotTold as error:
            raise FineTuneError(f"not measured, for this server tells no log-probabilities ({error})") from error
        finally:
            journal.close()

    def _affordable(self, to: Deployment) -> None:
        cap = self.bench.limits.max_cost_usd
        if cap is not None and not is_local(self.home, to):
            raise BudgetExceeded(f"not asked: what it costs is not known beforehand, and max_cost_usd is {cap:g}")

    def _tasks(self, name: str) -> Path:
        return self.folder.candidate(name) / "lm-eval"

    def _harness(self, name: str, to: Deployment) -> None:
        self._affordable(to)
        if self.bench.lm_eval is not None and not self.stop():
            running.measured(
                self.bench.lm_eval,
                to,
                python=running.interpreter(self.bench.lm_eval, self.home),
                folder=self._tasks(name),
                tokenizer=tokenizer(self.home, to),
                limits=self.bench.limits,
                left_s=self.left_s(),
            )

    def _noted(self, name: str, head: str, deed: Callable[[], None]) -> None:
        said: list[str] = []
        try:
            deed()
        except FineTuneError as error:
            said.append(f"{head}{error}")
        standing = self.folder.standing(name)
        notes = [*(note for note in standing.notes if not note.startswith(head)), *said]
        if notes != standing.notes:
            standing.notes = notes
            self.folder.save(name, standing)


def tokenizer(home: Path, to: Deployment) -> Path | None:
    """The folder of a local model's tokenizer. None = it is not served from this machine."""
    if not is_local(home, to):
        return None
    models = record.read(record.folder_of(home, record.id_of(to.model))).load.get("models", {})
    folder = Path(str(models.get(to.model, "")))
    places = (folder, folder.parent / "tokenizer", folder.parent / "merged")
    return next((place for place in places if (place / "tokenizer_config.json").is_file()), None)


class _Engine(msgspec.Struct):
    """What is read of a deployment's `state.json`."""

    engine_pid: int | None = None


def serving_memory(home: Path, to: Deployment) -> int | None:
    """The most bytes its engine has held so far. None = not on this machine, or not told."""
    if not is_local(home, to):
        return None
    path = record.folder_of(home, record.id_of(to.model)) / record.STATE
    try:
        pid = msgspec.json.decode(path.read_bytes(), type=_Engine).engine_pid
    except (OSError, msgspec.MsgspecError):
        return None
    return None if pid is None else peak_memory(pid)
