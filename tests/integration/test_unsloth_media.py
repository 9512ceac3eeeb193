"""Pictures and sounds through Unsloth's doors: its GPU classes replaced, its collator, the codec and ours real."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
import unsloth_media as tiny
from finetune_providers.unsloth.provider import UnslothProvider
from managed_envs import managed_home

from finetune_sdk.data import prepare
from finetune_sdk.errors import Unsupported
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker import locks, runner
from finetune_sdk.worker.envs import EnvStore

INSIDE = Path(__file__).parent.parent / "unsloth_media_inside.py"
WORDS = ("joy", "anger", "fear", "surprise")


def seen(i: int, folder: Path) -> dict[str, Any]:
    """By turns a `data:` URL, a file beside the data, and no picture at all; two answers each."""
    url = tiny.data_url("image/png", tiny.picture(i * 20))
    if i % 3 == 1:
        (folder / f"{i}.png").write_bytes(tiny.picture(i * 20))
        url = f"{i}.png"
    parts: list[dict[str, Any]] = [{"type": "text", "text": "a text about"}]
    if i % 3 != 2:
        parts.append({"type": "image_url", "image_url": {"url": url}})
    answer = {"role": "assistant", "content": WORDS[i % 4]}
    return {"messages": [{"role": "user", "content": parts}, answer, {"role": "user", "content": "number"}, answer]}


def heard(i: int, folder: Path) -> dict[str, Any]:
    (folder / f"{i}.wav").write_bytes(tiny.sound(200 + 20 * i))
    sound = {"type": "audio", "audio": str(folder / f"{i}.wav")}
    return {"messages": [{"role": "user", "content": [sound]}, {"role": "assistant", "content": WORDS[i % 4]}]}


def spoken(i: int, _folder: Path) -> dict[str, Any]:
    url = tiny.data_url("audio/wav", tiny.sound(200 + 20 * i, rate=24_000))
    said = {"role": "assistant", "content": [{"type": "audio_url", "audio_url": {"url": url}}]}
    return {"messages": [{"role": "user", "name": "tara", "content": WORDS[i % 4]}, said]}


ROWS = {"sees": seen, "hears": heard, "speaks": spoken}


@dataclass(frozen=True)
class Trained:
    """What a job left."""

    folder: Path
    result: dict[str, Any]
    events: list[dict[str, Any]]


def spec(folder: Path, name: str, model: str, **parts: Any) -> JobSpec:
    lines = [ROWS[name](i, folder) for i in range(8)]
    options = {"codec": "snac", "codec_model": str(folder / "codec")} if name == "speaks" else {}
    usual: dict[str, Any] = {
        "model": model,
        "adapter": {"kind": "lora", "r": 4},
        "hyperparameters": {"max_steps": 3, "save_steps": 2, "batch_size": 3, "learning_rate": 0.01},
        "data": {"validation": 0.25},
        "compute": {"threads": 1},
        "options": {"unsloth": options},
    }
    return peft_jobs.spec(peft_jobs.write(folder / f"{name}.jsonl", lines), provider="unsloth", **{**usual, **parts})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return tiny.make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, models: dict[str, str]) -> dict[str, Trained]:
    """All three, trained one after the other."""
    folder, needs = tmp_path_factory.mktemp("jobs"), UnslothProvider.environment
    assert needs is not None
    store = EnvStore(managed_home(folder / "home"))
    python = store.python("unsloth", needs.lock, wanted="managed", smoke=needs.smoke)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "gpu_seen", lambda: True)
        jobs = {name: _written(folder, spec(folder, name, models[name]), name) for name in ROWS}
    command = [str(python), str(INSIDE), str(runner.__file__), str(UnslothProvider.worker), json.dumps(tiny.CODEC)]
    done = subprocess.run(
        [*command, str(folder / "codec"), *map(str, jobs.values())],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: _read(job) for name, job in jobs.items()}


def _written(folder: Path, wanted: JobSpec, name: str) -> Path:
    """What `submit` writes, without starting a process."""
    plan = UnslothProvider(home=folder).plan(wanted)
    assert plan.errors == ()
    job = folder / "jobs" / name
    prepare(wanted.data, method="sft").write(job / "data")
    written = {"job_id": name, "attempt": 1, "worker": str(UnslothProvider.worker), "request": dict(plan.request)}
    (job / "spec.json").write_text(json.dumps(written))
    return job


def _read(job: Path) -> Trained:
    lines = (job / "events.jsonl").read_text().splitlines()
    return Trained(job, json.loads((job / "result.json").read_text()), [json.loads(line) for line in lines])


@pytest.mark.parametrize("name", ROWS)
def test_it_trains_and_validates(trained: dict[str, Trained], name: str) -> None:
    job = trained[name]
    assert (job.result["status"], job.result.get("error")) == ("succeeded", None), (
        job.folder / "worker.log"
    ).read_text()[-3000:]
    assert [event["step"] for event in job.events if "loss" in event["metrics"]] == [1, 2, 3]
    assert job.result["metrics"]["eval_loss"] > 0
    assert job.result["metrics"]["settings_changed"] == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_merged_model_that_differs_from_its_base_is_left(trained: dict[str, Trained], name: str) -> None:
    job = trained[name]
    [event] = [event for event in job.events if event["message"].startswith("merged: ")]
    assert event["metrics"]["weights_changed"] > 0
    assert {"adapter", "merged", "receipt"} <= {artifact["kind"] for artifact in job.result["artifacts"]}


def test_each_answer_of_a_conversation_with_pictures_is_learned(trained: dict[str, Trained]) -> None:
    [told] = [event for event in trained["sees"].events if event["message"].startswith("data: ")]
    assert told["metrics"]["samples"] == 12


@pytest.mark.parametrize(
    ("name", "file"), [("sees", "processor_config.json"), ("hears", "processor_config.json")], ids=["sees", "hears"]
)
def test_what_reads_pictures_or_sounds_goes_with_the_model(trained: dict[str, Trained], name: str, file: str) -> None:
    assert (Path(trained[name].result["model"]) / file).is_file()


def _planned(folder: Path, name: str, model: str, row: dict[str, Any], **parts: Any) -> Plan:
    wanted = spec(folder, name, model, **parts)
    peft_jobs.write(folder / f"{name}.jsonl", [row, ROWS[name](1, folder)] * 3)
    return UnslothProvider(home=folder).plan(wanted)


def _picture(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "joy"}]}


def _sound(*parts: dict[str, Any], said: str = "joy") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": said}]}


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "web": ("sees", _picture("https://example.com/a.png"), "nothing is fetched"),
    "missing": ("sees", _picture("nowhere.png"), "there is no file"),
    "base64": ("sees", _picture("data:image/png;base64,###"), "base64 is broken"),
    "no sound": ("hears", _sound({"type": "text", "text": "a"}), "0 sounds"),
    "no text": ("hears", _sound({"type": "audio", "audio": tiny.data_url("audio/wav", b"1")}, said=""), "its text"),
    "wrong side": ("speaks", _sound({"type": "audio", "audio": "a.wav"}), "belongs to the assistant"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_whose_picture_or_sound_cannot_be_used_is_an_error(
    tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, row, words = BAD[case]
    monkeypatch.setattr(locks, "gpu_seen", lambda: True)

    plan = _planned(tmp_path, name, models[name], row)
    assert any(words in f"{one.message} {one.fix}" for one in plan.errors), plan.errors


def test_pictures_are_still_refused_by_a_model_that_does_not_see(tmp_path: Path, models: dict[str, str]) -> None:
    url = tiny.data_url("image/png", tiny.picture(1))
    wanted = spec(tmp_path, "sees", models["speaks"])
    peft_jobs.write(tmp_path / "sees.jsonl", [_picture(url)] * 4)

    assert any(one.rule == "images" for one in UnslothProvider(home=tmp_path).plan(wanted).errors)


def test_whisper_needs_a_gpu(tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "gpu_seen", lambda: False)
    with pytest.raises(Unsupported, match="Whisper without a GPU"):
        UnslothProvider(home=tmp_path).plan(spec(tmp_path, "hears", models["hears"]))
