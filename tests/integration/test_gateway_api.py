"""The gateway's API over a fake backend: what a client of OpenAI's asks, and what it gets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gateway_kit as kit
import httpx
import pytest
from gateway_kit import KEY, LONG, Gateway, gateway

from finetune_sdk.job import FineTuneJob


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """One gateway whose jobs succeed at once."""
    with gateway(tmp_path_factory.mktemp("home"), concurrent_jobs=4, deduplicate_s=0) as found:
        yield found


@pytest.fixture
def held(tmp_path: Path) -> Generator[Gateway]:
    """One gateway whose jobs run until they are stopped, one at a time."""
    with gateway(tmp_path / "home", script=LONG[:2000]) as found:
        yield found


def test_a_job_goes_its_way_and_is_told_about_in_openais_words(served: Gateway, train: Path) -> None:
    file = served.upload(train)
    job = served.create(file, suffix="mine", seed=7, metadata={"team": "a"})
    done = served.until(job["id"], "succeeded")
    events = served.client.get(f"/fine_tuning/jobs/{job['id']}/events", params={"limit": 100}).json()["data"]

    assert (job["status"], job["object"], job["seed"]) == ("validating_files", "fine_tuning.job", 7)
    assert done["fine_tuned_model"].startswith("ft:builtin/tiny:finetune-sdk:mine:")
    assert done["finished_at"] >= done["created_at"]
    assert events[0]["message"] == "The job has successfully completed"
    assert events[-1]["message"] == f"Created fine-tuning job: {job['id']}"
    content = served.client.get(f"/files/{done['result_files'][0]}/content").text
    assert content.startswith("step,train_loss,")


def test_a_job_of_the_gateway_is_a_job_of_the_home(served: Gateway, train: Path) -> None:
    job = served.create(served.upload(train), metadata={"mark": "of the home"})
    served.until(job["id"], "succeeded")
    specs = [one.spec for one in FineTuneJob.list(home=served.home)]

    assert "of the home" in [spec.metadata.get("mark") for spec in specs]


def test_jobs_are_listed_by_cursor_and_by_metadata(served: Gateway, train: Path) -> None:
    file = served.upload(train)
    made = [served.create(file, metadata={"list": "me", "n": str(number)})["id"] for number in range(3)]
    ask = {"metadata[list]": "me", "limit": "2"}
    first = served.client.get("/fine_tuning/jobs", params=ask).json()
    second = served.client.get("/fine_tuning/jobs", params={**ask, "after": first["data"][-1]["id"]}).json()
    both = {"metadata[list]": "me", "metadata[n]": "1"}
    one = served.client.get("/fine_tuning/jobs", params=both).json()

    assert [job["id"] for job in first["data"] + second["data"]] == made[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [job["id"] for job in one["data"]] == [made[1]]


def test_events_come_as_a_stream_that_ends_with_the_job(served: Gateway, train: Path) -> None:
    job = served.create(served.upload(train))
    with served.client.stream("GET", f"/fine_tuning/jobs/{job['id']}/events", params={"stream": "true"}) as answer:
        told = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]

    assert told[-1] == "[DONE]"
    assert json.loads(told[0])["message"] == f"Created fine-tuning job: {job['id']}"
    assert json.loads(told[-2])["message"] == "The job has successfully completed"
    assert len({json.loads(one)["id"] for one in told[:-1]}) == len(told) - 1


def test_checkpoints_carry_the_names_that_chats_take(served: Gateway, train: Path) -> None:
    job = served.until(served.create(served.upload(train))["id"], "succeeded")
    page = served.client.get(f"/fine_tuning/jobs/{job['id']}/checkpoints", params={"limit": 1}).json()

    assert page["data"][0]["fine_tuned_model_checkpoint"].startswith(f"{job['fine_tuned_model']}:ckpt-step-")
    assert (page["first_id"], page["has_more"]) == (page["data"][0]["id"], True)


def test_one_job_trains_at_a_time_and_the_next_follows(held: Gateway, train: Path) -> None:
    file = held.upload(train)
    first, second = held.create(file, suffix="first")["id"], held.create(file, suffix="second")["id"]
    held.until(first, "running")
    held.until(second, "queued")
    held.client.post(f"/fine_tuning/jobs/{first}/cancel")
    held.until(second, "running")

    assert held.job(first)["status"] == "cancelled"


def test_a_queued_job_is_cancelled_at_once(held: Gateway, train: Path) -> None:
    file = held.upload(train)
    held.until(held.create(file, suffix="first")["id"], "running")
    waiting = held.create(file, suffix="second")["id"]
    held.until(waiting, "queued")

    assert held.client.post(f"/fine_tuning/jobs/{waiting}/cancel").json()["status"] == "cancelled"
    assert held.error(held.client.post(f"/fine_tuning/jobs/{waiting}/cancel"))["code"] == "invalid_job_state"


def test_a_job_is_paused_and_goes_on(held: Gateway, train: Path) -> None:
    job = held.create(held.upload(train))["id"]
    held.until(job, "running")
    paused = held.client.post(f"/fine_tuning/jobs/{job}/pause").json()
    held.client.post(f"/fine_tuning/jobs/{job}/resume")

    assert paused["status"] == "paused"
    assert held.until(job, "succeeded")["status"] == "succeeded"


def test_a_resumed_job_waits_for_its_turn(held: Gateway, train: Path) -> None:
    file = held.upload(train)
    first, second = held.create(file, suffix="first")["id"], held.create(file, suffix="second")["id"]
    held.until(first, "running")
    held.client.post(f"/fine_tuning/jobs/{first}/pause")
    held.until(second, "running")
    resumed = held.client.post(f"/fine_tuning/jobs/{first}/resume").json()
    held.client.get(f"/fine_tuning/jobs/{first}/events")
    meanwhile = held.job(first)["status"]
    held.client.post(f"/fine_tuning/jobs/{second}/cancel")
    held.until(first, "running", "succeeded")

    assert (resumed["status"], meanwhile) == ("queued", "queued")


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_job_that_waits_to_be_resumed_can_be_stopped(held: Gateway, train: Path, verb: str, status: str) -> None:
    file = held.upload(train)
    first, second = held.create(file, suffix="first")["id"], held.create(file, suffix="second")["id"]
    held.until(first, "running")
    held.client.post(f"/fine_tuning/jobs/{first}/pause")
    held.until(second, "running")
    held.client.post(f"/fine_tuning/jobs/{first}/resume")

    assert held.client.post(f"/fine_tuning/jobs/{first}/{verb}").json()["status"] == status


def test_a_running_job_cannot_be_resumed(held: Gateway, train: Path) -> None:
    job = held.create(held.upload(train))["id"]
    held.until(job, "running")

    assert held.error(held.client.post(f"/fine_tuning/jobs/{job}/resume"))["code"] == "invalid_job_state"


def test_a_request_that_comes_twice_makes_one_job(held: Gateway, train: Path) -> None:
    file = held.upload(train)
    marked = [held.create(file, suffix="a", headers={"idempotency-key": "k1"})["id"] for _ in range(2)]
    equal = [held.create(file, suffix="b")["id"] for _ in range(2)]
    other = held.client.post(
        "/fine_tuning/jobs", json={"model": "m", "training_file": file}, headers={"idempotency-key": "k1"}
    )

    assert len({*marked, *equal}) == 2
    assert len(set(equal)) == 1
    assert other.status_code in (404, 409)
    assert len(held.client.get("/fine_tuning/jobs").json()["data"]) == 2


def test_a_marked_request_with_another_body_is_refused(held: Gateway, train: Path) -> None:
    file = held.upload(train)
    held.create(file, suffix="a", headers={"idempotency-key": "k1"})
    body = {"model": "builtin/tiny", "training_file": file, "suffix": "b"}
    answer = held.client.post("/fine_tuning/jobs", json=body, headers={"idempotency-key": "k1"})

    assert answer.status_code == 409
    assert held.error(answer)["code"] == "idempotency_key_reused"


def test_a_marked_upload_that_comes_twice_makes_one_file(served: Gateway, train: Path) -> None:
    made = {served.upload(train, headers={"idempotency-key": "file-1"}) for _ in range(2)}

    assert len(made) == 1


def test_files_are_listed_read_and_deleted(served: Gateway, train: Path) -> None:
    file = served.upload(train, purpose="user_data")
    listed = served.client.get("/files", params={"purpose": "user_data"}).json()
    content = served.client.get(f"/files/{file}/content")
    deleted = served.client.delete(f"/files/{file}").json()

    assert [one["id"] for one in listed["data"]] == [file]
    assert content.content == train.read_bytes()
    assert deleted == {"id": file, "object": "file", "deleted": True}
    assert served.client.get(f"/files/{file}").status_code == 404


def test_an_upload_in_parts_becomes_a_file(served: Gateway, train: Path) -> None:
    content = train.read_bytes()
    halves = content[: len(content) // 2], content[len(content) // 2 :]
    body = {"filename": "big.jsonl", "purpose": "fine-tune", "bytes": len(content), "mime_type": "text/jsonl"}
    upload = served.client.post("/uploads", json=body).json()
    door = f"/uploads/{upload['id']}"
    second, first = (
        served.client.post(f"{door}/parts", files={"data": ("blob", half)}).json()["id"] for half in halves[::-1]
    )
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    wrong = served.client.post(f"{door}/complete", json={"part_ids": [second, first], "md5": md5})
    done = served.client.post(f"{door}/complete", json={"part_ids": [first, second], "md5": md5}).json()

    assert served.error(wrong)["code"] == "md5_mismatch"
    assert (done["status"], done["file"]["bytes"]) == ("completed", len(content))
    assert served.client.get(f"/files/{done['file']['id']}/content").content == content


@pytest.mark.parametrize("prefix", ["/openai", "/openai/v1"])
def test_azures_paths_lead_to_the_same_jobs(served: Gateway, train: Path, prefix: str) -> None:
    file = served.upload(train)
    body = {"model": "builtin/tiny", "training_file": file, "trainingType": 1, "suffix": prefix.strip("/")[-2:]}
    url = f"{served.url}{prefix}/fine_tuning/jobs?api-version=2024-10-21"
    job = httpx.post(url, json=body, headers={"api-key": KEY}, trust_env=False, timeout=kit.PATIENCE_S).json()

    assert served.job(job["id"])["id"] == job["id"]


def test_a_tuned_model_answers_under_its_own_name_and_can_be_deleted(tmp_path: Path, train: Path) -> None:
    with kit.chat_server() as (address, asked):

        class Answering(kit.LocalFake):
            answering = address

        with gateway(tmp_path / "home", provider=Answering) as found:
            model = found.until(found.create(found.upload(train))["id"], "succeeded")["fine_tuned_model"]
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            answer = found.client.post("/chat/completions", json=body).json()
            with found.client.stream("POST", "/chat/completions", json={**body, "stream": True}) as stream:
                pieces = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: {")]
            listed = [one["id"] for one in found.client.get("/models").json()["data"]]
            deleted = found.client.delete(f"/models/{model}").json()
            after = found.client.post("/chat/completions", json=body)

    assert answer["model"] == model
    assert asked[0]["model"].startswith("ftjob-")
    assert [piece["choices"][0]["delta"]["content"] for piece in pieces] == ["one", "two", "three"]
    assert {piece["model"] for piece in pieces} == {model}
    assert model in listed
    assert deleted["deleted"] is True
    assert after.status_code == 404


def test_a_base_model_is_answered_by_the_server_that_the_configuration_names(tmp_path: Path) -> None:
    with kit.chat_server() as (address, asked):
        chat = {"gpt-4o-mini": {"base_url": address, "model": "theirs"}}
        with gateway(tmp_path / "home", chat=chat) as found:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
            answer = found.client.post("/chat/completions", json=body).json()

    assert (answer["model"], asked[0]["model"]) == ("gpt-4o-mini", "theirs")


def test_names_are_mapped_and_jobs_routed_by_the_configuration(tmp_path: Path, train: Path) -> None:
    config: dict[str, Any] = {"models": {"gpt-4.1-mini": {"fake": "fake/small"}}}
    with gateway(tmp_path / "home", **config) as found:
        job = found.create(found.upload(train), model="gpt-4.1-mini")
        found.until(job["id"], "succeeded")
        spec = FineTuneJob.list(home=found.home)[0].spec

    assert (job["model"], spec.model) == ("gpt-4.1-mini", "fake/small")


def test_a_graders_reward_is_what_training_would_give(served: Gateway) -> None:
    grader = {
        "type": "string_check",
        "name": "same",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    body = {"grader": grader, "item": {"answer": "yes"}, "model_sample": "yes"}
    good = served.client.post("/fine_tuning/alpha/graders/run", json=body).json()
    lacking = served.client.post("/fine_tuning/alpha/graders/run", json={**body, "item": {}}).json()
    valid = served.client.post("/fine_tuning/alpha/graders/validate", json={"grader": grader}).json()

    assert (good["reward"], lacking["reward"]) == (1.0, 0.0)
    assert lacking["metadata"]["errors"]["invalid_variable_error"] is True
    assert valid == {"grader": grader}


def test_the_end_of_a_job_is_told_by_a_signed_webhook(
    tmp_path: Path, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(500 if len(heard) == 1 else 204)  # the first try fails: it comes again
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    secret = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    monkeypatch.setenv("HOOK_SECRET", f"whsec_{secret}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        hook = {"url": f"http://127.0.0.1:{server.server_port}/hook", "secret_env": "HOOK_SECRET"}
        with gateway(tmp_path / "home", webhooks=[hook]) as found:
            job = found.until(found.create(found.upload(train))["id"], "succeeded")
            kit.until(lambda: len(heard) >= 2)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    headers, body = heard[1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(base64.b64decode(secret), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert heard[0][0]["webhook-id"] == headers["webhook-id"]
    assert json.loads(body)["type"] == "fine_tuning.job.succeeded"
    assert json.loads(body)["data"] == {"id": job["id"]}
