"""The gateway judged by others' tools: Prism, openai-python in strict mode, openai-node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import gateway_kit as kit
import peft_jobs
import pytest
from gateway_kit import KEY, Gateway
from openai import AzureOpenAI, OpenAI
from wire.prism import NEEDED, PROGRAM, prism

MODULES = PROGRAM.parents[3]
NODE = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "openai").exists(), reason="openai-node is not installed"
)
Test = TypeVar("Test", bound=Callable[..., None])
METHOD: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(12))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """The command, with a key, training for real on the tiny model."""
    home = tmp_path_factory.mktemp("home")
    file = home / "keys"
    file.write_text(KEY)
    file.chmod(0o600)
    config = home / "gateway.yaml"
    rft = "backends: {peft: {method: {rft: {samples_per_prompt: 2, max_completion_tokens: 4}}}}"
    config.write_text(f"{rft}\npython_graders: true\n")
    with kit.process(home, "--config", str(config), "--api-key-file", str(file)) as found:
        yield found
        for model in found.client.get("/models").json()["data"]:
            found.client.delete(f"/models/{model['id']}")  # ends what serves it


@pytest.fixture(scope="module")
def tuned(served: Gateway, train: Path) -> Generator[str]:
    """A model tuned through openai-python in strict mode: an answer that is not of its shape is an error there."""
    with OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        with train.open("rb") as rows:
            file = client.files.create(file=rows, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model="builtin/tiny", training_file=file.id, seed=1, method=METHOD)
        served.until(job.id, "succeeded", "failed")
        job = client.fine_tuning.jobs.retrieve(job.id)
        assert job.fine_tuned_model is not None, job.error
        assert client.fine_tuning.jobs.list(limit=5).data[0].id == job.id
        assert client.fine_tuning.jobs.list_events(job.id).data
        assert client.fine_tuning.jobs.checkpoints.list(job.id).data
        assert client.files.content(job.result_files[0]).text.startswith("step,")
        assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
        yield job.fine_tuned_model


def test_a_tuned_model_chats_in_the_shape_that_openai_python_checks(served: Gateway, tuned: str) -> None:
    messages: Any = [{"role": "user", "content": "I smile about number 0"}]
    with OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True) as client:
        whole = client.chat.completions.create(model=tuned, messages=messages, max_tokens=6)
        pieces = list(client.chat.completions.create(model=tuned, messages=messages, max_tokens=6, stream=True))
        base = client.chat.completions.create(model="builtin/tiny", messages=messages, max_tokens=6)

    assert (whole.model, base.model) == (tuned, "builtin/tiny")
    assert {piece.model for piece in pieces} == {tuned}


def test_what_was_left_open_is_said_once_it_is_known(served: Gateway, train: Path) -> None:
    with train.open("rb") as rows:
        file = served.client.post("/files", files={"file": rows}, data={"purpose": "fine-tune"}).json()["id"]
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    job = served.until(served.create(file, seed=8, method=method)["id"], "succeeded", "failed")

    assert job["hyperparameters"]["n_epochs"] == 1
    assert isinstance(job["hyperparameters"]["batch_size"], int)
    assert job["hyperparameters"]["learning_rate_multiplier"] == 1
    assert job["method"]["supervised"]["hyperparameters"] == job["hyperparameters"]
    assert job["trained_tokens"] > 0


def test_azures_client_reads_the_same_job(served: Gateway, tuned: str) -> None:
    with AzureOpenAI(azure_endpoint=served.url, api_key=KEY, api_version="2024-10-21", max_retries=0) as client:
        jobs = client.fine_tuning.jobs.list()

    assert tuned in [job.fine_tuned_model for job in jobs]


@pytest.fixture(scope="module")
def watched(served: Gateway) -> Generator[OpenAI]:
    """A client whose every request and answer Prism holds against the contract: a violation is an error."""
    with (
        prism("gateway", before=f"{served.url}/v1") as port,
        OpenAI(base_url=f"http://127.0.0.1:{port}", api_key=KEY, max_retries=0) as client,
    ):
        yield client


def by_prism(test: Test) -> Test:
    """A test that needs Prism."""
    for mark in NEEDED:
        test = mark(test)
    return test


def _until(client: OpenAI, job: str, *statuses: str) -> Any:
    kit.until(lambda: client.fine_tuning.jobs.retrieve(job).status in statuses)
    return client.fine_tuning.jobs.retrieve(job)


def _uploaded(client: OpenAI, path: Path) -> str:
    with path.open("rb") as rows:
        return client.files.create(file=rows, purpose="fine-tune").id


@by_prism
def test_prism_finds_no_violation_in_a_whole_flow(watched: OpenAI, tuned: str, train: Path) -> None:
    client = watched
    messages: Any = [{"role": "user", "content": "I smile"}]
    grader: Any = {
        "type": "string_check", "name": "g", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq",
    }  # fmt: skip
    file = _uploaded(client, train)
    job = client.fine_tuning.jobs.create(
        model="builtin/tiny", training_file=file, suffix="prism", metadata={"a": "b"}, seed=2, method=METHOD
    )
    _until(client, job.id, "running")
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    _until(client, job.id, "cancelled")
    client.fine_tuning.jobs.list(metadata={"a": "b"})
    client.fine_tuning.jobs.list_events(job.id)
    client.fine_tuning.jobs.checkpoints.list(job.id)
    client.files.list()
    client.files.retrieve(file)
    client.models.list()
    client.models.retrieve(tuned)
    client.fine_tuning.alpha.graders.validate(grader=grader)
    client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
    answer = client.chat.completions.create(model=tuned, messages=messages, max_tokens=4)
    deleted = client.files.delete(file)

    assert cancelled.status in ("cancelled", "running")
    assert answer.model == tuned
    assert deleted.deleted


@by_prism
def test_prism_finds_no_violation_in_a_pause(watched: OpenAI, train: Path) -> None:
    jobs = watched.fine_tuning.jobs
    long: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}}
    job = jobs.create(model="builtin/tiny", training_file=_uploaded(watched, train), seed=3, method=long).id
    _until(watched, job, "running")
    paused = jobs.pause(job)
    _until(watched, job, "paused")
    resumed = jobs.resume(job)
    _until(watched, job, "running", "succeeded")
    if jobs.retrieve(job).status == "running":
        jobs.cancel(job)
    ended = _until(watched, job, "cancelled", "succeeded")

    assert paused.status in ("pausing", "paused")
    assert resumed.status in ("queued", "running")
    assert ended.error is None or ended.error.code is None


@by_prism
def test_prism_finds_no_violation_in_an_upload_in_parts(watched: OpenAI, train: Path) -> None:
    content = train.read_bytes()
    uploads = watched.uploads
    made = uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=len(content), mime_type="text/jsonl")
    parts = [uploads.parts.create(made.id, data=half).id for half in (content[:100], content[100:])]
    done = uploads.complete(made.id, part_ids=parts)
    dropped = uploads.create(filename="b.jsonl", purpose="fine-tune", bytes=2, mime_type="text/jsonl")

    assert done.file is not None
    assert done.file.bytes == len(content)
    assert uploads.cancel(dropped.id).status == "cancelled"


@by_prism
def test_prism_finds_no_violation_in_preference_tuning(watched: OpenAI, tmp_path: Path) -> None:
    def said(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    pairs = [
        {
            "input": {"messages": [said("user", f"number {i}")]},
            "preferred_output": [said("assistant", "joy")],
            "non_preferred_output": [said("assistant", "anger")],
        }
        for i in range(12)
    ]
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 4, "beta": 0.2}}}
    file = _uploaded(watched, peft_jobs.write(tmp_path / "pairs.jsonl", pairs))
    job = watched.fine_tuning.jobs.create(model="builtin/tiny", training_file=file, method=method, seed=4)
    done = _until(watched, job.id, "succeeded", "failed")

    assert done.status == "succeeded", done.error
    assert done.method.dpo.hyperparameters.beta == 0.2


@by_prism
def test_prism_finds_no_violation_in_reinforcement_tuning(watched: OpenAI, tmp_path: Path) -> None:
    asked = [{"messages": [{"role": "user", "content": f"number {i}"}], "answer": "joy"} for i in range(8)]
    source = "def grade(sample, item):\n    return float(len(set(sample['output_text']) & set(item['answer'])))\n"
    grader = {"type": "python", "name": "near", "source": source}
    knobs = {"n_epochs": 1, "batch_size": 4}
    method: Any = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": knobs}}
    file = _uploaded(watched, peft_jobs.write(tmp_path / "asked.jsonl", asked))
    job = watched.fine_tuning.jobs.create(model="builtin/tiny", training_file=file, method=method, seed=5)
    done = _until(watched, job.id, "succeeded", "failed")

    assert done.status == "succeeded", done.error
    assert done.method.reinforcement.grader.name == "near"


@NODE
def test_openai_node_goes_from_upload_to_chat(served: Gateway, train: Path) -> None:
    script = Path(__file__).parents[1] / "gateway_node.mjs"
    command = ["node", str(script), str(MODULES), f"{served.url}/v1", KEY, str(train)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=kit.PATIENCE_S * 2, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "succeeded"
    assert told["streamed"] > 0
