"""How Azure's two generations of the API differ from OpenAI's, and what is deployed how: data, and pure translation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from finetune_providers.openai.claims import CLAIMS as OPENAI_CLAIMS
from finetune_providers.openai.rules import Rules
from finetune_providers.openai.wire import WORDS, Wire
from finetune_sdk.provider import Claim, Limit, Support
from finetune_sdk.types import JobStatus

READ_ON = "2026-11-20"
_DATED = (
    "https://github.com/Azure/azure-rest-api-specs/blob/3ecc2097448a36c8fba6e1a88b737b50a146ceaf/specification/"
    "cognitiveservices/data-plane/AzureOpenAI/authoring/stable/2024-10-21/azureopenai.json"
)
_V1 = "https://github.com/Azure/azure-rest-api-specs/tree/0723d852ed5d4c0b95f331ce6f37833be70ea019"
_GUIDE = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning"

DATED_WORDS: Mapping[str, JobStatus] = {
    **WORDS,
    "created": JobStatus.QUEUED,
    "pending": JobStatus.QUEUED,
    "notRunning": JobStatus.QUEUED,  # in old examples of the vendor
}
"""Status words of 2024-10-21; those of v1 are OpenAI's, `paused` included."""

V1 = Wire(
    name="v1",
    suffix_max=40,  # the schema says 64, the guide 40
    uploads=False,
    file_expiry_s=2_592_000,  # `expires_after` is required by the contract; 30 days is its maximum
    bom=True,  # the guide asks for it
    filters_files=False,
    source=_V1,
    read_on=READ_ON,
)
DATED = Wire(
    name="2024-10-21",
    methods=frozenset({"sft"}),
    method_object=False,
    auto=False,
    metadata=False,
    integrations=False,
    suffix_max=40,
    pause=False,
    upload_bytes_max=9 * 1024 * 1024 * 1024,
    bom=True,
    filters_files=False,
    words=DATED_WORDS,
    source=_DATED,
    read_on=READ_ON,
)
WIRES: Mapping[str, Wire] = {wire.name: wire for wire in (V1, DATED)}

AZURE_RULES = Rules(target="azure")

SCOPES = {"v1": "https://ai.azure.com/.default", "2024-10-21": "https://cognitiveservices.azure.com/.default"}
"""Of Entra tokens, by generation. Source: the v1 guide, the vendor SDK's example for dated versions."""

TRAINING_TYPES = ("Standard", "GlobalStandard", "DataZoneStandard", "Developer", "developerTier")
"""Spellings the vendor's own guides use; the service takes them in any case. Others are sent as they are."""

_V1_ONLY = "needs `options.azure.api: v1`; verified against the published contract, not against the service"
CLAIMS: Mapping[str, Claim] = {
    **OPENAI_CLAIMS,
    "method.sft": Claim(
        Support.PARTIAL, "verified against the published contracts, not against the service", _DATED, READ_ON
    ),
    "method.dpo": Claim(Support.PARTIAL, _V1_ONLY, _V1, READ_ON),
    "method.rft": Claim(Support.PARTIAL, f"{_V1_ONLY}; o4-mini, and gpt-5 by invitation", _V1, READ_ON),
    "metadata": Claim(Support.PARTIAL, "needs `options.azure.api: v1`", _V1, READ_ON),
    "report_to=wandb": Claim(
        Support.PARTIAL, "needs `options.azure.api: v1` and `options.azure.wandb.project`", _V1, READ_ON
    ),
    "suffix": Claim(
        Support.FULL, "at most 24 characters of a-z, A-Z, 0-9, - and _: the rest marks the submission", _GUIDE, READ_ON
    ),
    "feature.pause": Claim(
        Support.PARTIAL, "needs `options.azure.api: v1`, and a job that has done a step", _V1, READ_ON
    ),
    "feature.resume": Claim(Support.PARTIAL, "a paused job only, `options.azure.api: v1`", _V1, READ_ON),
    "feature.deploy": Claim(
        Support.PARTIAL,
        "through Azure Resource Manager; verified with Microsoft's own client against a stand-in",
        "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/fine-tuning-deploy",
        READ_ON,
    ),
    "feature.evaluate": Claim(
        Support.PARTIAL,
        "asks deployments of base and tuned model; one that is not there is deployed meanwhile, which is charged too; "
        "no perplexity",
    ),
    "feature.deployments": Claim(Support.PARTIAL, "needs an Entra identity; lists deployments of tuned models only"),
    "feature.undeploy": Claim(Support.PARTIAL, "needs an Entra identity; the model stays and can be deployed again"),
}
LIMITS: Mapping[str, Limit] = {
    "max_upload_bytes": Limit(9 * 2**30, _DATED, READ_ON),
    "jobs_per_resource": Limit(100, f"{_GUIDE} (2026-02)", READ_ON),
    "running_jobs": Limit(3, f"{_GUIDE} (2026-02)", READ_ON),
    "queued_jobs": Limit(20, f"{_GUIDE} (2026-02)", READ_ON),
    "training_files": Limit(100, f"{_GUIDE} (2026-02)", READ_ON),
    "trained_tokens": Limit(2e9, f"{_GUIDE} (2026-02)", READ_ON),
    "job_hours": Limit(720, f"{_GUIDE} (2026-02)", READ_ON),
    "deployments_of_tuned_models": Limit(10, f"{_GUIDE} (2026-02)", READ_ON),
}

TERMS = (
    "Deploying a tuned model costs about 1.70 USD per hour on Standard and GlobalStandard, used or not (the vendor's "
    "example figure); a DeveloperTier deployment has no hourly price and is gone after 24 hours. A deployment without "
    "calls for 15 days is deleted; the model stays and can be deployed again."
)

DeploymentStatus = Literal["starting", "ready", "failed", "stopped"]
PROVISIONING: Mapping[str, DeploymentStatus] = {
    "accepted": "starting",
    "creating": "starting",
    "moving": "starting",
    "succeeded": "ready",
    "failed": "failed",
    "canceled": "failed",
    "disabled": "stopped",
    "deleting": "stopped",
}
"""ARM's `provisioningState`, in lower case. Source: azure-mgmt-cognitiveservices 14.1.0, 2026-11-20."""


def deployment_status(state: str | None) -> DeploymentStatus:
    """Ours for ARM's word; an unknown one is still on its way."""
    return PROVISIONING.get((state or "").lower(), "starting")


def is_tuned(model: str) -> bool:
    """Whether a deployment's model is tuned: `base.ft-<hex>`, a checkpoint `ftchkpt-<hex>`, or OpenAI's `ft:`."""
    return ".ft-" in model or model.startswith(("ftchkpt-", "ft:"))


def model_version(model: str) -> tuple[str, str | None]:
    """A base model's name and version as Azure Resource Manager wants them; a tuned model's id is its whole name."""
    if is_tuned(model) or (dated := re.fullmatch(r"(.+)-(\d{4}-\d\d-\d\d)", model)) is None:
        return model, None
    return dated[1], dated[2]


def deployment_body(model: str, *, sku: str, capacity: int, version: str) -> dict[str, Any]:
    """The ARM resource of a deployment of a tuned model or checkpoint."""
    return {
        "sku": {"name": sku, "capacity": capacity},
        "properties": {"model": {"format": "OpenAI", "name": model, "version": version}},
    }
