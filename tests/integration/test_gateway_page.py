"""The gateway's page in a real browser, by the keyboard alone; every file of it comes from the gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gateway_kit as kit
import pytest
from gateway_kit import KEY, LONG, gateway
from wire.prism import PROGRAM

MODULES = PROGRAM.parents[3]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not (MODULES / "playwright-core").exists(), reason="run `make emulators` for playwright-core"),
]


@pytest.fixture(scope="module")
def saw(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    """What a browser met on the page of a gateway with a tuned model and a running job."""
    folder = tmp_path_factory.mktemp("page")
    with kit.chat_server() as (address, _asked):

        class Answering(kit.LocalFake):
            answering = address

        config: dict[str, Any] = {"chat": {"builtin/tiny": {"base_url": address}}, "deduplicate_s": 0}
        home = folder / "home"
        train = kit.rows(folder)
        with gateway(home, keys=KEY, provider=Answering, **config) as found:
            found.until(found.create(found.upload(train), suffix="done")["id"], "succeeded")
        with gateway(home, keys=KEY, provider=Answering, script=LONG[:2000], **config) as found:
            job = found.create(found.upload(train), suffix="on")["id"]
            found.until(job, "running")
            yield _driven(found.url, os.environ.get("GATEWAY_SHOTS", ""))


def _driven(url: str, shots: str) -> dict[str, Any]:
    script = Path(__file__).parents[1] / "gateway_page.mjs"
    command = ["node", str(script), str(MODULES), url, KEY, shots]
    env = {**os.environ, "CHROMIUM": str(BROWSER)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=env)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_jobs_are_followed_and_cancelled_by_the_keyboard(saw: dict[str, Any]) -> None:
    assert saw["running"] == {"status": "running", "verbs": "PauseCancel"}
    assert saw["title"].startswith("ft:builtin/tiny:finetune-sdk:done:")
    assert saw["events"] > 5


def test_the_loss_is_drawn_and_read_out_step_by_step(saw: dict[str, Any]) -> None:
    assert saw["whole"].startswith("training loss ")
    assert saw["first"].startswith("training loss ")
    assert saw["first"] != saw["whole"]


def test_base_and_tuned_model_answer_side_by_side(saw: dict[str, Any]) -> None:
    assert (saw["left"], saw["right"]) == ("onetwothree", "onetwothree")
    assert saw["models"] == 2


def test_nothing_is_fetched_from_anywhere_else_and_nothing_breaks(saw: dict[str, Any]) -> None:
    assert saw["strangers"] == []
    assert saw["faults"] == []


def test_every_control_has_a_name_and_a_narrow_window_shows_all(saw: dict[str, Any]) -> None:
    assert saw["held"] == []
    assert saw["overflow"] == 0
