"""Azure OpenAI: the same wire with another way in, two generations of it, and deployments of its own.

Importing this module imports no vendor SDK; the first request does.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from pydantic import JsonValue

from finetune_providers.openai.claims import capabilities
from finetune_providers.openai.connection import Connection, dereference
from finetune_providers.openai.map import Json
from finetune_providers.openai.options import JobOptions
from finetune_providers.openai.provider import OpenAIProvider
from finetune_providers.openai.rules import Rules
from finetune_providers.openai.uploads import Sender
from finetune_providers.openai.wire import Wire
from finetune_sdk.errors import ProviderError, SpecError, Unsupported
from finetune_sdk.provider import Capabilities
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Artifact, Deployment

from .map import (
    AZURE_RULES,
    CLAIMS,
    LIMITS,
    TERMS,
    TRAINING_TYPES,
    WIRES,
    deployment_body,
    deployment_status,
    is_tuned,
    model_version,
)
from .options import AzureOptions, DeploymentOptions

if TYPE_CHECKING:
    from finetune_providers.openai.server import Server

    from .arm import Deployments

_DEPLOYMENT_DEFAULTS = DeploymentOptions()


class AzureProvider(OpenAIProvider):
    """Azure OpenAI. The key or the Entra identity comes from the environment, on first use."""

    name: ClassVar[str] = "azure"
    capabilities: ClassVar[Capabilities] = capabilities(
        AZURE_RULES,
        claims=CLAIMS,
        limits=LIMITS,
        notes=(
            TERMS,
            "Reinforcement jobs pause by themselves at 5,000 USD; Developer jobs can be preempted and resumed.",
        ),
    )
    rules: ClassVar[Rules] = AZURE_RULES
    wires: ClassVar[Mapping[str, Wire]] = WIRES
    options_type: ClassVar[type[JobOptions]] = AzureOptions
    webhook_secret_env: ClassVar[str] = "AZURE_OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
    models_file: ClassVar[Path] = Path(__file__).with_name("models.toml")
    ways_out: ClassVar[str] = (
        "Check that the model can be tuned in your region and with your `training_type`, and that you have the role "
        "Foundry User. Ways out: another base model, or locally with `--provider peft` and an open model."
    )

    # --- where the server is

    @property
    def home_connection(self) -> Connection:
        """Azure has no address for everybody: a bare reference means AZURE_OPENAI_ENDPOINT."""
        return Connection(url="", wire="v1", api_key_env="AZURE_OPENAI_API_KEY")

    def connection(self, options: JobOptions) -> Connection:
        assert isinstance(options, AzureOptions), "options are read as `options_type`"
        settings = {"auth": options.auth, "scope": options.scope, **_changed(options.deployment)}
        default = {"auth": "auto", "scope": None}
        return Connection(
            url=_endpoint(options.endpoint),
            wire=options.api,
            api_key_env=options.api_key_env,
            settings=tuple(
                sorted((name, str(value)) for name, value in settings.items() if value != default.get(name))
            ),
        )

    def server(self, connection: Connection, *, timeout_s: float | None = None) -> Server:
        with self.extra():
            from finetune_providers.openai.client import TIMEOUT_S
            from finetune_providers.openai.server import Server

            from .client import client, entra_token, scope_of

            if not connection.url:
                connection = _at(connection, _endpoint(None))
            token = None if self._uses_key(connection) else entra_token(scope_of(connection), os.getpid())
        vendor = client(connection, timeout_s=timeout_s or TIMEOUT_S, token=token)
        return Server(vendor, self.wires[connection.wire], self.name)

    def _uses_key(self, connection: Connection) -> bool:
        auth = connection.setting("auth") or "auto"
        return auth == "key" or (auth == "auto" and bool(os.environ.get(connection.api_key_env)))

    # --- the dry run

    def refusals(self, spec: JobSpec, options: JobOptions, wire: Wire) -> Iterator[tuple[str, str]]:
        yield from super().refusals(spec, options, wire)
        assert isinstance(options, AzureOptions), "options are read as `options_type`"
        if options.import_url_env and wire.method_object:
            yield "`import_url_env` through v1", 'Set `options.azure.api: "2024-10-21"`, or let the file be uploaded.'

    def request(self, spec: JobSpec, options: JobOptions, connection: Connection, body: Json) -> dict[str, JsonValue]:
        assert isinstance(options, AzureOptions), "options are read as `options_type`"
        if options.training_type is not None:
            body = {**body, "trainingType": options.training_type}
        request = super().request(spec, options, connection, body)
        if spec.evaluation is not None:
            request["evaluation"] = {
                **spec.evaluation.model_dump(mode="json"),
                "deployments": {
                    "base": options.evaluation.base_deployment,
                    "tuned": options.evaluation.tuned_deployment,
                },
            }
        return {**request, "import_url_env": cast("JsonValue", dict(options.import_url_env))}

    def notes(self, spec: JobSpec, _options: JobOptions, connection: Connection) -> Iterator[str]:
        yield from super().notes(spec, _options, connection)
        assert isinstance(_options, AzureOptions), "options are read as `options_type`"
        chosen = _options.training_type
        if chosen is None:
            yield "trainingType: not sent, the service's default applies (usually Standard)"
        elif chosen.lower() not in {one.lower() for one in TRAINING_TYPES}:
            yield f"trainingType {chosen!r} is sent as it is; the guides know {', '.join(TRAINING_TYPES)}"
        if self.wires[connection.wire].file_expiry_s:
            yield "uploaded files expire after 30 days: this generation demands an expiry"
        yield f"deploying afterwards: {TERMS}"
        named = (_options.evaluation.base_deployment, _options.evaluation.tuned_deployment)
        if spec.evaluation is not None and None in named:
            yield "evaluation: models without a deployment are deployed while they are asked, at the hourly price above"

    # --- submitting

    def sender(self, server: Server, request: Mapping[str, Any]) -> Sender:
        upload = super().sender(server, request)
        by_url: Mapping[str, str] = request["import_url_env"]

        def send(role: str, path: Path, name: str) -> Json:
            if role not in by_url:
                return upload(role, path, name)
            url = os.environ.get(by_url[role])
            if not url:
                raise SpecError(f"[azure] the environment variable {by_url[role]} (`import_url_env`) is not set")
            return server.patient().import_file(url, name)

        return send

    # --- what only Azure has

    def delete(self, ref: str) -> None:
        """Delete a finished job at the vendor. Only the dated generation can."""
        server, job_id = self.at(ref)
        if server.wire.method_object:
            raise Unsupported(self.name, "deleting a job through v1", 'Use `options.azure.api: "2024-10-21"`.')
        server.delete(job_id)

    def copy_checkpoint(self, ref: str, checkpoint: str, *, destination: str, region: str) -> Json:
        """Start copying a checkpoint (its id) to another account (its ARM id); a preview of v1."""
        server, job_id = self._copying(ref)
        return server.copy_checkpoint(job_id, checkpoint, destination=destination, region=region)

    def checkpoint_copy(self, ref: str, checkpoint: str) -> Json:
        """How the copy of a checkpoint stands, in the vendor's words."""
        server, job_id = self._copying(ref)
        return server.checkpoint_copy(job_id, checkpoint)

    def _copying(self, ref: str) -> tuple[Server, str]:
        server, job_id = self.at(ref)
        if not server.wire.method_object:
            raise Unsupported(self.name, "copying a checkpoint through the dated generation", "Use `api: v1`.")
        return server, job_id

    def arm(self, connection: Connection) -> Deployments:
        """The deployments of the resource behind a connection. Raises `SpecError` when it is not known where it is."""
        with self.extra():
            from .arm import Account, Deployments
        url = connection.url or _endpoint(None)
        account = Account(
            subscription=_needed("subscription", connection, "AZURE_SUBSCRIPTION_ID"),
            resource_group=_needed("resource_group", connection, "AZURE_RESOURCE_GROUP"),
            name=connection.setting("account") or (urlsplit(url).hostname or "").partition(".")[0],
            arm_url=connection.setting("arm_url") or os.environ.get("AZURE_ARM_URL") or _DEPLOYMENT_DEFAULTS.arm_url,
        )
        return Deployments(account, self.credential(), self.home)

    def credential(self) -> Any:
        """Who deploys: Azure Resource Manager takes Entra identities only."""
        with self.extra():
            from azure.identity import DefaultAzureCredential
        return DefaultAzureCredential()

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:
        """Create the deployment `name` and wait for it. Costs by the hour from then on: see `TERMS`."""
        connection, model = dereference(artifact.uri, default=self.home_connection)
        deployments = self.arm(connection)
        existing = deployments.get(name)
        if existing is not None and existing.properties.model.name != model:
            raise ProviderError(
                f"[azure] the deployment {name!r} serves {existing.properties.model.name!r}, not {model!r}. Choose "
                "another name, or delete that deployment. Nothing was changed."
            )
        if existing is None or deployment_status(existing.properties.provisioning_state) != "ready":
            chosen = {field: connection.setting(field) or getattr(_DEPLOYMENT_DEFAULTS, field) for field in _BODY}
            body = deployment_body(
                model, sku=str(chosen["sku"]), capacity=int(chosen["capacity"]), version=str(chosen["version"])
            )
            existing = deployments.put(
                name, body, wait_s=float(connection.setting("wait_s") or _DEPLOYMENT_DEFAULTS.wait_s)
            )
        return self._deployment(existing, connection, name)

    @contextmanager
    def asked_models(self, ref: str, *, base: str, tuned: str, wanted: Json) -> Generator[Mapping[str, str]]:
        """Deployments of both models: those that were named, those that exist, and others for as long as it takes."""
        connection, job_id = dereference(ref, default=self.home_connection)
        named: Mapping[str, str | None] = wanted["deployments"]
        models = {**({"base": base} if wanted["baseline"] else {}), "tuned": tuned}
        with ExitStack() as temporary:
            found: dict[str, str] = {}
            for who, model in models.items():
                found[who] = named[who] or temporary.enter_context(
                    self._while_asked(connection, model, f"{job_id}-{who}")
                )
            yield found

    @contextmanager
    def _while_asked(self, connection: Connection, model: str, name: str) -> Generator[str]:
        """The name of a deployment of the model: one that is there, else one of our own that is deleted afterwards."""
        arm, (bare, version) = self.arm(connection), model_version(model)
        ready = [one for one in arm.list() if deployment_status(one.properties.provisioning_state) == "ready"]
        for one in ready:
            served = one.properties.model
            if served.name in (model, bare) and (version is None or served.version == version):
                yield str(one.name)
                return
        chosen = {field: connection.setting(field) or getattr(_DEPLOYMENT_DEFAULTS, field) for field in _BODY}
        body = deployment_body(
            bare, sku=str(chosen["sku"]), capacity=int(chosen["capacity"]), version=version or str(chosen["version"])
        )
        own = f"eval-{name}"[:64]
        try:
            arm.put(own, body, wait_s=float(connection.setting("wait_s") or _DEPLOYMENT_DEFAULTS.wait_s))
            yield own
        finally:
            arm.delete(own)  # also after a failure: it costs by the hour

    def deploy_terms(self, artifact: Artifact) -> str:
        """The price by the hour, before anything is deployed."""
        connection, _ = dereference(artifact.uri, default=self.home_connection)
        return f"sku {connection.setting('sku') or _DEPLOYMENT_DEFAULTS.sku}. {TERMS}"

    def deployments(self) -> Sequence[Deployment]:
        """The deployments of tuned models in the account of AZURE_OPENAI_ENDPOINT; base models are left out."""
        connection = self.connection(AzureOptions())
        found = self.arm(connection).list()
        return [
            self._deployment(one, connection, str(one.name))
            for one in found
            if is_tuned(str(one.properties.model.name))
        ]

    def deployment(self, name: str) -> Deployment:
        connection, bare = dereference(name, default=self.home_connection)
        return self._deployment(self.arm(connection).get(bare), connection, bare)

    def undeploy(self, name: str) -> None:
        """Delete the deployment: the hourly cost ends, the model stays. Idempotent."""
        connection, bare = dereference(name, default=self.home_connection)
        self.arm(connection).delete(bare)

    def undeploy_terms(self, name: str) -> str:  # noqa: ARG002 - the contract's signature
        return ""  # the model stays

    def _deployment(self, found: Any | None, connection: Connection, name: str) -> Deployment:
        state = None if found is None else str(found.properties.provisioning_state or "")
        url = connection.url or _endpoint(None)
        return Deployment(
            id=connection.reference(name, default=self.home_connection),
            provider=self.name,
            model=name,
            base_url=f"{url}/openai/v1/",
            status="stopped" if found is None else deployment_status(state),
            api_key_env=connection.api_key_env,
            error=f"provisioning state {state}" if deployment_status(state) == "failed" else None,
        )


_BODY = ("sku", "capacity", "version")


def _endpoint(given: str | None) -> str:
    """The resource's address, without a path: users paste it with all kinds of paths. Raises `SpecError`."""
    text = given or os.environ.get("AZURE_OPENAI_ENDPOINT") or ""
    parts = urlsplit(text)
    if not parts.netloc:
        raise SpecError(
            "[azure] no endpoint: set `options.azure.endpoint` or AZURE_OPENAI_ENDPOINT to "
            f"https://<resource>.openai.azure.com{f' (it is {text!r})' if text else ''}"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _at(connection: Connection, url: str) -> Connection:
    return Connection(url=url, wire=connection.wire, api_key_env=connection.api_key_env, settings=connection.settings)


def _needed(name: str, connection: Connection, variable: str) -> str:
    value = connection.setting(name) or os.environ.get(variable)
    if value:
        return value
    raise SpecError(
        f"[azure] deploying needs the {name.replace('_', ' ')}: set `options.azure.deployment.{name}` or {variable}"
    )


def _changed(options: DeploymentOptions) -> dict[str, object]:
    return {name: value for name, value in options.model_dump().items() if value != getattr(_DEPLOYMENT_DEFAULTS, name)}
