"""From upload to chat against @copilotkit/aimock, a third party's stateful emulator, through the real command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import yaml
from wire.helpers import MODEL, chat_rows, write

from finetune_sdk._records import JobRecord
from finetune_sdk.job import FineTuneJob

EMULATORS = Path(__file__).parents[1] / "emulators"
AIMOCK = EMULATORS / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
KEY = "sk-emulated-0123456789abcdef"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not AIMOCK.exists(), reason="the emulator is not installed: run `make emulators`"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = ["node", str(AIMOCK), "--port", "0", "--fixtures", str(EMULATORS / "chat.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        assert found, "the emulator said no address"
        yield f"{found[0]}/v1"
        process.terminate()


@pytest.fixture(scope="module")
def run(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One job, run by the command line to its end; its home and what was said."""
    folder = tmp_path_factory.mktemp("emulated")
    spec = {
        "provider": "openai",
        "model": {"openai": MODEL, "peft": "builtin/tiny"},
        "data": {"train": write(folder / "rows.jsonl", chat_rows(24)), "validation": 0.25},
        "hyperparameters": {"epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.5},
        "suffix": "support",
        "seed": 7,
        "metadata": {"team": "tests"},
        "options": {"openai": {"base_url": url}},
    }
    (folder / "finetune.yaml").write_text(yaml.safe_dump(spec))
    return folder / "home", finetune(folder, "run", str(folder / "finetune.yaml"), "--yes", "--timeout", "300")


def finetune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = folder / "home" if folder.name != "home" else folder
    return subprocess.run(
        [sys.executable, "-c", "from finetune_sdk.cli import main; main()", *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": KEY},
    )


def shown(home: Path) -> JobRecord:
    return FineTuneJob.list(home=home)[0].record


def test_the_command_line_brings_a_job_to_its_end(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    home, done = run
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown(home).status == "succeeded"


def test_the_model_carries_the_suffix(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert str(shown(run[0]).model).startswith(f"ft:{MODEL}:aimock:support-")


def test_the_events_of_the_emulator_are_kept(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    home, _ = run
    events = FineTuneJob.attach(shown(home).id, home=home).events()
    assert any("Training complete" in event.message for event in events)


def test_the_tuned_model_answers_a_chat(
    run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = run
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    deployment = FineTuneJob.attach(shown(home).id, home=home).deploy()
    client = openai.OpenAI(base_url=deployment.base_url, api_key=os.environ[str(deployment.api_key_env)])
    answer = client.chat.completions.create(
        model=deployment.model, messages=[{"role": "user", "content": "What follows 41?"}]
    )
    assert answer.choices[0].message.content == "42"


def test_the_key_is_in_nothing_that_was_said_or_written(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    home, done = run
    holders = [str(path) for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert (holders, KEY in done.stdout + done.stderr) == ([], False)
