"""Addresses as sources: fetched once, whole or not at all, with words for what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.errors import DataError

ROWS = b'{"prompt": "a", "completion": "b"}\n' * 3


class Hub(BaseHTTPRequestHandler):
    """Serves one file at many addresses; remembers what was asked."""

    asked: list[tuple[str, str | None, int]]
    port: int

    def do_GET(self) -> None:
        status = {"/gated": 403, "/moved": 302}.get(self.path, 200 if "train.jsonl" in self.path else 404)
        if self.headers.get("If-None-Match") == '"v1"':
            status = 304
        self.asked.append((self.path, self.headers.get("Authorization"), status))
        if "/resolve/away/" in self.path:
            status = 302
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://localhost:{self.port}/cdn/train.jsonl")
        self.send_header("ETag", '"v1"')
        size = len(ROWS) * (2 if "short" in self.path else 1)
        self.send_header("Content-Length", str(size if status == 200 else 0))
        self.end_headers()
        if status == 200:
            self.wfile.write(ROWS)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Hub.port = server.server_port
    address = f"http://127.0.0.1:{Hub.port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_of_the_hub_is_read(hub: str) -> None:
    assert len(list(Dataset.open("hf://datasets/me/talks@v2/data/train.jsonl"))) == 3
    assert Hub.asked[0][0] == "/datasets/me/talks/resolve/v2/data/train.jsonl"


def test_an_unchanged_file_is_not_fetched_again(hub: str) -> None:
    for _ in range(2):
        assert len(list(Dataset.open(f"{hub}/train.jsonl"))) == 3
    assert [status for _, _, status in Hub.asked] == [200, 304]


def test_the_token_goes_to_the_hub_and_not_where_it_redirects(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    list(Dataset.open("hf://datasets/me/talks@away/train.jsonl"))
    assert [token for _, token, _ in Hub.asked] == ["Bearer hf_secret", None]


def test_no_token_goes_to_other_addresses(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    list(Dataset.open(f"{hub}/train.jsonl"))
    assert Hub.asked[0][1] is None


def test_a_download_cut_short_leaves_nothing_in_the_cache(hub: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ended after 105 of 210 bytes"):
        Dataset.open(f"{hub}/short/train.jsonl")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://datasets/me/talks/other.jsonl", "no such file"),
        ("hf://datasets/me/talks", r"name a file of a dataset: `hf://datasets/OWNER/NAME"),
        ("hf://datasets/me/talks/../x", "name a file"),
        ("s3://bucket/train.jsonl", "download the file"),
    ],
)
def test_an_address_that_leads_nowhere_says_why(hub: str, source: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset.open(source)


def test_refused_access_says_so_without_the_signature_in_the_address(hub: str) -> None:
    with pytest.raises(DataError, match="refuses access") as caught:
        Dataset.open(f"{hub}/gated")
    assert "status 403" in str(caught.value)


def test_a_signature_in_the_address_is_not_repeated(hub: str) -> None:
    with pytest.raises(DataError) as caught:
        Dataset.open(f"{hub}/nothing?signature=abc")
    assert "abc" not in str(caught.value)


def test_without_a_network_the_message_asks_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=r"cannot be fetched: .*give a file on this machine"):
        Dataset.open("hf://datasets/me/talks/train.jsonl")
