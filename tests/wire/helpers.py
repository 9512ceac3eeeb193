"""What the tests of the hosted providers share: data files, specs, a key in the environment."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

from finetune_providers.openai.provider import OpenAIProvider
from wire import stub

from finetune_sdk.spec import JobSpec
from finetune_sdk.store import JobStore

MODEL = "gpt-4.1-mini-2025-04-14"
GRADER = {"type": "string_check", "reference": "{{item.answer}}"}


def chat_rows(rows: int = 12) -> list[dict[str, Any]]:
    """Conversations, each of its own content."""
    return [
        {
            "messages": [
                {"role": "system", "content": "Answer in one word."},
                {"role": "user", "content": f"What follows {number}?"},
                {"role": "assistant", "content": str(number + 1)},
            ]
        }
        for number in range(rows)
    ]


def preference_rows(rows: int = 12) -> list[dict[str, Any]]:
    """Preference pairs in the vendor's shape."""
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"What follows {number}?"}]},
            "preferred_output": [{"role": "assistant", "content": str(number + 1)}],
            "non_preferred_output": [{"role": "assistant", "content": str(number - 1)}],
        }
        for number in range(rows)
    ]


def prompt_rows(rows: int = 12) -> list[dict[str, Any]]:
    """Prompts with the field a grader asks for."""
    return [
        {"messages": [{"role": "user", "content": f"What follows {number}?"}], "answer": str(number + 1)}
        for number in range(rows)
    ]


ROWS = {"sft": chat_rows, "dpo": preference_rows, "rft": prompt_rows}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows as a JSONL file; its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def job_spec(folder: Path, url: str, *, provider: str = "openai", kind: str = "sft", **parts: Any) -> JobSpec:
    """A job for a server at `url`, with data that fit the method."""
    data = {"train": write(folder / f"{kind}.jsonl", ROWS[kind]())}
    if kind == "rft":
        data["validation"] = write(folder / "rft-validation.jsonl", prompt_rows(24)[12:])
    options = {"base_url": url, "reconcile_wait_s": 0.01, **parts.pop("options", {})}
    method = {"kind": kind, **({"grader": GRADER} if kind == "rft" else {}), **parts.pop("method", {})}
    return JobSpec.model_validate(
        {"provider": provider, "model": MODEL, "data": data, "method": method, "options": {provider: options}, **parts}
    )


RUNNING: dict[str, Any] = {
    "object": "fine_tuning.job", "created_at": 1, "model": MODEL, "training_file": "file-1", "status": "running",
    "hyperparameters": {}, "organization_id": "org", "result_files": [], "seed": 1, "user_provided_suffix": None,
}  # fmt: skip


def stored_jobs(folder: Path, service: stub.Running, number: int) -> JobStore:
    """A home with so many jobs that all run at the service."""
    for name in (f"ftjob-{index:06d}" for index in range(number)):
        service.service.jobs[name], service.service.events[name] = {**RUNNING, "id": name}, []
        service.service.place(name)
    return store_of(folder, service.url, number)


def store_of(folder: Path, url: str, number: int) -> JobStore:
    """The home of `stored_jobs`, for a service that runs elsewhere."""
    spec, store = job_spec(folder, url), JobStore(folder / "home")
    planned = OpenAIProvider(home=store.home).plan(spec)
    for name in (f"ftjob-{index:06d}" for index in range(number)):
        store.bind(store.create(spec, planned).id, f"{url}?wire=compatible#{name}")
    return store


SECRET = "whsec_" + base64.b64encode(b"a webhook secret of ours").decode()


def delivery(job: str, kind: str = "succeeded") -> bytes:
    """The body of a webhook about a job."""
    return json.dumps({"id": "evt_1", "type": f"fine_tuning.job.{kind}", "data": {"id": job}}).encode()


def signed(
    body: bytes, *, name: str = "wh_1", age_s: float = 0.0, secret: str = SECRET, extra: str = ""
) -> dict[str, str]:
    """The headers that make a body a delivery."""
    stamp = str(int(time.time() - age_s))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"{extra}v1,{base64.b64encode(mac).decode()}"
    return {"Webhook-Id": name, "Webhook-Timestamp": stamp, "Webhook-Signature": signature}
