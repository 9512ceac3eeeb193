"""Where a worker runs: the one thing in which a job on this machine differs from the same job on a rented one."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import JsonValue

from finetune_sdk.data import Prepared
from finetune_sdk.errors import JobNotFound, ProviderError
from finetune_sdk.provider import Environment
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState
from finetune_sdk.worker import process
from finetune_sdk.worker.envs import EnvStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A provider's worker, wherever it runs."""

    name: str
    """The provider's."""
    worker: Path
    """A package folder, or a file, with `main(ctx)`."""
    environment: Environment
    beside: tuple[Path, ...] = ()
    """Other workers' folders that it loads by their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run, as a provider asks a place for it."""

    key: str
    request: Mapping[str, JsonValue]
    data: Prepared
    """Checked against the plan, not written yet."""

    @property
    def compute(self) -> Mapping[str, Any]:
        """The request's `compute`, as the job description has it."""
        return msgspec.convert(self.request["compute"], dict[str, Any])


class Place(ABC):
    """Runs one provider's worker. Stateless: what it must remember lies there, or in `home/jobs/<key>`.

    Every verb promises what `Provider`'s verb of that name promises; `start` is `submit`, and idempotent by key.
    """

    def __init__(self, *, home: Path, code: Code) -> None:
        self.home = home
        self.code = code

    @abstractmethod
    def start(self, order: Order) -> str:
        """Start the run and return its reference; the same one when it was started before."""

    @abstractmethod
    def find(self, key: str) -> str | None:
        """The reference of the run that was started under this key."""

    @abstractmethod
    def poll(self, ref: str) -> JobState:
        """The run's state now. Raises `JobNotFound`."""

    @abstractmethod
    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """Its events after a cursor, oldest first."""

    @abstractmethod
    def checkpoints(self, ref: str) -> list[Checkpoint]:
        """Whole checkpoints, lowest step first."""

    @abstractmethod
    def artifacts(self, ref: str) -> list[Artifact]:
        """What it left behind so far."""

    @abstractmethod
    def cancel(self, ref: str) -> None:
        """Ask the worker to stop. Idempotent."""

    @abstractmethod
    def pause(self, ref: str) -> None:
        """Ask the worker to stop at a checkpoint. Idempotent."""

    @abstractmethod
    def resume(self, ref: str) -> None:
        """Run it again from its newest whole checkpoint."""

    @abstractmethod
    def forget(self, ref: str) -> None:
        """Delete what is kept of it under `home`. Idempotent."""


class Here(Place):
    """This machine: a detached process in `home/jobs/<key>`, whose reference is its key."""

    def start(self, order: Order) -> str:
        """Finds or builds the interpreter, writes the data, starts the worker. Safe to repeat after crashes."""
        folder = self.folder(order.key)
        python = self.python(order.compute["environment"])
        order.data.write(folder / "data")
        try:
            process.start(
                folder,
                python=python,
                worker=self.code.worker,
                request=order.request,
                job_id=order.key,
                processes=order.compute.get("processes", 1),
            )
        except ProviderError:
            if not process.started(folder):  # else another submitter of this key was quicker
                raise
        return order.key

    def find(self, key: str) -> str | None:
        """The key, if a worker was ever started for it or is just being started; None is proof of neither."""
        return key if process.started(self.folder(key)) else None

    def poll(self, ref: str) -> JobState:
        """From the worker's files; a worker that died without a result is FAILED with the reason."""
        return process.poll(self._known(ref))

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """From `events.jsonl`."""
        return list(process.events(self._known(ref), after))

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        """Those with a manifest, which is written last; `ref` is the folder."""
        found: list[Checkpoint] = []
        for manifest in self._known(ref).glob("checkpoints/checkpoint-*/manifest.json"):
            told = msgspec.json.decode(manifest.read_bytes(), type=_Manifest)
            found.append(Checkpoint(ref=str(manifest.parent), step=told.step, metrics=told.metrics))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def artifacts(self, ref: str) -> list[Artifact]:
        """As `result.json` lists them."""
        return process.artifacts(self._known(ref))

    def cancel(self, ref: str) -> None:
        """A worker that does not leave in time is killed."""
        process.cancel(self._known(ref))

    def pause(self, ref: str) -> None:
        """A worker that does not leave in time is killed, and its last checkpoint counts."""
        process.pause(self._known(ref))

    def resume(self, ref: str) -> None:
        """Starts the worker again in the same folder."""
        folder = self._known(ref)
        started = msgspec.json.decode((folder / "spec.json").read_bytes(), type=_Started)
        process.resume(folder, python=self.python(started.request.compute.environment))

    def forget(self, ref: str) -> None:
        """Deletes the job's folder: data, checkpoints, model."""
        shutil.rmtree(self.folder(ref), ignore_errors=True)

    def python(self, wanted: str) -> Path:
        """The interpreter for `compute.environment`; a managed one is built if need be."""
        needs = self.code.environment
        return EnvStore(self.home).python(self.code.name, needs.lock, wanted=wanted, smoke=needs.smoke)

    def folder(self, key: str) -> Path:
        """Where everything about a job lies."""
        return self.home / "jobs" / key

    def _known(self, ref: str) -> Path:
        folder = self.folder(ref)
        if not process.started(folder):
            raise JobNotFound(f"[{self.code.name}] no job {ref!r} in {folder.parent}", sent=False)
        return folder


class _Manifest(msgspec.Struct):
    step: int
    metrics: dict[str, float]


class _Compute(msgspec.Struct):
    environment: str


class _Request(msgspec.Struct):
    compute: _Compute


class _Started(msgspec.Struct):
    request: _Request
