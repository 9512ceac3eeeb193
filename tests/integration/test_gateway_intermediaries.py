"""LiteLLM's pass-through and Portkey between a client and the gateway: upload, train on the tiny model, chat."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wire.prism import PROGRAM

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS / "gateway_intermediary.py"
PORTKEY = PROGRAM.parents[3] / "@portkey-ai" / "gateway" / "build" / "start-server.js"
LITELLM = TESTS.parent / ".cache" / "litellm" / "bin" / "litellm"
APART = ["unshare", "--net", "--map-root-user"]


def _alone() -> bool:
    """Whether a process of ours may have a network of its own: both programs reach out to their makers."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*APART, "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        pytest.param(
            "portkey",
            PORTKEY,
            marks=[
                pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
                pytest.mark.skipif(not PORTKEY.exists(), reason="Portkey is not installed: run `make emulators`"),
            ],
        ),
        pytest.param(
            "litellm",
            LITELLM,
            marks=pytest.mark.skipif(not LITELLM.exists(), reason="LiteLLM is not installed: run `make litellm`"),
        ),
    ],
)
def test_a_client_behind_an_intermediary_goes_from_upload_to_chat(kind: str, program: Path) -> None:
    if not _alone():
        pytest.skip("this user may not have a network namespace")
    command = [*APART, sys.executable, str(SCRIPT), kind, str(program)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, env=env)

    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert (told["status"], told["method"]) == ("succeeded", "supervised")
    assert told["answered"] == told["model"]
    assert told["events"] > 5
    assert set(told["streamed"]) == {told["model"]}
