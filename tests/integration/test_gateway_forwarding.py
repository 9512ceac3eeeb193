"""The gateway in front of OpenAI, as a stub on this machine: which backend serves a job is configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gateway_kit as kit
import pytest
from gateway_kit import KEY, gateway
from wire import stub
from wire.suite import SCRIPTS

from finetune_sdk.gateway import queue

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
