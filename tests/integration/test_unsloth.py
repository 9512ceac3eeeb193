"""The unsloth provider's methods and faults, with jobs that really train in Unsloth's own environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import peft_jobs
import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from managed_envs import managed_home

from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus
from finetune_sdk.worker import locks

DYING = """
import subprocess, sys, os

def main(ctx):
    print("{not json", flush=True)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (ctx.dir / "child").write_text(str(child.pid))
    os._exit(3)
"""
EXACT = {
    "type": "python",
    "name": "length",
    "source": "def grade(sample, item):\n    return len(set(sample['output_text'])) / 100\n",
}


def preference(i: int) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"Say number {i}"}]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("yes", "no, never at all"))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def unpaired(i: int) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"Say number {i}"}]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": "yes"}], "label": bool(i % 2)}


def question(i: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Say number {i}"}]}


def spec(train: Path, **parts: Any) -> JobSpec:
    usual: dict[str, Any] = {
        "provider": "unsloth",
        "compute": {"environment": "managed", "threads": 1},
        "hyperparameters": {"max_steps": 2, "save_steps": 2},
    }
    for name, value in parts.items():
        usual[name] = {**usual[name], **value} if name in usual else value
    return peft_jobs.spec(train, **usual)


def start(folder: Path, wanted: JobSpec, provider: type[UnslothProvider] = UnslothProvider) -> peft_jobs.Ran:
    made = provider(home=managed_home(folder / "home"))
    return peft_jobs.Ran(made, made.submit(made.plan(wanted), key="job"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(12))


class TestSettingsThatUnslothCannotHonour:
    """One job that asks for three of them, on a machine without a GPU."""

    CHANGED: ClassVar[dict[str, tuple[Any, Any]]] = {
        "adapter.quantize": ("8bit", "none"),
        "hyperparameters.optimizer": ("adamw_8bit", "adamw_torch_fused"),
        "hyperparameters.packing": (True, False),
    }

    @pytest.fixture(scope="class")
    @classmethod
    def job(cls, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> peft_jobs.Ran:
        wanted = spec(
            rows,
            adapter={"kind": "lora", "quantize": "8bit"},
            hyperparameters={"optimizer": "adamw_8bit", "packing": True},
            compute={"device": "cpu"},
        )
        ran = start(tmp_path_factory.mktemp("changed"), wanted)
        ran.end()
        return ran

    def test_each_is_a_warning(self, job: peft_jobs.Ran) -> None:
        assert job.state.status is JobStatus.SUCCEEDED, job.state.error
        warnings = [event.message for event in job.provider.events(job.ref) if event.level == "warning"]
        assert warnings == [
            f"{name}: {got} instead of {asked}: Unsloth cannot do it here"
            for name, (asked, got) in self.CHANGED.items()
        ]

    def test_they_are_counted_in_the_result(self, job: peft_jobs.Ran) -> None:
        assert job.state.metrics["settings_changed"] == 3

    def test_they_stand_in_the_receipt(self, job: peft_jobs.Ran) -> None:
        receipt = json.loads((job.folder / "artifacts" / "receipt.json").read_text())
        changed = receipt["settings"]["requested_but_changed"]
        assert {name: (one["requested"], one["effective"]) for name, one in changed.items()} == self.CHANGED

    def test_only_answers_carry_loss(self, job: peft_jobs.Ran) -> None:
        [told] = [message for message in job.messages if message.startswith("data: ")]
        _, tokens, learned = (int(word) for word in told.replace(",", "").split() if word.isdigit())
        assert 0 < learned < tokens / 4

    def test_the_merged_model_differs_from_the_base(self, job: peft_jobs.Ran) -> None:
        [event] = [event for event in job.provider.events(job.ref) if event.message.startswith("merged: ")]
        assert event.metrics["weights_changed"] > 0
        assert {artifact.kind for artifact in job.provider.artifacts(job.ref)} >= {"adapter", "merged", "receipt"}


@pytest.mark.parametrize(
    ("method", "make"),
    [
        ({"kind": "dpo"}, preference),
        ({"kind": "kto"}, unpaired),
        ({"kind": "orpo"}, preference),
        ({"kind": "rft", "grader": EXACT, "samples_per_prompt": 2, "max_completion_tokens": 4}, question),
    ],
    ids=["dpo", "kto", "orpo", "rft"],
)
def test_the_method_trains_and_leaves_another_model(tmp_path: Path, method: dict[str, Any], make: Any) -> None:
    train = peft_jobs.write(tmp_path / "train.jsonl", [make(i) for i in range(8)])
    job = start(tmp_path, spec(train, method=method))
    state = job.end()
    assert state.status is JobStatus.SUCCEEDED, state.error
    assert any(message.startswith("merged: ") for message in job.messages)


def test_a_job_cancelled_while_unsloth_is_imported_ends_without_training(tmp_path: Path, rows: Path) -> None:
    job = start(tmp_path, spec(rows))
    job.provider.cancel(job.ref)
    assert job.end().status is JobStatus.CANCELLED
    assert job.losses == {}


def test_a_model_that_the_vendor_rejects_fails_with_its_reason(tmp_path: Path, rows: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "nosuchkind"}')
    (folder / "tokenizer.json").write_text("{}")
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    options = {"unsloth": {"chat_template": "{{ messages }}"}}
    state = start(tmp_path, spec(rows, model=str(folder), options=options)).end()
    assert state.status is JobStatus.FAILED
    assert str(folder) in (state.error or "")


def test_a_worker_that_prints_junk_leaves_a_child_and_dies_before_its_first_event(tmp_path: Path, rows: Path) -> None:
    (tmp_path / "worker.py").write_text(DYING)

    class Dying(UnslothProvider):
        worker: ClassVar[Path] = tmp_path / "worker.py"

    job = start(tmp_path, spec(rows), Dying)
    state = job.end()
    assert state.status is JobStatus.FAILED
    assert "3" in (state.error or "")
    assert not _runs(int((job.folder / "child").read_text()))


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in (Path("/proc") / str(pid) / "status").read_text()
    except FileNotFoundError:
        return False


def test_vision_models_are_refused_without_a_gpu(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "gpu_seen", lambda: False)
    wanted = spec(rows, options={"unsloth": {"model_class": "vision"}})
    with pytest.raises(Unsupported, match="CPU backend loads text models only"):
        UnslothProvider(home=tmp_path).plan(wanted)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"options": {"unsloth": {"gguf": ["q8_0"]}}}, "needs options.unsloth.llama_cpp"),
        ({"options": {"unsloth": {"gguff": []}}}, "Did you mean 'gguf'"),
        ({"options": {"unsloth": {"llama_cpp": "/no/such/folder"}}}, "there is no folder"),
        ({"adapter": {"kind": "lora", "init": "pissa"}}, "pissa"),
        ({"compute": {"processes": 2}}, "processes"),
    ],
    ids=["gguf", "misspelt", "llama.cpp", "pissa", "processes"],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    tmp_path: Path, rows: Path, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises((SpecError, Unsupported), match=words):
        UnslothProvider(home=tmp_path).plan(spec(rows, **parts))
    assert not (tmp_path / "jobs").exists()
