"""What the autotrain worker reads is what the peft worker reads; and its table of parameters is AutoTrain's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.autotrain.parameters import fields
from finetune_providers.autotrain.provider import LOCK, SMOKE, WORKER
from finetune_providers.autotrain.tasks import TASKS
from managed_envs import managed_home
from peft_worker import module

from finetune_sdk.worker import runner
from finetune_sdk.worker.envs import EnvStore

ANSWERS = Path(__file__).parent.parent / "autotrain_answers.py"
ASK = {"role": "user", "content": "How old is the tower?"}
ANSWER = {"role": "assistant", "content": "Ninety years.\n"}
ROWS: list[dict[str, Any]] = [
    {"kind": "chat", "messages": [ASK, ANSWER]},
    {"kind": "chat", "messages": [{"role": "system", "content": "Be brief — naïve, 日本語, 🙂."}, ASK, ANSWER]},
    {"kind": "chat", "messages": [ASK, ANSWER, {"role": "user", "content": "And the bridge?"}, ANSWER]},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return module("builtin")._tokenizer([json.dumps(row, ensure_ascii=False) for row in ROWS])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save_pretrained(folder)
    python = EnvStore(managed_home(folder / "home")).python("autotrain", LOCK, wanted="managed", smoke=SMOKE)
    done = subprocess.run(
        [str(python), str(ANSWERS), str(runner.__file__), str(WORKER), str(folder)],
        input="".join(json.dumps(row) + "\n" for row in ROWS),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_both_workers_read_the_same_tokens(answers: dict[str, Any], tokenizer: Any, number: int) -> None:
    encoder = module("rows").Encoder(
        tokenizer, train_on="assistant", max_length=512, findings=module("findings").Findings()
    )
    [sample] = encoder.encode(ROWS[number])
    assert answers["ids"][number] == list(sample.ids)


@pytest.mark.parametrize("task", TASKS)
def test_the_table_of_parameters_is_autotrains(answers: dict[str, Any], task: str) -> None:
    assert sorted(fields(TASKS[task].parameters)) == answers["fields"][task]
