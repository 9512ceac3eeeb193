"""Inference Endpoints of Hugging Face: a model of the Hub answers OpenAI's API through vLLM, by the hour.

An endpoint's name is unique in its account, and what it was made of is among its tags: so a request whose answer was
lost is looked up by its name, and the same name again changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, InferenceEndpoint, constants, utils

from finetune_providers.endpoints import machines
from finetune_providers.endpoints.machines import Machine
from finetune_providers.endpoints.telling import raw
from finetune_providers.endpoints.telling import told as _told
from finetune_providers.hub import client
from finetune_sdk.deploy.export import export
from finetune_sdk.deploy.fetching import is_hub_name
from finetune_sdk.deploy.hosts import Host, Hosting, Say
from finetune_sdk.errors import Ambiguous, JobNotFound, ProviderError, SpecError, Throttled, Unreachable
from finetune_sdk.types import Artifact, Deployment

IMAGE = "vllm/vllm-openai:v0.23.0"
"""The one that huggingface_hub 2.4's own documentation of `create_inference_endpoint` names; read 2026-11-21."""
PORT = 8000
MARK = "finetune-sdk"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_READ = (".safetensors", ".json", ".jinja", ".model")
_vendor: Any = utils


class HFEndpoints(Host):
    """See `Host`. The id of a deployment is `namespace/name`; its key is the user's token of the Hub."""

    name = "hf-endpoint"
    poll_s = 5.0
    patience_s = 1800.0

    def terms(self, artifact: Artifact, *, name: str, hosting: Hosting) -> str:
        """Asks for the prices now."""
        api = client.connect()
        namespace = _namespace(api, hosting)
        machine = _machine(namespace, hosting)
        asleep = (
            f"After {hosting.idle_min} minutes without a request it is scaled to zero and costs nothing."
            if hosting.idle_min is not None
            else "It is never scaled to zero."
        )
        return (
            f"{self._pushing(artifact, namespace, name, hosting)}Hugging Face bills {machine.price} to {namespace} for "
            f"{machine.id} while it starts and runs. {asleep}"
        )

    def _pushing(self, artifact: Artifact, namespace: str, name: str, hosting: Hosting) -> str:
        if is_hub_name(artifact.uri):
            return ""
        seen = "which everybody can see" if hosting.public else "private"
        return f"The model is pushed to {_repo(namespace, name, hosting)} on the Hugging Face Hub, {seen}. "

    def deploy(self, artifact: Artifact, *, name: str, hosting: Hosting, say: Say | None = None) -> Deployment:
        """Pushes the merged model first, where it is not on the Hub; an endpoint that is there needs no machine."""
        _check(name)
        api = client.connect()
        namespace = _namespace(api, hosting)
        tag = _tag(api, artifact)
        found = self._get(api, namespace, name)
        if found is None:
            machine = _machine(namespace, hosting)
            repo, revision = self._on_the_hub(api, artifact, _repo(namespace, name, hosting), hosting, say)
            found = self._create(api, namespace, name, machine, repo, revision, tag, hosting)
        self._same(found, tag)
        resumed = found.status == "paused"
        if resumed:
            found = self._ask(api, found, "resume")
        return self._wait(found, say, resumed=resumed)

    def deployments(self) -> Sequence[Deployment]:
        """Of the token's own account."""
        api = client.connect()
        namespace = _namespace(api, Hosting())
        with client.translated("listing the endpoints"):
            found = api.list_inference_endpoints(namespace=namespace)
        return [_told(one, ask=False) for one in found if MARK in (raw(one).get("tags") or ())]

    def deployment(self, name: str) -> Deployment:
        """One request, and one more to the model itself when it runs."""
        api = client.connect()
        found = self._get(api, *_parts(api, name))
        if found is None:
            return Deployment(id=name, provider=self.name, model=name, base_url="", status="stopped")
        return _told(found)

    def undeploy(self, name: str) -> None:
        """The model stays on the Hub."""
        api = client.connect()
        namespace, bare = _parts(api, name)
        try:
            with client.translated("deleting the endpoint"):
                api.delete_inference_endpoint(bare, namespace=namespace)
        except JobNotFound:
            return

    def stop(self, name: str, *, until_asked: bool = False) -> Deployment:
        """Idempotent."""
        api = client.connect()
        found = self._known(api, name)
        wanted = "scale_to_zero" if until_asked else "pause"
        if found.status not in ("paused", *(["scaledToZero"] if until_asked else [])):
            found = self._ask(api, found, wanted)
        return _told(found)

    def restart(self, name: str) -> Deployment:
        """Waits until it answers."""
        api = client.connect()
        found = self._known(api, name)
        resumed = found.status in ("paused", "scaledToZero")
        if resumed:
            found = self._ask(api, found, "resume")
        return self._wait(found, None, resumed=resumed)

    # --- requests

    def _get(self, api: HfApi, namespace: str, name: str) -> InferenceEndpoint | None:
        try:
            with client.translated("looking up the endpoint"):
                return api.get_inference_endpoint(name, namespace=namespace)
        except JobNotFound:
            return None

    def _known(self, api: HfApi, name: str) -> InferenceEndpoint:
        found = self._get(api, *_parts(api, name))
        if found is None:
            raise JobNotFound(f"[hf-endpoint] there is no endpoint {name!r}")
        return found

    def _on_the_hub(
        self, api: HfApi, artifact: Artifact, repo: str, hosting: Hosting, say: Say | None
    ) -> tuple[str, str]:
        """Repository and revision."""
        if is_hub_name(artifact.uri):
            return artifact.uri.partition("@")[0], _revision(api, artifact.uri)
        if say is not None:
            say(f"comparing the merged model with the trained one, then pushing it to {repo}")
        source = Path(artifact.uri)
        base = hosting.base or artifact.base_model
        done = export(self.home, source, to="hub", repo=repo, public=hosting.public, base=base, say=say)
        return repo, str(done.revision)

    def _create(  # noqa: PLR0917 - what an endpoint is
        self,
        api: HfApi,
        namespace: str,
        name: str,
        machine: Machine,
        repo: str,
        revision: str,
        tag: str,
        hosting: Hosting,
    ) -> InferenceEndpoint:
        """Sent once; an answer that was lost is found by the name."""
        untyped: Any = api
        make = partial(
            untyped.create_inference_endpoint,
            name,
            namespace=namespace,
            repository=repo,
            revision=revision,
            framework="pytorch",
            task="text-generation",
            accelerator=machine.accelerator,
            instance_size=machine.instance_size,
            instance_type=machine.instance_type,
            region=machine.region,
            vendor=machine.vendor,
            min_replica=1 if hosting.idle_min is None else 0,
            max_replica=1,
            scale_to_zero_timeout=hosting.idle_min,
            custom_image={"vLLM": {"url": hosting.image or IMAGE, "port": PORT}},
            type="authenticated",
            tags=[MARK, tag],
        )
        try:
            with client.translated("creating the endpoint"):
                made: InferenceEndpoint = make()
                return made
        except ProviderError as exc:
            if isinstance(exc.__cause__, Exception) and client.refused(exc.__cause__):
                raise
            found = self._get(api, namespace, name)
            if found is not None:
                return found
            text = f"{exc} It was not made, as far as can be seen. Deploying again is safe: its name is unique."
            raise Ambiguous(text) from exc

    def _same(self, found: InferenceEndpoint, tag: str) -> None:
        if tag not in (raw(found).get("tags") or ()):
            raise ProviderError(
                f"[hf-endpoint] the endpoint {found.namespace}/{found.name} serves something else "
                f"({found.repository}). Choose another name, or remove that deployment. Nothing was changed.",
                sent=False,
            )

    def _ask(self, api: HfApi, found: InferenceEndpoint, verb: str) -> InferenceEndpoint:
        with client.translated(f"asking the endpoint to {verb.replace('_', ' ')}"):
            changed: InferenceEndpoint = getattr(api, f"{verb}_inference_endpoint")(
                found.name, namespace=found.namespace
            )
            return changed

    def _wait(self, found: InferenceEndpoint, say: Say | None, *, resumed: bool) -> Deployment:
        """Until it answers, has failed, or patience ends; then it is `starting` still. A lost answer is asked again.

        One that was `resumed` may be told as paused for a moment longer.
        """
        passing = ("starting", "stopped") if resumed else ("starting",)
        give_up_s = time.monotonic() + self.patience_s
        told = _told(found)
        if say is not None and told.status == "starting":
            say(f"waiting for {told.id}; it costs from now on, also when this command is ended")
        while told.status in passing and time.monotonic() < give_up_s:
            time.sleep(self.poll_s)
            try:
                told = self.deployment(told.id)
            except (Unreachable, Throttled):
                continue
        if told.status == "failed":
            raise ProviderError(
                f"[hf-endpoint] {told.id} cannot answer: {told.error}. It is kept for its logs; end it: "
                f"finetune deployments rm {told.id}",
                charged=None,
            )
        return told


