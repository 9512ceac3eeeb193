"""Somebody else's gateway between a client and ours: upload, train on the tiny model, chat. Run by itself:

    unshare --net --map-root-user python tests/gateway_intermediary.py litellm|portkey PROGRAM

in a network namespace of its own, as both reach out to their makers and one of them listens everywhere. It starts our
gateway and PROGRAM (LiteLLM's command; Portkey's `start-server.js`) and prints what the client got, as JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gateway_kit as kit
import httpx
import peft_jobs
from openai import OpenAI

PORT = 8787
STARTING_S = 400.0
"""LiteLLM takes half a minute of processor time to start."""
METHOD: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}}


def loopback_up() -> None:
    """A new namespace's loopback device is down; `ip link set lo up` without `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        asked = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(door, 0x8913, asked))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(door, 0x8914, struct.pack("16sh", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def portkey(program: str, gateway: str, _folder: Path) -> tuple[list[str], dict[str, str], str, dict[str, str]]:
    """The command, its variables, the base URL that a client uses, and the headers it sends."""
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{gateway}/v1"}
    command = ["node", program, f"--port={PORT}", "--headless"]
    return command, {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}, f"http://127.0.0.1:{PORT}/v1", headers


def litellm(program: str, gateway: str, folder: Path) -> tuple[list[str], dict[str, str], str, dict[str, str]]:
    """Its pass-through, without a key of its own. Files are the exception: it has a route of its own for them."""
    config = folder / "litellm.yaml"
    files = {"custom_llm_provider": "openai", "api_base": f"{gateway}/v1", "api_key": kit.KEY}
    config.write_text(json.dumps({"model_list": [], "files_settings": [files]}))
    env = {
        "OPENAI_API_BASE": gateway,
        "OPENAI_API_KEY": kit.KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [program, "--host", "127.0.0.1", "--port", str(PORT), "--config", str(config)]
    return command, env, f"http://127.0.0.1:{PORT}/openai/v1", {}


MADE = {"portkey": portkey, "litellm": litellm}


@contextmanager
def started(command: list[str], env: dict[str, str], folder: Path) -> Generator[None]:
    """The intermediary, once it answers anything."""
    log = folder / "intermediary.log"
    with log.open("wb") as out, subprocess.Popen(command, env={**os.environ, **env}, stdout=out, stderr=out) as process:
        try:
            kit.until(lambda: process.poll() is not None or _answers(), patience_s=STARTING_S)
            assert process.poll() is None, log.read_text()[-3000:]
            yield
        finally:
            process.kill()


def _answers() -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{PORT}/", trust_env=False, timeout=60).status_code < 500
    except httpx.TransportError:
        return False


def flow(client: OpenAI, train: Path) -> dict[str, Any]:
    """What clients do: upload, create, retrieve, look at the events, chat in both ways."""
    with train.open("rb") as rows:
        file = client.files.create(file=rows, purpose="fine-tune")
    jobs = client.fine_tuning.jobs
    job = jobs.create(model="builtin/tiny", training_file=file.id, suffix="between", seed=1, method=METHOD)
    kit.until(lambda: jobs.retrieve(job.id).status in ("succeeded", "failed"), patience_s=STARTING_S)
    done = jobs.retrieve(job.id)
    events = jobs.list_events(job.id).data
    messages: Any = [{"role": "user", "content": "I smile"}]
    model = str(done.fine_tuned_model)
    answer = client.chat.completions.create(model=model, messages=messages, max_tokens=4)
    pieces = client.chat.completions.create(model=model, messages=messages, max_tokens=4, stream=True)
    streamed = [piece.model for piece in pieces]
    told = {"status": done.status, "method": done.method.type if done.method else None, "events": len(events)}
    return {**told, "model": model, "answered": answer.model, "streamed": streamed}


def main() -> None:
    """All of it, once."""
    kind, program = sys.argv[1:]
    loopback_up()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train = peft_jobs.write(folder / "train.jsonl", peft_jobs.rows(12))
        keys = folder / "keys"
        keys.write_text(kit.KEY)
        keys.chmod(0o600)
        with kit.process(folder / "home", "--provider", "peft", "--api-key-file", str(keys)) as served:
            command, env, url, headers = MADE[kind](program, served.url, folder)
            with (
                started(command, env, folder),
                OpenAI(base_url=url, api_key=kit.KEY, max_retries=0, timeout=300, default_headers=headers) as client,
            ):
                told = flow(client, train)
            served.client.delete(f"/models/{told['model']}")  # ends what serves it
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
