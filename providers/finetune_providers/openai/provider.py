"""OpenAI's fine-tuning service, and every server that speaks its API. What differs between them is in `wire`.

Importing this module imports no vendor SDK; the first request does. The verbs lie in layers, each on top of the one
before: `place`, `dryrun`, `submitting`, `watching`, `evaluating`, and here what a job left behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import JsonValue

from finetune_sdk.errors import Unsupported
from finetune_sdk.graders import Grader
from finetune_sdk.provider import Capabilities
from finetune_sdk.types import Artifact, Deployment

from .claims import capabilities
from .connection import Connection, dereference
from .evaluating import Evaluating
from .graders import grader_json
from .options import read_options
from .rules import OPENAI_RULES


class OpenAIProvider(Evaluating):
    """OpenAI. The key comes from the environment, on first use."""

    name: ClassVar[str] = "openai"
    capabilities: ClassVar[Capabilities] = capabilities(
        OPENAI_RULES,
        notes=(
            (
                "OpenAI closed self-serve fine-tuning to new organisations on 2026-05-07 and ends it on 2027-01-06; "
                "tuned models end with their base models. `base_url` leads to any other server that speaks the API."
            ),
        ),
    )

    def artifacts(self, ref: str) -> list[Artifact]:
        server, job_id = self.at(ref)
        job = server.job(job_id)
        if not job.get("fine_tuned_model"):
            return []
        uri = self.reference(ref, str(job["fine_tuned_model"]))
        found = [Artifact(kind="hosted", uri=uri, base_model=str(job.get("model") or "") or None)]
        predictions = self.predictions(ref)
        if predictions is not None:
            sha256 = hashlib.sha256(predictions.read_bytes()).hexdigest()
            found.append(Artifact(kind="predictions", uri=str(predictions), sha256=sha256))
        return found

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:  # noqa: ARG002 - the vendor's name cannot be changed
        """Nothing to do: the vendor serves tuned models and checkpoints at once, under its own name, not `name`."""
        connection, model = dereference(artifact.uri, default=self.home_connection)
        return self._serving(connection, model, "ready")

    def deploy_base(self, model: str, *, name: str, options: Mapping[str, JsonValue]) -> Deployment:  # noqa: ARG002
        """Nothing to do: base models answer under their own names."""
        connection = self.connection(read_options(self.options_type, options, self.name))
        return self._serving(connection, model, "ready")

    def deployments(self) -> Sequence[Deployment]:
        """The tuned models of the account: each answers at once, there is nothing else to deploy."""
        connection = self.connection(self.options_type())
        server = self.server(connection)
        if not server.wire.lists_models:
            raise Unsupported(self.name, f"listing models through {server.wire.name!r}", "Ask the server behind it.")
        names = [str(one["id"]) for one in server.patient().models()]
        return [self._serving(connection, name, "ready") for name in names if name.startswith(server.wire.tuned_prefix)]

    def deployment(self, name: str) -> Deployment:
        connection, model = dereference(name, default=self.home_connection)
        found = self.server(connection).patient().served(model)
        return self._serving(connection, model, "ready" if found is not None else "stopped")

    def undeploy(self, name: str) -> None:
        """Delete the tuned model: there is no other way here. See `undeploy_terms`."""
        server, model = self.at(name)
        if not model.startswith(server.wire.tuned_prefix):
            raise Unsupported(
                self.name, f"deleting {model!r}", f"A tuned model begins with {server.wire.tuned_prefix!r}."
            )
        server.delete_model(model)

    def undeploy_terms(self, name: str) -> str:
        _, model = dereference(name, default=self.home_connection)
        return f"This deletes the tuned model {model!r} at the vendor, for good: it can only be trained again."

    def _serving(self, connection: Connection, model: str, status: Literal["ready", "stopped"]) -> Deployment:
        return Deployment(
            id=connection.reference(model, default=self.home_connection),
            provider=self.name,
            model=model,
            base_url=connection.url,
            status=status,
            api_key_env=connection.api_key_env,
        )

    # --- graders

    def validate_grader(self, grader: Grader, *, options: Mapping[str, JsonValue] | None = None) -> None:
        """Ask the vendor whether it takes the grader. Raises `SpecError` with its reason."""
        server = self.server(self.connection(read_options(self.options_type, options or {}, self.name)))
        server.validate_grader(grader_json(grader, source_bytes_max=self.rules.python_grader_bytes, provider=self.name))

    def run_grader(
        self,
        grader: Grader,
        *,
        sample: str,
        item: Mapping[str, JsonValue],
        options: Mapping[str, JsonValue] | None = None,
    ) -> float:
        """The reward the vendor gives `sample` for a row's fields. Raises `SpecError` when the grader fails on it."""
        server = self.server(self.connection(read_options(self.options_type, options or {}, self.name)))
        body = grader_json(grader, source_bytes_max=self.rules.python_grader_bytes, provider=self.name)
        return server.run_grader(body, sample=sample, item=item)
