"""The gateway's objects and refusals beside what OpenAI's API answers to the same request."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gateway_kit as kit
import pytest
from gateway_kit import KEY, LONG, Gateway, gateway
from openai import OpenAI

from finetune_sdk.types import Event

WANDB = {"type": "wandb", "wandb": {"project": "mine"}}


class Telling(kit.LocalFake):
    """A fake that says how long its jobs will take."""

    def events(self, ref: str, after: str | None = None) -> list[Event]:
        found = super().events(ref, after)
        return [dataclasses.replace(one, metrics={**one.metrics, "eta_s": 60.0}) for one in found]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """One gateway with a key, whose jobs succeed at once."""
    home = tmp_path_factory.mktemp("home")
    with gateway(home, keys=KEY, concurrent_jobs=4, deduplicate_s=0, requests_per_minute=60_000) as found:
        yield found


@pytest.mark.parametrize(
    ("asked", "status", "param", "code"),
    [
        ("GET /fine_tuning/jobs/ftjob-none", 404, "fine_tune_id", "fine_tune_not_found"),
        ("POST /fine_tuning/jobs/ftjob-none/cancel", 404, "fine_tune_id", "fine_tune_not_found"),
        ("GET /fine_tuning/jobs/ftjob-none/events", 404, "fine_tune_id", "fine_tune_not_found"),
        ("GET /files/file-none", 404, "id", "not_found"),
        ("GET /files/file-none/content", 404, "id", "not_found"),
        ("DELETE /files/file-none", 404, "id", "not_found"),
        ("GET /models/ft:none", 404, "model", "model_not_found"),
        ("DELETE /models/ft:none", 404, "model", "model_not_found"),
        ("POST /uploads/upload_none/cancel", 404, "id", "not_found"),
        ("PUT /files", 405, None, "method_not_allowed"),
        ("GET /nothing", 404, None, "not_found"),
    ],
)
def test_what_is_not_there_is_refused_as_openai_does(
    served: Gateway, asked: str, status: int, param: str | None, code: str
) -> None:
    answer = served.client.request(*asked.split())
    told = served.error(answer)

    assert (answer.status_code, told["type"]) == (status, "invalid_request_error")
    assert (told["param"], told["code"]) == (param, code)


def test_a_wrong_key_is_refused_in_openais_words(served: Gateway) -> None:
    answer = served.client.get("/files", headers={"authorization": "Bearer wrong"})

    assert (answer.status_code, served.error(answer)["type"]) == (401, "invalid_request_error")
    assert served.error(answer)["code"] == "invalid_api_key"


def test_answers_say_what_is_left_of_a_keys_allowance(served: Gateway) -> None:
    first, second = (served.client.get("/models").headers for _ in range(2))

    assert first["x-ratelimit-limit-requests"] == "60000"
    assert 0 < int(second["x-ratelimit-remaining-requests"]) <= 10_000
    assert second["x-ratelimit-reset-requests"].endswith("s")


def test_the_end_of_a_running_job_is_reckoned(tmp_path: Path, train: Path) -> None:
    with gateway(tmp_path / "home", provider=Telling, script=LONG[:2000]) as found:
        job = found.create(found.upload(train))
        kit.until(lambda: found.job(job["id"])["estimated_finish"])
        running, listed = found.job(job["id"]), found.client.get("/fine_tuning/jobs").json()["data"][0]
        events = found.client.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": 1000}).json()["data"]
        stopped = found.client.post(f"/fine_tuning/jobs/{job['id']}/cancel").json()

    assert job["estimated_finish"] is None
    assert running["estimated_finish"] in [one["created_at"] + 60 for one in events]
    assert listed["estimated_finish"] is not None
    assert stopped["estimated_finish"] is None


def test_a_suffix_becomes_a_part_of_a_name_that_addresses_take(served: Gateway, train: Path) -> None:
    job = served.until(served.create(served.upload(train), suffix="My model: v2/é")["id"], "succeeded")
    name = job["fine_tuned_model"]

    assert name.startswith("ft:builtin/tiny:finetune-sdk:My-model-v2-:")
    assert job["user_provided_suffix"] == "My model: v2/é"
    assert served.client.get(f"/models/{name}").json()["id"] == name


@pytest.mark.parametrize(
    "integrations",
    [[WANDB], [{"type": "wandb", "wandb": {"project": "huggingface", "tags": ["a"]}}], [WANDB, WANDB]],
    ids=["another project", "tags", "two"],
)
def test_a_report_that_a_local_job_cannot_make_is_refused(
    served: Gateway, train: Path, integrations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    body = {"model": "builtin/tiny", "training_file": served.upload(train), "integrations": integrations}
    answer = served.client.post("/fine_tuning/jobs", json=body)

    assert answer.status_code == 400
    assert served.error(answer)["param"].startswith("integrations")


def test_files_are_paged_in_both_orders(served: Gateway, train: Path) -> None:
    made = [served.upload(train, purpose="vision") for _ in range(3)]
    ask = {"purpose": "vision", "limit": "2", "order": "asc"}
    first = served.client.get("/files", params=ask).json()
    rest = served.client.get("/files", params={**ask, "after": first["last_id"]}).json()
    back = served.client.get("/files", params={"purpose": "vision", "limit": "1"}).json()

    assert [one["id"] for one in first["data"] + rest["data"]] == made
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[0], made[1], True)
    assert (rest["has_more"], back["data"][0]["id"]) == (False, made[2])


def test_events_and_checkpoints_are_paged_without_a_gap(served: Gateway, train: Path) -> None:
    job = served.until(served.create(served.upload(train))["id"], "succeeded")["id"]
    for what in ("events", "checkpoints"):
        whole = served.client.get(f"/fine_tuning/jobs/{job}/{what}", params={"limit": 1000}).json()
        ids: list[str] = []
        more: dict[str, Any] = {}
        while True:
            page = served.client.get(f"/fine_tuning/jobs/{job}/{what}", params={"limit": 2, **more}).json()
            ids += [one["id"] for one in page["data"]]
            if not page["has_more"]:
                break
            more = {"after": ids[-1]}

        assert ids == [one["id"] for one in whole["data"]]
        assert len(ids) >= 2


def test_openai_python_finds_every_answer_in_shape(tmp_path: Path, train: Path) -> None:
    content = train.read_bytes()
    grader: Any = {
        "type": "string_check", "name": "g", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq",
    }  # fmt: skip
    with (
        gateway(tmp_path / "home", script=LONG[:2000], concurrent_jobs=2) as found,
        OpenAI(base_url=f"{found.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True) as client,
    ):
        with train.open("rb") as rows:
            after: Any = {"anchor": "created_at", "seconds": 3600}
            file = client.files.create(file=rows, purpose="fine-tune", expires_after=after)
        upload = client.uploads.create(bytes=len(content), filename="a", mime_type="text/jsonl", purpose="fine-tune")
        part = client.uploads.parts.create(upload.id, data=content)
        whole = client.uploads.complete(upload.id, part_ids=[part.id])
        dropped = client.uploads.create(bytes=1, filename="b", mime_type="text/jsonl", purpose="fine-tune")
        jobs = client.fine_tuning.jobs
        job = jobs.create(model="builtin/tiny", training_file=file.id, validation_file=file.id, metadata={"a": "b"}).id
        queued = jobs.create(model="builtin/tiny", training_file=file.id, suffix="x", seed=0).id
        found.until(job, "running")
        found.client.post(f"/fine_tuning/jobs/{job}/pause")  # "paused" is in OpenAI's guide, not in its client's types
        seen = [jobs.resume(job).status, jobs.cancel(queued).status]
        found.until(job, "running", "succeeded")
        pages = [jobs.list(metadata={"a": "b"}), jobs.list_events(job), jobs.checkpoints.list(job), client.files.list()]
        graders = client.fine_tuning.alpha.graders
        valid = graders.validate(grader=grader).grader
        reward = graders.run(grader=grader, model_sample="x").reward
        done = found.until(job, "succeeded")["fine_tuned_model"]
        models = [one.id for one in client.models.list()], client.models.retrieve(done).id
        answers = client.models.delete(done).deleted, client.files.delete(file.id).deleted

        assert client.files.retrieve(whole.file.id if whole.file else "").bytes == len(content)
        assert client.uploads.cancel(dropped.id).status == "cancelled"
    assert seen == ["queued", "cancelled"]
    assert all(page.data for page in pages)
    assert valid is not None
    assert (reward, done in models[0], models[1], answers) == (1.0, True, done, (True, True))


def test_a_file_expires_when_its_client_wants_it_to(served: Gateway, train: Path) -> None:
    data = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    with train.open("rb") as file:
        made = served.client.post("/files", files={"file": file}, data=data).json()
    found = served.client.get(f"/files/{made['id']}").json()
    with sqlite3.connect(served.home / "gateway" / "gateway.db") as db:
        db.execute("UPDATE file SET expires_at = 1 WHERE id = ?", (made["id"],))
    db.close()

    assert found["expires_at"] == found["created_at"] + 3600
    assert served.client.get(f"/files/{made['id']}").status_code == 404


def test_a_home_of_an_older_version_is_read(tmp_path: Path, train: Path) -> None:
    home = tmp_path / "home"
    with gateway(home) as found:
        job = found.until(found.create(found.upload(train))["id"], "succeeded")
    with sqlite3.connect(home / "gateway" / "gateway.db") as db:
        db.execute("ALTER TABLE job DROP COLUMN settled")
        db.execute("PRAGMA user_version = 1")
    db.close()

    with gateway(home) as found:
        assert found.job(job["id"]) == job
