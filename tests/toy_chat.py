"""A small server that speaks OpenAI's chat API over real HTTP; what it answers is up to the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | bytes | tuple[int, str] | dict[str, Any]
"""The text of an answer, a stream as it is, a status with an error's text, or the whole message (with its `usage`, if
need be)."""


@dataclass
class Chat:
    """The server's address, and every request it has seen."""

    base_url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    keys: list[str | None] = field(default_factory=list[str | None])
    preferred: list[str | None] = field(default_factory=list[str | None])
    """The headers `Prefer`."""

    @staticmethod
    def question(body: dict[str, Any]) -> str:
        return str(body["messages"][-1]["content"])


@contextmanager
def chat(answer: Callable[[dict[str, Any]], Reply]) -> Generator[Chat]:
    """Serve on loopback until the block ends."""
    seen = Chat()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

        def do_GET(self) -> None:
            self._send(200, "application/json", b'{"object":"list","data":[]}')

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                seen.asked.append(body)
                seen.keys.append(self.headers["authorization"])
                seen.preferred.append(self.headers["prefer"])
            reply = answer(body)
            if isinstance(reply, tuple):
                error = {"error": {"message": reply[1], "type": "x"}}
                self._send(reply[0], "application/json", json.dumps(error).encode())
            elif isinstance(reply, bytes):
                self._send(200, "text/event-stream", reply)
            elif body.get("stream"):
                self._send(200, "text/event-stream", _stream(reply))
            else:
                self._send(200, "application/json", json.dumps(_whole(reply)).encode())

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    seen.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _message(reply: str | dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": reply} if isinstance(reply, str) else {"role": "assistant", **reply}


def _whole(reply: str | dict[str, Any]) -> dict[str, Any]:
    message = _message(reply)
    usage = message.pop("usage", {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15})
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def _stream(reply: str | dict[str, Any]) -> bytes:
    whole = _whole(reply)
    message = dict(whole["choices"][0]["message"])
    for index, call in enumerate(message.get("tool_calls") or []):
        call["index"] = index
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": message}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": whole["usage"]},
    ]
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
