"""Every request of ours, in every generation of the wire, is taken by Prism: a third party reads the contracts."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from finetune_providers.azure.provider import AzureProvider
from finetune_providers.openai.provider import OpenAIProvider
from wire import stub
from wire.helpers import job_spec
from wire.prism import NEEDED, prism

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec

METHODS = {"openai": ("sft", "dpo", "rft"), "azure-v1": ("sft", "dpo", "rft"), "azure-2024-10-21": ("sft",)}

HEADERS = ("authorization", "api-key", "aoai-copy-ft-checkpoints")

pytestmark = NEEDED


def recorded(dialect: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[stub.Request]:
    """Every request that jobs of all methods make, from submission to the end."""
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    requests: list[stub.Request] = []
    for kind in METHODS[dialect]:
        service = stub.Service(dialect=stub.DIALECTS[dialect])
        with stub.serving(service) as running:
            provider, spec = _job(dialect, kind, folder, running.port)
            ref = provider.submit(provider.plan(spec), key=f"ft-{kind}")
            for _ in range(4):
                provider.poll(ref)
            provider.events(ref)
            provider.checkpoints(ref)
            if dialect == "azure-v1" and isinstance(provider, AzureProvider):
                provider.copy_checkpoint(ref, "ftchkpt-1", destination="/subscriptions/s/x", region="westus3")
                provider.checkpoint_copy(ref, "ftchkpt-1")
        requests += service.requests
    return requests


def _job(dialect: str, kind: str, folder: Path, port: int) -> tuple[Provider, JobSpec]:
    knobs = {"epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5}
    name = dialect.partition("-")[0]
    base = job_spec(folder, f"http://127.0.0.1:{port}/v1", kind=kind, provider=name, hyperparameters=knobs, seed=7)
    if name == "openai":
        return OpenAIProvider(home=folder / "home"), base
    where = {"endpoint": f"http://127.0.0.1:{port}", "api": dialect.partition("-")[2], "training_type": "Developer"}
    options = {name: {**where, "reconcile_wait_s": 0.01}}
    return AzureProvider(home=folder / "home"), base.model_copy(update={"options": options, "model": "a-model"})


def refusal(port: int, request: stub.Request) -> str | None:
    """What Prism has against a request, sent to it as it was sent to the stand-in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        body = None if request.body is None else json.dumps(request.body)
        if body is not None:
            headers["content-type"] = "application/json"
        path = request.path + (f"?{query}" if query else "")
        connection.request(request.method, path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        return f"{request.method} {path}: {answer.status} {text[:300]}" if answer.status >= 400 else None
    finally:
        connection.close()


@pytest.mark.parametrize("dialect", METHODS)
def test_prism_takes_every_request(dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # multi-part bodies are checked by the stand-in; file contents are JSON to the document, bytes on the wire
    sent = [
        one
        for one in recorded(dialect, tmp_path, monkeypatch)
        if one.form is None and not one.path.endswith("/content")
    ]
    with prism(dialect) as port:
        refused = [fault for one in sent if (fault := refusal(port, one)) is not None]
    assert refused == []
    assert {"POST", "GET"} <= {one.method for one in sent}
