"""The openai provider over real HTTP: uploads, graders, wrong servers, and no key in anything."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from finetune_providers.openai import client, server
from finetune_providers.openai.connection import Connection
from finetune_providers.openai.provider import OpenAIProvider
from finetune_providers.openai.server import Server
from finetune_providers.openai.wire import OPENAI
from pydantic import TypeAdapter
from wire import stub
from wire.helpers import GRADER, job_spec, stored_jobs
from wire.proxy import FAULTS, Fault, Plan, everything, proxying

from finetune_sdk.errors import AuthFailed, FineTuneError, JobNotFound, ProviderError, SpecError, Unreachable
from finetune_sdk.graders import Grader
from finetune_sdk.job import FineTuneJob
from finetune_sdk.types import JobStatus


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service()) as running:
        yield running
        assert running.service.violations == []


@pytest.fixture
def provider(tmp_path: Path) -> OpenAIProvider:
    return OpenAIProvider(home=tmp_path / "home")


def submitted(provider: OpenAIProvider, folder: Path, url: str, **parts: Any) -> str:
    return provider.submit(provider.plan(job_spec(folder, url, **parts)), key="ft-1")


@pytest.mark.parametrize("kind", ["sft", "dpo", "rft"])
def test_every_method_goes_from_its_plan_to_its_model(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, kind: str
) -> None:
    ref = submitted(provider, tmp_path, service.url, kind=kind)
    states = [provider.poll(ref).status for _ in range(4)]
    assert states == [JobStatus.VALIDATING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED]


def test_the_results_file_becomes_the_jobs_metrics(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.script = ("queued", "succeeded")
    ref = submitted(provider, tmp_path, service.url)
    provider.poll(ref)
    assert provider.poll(ref).metrics == {"train_loss": 0.5, "eval_loss": 0.8}


def test_a_checkpoint_can_be_deployed_like_the_model(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.script = ("queued", "succeeded")
    ref = submitted(provider, tmp_path, service.url)
    provider.poll(ref)
    first = provider.checkpoints(ref)[0]
    chosen = replace(provider.artifacts(ref)[0], uri=first.ref)
    assert provider.deploy(chosen, name="any").model.endswith(":ckpt-step-10")


def test_a_file_that_the_vendor_refuses_costs_nothing_and_says_why(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.file_words = ("running", "error")
    with pytest.raises(ProviderError, match="was refused"):
        submitted(provider, tmp_path, service.url)
    assert service.service.jobs == {}


def test_a_file_that_never_gets_ready_ends_the_wait_without_a_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.file_words = ("pending",)
    with pytest.raises(ProviderError, match="file_wait_s"):
        submitted(provider, tmp_path, service.url, options={"file_wait_s": 0.0})
    assert service.service.jobs == {}


def test_a_job_that_was_deleted_upstream_is_not_found(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    ref = submitted(provider, tmp_path, service.url)
    service.service.jobs.clear()
    with pytest.raises(JobNotFound):
        provider.poll(ref)


def test_events_over_many_pages_come_once_and_in_order(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    ref = submitted(provider, tmp_path, service.url)
    job_id = ref.rpartition("#")[2]
    for number in range(250):
        service.service._say(job_id, f"step {number}")  # pyright: ignore[reportPrivateUsage]
    events = provider.events(ref)
    assert [one.message for one in events][-250:] == [f"step {number}" for number in range(250)]
    assert provider.events(ref, after=events[100].cursor) == events[101:]


def test_many_jobs_are_watched_for_a_few_requests(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.script = ("running",)
    plan = provider.plan(job_spec(tmp_path, service.url))
    refs = [provider.submit(plan, key="ft-1")]
    first = next(iter(service.service.jobs.values()))
    for number in range(249):
        service.service.jobs[f"ftjob-x{number}"] = {**first, "id": f"ftjob-x{number}"}
        service.service.place(f"ftjob-x{number}")
        refs.append(refs[0].replace(first["id"], f"ftjob-x{number}"))
    before = len(service.service.requests)
    states = provider.poll_many(refs)
    assert ({state.status for state in states.values()}, len(states)) == ({JobStatus.RUNNING}, 250)
    assert len(service.service.requests) - before == 3


def test_what_has_ended_or_is_gone_is_left_out_of_the_bulk(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.script = ("queued", "succeeded")
    ref = submitted(provider, tmp_path, service.url)
    provider.poll(ref)
    provider.poll(ref)
    assert provider.poll_many([ref, f"{ref}-gone"]) == {}


def test_a_watch_over_many_jobs_costs_a_page_of_the_list_for_each_hundred(
    service: stub.Running, tmp_path: Path
) -> None:
    store = stored_jobs(tmp_path, service, 120)
    watch = FineTuneJob.watch_all(home=store.home, poll_s=0.001)
    told = [next(watch) for _ in range(240)]
    paths = [one.path for one in service.service.requests]
    assert [record.status for record in told[120:]] == [JobStatus.RUNNING] * 120
    assert len([path for path in paths if path == "/fine_tuning/jobs"]) == 2
    assert not [path for path in paths if path.count("/") == 3]  # none was asked about by itself


def test_a_throttled_watch_asks_the_list_again_and_no_job_by_itself(service: stub.Running, tmp_path: Path) -> None:
    store = stored_jobs(tmp_path, service, 3)
    service.service.failures += ["throttled", "throttled"]
    watch = FineTuneJob.watch_all(home=store.home, poll_s=0.001)
    told = [next(watch) for _ in range(6)]
    assert told[-1].status is JobStatus.RUNNING
    assert {one.path for one in service.service.requests if one.path.count("/") == 3} == set()


def test_a_job_deleted_at_the_vendor_ends_its_watch_with_one_clear_error(service: stub.Running, tmp_path: Path) -> None:
    store = stored_jobs(tmp_path, service, 2)
    deleted = next(iter(service.service.jobs))
    del service.service.jobs[deleted]
    for job in service.service.jobs.values():
        job["status"] = "cancelled"
    with pytest.raises(JobNotFound, match=deleted):
        list(FineTuneJob.watch_all(home=store.home, poll_s=0.001))


def test_the_vendors_client_finds_nothing_against_the_stand_ins_answers_when_it_is_strict(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What our tests answer is what the vendor's own types say: else they would prove little."""
    strict = openai.OpenAI(
        base_url=service.url, api_key=stub.KEY, max_retries=0, _strict_response_validation=True
    )  # fmt: skip

    def strictly(_connection: Connection, _key: str, *, timeout_s: float) -> openai.OpenAI:
        return strict.with_options(timeout=timeout_s)

    monkeypatch.setattr(client, "client", strictly)
    ref = submitted(provider, tmp_path, service.url)
    states = [provider.poll(ref).status for _ in range(4)]
    assert (states[-1], len(provider.checkpoints(ref)), provider.events(ref) != []) == (JobStatus.SUCCEEDED, 2, True)


