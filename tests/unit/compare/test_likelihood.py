"""Log-probabilities of references: which tokens count, and what is said where a server tells none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from finetune_sdk.compare.bench import Limits
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.likelihood import Likelihood, NotTold
from finetune_sdk.types import Deployment

ITEM = Item(id="one", messages=[{"role": "user", "content": "hi"}], reference="ab")


@contextmanager
def server(answer: Callable[[str, dict[str, Any]], tuple[int, Any]]) -> Generator[Deployment]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

        def do_POST(self) -> None:
            status, body = answer(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{made.server_address[1]}/v1"
        yield Deployment(id="m", provider="given", model="m", base_url=url, status="ready")
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def letters(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """A token for each letter; `<` begins a message, `>` and a line's end end it. Each token has its own number."""
    if path == "/tokenize":
        text = "".join(f"<{one['role'][0]}{one['content']}>\n" for one in body["messages"])
        text += "<a" if body["add_generation_prompt"] else ""
        return 200, {"tokens": [ord(letter) for letter in text]}
    told = [None, *(-float(token) for token in body["prompt"][1:])]
    return 200, {"choices": [{"logprobs": {"token_logprobs": told}}]}


def measured(to: Deployment) -> list[Answer]:
    with Likelihood(to, Limits()) as asker:
        return list(
            asker.all([ITEM], lambda one: one.messages, lambda one: Answer(item=one.id, text="x"), lambda: False)
        )


def test_only_the_references_own_tokens_count() -> None:
    with server(letters) as to:
        (found,) = measured(to)
    assert (found.nll, found.nll_tokens, found.text) == (float(ord("a") + ord("b")), 2, "x")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {"error": "no such path"}), "HTTP 404 at /tokenize"),
        ((200, {"ids": [1]}), "/tokenize answers something else"),
    ],
)
def test_a_server_that_tells_none_is_not_measured(answer: tuple[int, Any], said: str) -> None:
    with server(lambda _path, _body: answer) as to, pytest.raises(NotTold, match=said):
        measured(to)


def test_tokens_without_a_log_probability_are_not_taken_for_certain() -> None:
    def silent(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, told = letters(path, body)
        if path != "/tokenize":
            told["choices"][0]["logprobs"]["token_logprobs"][-1] = None
        return status, told

    with server(silent) as to, pytest.raises(NotTold, match="no log-probability for some tokens"):
        measured(to)
