"""`options: {azure: {...}}` of a job description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from finetune_providers.openai.options import JobOptions, Options


class DeploymentOptions(Options):
    """Where and how the tuned model is deployed. Kept in the job's reference: `deploy` needs nothing else."""

    subscription: str | None = None
    """Subscription id; None = AZURE_SUBSCRIPTION_ID."""
    resource_group: str | None = None
    """None = AZURE_RESOURCE_GROUP."""
    account: str | None = None
    """The Azure OpenAI resource; None = the endpoint's first label."""
    sku: str = "Standard"
    """Standard, GlobalStandard, DeveloperTier, ...: as Azure Resource Manager spells it."""
    capacity: Annotated[int, Field(ge=1)] = 1
    """Thousands of tokens per minute, or whatever the sku counts in."""
    version: str = "1"
    arm_url: str = "https://management.azure.com"
    """Azure Resource Manager; sovereign clouds have their own, which AZURE_ARM_URL states for all jobs."""
    wait_s: Annotated[float, Field(ge=0)] = 1800.0
    """How long `deploy` waits for the deployment to be ready."""


class EvaluationOptions(Options):
    """Which deployments `evaluation` asks. What is not named is looked for in the account by its model; what is not
    there is deployed for as long as the evaluation takes, then deleted."""

    base_deployment: str | None = None
    """One that serves the base model."""
    tuned_deployment: str | None = None
    """One that will serve the tuned model by then."""


class AzureOptions(JobOptions):
    """`options.azure`."""

    endpoint: str | None = None
    """https://<resource>.openai.azure.com or https://<resource>.services.ai.azure.com; None = AZURE_OPENAI_ENDPOINT."""
    api: Literal["v1", "2024-10-21"] = "v1"
    """Generation of the wire. The dated one knows supervised tuning only."""
    auth: Literal["auto", "key", "entra"] = "auto"
    """"auto": the key where its variable is set, else Entra ID through DefaultAzureCredential."""
    api_key_env: str = "AZURE_OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    scope: str | None = None
    """Scope of Entra tokens; None = the generation's own."""
    training_type: str | None = None
    """Standard, GlobalStandard, Developer, ...: sent verbatim as `trainingType`; None = not sent."""
    import_url_env: Mapping[Literal["train", "validation"], str] = Field(
        default_factory=dict[Literal["train", "validation"], str]
    )
    """Names of environment variables that hold a URL (such as a SAS link) from which Azure fetches a file instead of
    our uploading it; the file there must be what we would upload. Only `api: "2024-10-21"`."""
    deployment: DeploymentOptions = DeploymentOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