# --- uploads


def a_server(service: stub.Running, **wire: Any) -> Server:
    connection = Connection(url=service.url, wire="openai", api_key_env="OPENAI_API_KEY")
    return Server(client.client(connection, stub.KEY), replace(OPENAI, **wire), "openai")


def test_a_file_above_the_limit_goes_up_in_parts(
    service: stub.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PART_BYTES", 1000)
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"x" * 2500)
    file = a_server(service, file_bytes_max=2000).upload(path, "large.jsonl")
    parts = [one for one in service.service.requests if one.path.endswith("/parts")]
    assert (file["bytes"], file["filename"], len(parts)) == (2500, "large.jsonl", 3)


def test_a_file_at_the_limit_goes_up_in_one_piece(service: stub.Running, tmp_path: Path) -> None:
    path = tmp_path / "small.jsonl"
    path.write_bytes(b"x" * 2000)
    a_server(service, file_bytes_max=2000).upload(path, "small.jsonl")
    assert [one.path for one in service.service.requests] == ["/files"]


def test_files_of_a_name_are_found_over_many_pages(service: stub.Running, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(b"{}\n")
    ours = a_server(service).upload(path, "ours.jsonl")
    for number in range(120):
        service.service._store_file(f"other-{number}", b"", "fine-tune")  # pyright: ignore[reportPrivateUsage]
    assert [one["id"] for one in a_server(service).files_named("ours.jsonl")] == [ours["id"]]


# --- graders

GRADERS: dict[str, dict[str, Any]] = {
    "string_check": GRADER,
    "text_similarity": {"type": "text_similarity", "reference": "{{item.answer}}", "evaluation_metric": "bleu"},
    "python": {"type": "python", "source": "def grade(sample, item):\n    return 1.0\n"},
    "score_model": {
        "type": "score_model",
        "model": "gpt-4.1",
        "input": [{"role": "user", "content": "score {{sample.output_text}}"}],
    },
}


def grader(name: str) -> Grader:
    found: Grader = TypeAdapter[Grader](Grader).validate_python(GRADERS[name])
    return found


@pytest.mark.parametrize("name", GRADERS)
def test_every_grader_is_taken_by_the_contract(service: stub.Running, provider: OpenAIProvider, name: str) -> None:
    provider.validate_grader(grader(name), options={"base_url": service.url})
    assert service.service.requests[-1].path.endswith("/graders/validate")


def test_a_multi_grader_goes_out_as_a_map_of_graders_the_contract_takes(
    service: stub.Running, provider: OpenAIProvider
) -> None:
    """The published schema says one grader where every guide shows a map by name; we follow the guides."""
    parts = {name: {**one, "name": name} for name, one in GRADERS.items()}
    multi: dict[str, Any] = {
        "type": "multi", "name": "all", "graders": GRADERS, "calculate_output": "0.5 * string_check + 0.5 * python",
    }  # fmt: skip
    options: dict[str, Any] = {"base_url": service.url}
    provider.validate_grader(TypeAdapter[Grader](Grader).validate_python(multi), options=options)
    sent = service.service.requests[-1].body["grader"]
    against = [*service.service.violations]
    service.service.violations.clear()
    for part in sent["graders"].values():
        provider.validate_grader(TypeAdapter[Grader](Grader).validate_python(part), options=options)
    assert (sent["graders"].keys(), sent["calculate_output"]) == (parts.keys(), multi["calculate_output"])
    assert all("grader" in fault for fault in against)


def test_a_grader_is_run_on_a_sample(service: stub.Running, provider: OpenAIProvider) -> None:
    options: dict[str, Any] = {"base_url": service.url}
    rewards = [
        provider.run_grader(grader("string_check"), sample=sample, item={"answer": "4"}, options=options)
        for sample in ("4", "5")
    ]
    assert rewards == [1.0, 0.0]


def test_a_grader_the_vendor_refuses_is_a_mistake_in_the_spec(service: stub.Running, provider: OpenAIProvider) -> None:
    bad = grader("string_check").model_copy(update={"reference": "{{nonsense}}"})
    with pytest.raises(SpecError, match="unknown template"):
        provider.validate_grader(bad, options={"base_url": service.url})


def test_a_grader_that_fails_on_a_sample_says_how(service: stub.Running, provider: OpenAIProvider) -> None:
    bad = grader("python").model_copy(update={"source": "def grade(sample, item):\n    raise ValueError\n"})
    with pytest.raises(SpecError, match="python_grader_runtime_error"):
        provider.run_grader(bad, sample="x", item={}, options={"base_url": service.url})


# --- what can be wrong at the other end

WRONG: dict[str, tuple[Fault, type[FineTuneError], str]] = {
    "a login page": (FAULTS["page before"], ProviderError, "base_url"),
    "broken JSON": (FAULTS["nonsense after"], Unreachable, "broken or cut off"),
    "a cut answer": (FAULTS["cut"], Unreachable, "no answer"),
    "a dropped connection": (FAULTS["dropped before"], Unreachable, "no answer"),
    "a gateway's error page": (FAULTS["502 page after"], Unreachable, "web page"),
    "a server error": (FAULTS["500 before"], Unreachable, "HTTP 500"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("verb", ["poll", "events", "checkpoints", "cancel"])
def test_whatever_comes_instead_of_an_answer_is_one_clear_error(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, wrong: str, verb: str
) -> None:
    fault, error, words = WRONG[wrong]
    ref = submitted(provider, tmp_path, service.url)
    plan = Plan([fault], concerns=everything, for_ever=True)
    with proxying(service.port, plan) as port, pytest.raises(error) as caught:
        getattr(provider, verb)(ref.replace(str(service.port), str(port)))
    assert words in str(caught.value) or "something else" in str(caught.value)


def test_a_server_that_is_not_there_is_unreachable_and_nothing_was_sent(
    provider: OpenAIProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with pytest.raises(Unreachable) as caught:
        provider.poll("http://127.0.0.1:1/v1?wire=compatible#ftjob-1")
    assert caught.value.sent is False


def test_a_wrong_key_is_said_and_shown_nowhere(
    service: stub.Running,
    provider: OpenAIProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = submitted(provider, tmp_path, service.url)
    wrong = "sk-wrong-0123456789abcdefghij"
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthFailed) as caught:
        provider.poll(ref)
    shown = "".join(traceback.format_exception(caught.value)) + repr(provider) + caplog.text
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (wrong in shown, wrong.encode() in kept, stub.KEY.encode() in kept) == (False, False, False)


def test_a_server_that_repeats_the_key_in_its_error_does_not_get_it_into_the_traceback(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    ref = submitted(provider, tmp_path, service.url)
    service.service.failures.append("auth")
    with pytest.raises(AuthFailed) as caught:
        provider.poll(ref)
    assert stub.KEY not in "".join(traceback.format_exception(caught.value))


def test_running_to_paused_to_running_needs_nobody(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.script = ("running", "paused", "running", "succeeded")
    ref = submitted(provider, tmp_path, service.url)
    states = [provider.poll(ref).status for _ in range(4)]
    assert states == [JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.RUNNING, JobStatus.SUCCEEDED]


def test_a_preempted_job_is_waited_for_to_its_end(service: stub.Running, tmp_path: Path) -> None:
    service.service.script = ("running", "pausing", "paused", "paused", "queued", "running", "succeeded")
    job = FineTuneJob.submit(job_spec(tmp_path, service.url), home=tmp_path / "home")
    assert job.wait(poll_s=0.001).status is JobStatus.SUCCEEDED
