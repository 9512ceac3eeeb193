"""What Unsloth does on a GPU only: its classes are called rightly, and what we put around them trains."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import peft_jobs
import pytest
from finetune_providers.peft.provider import PeftProvider
from finetune_providers.unsloth.provider import UnslothProvider
from managed_envs import managed_home

from finetune_sdk.provider import Environment
from finetune_sdk.types import JobStatus
from finetune_sdk.worker import locks
from finetune_sdk.worker.envs import EnvStore

TESTS = Path(__file__).resolve().parents[1]
TICKETS = {"billing": "I was charged twice, number", "login": "The password is refused, number"}


class StandIn(UnslothProvider):
    """The provider, with another loader behind the classifier's door, in this interpreter."""

    worker: ClassVar[Path] = TESTS / "unsloth_stand_in.py"
    environment: ClassVar[Environment | None] = PeftProvider.environment


def test_every_call_fits_the_signatures_of_the_classes_for_gpus(tmp_path: Path) -> None:
    needs = UnslothProvider.environment
    assert needs is not None
    python = EnvStore(managed_home(tmp_path / "home")).python(
        "unsloth", needs.lock, wanted="managed", smoke=needs.smoke
    )
    spoofed = {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_AUTO_INSTALL": "0", "UNSLOTH_SKIP_TORCHVISION_CHECK": "1"}
    command = [str(python), "-I", str(TESTS / "unsloth_inside.py"), str(UnslothProvider.worker)]
    done = subprocess.run(
        command, env=os.environ | spoofed, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["device"] == "cuda"
    assert {call: complaint for call, complaint in told["calls"].items() if complaint is not None} == {}


@pytest.mark.parametrize("adapter", [{"kind": "lora", "r": 4}, {"kind": "full"}], ids=["lora", "full"])
def test_a_classifier_trains_through_its_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: dict[str, Any]
) -> None:
    monkeypatch.setattr(locks, "gpu_seen", lambda: True)
    rows = [{"text": f"{text} {i}", "label": label} for i in range(12) for label, text in TICKETS.items()]
    spec = peft_jobs.spec(
        peft_jobs.write(tmp_path / "train.jsonl", rows),
        provider="unsloth",
        method={"kind": "classification"},
        adapter=adapter,
        data={"validation": 0.25},
        hyperparameters={"max_steps": 12, "learning_rate": 0.01},
        evaluation={"metrics": ["accuracy"]},
        compute={"environment": "current", "threads": 1},
    )
    provider = StandIn(home=tmp_path / "home")
    job = peft_jobs.Ran(provider, provider.submit(provider.plan(spec), key="job"))

    state = job.end()
    assert state.status is JobStatus.SUCCEEDED, state.error
    assert job.exact("tuned") == 1.0
