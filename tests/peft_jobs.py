"""Small training jobs through the peft provider, for the tests: made, run and read in a few lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobState, JobStatus
from finetune_sdk.worker import process

PATIENCE_S = 600.0
_TONES = ("joy", "anger", "fear", "surprise")
_CUES = ("I smile", "how dare they", "I am shaking", "who would have thought")


def rows(count: int) -> list[dict[str, Any]]:
    """Chat rows of different lengths."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"{_CUES[i % 4]} about number {i}" + ", again and again" * (i % 5)},
                {"role": "assistant", "content": _TONES[i % 4]},
            ]
        }
        for i in range(count)
    ]


def write(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """JSONL."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def spec(train: Path, **parts: Any) -> JobSpec:
    """A job on `builtin/tiny`, seed 0; `parts` replace or are merged into the usual ones."""
    whole: dict[str, Any] = {
        "provider": "peft",
        "model": "builtin/tiny",
        "data": {"train": str(train)},
        "hyperparameters": {"max_steps": 6, "batch_size": 4},
        "seed": 0,
    }
    for name, value in parts.items():
        whole[name] = {**whole[name], **value} if isinstance(whole.get(name), dict) else value
    return JobSpec.model_validate(whole)


class Ran:
    """A job and what it left."""

    def __init__(self, provider: Provider, ref: str) -> None:
        self.provider = provider
        self.ref = ref
        self.folder = provider.home / "jobs" / ref

    @property
    def state(self) -> JobState:
        return self.provider.poll(self.ref)

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.provider.events(self.ref)]

    @property
    def losses(self) -> dict[int, float]:
        """Training loss by step; a step that was trained twice counts with its last loss."""
        events = self.provider.events(self.ref)
        return {event.step: event.metrics["loss"] for event in events if event.step and "loss" in event.metrics}

    @property
    def predictions(self) -> list[dict[str, Any]]:
        lines = (self.folder / "artifacts" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def exact(self, name: str) -> float:
        """Share of held-out rows that the model called `name` answers as expected."""
        asked = [line for line in self.predictions if line["expected"] is not None]
        return sum(line[name] == line["expected"] for line in asked) / len(asked)

    def until(self, claim: Callable[[], object]) -> None:
        """Wait for something to become true while the job runs."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not claim():
            assert time.monotonic() < give_up_s, f"waited too long; {self.messages[-3:]}"
            time.sleep(0.05)

    def end(self) -> JobState:
        """Wait for the end or a pause."""
        self.until(lambda: self.state.status.terminal or self.state.status is JobStatus.PAUSED)
        return self.state

    def until_step(self, step: int) -> None:
        """Wait until this step is reported."""
        self.until(lambda: max(self.losses, default=0) >= step)

    def cancel(self) -> None:
        """As the provider does, with all the time that a slow machine needs to save what was learnt."""
        process.cancel(self.folder, grace_s=PATIENCE_S)

    @property
    def worker_pid(self) -> int:
        return int(json.loads((self.folder / "process.json").read_text())["worker_pid"])

    def kill(self) -> None:
        """SIGKILL the worker."""
        os.kill(self.worker_pid, 9)


def submit(home: Path, wanted: JobSpec, key: str = "job") -> Ran:
    """Plan and start."""
    provider = PeftProvider(home=home)
    return Ran(provider, provider.submit(provider.plan(wanted), key=key))


def run(home: Path, wanted: JobSpec, key: str = "job") -> Ran:
    """Plan, start and wait."""
    job = submit(home, wanted, key)
    job.end()
    return job