def _machine(namespace: str, hosting: Hosting) -> Machine:
    headers = _vendor.build_hf_headers(token=client.token())
    with client.translated("asking for the prices"):
        address = f"{constants.INFERENCE_ENDPOINTS_ENDPOINT}/provider/{namespace}"
        answer = _vendor.get_session().get(address, headers=headers)
        _vendor.hf_raise_for_status(answer)
        known = machines.read(answer.json())
    chosen = machines.choose(known, hosting.machine)
    chosen.check()
    return chosen


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is no name for an endpoint: up to 32 small letters, digits and hyphens (name=, `--name`)"
        )


def _parts(api: HfApi, name: str) -> tuple[str, str]:
    namespace, _, bare = name.rpartition("/")
    return namespace or _namespace(api, Hosting()), bare


def _namespace(api: HfApi, hosting: Hosting) -> str:
    if hosting.namespace is not None:
        return hosting.namespace
    untyped: Any = api
    with client.translated("asking whose token it is"):
        return str(untyped.whoami()["name"])


def _repo(namespace: str, name: str, hosting: Hosting) -> str:
    return hosting.repo or f"{namespace}/{name}"


def _revision(api: HfApi, source: str) -> str:
    repo, _, revision = source.partition("@")
    with client.translated(f"looking up {repo}"):
        return str(api.model_info(repo, revision=revision or "main").sha)


def _tag(api: HfApi, artifact: Artifact) -> str:
    """What tells this model from another: by its files, or by its revision on the Hub."""
    if is_hub_name(artifact.uri):
        said = f"{artifact.uri.partition('@')[0]}@{_revision(api, artifact.uri)}".encode()
        return f"source-{hashlib.sha256(said).hexdigest()[:24]}"
    told = hashlib.sha256()
    for file in sorted(Path(artifact.uri).iterdir()):
        if file.suffix in _READ and file.is_file():
            with file.open("rb") as content:
                told.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\0".encode())
    return f"source-{told.hexdigest()[:24]}"
