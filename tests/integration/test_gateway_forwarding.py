"""The gateway in front of OpenAI and Azure, as stubs on this machine: which backend serves a job is configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gateway_kit as kit
import pytest
from finetune_providers.azure.provider import AzureProvider
from gateway_kit import KEY, gateway
from wire import stub
from wire.arm import Arm, StaticCredential
from wire.arm import serving as serving_arm
from wire.suite import SCRIPTS

from finetune_sdk.gateway import queue
from finetune_sdk.registry import standing_in

CONFIGS: dict[str, dict[str, Any]] = {
    "by model": {"routes": [{"model": "gpt-*", "provider": "openai"}]},
    "by key": {"routes": [{"key": "team-a", "provider": "openai"}]},
    "by default": {"routes": [{"provider": "openai"}]},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_job_is_forwarded_and_its_model_answers(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    monkeypatch.setattr(queue, "_HOSTED_S", 0.2)
    with stub.serving(stub.Service(dialect=stub.DIALECTS["openai"], scripts=SCRIPTS)) as vendor:
        options = {"base_url": vendor.url, "reconcile_wait_s": 0.01}
        parts: dict[str, Any] = {"backends": {"openai": {"options": options}}, **config}
        with gateway(tmp_path / "home", keys=f"team-a:{KEY}\n", **parts) as found:
            file = found.upload(kit.rows(tmp_path))
            job = found.create(file, model="gpt-4.1-mini-2025-04-14", suffix="fwd")
            done = found.until(job["id"], "succeeded", "failed")
            body = {"model": done["fine_tuned_model"], "messages": [{"role": "user", "content": "hi"}]}
            answer = found.client.post("/chat/completions", json=body)
        theirs = vendor.service.jobs

    assert done["status"] == "succeeded", done["error"]
    assert len(theirs) == 1
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == done["fine_tuned_model"]


def test_a_job_that_no_route_takes_stays_here(tmp_path: Path) -> None:
    with gateway(tmp_path / "home", **CONFIGS["by model"]) as found:
        job = found.until(found.create(found.upload(kit.rows(tmp_path)))["id"], "succeeded")

    assert job["fine_tuned_model"].startswith("ft:builtin/tiny:finetune-sdk:")


AZURE = {"v1": "azure-v1", "2024-10-21": "azure-2024-10-21"}


class _Azure(AzureProvider):
    """With a credential of the tests."""

    def credential(self) -> Any:
        return StaticCredential()


@pytest.mark.parametrize("api", AZURE)
def test_a_job_is_forwarded_to_azure_and_its_model_deployed_on_first_use(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    monkeypatch.setattr(queue, "_HOSTED_S", 0.2)
    service, arm = stub.Service(dialect=stub.DIALECTS[AZURE[api]], scripts=SCRIPTS), Arm()
    with (
        stub.serving(service) as vendor,
        serving_arm(arm) as arm_url,
        standing_in("azure", lambda home: _Azure(home=home)),
    ):
        place = {"account": "acct", "arm_url": arm_url, "resource_group": "rg", "subscription": "sub"}
        options = {"endpoint": f"http://127.0.0.1:{vendor.port}", "api": api, "deployment": place}
        parts: dict[str, Any] = {"backends": {"azure": {"options": {**options, "reconcile_wait_s": 0.01}}}}
        routes = [{"model": "gpt-*", "provider": "azure"}]
        with gateway(tmp_path / "home", routes=routes, **parts) as found:
            file = found.upload(kit.rows(tmp_path))
            job = found.create(file, model="gpt-4.1-mini-2025-04-14", suffix="fwd", trainingType="GlobalStandard")
            done = found.until(job["id"], "succeeded", "failed")
            events = found.client.get(f"/fine_tuning/jobs/{job['id']}/events").json()["data"]
            checkpoint = found.client.get(f"/fine_tuning/jobs/{job['id']}/checkpoints").json()["data"][0]
            body = {"messages": [{"role": "user", "content": "hi"}]}
            names = done["fine_tuned_model"], checkpoint["fine_tuned_model_checkpoint"]
            answers = [found.client.post("/chat/completions", json={**body, "model": name}) for name in names]
            deployed = {name: one["properties"]["model"]["name"] for name, one in arm.deployments.items()}
            found.client.delete(f"/models/{done['fine_tuned_model']}")

    assert done["status"] == "succeeded", done["error"]
    assert [answer.json()["model"] for answer in answers] == list(names)
    created = next(one for one in service.requests if one.method == "POST" and one.path == "/fine_tuning/jobs")
    chat = next(one for one in service.requests if one.path.endswith("/chat/completions"))
    assert (created.headers["api-key"], chat.headers["api-key"]) == (stub.KEY, stub.KEY)
    assert created.body["trainingType"] == "GlobalStandard"
    assert created.query == ({"api-version": api} if api != "v1" else {})
    assert "training loss" in "".join(event["message"] for event in events)
    assert sorted(deployed.values()) == sorted(names)
    assert arm.deployments == {}
    assert (service.violations, arm.violations) == ([], [])
