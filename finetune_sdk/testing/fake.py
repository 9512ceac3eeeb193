"""`FakeProvider`: a complete provider over `FakeVendor`, for tests that must not cost anything, and to learn from.

`options: {fake: {...}}` in a spec scripts a job: `script` lists the vendor's status words in order (the job stays at
the last one), `usd` is the estimate.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import JsonValue

from finetune_sdk.data import prepare
from finetune_sdk.errors import (
    Ambiguous,
    AuthFailed,
    JobNotFound,
    ProviderError,
    SpecError,
    Throttled,
    Unreachable,
)
from finetune_sdk.provider import FEATURES, YES, Capabilities, Claim, Limit, Plan, Provider, Support
from finetune_sdk.redact import redact
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._vendor import FakeVendor, VendorDown, VendorError
from finetune_sdk.types import Artifact, Checkpoint, Deployment, Estimate, Event, JobState, JobStatus

WORDS: Mapping[str, JobStatus] = {
    "validating_files": JobStatus.VALIDATING,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "paused": JobStatus.PAUSED,
    "cancelling": JobStatus.CANCELLING,
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}
_KNOBS = (
    "method.sft", "method.sft.train_on", "adapter.lora", "adapter.lora.r", "adapter.lora.alpha",
    "hyperparameters.epochs", "hyperparameters.batch_size", "hyperparameters.learning_rate",
    "data.validation", "seed", "suffix", "metadata",
)  # fmt: skip
_OPTIONS = ("script", "usd")


class FakeProvider(Provider):
    """Trains nothing, at no cost. The key comes from `FAKE_API_KEY`, when first needed; it works without one too."""

    name: ClassVar[str] = "fake"
    capabilities: ClassVar[Capabilities] = Capabilities(
        claims={
            **dict.fromkeys(_KNOBS, YES),
            **{f"feature.{name}": YES for name in FEATURES if name != "evaluate"},
            "method.dpo": Claim(Support.NOT_IMPLEMENTED, "nobody needed it yet"),
        },
        limits={"min_rows": Limit(1, "measured", "2026-11-21")},
    )

    @property
    def vendor(self) -> FakeVendor:
        """The vendor, as this provider reaches it; tests arrange failures there."""
        return FakeVendor(self.home / "fake-vendor", key=os.environ.get("FAKE_API_KEY"))

    def plan(self, spec: JobSpec) -> Plan:
        self.check(spec)
        options = _options(spec)
        data = prepare(spec.data, method=spec.method.kind)
        return Plan(
            provider=self.name,
            request={
                "model": spec.model_id,
                "files": {file.role: file.sha256 for file in data.files},
                "method": spec.method.model_dump(mode="json"),
                "adapter": None if spec.adapter is None else spec.adapter.model_dump(mode="json"),
                "hyperparameters": spec.hyperparameters.model_dump(mode="json", exclude_defaults=True),
                "seed": spec.seed,
                "suffix": spec.suffix,
                "metadata": dict(spec.metadata),
                "script": options.get("script"),
            },
            data=data.files,
            findings=data.findings,
            cost=_estimate(options),
            notes=("nothing is trained: this provider is a fake",),
        )

    def submit(self, plan: Plan, *, key: str) -> str:
        with _translated(creates=True):
            return self.vendor.create(plan.request, token=key)

    def find(self, key: str) -> str | None:
        with _translated():
            return next(iter(self.vendor.search(token=key)), None)

    def poll(self, ref: str) -> JobState:
        with _translated():
            job = self.vendor.retrieve(ref)
        word = job["status"]
        state = JobState.from_word(
            word,
            WORDS,
            error="the script says so" if word == "failed" else None,
            model=f"fake:{ref}" if word == "succeeded" else None,
        )
        return replace(state, held=word == "paused" and job["at"] + 1 == len(job["script"]))

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        with _translated():
            return [_event(raw) for raw in self.vendor.events(ref, after=after)]

    def checkpoints(self, ref: str) -> list[Checkpoint]:
        steps = [event for event in self.events(ref) if "loss" in event.metrics and event.step is not None]
        return [Checkpoint(ref=f"{ref}/{one.step}", step=one.step or 0, metrics=one.metrics) for one in steps]

    def cancel(self, ref: str) -> None:
        with _translated(), _refused_when_over():
            self.vendor.cancel(ref)

    def pause(self, ref: str) -> None:
        with _translated(), _refused_when_over():
            self.vendor.pause(ref)

    def resume(self, ref: str) -> None:
        with _translated(), _refused_when_over():
            self.vendor.resume(ref)

    def artifacts(self, ref: str) -> list[Artifact]:
        file = self.vendor.model_file(ref)
        if not file.exists():
            return []
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        return [Artifact(kind="adapter", uri=str(file), sha256=sha256, base_model="fake/base")]

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:
        if artifact.kind != "checkpoint" and not Path(artifact.uri).exists():
            raise ProviderError(f"[fake] there is no model at {artifact.uri!r}")
        self.vendor.serve(name)
        return _deployment(name, "ready")

    def deployments(self) -> list[Deployment]:
        return [_deployment(name, "ready") for name in self.vendor.served()]

    def deployment(self, name: str) -> Deployment:
        bare = name.removeprefix("fake-")
        return _deployment(bare, "ready" if bare in self.vendor.served() else "stopped")

    def undeploy(self, name: str) -> None:
        self.vendor.serve_no_more(name.removeprefix("fake-"))


def _deployment(name: str, status: Literal["ready", "stopped"]) -> Deployment:
    url = "http://127.0.0.1:9/v1"  # nothing listens there
    return Deployment(id=f"fake-{name}", provider=FakeProvider.name, model=name, base_url=url, status=status)


@contextmanager
def _translated(*, creates: bool = False) -> Generator[None]:
    """The vendor's exceptions as ours, by type and status."""
    try:
        yield
    except VendorDown as exc:
        raise (Ambiguous if creates else Unreachable)(f"[fake] {exc}") from exc
    except VendorError as exc:
        text = redact(f"[fake] {exc}")
        if exc.status == 429:
            raise Throttled(text, retry_after_s=exc.retry_after_s) from exc
        raise {401: AuthFailed, 404: JobNotFound}.get(exc.status, ProviderError)(text) from exc


@contextmanager
def _refused_when_over() -> Generator[None]:
    """The vendor refuses what has happened already; our verbs are idempotent."""
    try:
        yield
    except VendorError as exc:
        if exc.status != 409:
            raise


def _options(spec: JobSpec) -> Mapping[str, JsonValue]:
    options = spec.options.get(FakeProvider.name, {})
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SpecError(f"[fake] unknown option(s) {', '.join(unknown)}; it has: {', '.join(_OPTIONS)}")
    return options


def _estimate(options: Mapping[str, JsonValue]) -> Estimate:
    usd = options.get("usd")
    if not isinstance(usd, int | float):
        return Estimate(usd=None, basis="the fake has no price list")
    return Estimate(usd=float(usd), basis="`options.fake.usd`")


def _event(raw: Mapping[str, Any]) -> Event:
    at = datetime.fromtimestamp(raw["at_s"], UTC)
    return Event(cursor=raw["id"], at=at, level="info", message=raw["text"], step=raw["step"], metrics=raw["metrics"])
