"""The gateway judged by others' tools: Prism, openai-python in strict mode, openai-node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

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
    with kit.process(home, "--provider", "peft", "--api-key-file", str(file)) as found:
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


def test_azures_client_reads_the_same_job(served: Gateway, tuned: str) -> None:
    with AzureOpenAI(azure_endpoint=served.url, api_key=KEY, api_version="2024-10-21", max_retries=0) as client:
        jobs = client.fine_tuning.jobs.list()

    assert tuned in [job.fine_tuned_model for job in jobs]


@pytest.mark.parametrize("_needed", [pytest.param(None, marks=NEEDED, id="prism")])
def test_prism_finds_no_violation_in_a_whole_flow(served: Gateway, tuned: str, train: Path, _needed: None) -> None:
    messages: Any = [{"role": "user", "content": "I smile"}]
    grader: Any = {
        "type": "string_check", "name": "g", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq",
    }  # fmt: skip
    with (
        prism("gateway", before=f"{served.url}/v1") as port,
        OpenAI(base_url=f"http://127.0.0.1:{port}", api_key=KEY, max_retries=0) as client,
    ):
        with train.open("rb") as rows:
            file = client.files.create(file=rows, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            model="builtin/tiny", training_file=file.id, suffix="prism", metadata={"a": "b"}, seed=2, method=METHOD
        )
        kit.until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running")
        cancelled = client.fine_tuning.jobs.cancel(job.id)
        kit.until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "cancelled")
        client.fine_tuning.jobs.list(metadata={"a": "b"})
        client.fine_tuning.jobs.list_events(job.id)
        client.fine_tuning.jobs.checkpoints.list(job.id)
        client.files.list()
        client.files.retrieve(file.id)
        client.models.list()
        client.fine_tuning.alpha.graders.validate(grader=grader)
        client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
        upload = client.uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=2, mime_type="text/jsonl")
        client.uploads.cancel(upload.id)
        answer = client.chat.completions.create(model=tuned, messages=messages, max_tokens=4)
        deleted = client.files.delete(file.id)

    assert cancelled.status in ("cancelled", "running")
    assert answer.model == tuned
    assert deleted.deleted


@NODE
def test_openai_node_goes_from_upload_to_chat(served: Gateway, train: Path) -> None:
    script = Path(__file__).parents[1] / "gateway_node.mjs"
    command = ["node", str(script), str(MODULES), f"{served.url}/v1", KEY, str(train)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=kit.PATIENCE_S * 2, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "succeeded"
    assert told["streamed"] > 0
