"""The smallest provider there can be: a job succeeds at once, and its model says what it was told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from finetune_sdk.data import prepare
from finetune_sdk.errors import JobNotFound, SpecError
from finetune_sdk.provider import YES, Capabilities, Plan, Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Event, JobState, JobStatus


class EchoProvider(Provider):
    """Keeps one file per job under the home."""

    name: ClassVar[str] = "echo"
    capabilities: ClassVar[Capabilities] = Capabilities(claims={"method.sft": YES, "feature.find": YES})

    def plan(self, spec: JobSpec) -> Plan:
        self.check(spec)
        if spec.options.get(self.name):
            raise SpecError(f"[echo] unknown options {sorted(spec.options[self.name])}: it has none")
        data = prepare(spec.data, method=spec.method.kind)
        return Plan(provider=self.name, request={"model": spec.model_id}, data=data.files, findings=data.findings)

    def submit(self, plan: Plan, *, key: str) -> str:
        folder = self.home / "echo"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text(str(plan.request["model"]))
        return key

    def find(self, key: str) -> str | None:
        return key if (self.home / "echo" / key).exists() else None

    def poll(self, ref: str) -> JobState:
        if self.find(ref) is None:
            raise JobNotFound(f"[echo] no job {ref!r}")
        return JobState(status=JobStatus.SUCCEEDED, model=(self.home / "echo" / ref).read_text())

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        self.poll(ref)
        done = Event(cursor="1", at=datetime(2026, 1, 1, tzinfo=UTC), level="info", message="echo")
        return [] if after == "1" else [done]
