"""A gateway to test: in a thread of this process over a fake backend, or as the real command in a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import uvicorn
from fakes import write_rows

from finetune_sdk.gateway.app import build
from finetune_sdk.gateway.config import GatewayConfig
from finetune_sdk.gateway.keys import Keys, read
from finetune_sdk.gateway.server import options
from finetune_sdk.provider import Environment
from finetune_sdk.registry import standing_in
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import Artifact, Deployment

PATIENCE_S = 300.0
KEY = "key-0123456789abcdefghijklmn"
LONG = ["queued", *["running"] * 1_000_000]


class LocalFake(FakeProvider):
    """A fake that counts as training on this machine: its jobs take turns."""

    environment: ClassVar[Environment | None] = Environment(lock=Path("none.lock"))
    answering: ClassVar[str] = "http://127.0.0.1:9/v1"
    """Where its deployments answer."""

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:
        return Deployment(id=f"fake-{name}", provider="fake", model=name, base_url=self.answering, status="ready")


@dataclass
class Gateway:
    """A running gateway, and a client for it."""

    url: str
    home: Path
    client: httpx.Client
    process: subprocess.Popen[str] | None = None
    output: list[str] = field(default_factory=list[str])

    def upload(self, rows: Path, *, purpose: str = "fine-tune", **more: Any) -> str:
        with rows.open("rb") as file:
            answer = self.client.post("/files", files={"file": (rows.name, file)}, data={"purpose": purpose}, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def create(
        self, file: str, *, model: str = "builtin/tiny", headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        body = {"model": model, "training_file": file, **more}
        answer = self.client.post("/fine_tuning/jobs", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def job(self, job_id: str) -> Any:
        return self.client.get(f"/fine_tuning/jobs/{job_id}").json()

    def until(self, job_id: str, *statuses: str) -> Any:
        """The job once it has one of the statuses."""
        until(lambda: self.job(job_id)["status"] in statuses)
        return self.job(job_id)

    def error(self, answer: httpx.Response) -> Any:
        """The error in an answer, which must have OpenAI's shape."""
        told = answer.json()["error"]
        assert set(told) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]
        return told


def until(claim: Callable[[], Any], *, patience_s: float = PATIENCE_S) -> Any:
    """What a claim answers, once that is true."""
    give_up_s = time.monotonic() + patience_s
    while not (found := claim()):
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.02)
    return found


def rows(folder: Path, count: int = 12) -> Path:
    """A small chat dataset."""
    return write_rows(folder, count)


@contextmanager
def gateway(
    home: Path,
    *,
    keys: str | None = None,
    provider: type[FakeProvider] = LocalFake,
    script: list[str] | None = None,
    **config: Any,
) -> Generator[Gateway]:
    """A gateway over the fake backend, in a thread; `script` is what its jobs go through."""
    backends = {} if script is None else {"backends": {"fake": {"options": {"script": script}}}}
    whole = GatewayConfig.model_validate({"provider": "fake", **backends, **config})
    with standing_in("fake", lambda folder: provider(home=folder)):
        known = Keys()
        if keys is not None:
            home.mkdir(parents=True, exist_ok=True)
            file = home / "keys"
            file.write_text(keys)
            file.chmod(0o600)
            known = read(file)
        guard = build(home, whole, keys=known)
        with threaded(guard) as port:
            url = f"http://127.0.0.1:{port}"
            headers = {"authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
                yield Gateway(url, home, client)


@contextmanager
def threaded(app: Any) -> Generator[int]:
    """The port of an ASGI application that is served from a thread."""
    from finetune_sdk.gateway.server import listen  # noqa: PLC0415

    with listen("127.0.0.1", 0) as door:
        server = uvicorn.Server(options(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started, "the server did not start"
            yield int(door.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextmanager
def process(home: Path, *args: str, env: Mapping[str, str] | None = None, key: str = KEY) -> Generator[Gateway]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-c", "from finetune_sdk.cli import main; main()", "serve", "--home", str(home)]
    command += ["--port", "0", "--format", "json", *args]
    whole = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=whole) as started:
        assert started.stdout is not None
        text = ""
        for line in started.stdout:
            text += line
            if line.startswith("}"):
                break
        assert text.lstrip().startswith("{"), text
        facts = json.loads(text)
        headers = {"authorization": f"Bearer {key}"}
        try:
            with httpx.Client(
                base_url=facts["base_url"], headers=headers, timeout=PATIENCE_S, trust_env=False
            ) as client:
                found = Gateway(facts["page"].rstrip("/"), home, client, started)
                until(lambda: _answers(found))
                yield found
        finally:
            if started.poll() is None:
                started.send_signal(signal.SIGTERM)
            found_output = started.stdout.read()
            assert "Traceback" not in found_output, found_output


def _answers(found: Gateway) -> bool:
    try:
        return httpx.get(f"{found.url}/ready", trust_env=False, timeout=PATIENCE_S).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def chat_server() -> Generator[tuple[str, list[dict[str, Any]]]]:
    """A stand-in for a deployment: its address, and what it was asked. Streams three pieces, or answers at once."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({**body, "path": self.path})
            if body.get("stream"):
                self._stream(body["model"])
                return
            message = {"role": "assistant", "content": f"from {body['model']}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
            found = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"]}
            self._send(json.dumps({**found, "choices": [choice], "usage": usage}).encode(), "application/json")

        def _stream(self, model: str) -> None:
            events: list[bytes] = []
            for piece in ("one", "two", "three"):
                choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
                chunk: dict[str, Any] = {
                    "id": "c1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": model,
                    "choices": [choice],
                }
                events.append(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self._send(b"".join(events) + b"data: [DONE]\n\n", "text/event-stream")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
