"""For a provider with a worker: it also runs on machines rented from Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_providers.hub import terms
from finetune_providers.hub.jobs import HubJobs
from finetune_providers.hub.place import HubPlace
from finetune_providers.hub.spaces import HubSpaces
from finetune_sdk.data.prepare import Judge
from finetune_sdk.errors import MissingExtra
from finetune_sdk.provider import YES, Claim, Plan, Support
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker.places import Place
from finetune_sdk.worker.provider import HERE, WorkerProvider

PLACES: Mapping[str, type[HubPlace]] = {place.kind: place for place in (HubJobs, HubSpaces)}
_SEEN = (
    "through huggingface_hub 2.4, tried against a server of our own that runs the job for real; never against "
    "huggingface.co. No pausing, no checkpoints"
)
CLAIMS = {
    "compute.kind=hf-jobs": Claim(
        Support.PARTIAL, _SEEN, "https://huggingface.co/docs/huggingface_hub/guides/jobs", "2026-11-21"
    ),
    "compute.kind=hf-space": Claim(
        Support.PARTIAL, _SEEN, "https://huggingface.co/docs/huggingface_hub/guides/manage-spaces", "2026-11-21"
    ),
    "compute.flavor": YES,
    "compute.namespace": YES,
}
"""To be added to such a provider's claims."""


class Rentable(WorkerProvider):
    """Its `plan` hands its judge through `guarded` and its plan through `rented`."""

    def place(self, kind: str) -> Place:
        """On a machine of Hugging Face's, or here."""
        made = PLACES.get(kind)
        return super().place(kind) if made is None else made(home=self.home, code=self.code)

    def check(self, spec: JobSpec) -> None:
        """Beyond the table: what a rented machine does not have."""
        super().check(spec)
        if spec.compute.kind != HERE:
            terms.check(spec, self.name)

    def guarded(self, judge: Judge, spec: JobSpec) -> Judge:
        """Rows that leave this machine are searched for secrets and personal data."""
        return terms.guarded(judge, spec)

    def rented(self, plan: Plan, spec: JobSpec) -> Plan:
        """The plan with machine and price, asked from the Hub; unchanged for this machine."""
        kind = PLACES.get(spec.compute.kind)
        if kind is None:
            return plan
        try:
            return terms.applied(plan, spec, kind(home=self.home, code=self.code).ask)
        except ImportError as exc:
            what = f"compute.kind: {spec.compute.kind} needs {exc.name}, which is not installed"
            raise MissingExtra(f'{what}. Run: pip install "finetune-sdk[hub]"') from exc
