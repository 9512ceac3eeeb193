"""The verbs of a provider that trains with a worker: a base class for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec

from finetune_sdk.data import Prepared, prepare
from finetune_sdk.errors import DataError
from finetune_sdk.provider import YES, Environment, Plan, Provider
from finetune_sdk.spec import DataSpec
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState
from finetune_sdk.worker.places import Code, Here, Order, Place

_VERBS = ("find", "events", "checkpoints", "cancel", "pause", "resume", "artifacts", "resubmit", "exact_find")
CLAIMS = {f"feature.{name}": YES for name in _VERBS}
"""To be added to such a provider's claims; a worker without checkpoints claims no `checkpoints`, `pause`, `resume`."""

HERE = "local"
"""The `compute.kind` of a worker on this machine, whose references are the keys themselves."""


class WorkerProvider(Provider):
    """Everything but `plan`. A subclass sets `worker` and `environment`, and plans.

    Its plan's `request` has `compute` and `data` as the job description dumps them (`model_dump(mode="json")`), and
    the method under which the data was prepared: `data_method`, or `method` with a `kind`.
    """

    worker: ClassVar[Path]
    """The code that trains: a package folder, or a file, with `main(ctx)`."""
    environment: ClassVar[Environment | None]
    beside: ClassVar[tuple[Path, ...]] = ()
    """Other workers' folders that it loads by their place, beside its own."""

    def place(self, kind: str) -> Place:
        """Where workers of this `compute.kind` run. Kinds that no claim names never arrive here."""
        if kind != HERE:
            raise ValueError(f"[{self.name}] runs no worker at {kind!r}")
        return Here(home=self.home, code=self.code)

    @property
    def code(self) -> Code:
        """What a place needs to run the worker."""
        if self.environment is None:
            raise TypeError(f"{type(self).__name__} sets no environment")
        return Code(name=self.name, worker=self.worker, environment=self.environment, beside=self.beside)

    def places(self) -> tuple[str, ...]:
        """The kinds in which a key is looked for, this machine first."""
        claims = self.capabilities.claims.items()
        return (HERE, *(key.partition("=")[2] for key, claim in claims if "compute.kind=" in key and claim.support))

    def submit(self, plan: Plan, *, key: str) -> str:
        """Starts the worker, with the planned data. Idempotent by key, after crashes too."""
        asked = msgspec.convert(dict(plan.request), _Asked)
        place = self.place(asked.compute.kind)
        return place.find(key) or place.start(Order(key=key, request=plan.request, data=_same_data(plan, asked)))

    def find(self, key: str) -> str | None:
        """The reference of the worker that was started for this key, wherever it runs."""
        found = (self.place(kind).find(key) for kind in self.places())
        return next((ref for ref in found if ref is not None), None)

    def poll(self, ref: str) -> JobState:
        """From what the worker and its supervisor wrote."""
        return self._of(ref).poll(ref)

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        """As the worker wrote them."""
        return self._of(ref).events(ref, after)

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        """Those whose manifest was written last, so they are whole."""
        return self._of(ref).checkpoints(ref)

    def cancel(self, ref: str) -> None:
        """The worker is asked, and killed when it does not leave."""
        self._of(ref).cancel(ref)

    def pause(self, ref: str) -> None:
        """The worker saves a checkpoint and leaves."""
        if not self.capabilities.claim("feature.pause").support:
            return super().pause(ref)
        return self._of(ref).pause(ref)

    def resume(self, ref: str) -> None:
        """The worker goes on from its newest whole checkpoint."""
        if not self.capabilities.claim("feature.resume").support:
            return super().resume(ref)
        return self._of(ref).resume(ref)

    def artifacts(self, ref: str) -> list[Artifact]:
        """As the worker's result lists them."""
        return self._of(ref).artifacts(ref)

    def forget(self, ref: str) -> None:
        """Deletes the job's folder: data, checkpoints, model."""
        self._of(ref).forget(ref)

    def _of(self, ref: str) -> Place:
        """A reference from elsewhere begins with the place's kind and a colon; keys have no colon."""
        return self.place(ref.partition(":")[0] if ":" in ref else HERE)


def _same_data(plan: Plan, asked: _Asked) -> Prepared:
    prepared = prepare(DataSpec.model_validate(asked.data), method=asked.data_method or asked.method.kind)
    if prepared.files != plan.data:
        raise DataError("the data changed since it was planned. Plan again.")
    return prepared


class _Compute(msgspec.Struct):
    kind: str = HERE


class _Method(msgspec.Struct, frozen=True):
    kind: str = ""


class _Asked(msgspec.Struct):
    """What of a request is read back here; the rest is the worker's."""

    compute: _Compute
    data: dict[str, Any]
    data_method: str = ""
    method: _Method = _Method()
