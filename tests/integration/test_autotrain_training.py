"""AutoTrain really trains every task the provider offers, a few steps each, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autotrain_models as tiny
import pytest
from finetune_providers.autotrain.provider import LOCK, SMOKE, WORKER, AutoTrainProvider
from managed_envs import managed_home

from finetune_sdk.data import prepare
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker import runner
from finetune_sdk.worker.envs import EnvStore

INSIDE = Path(__file__).parent.parent / "autotrain_inside.py"
SECRET = "hf_" + "s" * 34
KNOBS = {"max_steps": 2, "batch_size": 4, "gradient_accumulation": 1, "log_steps": 1, "learning_rate": 0.01}
TASKS: dict[str, dict[str, Any]] = {
    "llm-sft": {"model": "causal", "rows": tiny.chats(), "evaluation": {"max_new_tokens": 2}},
    "llm-generic": {"model": "causal", "rows": tiny.chats(14), "adapter": "full", "task": "llm-generic"},
    "llm-dpo": {"model": "causal", "rows": tiny.pairs(), "method": "dpo"},
    "llm-orpo": {"model": "causal", "rows": tiny.pairs(), "method": "orpo"},
    "llm-reward": {"model": "causal", "rows": tiny.pairs(), "method": "reward"},
    "text-classification": {"model": "encoder", "rows": tiny.labelled(), "method": "classification", "evaluation": {}},
    "text-regression": {
        "model": "encoder", "rows": tiny.numbers(), "method": "classification", "task": "text-regression",
    },
    "token-classification": {
        "model": "encoder", "rows": tiny.tagged(), "method": "classification", "task": "token-classification",
    },
    "st:pair": {"model": "encoder", "rows": tiny.embeddings(), "task": "st:pair"},
    "st:qa": {"model": "encoder", "rows": tiny.embeddings(), "task": "st:qa"},
    "st:triplet": {"model": "encoder", "rows": tiny.triplets(), "task": "st:triplet"},
    "st:pair_class": {"model": "encoder", "rows": tiny.judged(("no", "yes")), "task": "st:pair_class"},
    "st:pair_score": {"model": "encoder", "rows": tiny.judged((0.0, 0.5, 1.0)), "task": "st:pair_score"},
    "seq2seq": {"model": "seq2seq", "rows": tiny.translations(), "adapter": "full", "task": "seq2seq"},
    "llm-sft zephyr": {"model": "causal", "rows": tiny.chats(), "options": {"chat_template": "zephyr"}},
    "llm-sft chatml": {"model": "causal", "rows": tiny.chats(), "options": {"chat_template": "chatml"}},
    "llm-sft none": {
        "model": "causal", "rows": tiny.plain(), "options": {"chat_template": "none"},
        "evaluation": {"max_new_tokens": 2},
    },
}  # fmt: skip
LORA = ("llm-sft", "llm-dpo", "llm-orpo", "llm-reward")
FULL = sorted(name for name in TASKS if not name.startswith(LORA))


@dataclass(frozen=True)
class Trained:
    """What a job left."""

    folder: Path
    result: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def messages(self) -> list[str]:
        return [event["message"] for event in self.events]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = managed_home(tmp_path_factory.mktemp("home"))
    return EnvStore(home).python("autotrain", LOCK, wanted="managed", smoke=SMOKE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, python: Path) -> dict[str, Trained]:
    """All tasks, trained one after the other."""
    folder = tmp_path_factory.mktemp("jobs")
    models = tiny.make(folder / "models")
    provider = AutoTrainProvider(home=folder)
    jobs = {name: _written(provider, folder, name, models) for name in TASKS}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_TOKEN": SECRET}
    command = [str(python), str(INSIDE), str(runner.__file__), str(WORKER), *map(str, jobs.values())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: _read(job) for name, job in jobs.items()}


def _written(provider: AutoTrainProvider, folder: Path, name: str, models: dict[str, str]) -> Path:
    """What `submit` writes, without starting a process."""
    row = TASKS[name]
    plain = name.replace(":", "-").replace(" ", "-")
    train = tiny.rows(folder / f"{plain}.jsonl", row["rows"])
    whole: dict[str, Any] = {
        "provider": "autotrain",
        "model": models[row["model"]],
        "data": {"train": train, "validation": 0.2},
        "hyperparameters": KNOBS,
        "seed": 3,
        "options": {"autotrain": {**row.get("options", {}), **({"task": row["task"]} if "task" in row else {})}},
        **{key: row[key] for key in ("method", "adapter", "evaluation") if key in row},
    }
    plan = provider.plan(JobSpec.model_validate(whole))
    assert plan.errors == ()
    job = folder / "jobs" / plain
    prepare(JobSpec.model_validate(whole).data, method=str(plan.request["data_method"])).write(job / "data")
    spec = {"protocol": 1, "job_id": name, "attempt": 1, "worker": str(WORKER), "request": dict(plan.request)}
    (job / "spec.json").write_text(json.dumps(spec))
    return job


def _read(job: Path) -> Trained:
    lines = (job / "events.jsonl").read_text().splitlines()
    return Trained(job, json.loads((job / "result.json").read_text()), [json.loads(line) for line in lines])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains(trained: dict[str, Trained], task: str) -> None:
    job = trained[task]
    assert (job.result["status"], job.result.get("error")) == ("succeeded", None), (
        job.folder / "worker.log"
    ).read_text()


@pytest.mark.parametrize("task", TASKS)
def test_every_step_is_reported_with_its_number(trained: dict[str, Trained], task: str) -> None:
    steps = [event["step"] for event in trained[task].events if "loss" in event["metrics"]]
    assert steps == [1, 2]


@pytest.mark.parametrize("task", TASKS)
def test_the_model_lies_where_the_result_says(trained: dict[str, Trained], task: str) -> None:
    model = Path(trained[task].result["model"])
    name = "model.safetensors" if task in FULL else "adapter_model.safetensors"
    assert (model / name).is_file()
    assert not [item for item in model.iterdir() if item.is_dir() and item.name.startswith(("autotrain", "checkpoint"))]


@pytest.mark.parametrize("task", TASKS)
def test_no_file_of_a_job_holds_a_secret(trained: dict[str, Trained], task: str) -> None:
    files = [item for item in trained[task].folder.rglob("*") if item.is_file()]
    assert (Path(trained[task].result["model"]) / "training_params.json") in files
    assert [item.name for item in files if SECRET.encode() in item.read_bytes()] == []


@pytest.mark.parametrize("task", TASKS)
def test_validation_rows_are_evaluated(trained: dict[str, Trained], task: str) -> None:
    assert trained[task].result["metrics"]["eval_loss"] > 0


@pytest.mark.parametrize("task", ["llm-sft", "text-classification"])
def test_base_and_tuned_model_are_asked_the_held_out_rows(trained: dict[str, Trained], task: str) -> None:
    lines = (trained[task].folder / "artifacts" / "predictions.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert found
    assert all(isinstance(line[side], str) for line in found for side in ("base", "tuned", "expected"))


def test_the_seed_and_the_rate_reach_the_trainer(trained: dict[str, Trained]) -> None:
    receipt = json.loads((trained["llm-sft"].folder / "artifacts" / "receipt.json").read_text())
    assert (receipt["parameters"]["lr"], receipt["parameters"]["seed"], receipt["seed"]) == (0.01, 3, 3)


def test_a_short_dataset_fills_a_shorter_block_instead_of_none(trained: dict[str, Trained]) -> None:
    """AutoTrain throws away what does not fill a block."""
    assert any("the rows have no more tokens" in message for message in trained["llm-generic"].messages)


def test_classes_keep_their_names(trained: dict[str, Trained]) -> None:
    config = json.loads((Path(trained["text-classification"].result["model"]) / "config.json").read_text())
    assert config["id2label"] == {"0": "anger", "1": "fear", "2": "joy"}


def test_the_rotary_base_of_a_newer_model_survives(trained: dict[str, Trained]) -> None:
    """transformers 4.48 would take 10,000 where 5 writes it elsewhere."""
    config = json.loads((Path(trained["llm-generic"].result["model"]) / "config.json").read_text())
    assert config["rope_theta"] == 5e5


def test_the_chat_template_of_a_newer_model_survives(trained: dict[str, Trained]) -> None:
    """transformers 4.48 does not read it where 5 writes it, and AutoTrain would put another in its place."""
    config = json.loads((Path(trained["llm-sft"].result["model"]) / "tokenizer_config.json").read_text())
    assert config["chat_template"] == tiny.TEMPLATE


@pytest.mark.parametrize(("name", "mark"), [("zephyr", "<|user|>"), ("chatml", "<|im_start|>")])
def test_the_chat_template_that_was_named_goes_with_the_model(
    trained: dict[str, Trained], name: str, mark: str
) -> None:
    config = json.loads((Path(trained[f"llm-sft {name}"].result["model"]) / "tokenizer_config.json").read_text())
    assert config["chat_template"] != tiny.TEMPLATE
    assert mark in config["chat_template"]


def test_texts_taken_as_they_are_are_also_asked_as_they_are(trained: dict[str, Trained]) -> None:
    lines = (trained["llm-sft none"].folder / "artifacts" / "predictions.jsonl").read_text().splitlines()
    assert all(json.loads(line)["tuned"] is not None for line in lines)
    assert lines


def test_without_a_template_prompt_and_answer_are_one_text() -> None:
    chat = runner.load(WORKER / "chat.py", "autotrain_chat")
    row = {"messages": [{"role": "user", "content": "Say it. "}, {"role": "assistant", "content": "It."}]}
    assert chat.conversation(None, row) == "Say it. It."
    assert chat.split(None, row["messages"][:1], row["messages"][1:]) == ("Say it. ", "It.")
