"""`gateway.yaml`: which backend serves which job, under which names, within which limits."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, field_validator

from finetune_sdk import config, registry
from finetune_sdk._document import Problem, from_mapping, is_mapping
from finetune_sdk._explain import explain
from finetune_sdk._words import did_you_mean
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import Count, JobSpec, Model, NonNegative, Positive

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

EventName = Literal["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
EVENT_NAMES: tuple[EventName, ...] = (
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
)


class Webhook(Model):
    """An endpoint that is told when a job ends, signed as OpenAI signs."""

    url: str
    secret_env: str
    """Name of the environment variable that holds the secret, `whsec_` and base64."""
    events: tuple[EventName, ...] = EVENT_NAMES

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value


class Route(Model):
    """Jobs that go to another backend than the default one. Both conditions must hold where both are given."""

    provider: str
    model: str = "*"
    """Shell pattern over the model's name as the client says it, such as `gpt-4o*`."""
    key: str = "*"
    """Shell pattern over the name of the key."""


class Upstream(Model):
    """Who answers chats for a base model."""

    base_url: str
    model: str | None = None
    """What the upstream calls it; None = as the client does."""
    api_key_env: str | None = None


class Backend(Model):
    """What every job at a backend gets unless the request says otherwise: parts of a job description."""

    adapter: JsonValue = None
    hyperparameters: Mapping[str, JsonValue] = Field(default_factory=dict)
    method: Mapping[str, Mapping[str, JsonValue]] = Field(default_factory=dict)
    """By kind, such as `rft: {samples_per_prompt: 4}`."""
    compute: Mapping[str, JsonValue] = Field(default_factory=dict)
    budget: Mapping[str, JsonValue] = Field(default_factory=dict)
    options: Mapping[str, JsonValue] = Field(default_factory=dict)


class GatewayConfig(Model):
    """The whole file. Every key has a default; without a file the gateway serves `peft`."""

    provider: str = "peft"
    """The backend of jobs that no route sends elsewhere."""
    models: Mapping[str, str | Mapping[str, str]] = Field(default_factory=dict)
    """Base models by the name that clients use: one id, or a map from backend to id."""
    hub_models: bool = True
    """Also take `owner/name` of a model on a hub as it stands. Paths are never taken from clients."""
    routes: tuple[Route, ...] = ()
    backends: Mapping[str, Backend] = Field(default_factory=dict)
    chat: Mapping[str, Upstream] = Field(default_factory=dict)
    """Base models that another server answers chats for."""
    base_servers: Annotated[int, Field(ge=0, strict=True)] = 2
    """Base models that may have a server of their own on this machine; one that an adapter was tuned on needs none."""
    concurrent_jobs: Count = 1
    """Jobs that train on this machine at once; further ones are `queued`."""
    deduplicate_s: NonNegative = 600
    """An equal request within that time gets the job it made before; 0 = every request makes a job."""
    file_bytes: Count = 8 * 2**30
    json_bytes: Count = 32 * 2**20
    requests_per_minute: Positive | None = None
    """Per key; None = no limit."""
    idle_s: Positive = 30
    """How long a client may keep the gateway waiting for the next part of a request."""
    python_graders: bool = False
    """Run graders written in Python: code from clients, on this machine, in a restricted process."""
    grader_seconds: Count = 30
    """Processor seconds that one grading may take."""
    webhooks: tuple[Webhook, ...] = ()
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may use the API; none by default."""
    organization: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "finetune-sdk"
    """What stands between base model and suffix in a tuned model's name."""

    def backend_for(self, model: str, key: str) -> str:
        """The backend that serves a job on this model for this key."""
        for route in self.routes:
            if fnmatch.fnmatchcase(model, route.model) and fnmatch.fnmatchcase(key, route.key):
                return route.provider
        return self.provider

    def base_model(self, name: str, backend: str, *, local: bool) -> str | None:
        """What `backend` calls the model that a client calls `name`; None = it is unknown here.

        A hosted backend knows its own models; a local one never gets a path from a client.
        """
        known = self.models.get(name)
        if isinstance(known, str):
            return known
        if known is not None:
            return known.get(backend)
        if not local or name.startswith("builtin/"):
            return name
        return name if self.hub_models and _HUB_NAME.fullmatch(name) and not Path(name).exists() else None

    @property
    def providers(self) -> tuple[str, ...]:
        """Every backend that jobs may go to, the default one first."""
        return tuple(dict.fromkeys([self.provider, *(route.provider for route in self.routes)]))


def load(path: Path | None, **changes: Any) -> GatewayConfig:
    """The configuration in a YAML file; `changes` replace keys of it. Raises one `SpecError` with every problem."""
    document = from_mapping({}, name="gateway configuration", environ=os.environ) if path is None else config.read(path)
    if document.value is not None and not is_mapping(document.value) and not document.problems:
        raise SpecError(f"{path}: a gateway configuration is a mapping of keys (`provider: ...`)")
    tree: dict[str, Any] = dict(document.value) if is_mapping(document.value) else {}
    tree |= {key: value for key, value in changes.items() if value is not None}
    problems, found = list(document.problems), None
    try:
        found = GatewayConfig.model_validate(tree)
    except ValidationError as error:
        problems += explain(error, tree, document.raw, GatewayConfig)
    if found is not None and not problems:
        problems += _unknown_backends(found)
        problems += [one for name, part in found.backends.items() for one in _unfit(name, part)]
    if problems or found is None:
        raise config.refusal(document, problems)
    return found


def _unknown_backends(found: GatewayConfig) -> Iterator[Problem]:
    """Names of backends that are not installed: a typing error would be ignored silently, or come up with a job."""
    known = registry.names()
    places: list[tuple[tuple[str | int, ...], str]] = [(("provider",), found.provider)]
    places += [(("routes", number, "provider"), route.provider) for number, route in enumerate(found.routes)]
    places += [(("backends", name), name) for name in found.backends]
    for model, by_backend in found.models.items():
        if not isinstance(by_backend, str):
            places += [(("models", model, name), name) for name in by_backend]
    for path, name in places:
        if name not in known:
            meant = did_you_mean(name, known) or ";"
            yield Problem(path, f"no backend {name!r} is installed{meant} installed: {', '.join(known)}")


def _unfit(name: str, part: Backend) -> Iterator[Problem]:
    """What is no part of a job description among a backend's defaults."""
    tree: dict[str, Any] = {
        "provider": name,
        "model": "x",
        "data": {"train": "x"},
        "adapter": part.adapter,
        "hyperparameters": dict(part.hyperparameters),
        "compute": dict(part.compute),
        "budget": dict(part.budget),
    }
    try:
        JobSpec.model_validate(tree)
    except ValidationError as error:
        for problem in explain(error, tree, {}):
            yield Problem(("backends", name, *problem.path), problem.text)
