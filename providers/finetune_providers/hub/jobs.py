"""`compute.kind: hf-jobs`: the worker in a Hugging Face Job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from finetune_providers.hub import bundle
from finetune_providers.hub.journal import Journal
from finetune_providers.hub.place import HubPlace, Seen
from finetune_providers.hub.terms import Kind, Machine, Rented, machines
from finetune_sdk.types import JobStatus
from finetune_sdk.worker.places import Order

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LABEL = "ftsdk-key"
STAGES: Mapping[str, JobStatus] = {
    "SCHEDULING": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "COMPLETED": JobStatus.SUCCEEDED,
    "CANCELED": JobStatus.CANCELLED,
    "ERROR": JobStatus.FAILED,
    "DELETED": JobStatus.FAILED,
}
"""https://huggingface.co/docs/huggingface_hub/package_reference/jobs, as in huggingface_hub 2.4.0; read 2026-11-21."""
_TAIL = 30


class HubJobs(HubPlace):
    """Found by its label, which is the key."""

    kind: ClassVar[Kind] = "hf-jobs"

    def machines(self, api: HfApi) -> list[Machine]:
        return machines(api.list_jobs_hardware())

    def create(self, api: HfApi, made: Journal, order: Order, rented: Rented) -> str:
        job = api.run_job(
            image=bundle.image(self.code),
            command=list(bundle.COMMAND),
            env=self.environment(made),
            secrets=self.secrets(),
            flavor=rented.flavor,
            timeout=rented.timeout_s,
            attempts=1,  # one that was killed would find its claim taken
            name=f"finetune-{order.key}",
            labels={LABEL: order.key},
            namespace=made.namespace,
        )
        return job.id

    def look(self, api: HfApi, made: Journal) -> str | None:
        key = made.repo.rpartition("/")[2].removeprefix("finetune-")
        found = list(api.list_jobs(labels={LABEL: key}, namespace=made.namespace, timeout=60))
        ours = sorted(found, key=lambda job: (str(job.created_at), job.id))
        return ours[0].id if ours else None

    def seen(self, api: HfApi, made: Journal, machine: str) -> Seen:
        from finetune_providers.hub import client  # noqa: PLC0415 - imports the vendor's SDK

        status = client.ask(api, f"jobs/{made.namespace}/{machine}")["status"]
        word, reason = str(status["stage"]), status.get("cancelReason")
        if reason:  # such as NO_CREDITS: nobody asked for it. The vendor's `JobStatus` has no such field
            return Seen(JobStatus.FAILED, word, message=f"cancelled by Hugging Face: {reason}")
        return Seen(STAGES.get(word, JobStatus.RUNNING), word, known=word in STAGES, message=status.get("message"))

    def stop(self, api: HfApi, made: Journal, machine: str) -> None:
        api.cancel_job(job_id=machine, namespace=made.namespace)

    def printed(self, api: HfApi, made: Journal, machine: str) -> str:
        lines = api.fetch_job_logs(job_id=machine, namespace=made.namespace, tail=_TAIL)
        return "\n".join(line.rstrip("\n") for line in lines)
