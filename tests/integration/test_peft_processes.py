"""Several processes, several disks: data-parallel training, a full disk, models that are not whole, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft_inside
import peft_jobs
import peft_models
import pytest
import toy_data
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.types import JobStatus

inside = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
METHODS: dict[str, list[dict[str, Any]]] = {
    "sft": list(toy_data.chats(64)),
    "dpo": list(toy_data.pairs(64)),
    "kto": list(toy_data.judged(64)),
}


def _tensors(folder: Path) -> dict[str, Any]:
    return peft_models.tensors(folder / "artifacts" / "adapter" / "adapter_model.safetensors")


@inside
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_end_at_the_weights_of_one(method: str, tmp_path: Path) -> None:
    shared: dict[str, Any] = {"method": method, "data": {"validation": 0.25}}
    knobs = {"max_steps": 6, "log_steps": 1, "learning_rate": 1e-3}
    rows = METHODS[method]
    one, _ = peft_inside.train(tmp_path / "one", rows, **shared, hyperparameters={**knobs, "batch_size": 8})
    two = peft_jobs.run(
        tmp_path / "two",
        peft_inside.spec(
            tmp_path / "two",
            rows,
            **shared,
            compute={"processes": 2},
            hyperparameters={**knobs, "batch_size": 4},
        ),
    )

    assert two.state.status is JobStatus.SUCCEEDED, two.state.error
    ours, theirs = _tensors(one.dir), _tensors(two.folder)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 2e-5


@inside
def test_fewer_processes_than_asked_for_are_noticed(tmp_path: Path) -> None:
    wanted = peft_inside.spec(tmp_path, toy_data.chats(8), compute={"processes": 2})

    with pytest.raises(peft_inside.Failed, match=r"compute\.processes is 2, but 1 process\(es\) run"):
        peft_inside.run(peft_inside.context(tmp_path, wanted))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_during_a_checkpoint_is_named_and_the_job_resumes_once_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    train = peft_jobs.write(tmp_path / "train.jsonl", METHODS["sft"])
    wanted = peft_jobs.spec(
        train,
        hyperparameters={"max_steps": 12, "save_steps": 4, "log_steps": 1, "batch_size": 4},
        options={"peft": {"merge": False}},
    )
    filler = small_disk / "filler"
    with filler.open("wb") as file:  # leave room for the model (1.7 MB) and one checkpoint (2 MB), but not for two
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small_disk).free - 4_800_000)
    job = peft_jobs.submit(small_disk, wanted)
    ended = job.end()

    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert "could not be written" in ended.error or "No space left" in ended.error
    filler.unlink()
    job.provider.resume(job.ref)
    assert job.end().status is JobStatus.SUCCEEDED, job.state.error
    assert any("resuming from checkpoint-" in message for message in job.messages)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder, made by a job of two steps."""
    home = tmp_path_factory.mktemp("home")
    job = peft_jobs.run(
        home,
        peft_jobs.spec(
            peft_jobs.write(home / "train.jsonl", METHODS["sft"]), adapter="full", hyperparameters={"max_steps": 1}
        ),
    )
    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    return job.folder / "artifacts" / "model"


def _without(base: Path, folder: Path, *patterns: str) -> Path:
    """A copy of the model that lacks some files."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(*patterns))
    return folder


def test_a_model_without_tokenizer_is_refused_at_plan(base: Path, tmp_path: Path) -> None:
    model = _without(base, tmp_path / "model", "tokenizer*", "chat_template*", "special_tokens*")
    wanted = peft_inside.spec(tmp_path, METHODS["sft"], model=str(model))

    with pytest.raises(SpecError, match="has no tokenizer"):
        PeftProvider(home=tmp_path).plan(wanted)


def _without_template(base: Path, folder: Path) -> Path:
    model = _without(base, folder, "chat_template*")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    return model


def test_conversations_for_a_model_without_chat_template_are_refused_at_plan(base: Path, tmp_path: Path) -> None:
    model = _without_template(base, tmp_path / "model")
    wanted = peft_inside.spec(tmp_path, METHODS["dpo"], model=str(model), method="dpo")

    with pytest.raises(SpecError, match="no chat template"):
        PeftProvider(home=tmp_path).plan(wanted)


@inside
@pytest.mark.parametrize("method", ["classification", "rft"])
def test_what_needs_no_chat_template_trains_without_one(method: str, base: Path, tmp_path: Path) -> None:
    model = _without_template(base, tmp_path / "model")
    parts: dict[str, Any] = {"method": "classification"}
    rows: list[dict[str, Any]] = list(toy_data.labelled(16))
    if method == "rft":
        grader = {"type": "string_check", "operation": "ilike", "reference": "{{item.wanted}}"}
        parts = {"method": {"kind": "rft", "grader": grader, "max_completion_tokens": 2, "samples_per_prompt": 2}}
        rows = [{"prompt": f"sing {i}", "wanted": "a"} for i in range(8)]
    _, result = peft_inside.train(tmp_path, rows, model=str(model), hyperparameters={"max_steps": 1}, **parts)

    assert Path(result["model"]).is_dir()


@inside
def test_an_unknown_hub_model_without_network_fails_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wanted = peft_inside.spec(
        tmp_path,
        METHODS["sft"],
        model="nobody/no-such-model",
        options={"peft": {"local_files_only": True}},
    )

    with pytest.raises(peft_inside.Failed, match=r"'nobody/no-such-model': it is neither a folder here nor reachable"):
        peft_inside.run(peft_inside.context(tmp_path, wanted))


def _finds_nothing(_name: str) -> None:
    """Stands in for `importlib.util.find_spec` where nothing is installed."""


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_with_the_command(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _finds_nothing)
    wanted = peft_inside.spec(tmp_path, METHODS["sft"], report_to=[tracker])

    with pytest.raises(Unsupported, match=f"pip install {tracker}"):
        PeftProvider(home=tmp_path).plan(wanted)


@inside
def test_tensorboard_logs_are_always_written(tmp_path: Path) -> None:
    ctx, _ = peft_inside.train(tmp_path, METHODS["sft"], hyperparameters={"max_steps": 1})

    assert list((ctx.dir / "tensorboard").rglob("events.out.tfevents.*"))
