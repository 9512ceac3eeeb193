"""Addresses as sources: fetched once, whole or not at all, with words for what went wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.errors import DataError

ROWS = b'{"prompt": "a", "completion": "b"}\n' * 3


DATASETS: dict[str, list[str]] = {
    "me/talks": ["README.md", "data/train.jsonl-0-of-2.jsonl", "data/train.jsonl-1-of-2.jsonl", "LICENSE"],
    "me/splits": ["data/train.jsonl", "test/0.jsonl", "../../train.jsonl"],
    "me/subsets": ["main/train.jsonl", "other/train.jsonl", "README.md"],
    "me/none": ["README.md"],
}
"""What the hub lists; it serves the same rows for every file whose name holds `train.jsonl`."""


class Hub(BaseHTTPRequestHandler):
    """Serves one file at many addresses; remembers what was asked."""

    asked: list[tuple[str, str | None, int]]
    port: int

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            self.list_files()
            return
        if "/special/" in self.path:
            getattr(self, self.path.split("/")[2])()
            return
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

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def list_files(self) -> None:
        """The hub's API: two pages of files."""
        self.asked.append((self.path, self.headers.get("Authorization"), 200))
        name = self.path.removeprefix("/api/datasets/").split("/tree/")[0]
        if name not in DATASETS:
            self.answer(404, b"{}")
            return
        entries = [{"type": "file", "path": path, "size": 1} for path in DATASETS[name]]
        if "cursor" in self.path:
            self.answer(200, json.dumps(entries[2:]).encode())
            return
        after = f"http://127.0.0.1:{self.port}{self.path}&cursor=x"
        self.answer(200, json.dumps(entries[:2]).encode(), Link=f'<{after}>; rel="next"')

    def page(self) -> None:
        """A login page where a file should be."""
        self.answer(200, b"<html>Log in</html>", Content_Type="text/html; charset=utf-8")

    def ftp(self) -> None:
        self.answer(302, b"", Location="ftp://127.0.0.1/train.jsonl")

    def huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 60))
        self.end_headers()

    def breaks(self) -> None:
        """Every connection ends after 40 bytes; the next one may go on from there."""
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.asked.append((self.path, self.headers.get("If-Range"), start))
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(ROWS) - start))
        self.end_headers()
        self.wfile.write(ROWS[start : start + 40])

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


def test_a_download_cut_short_every_time_says_so_and_is_not_taken_for_whole(hub: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ended after 105 of 210 bytes, 4 times. Try again later"):
        Dataset.open(f"{hub}/short/train.jsonl")
    assert not list(tmp_path.rglob("train.jsonl"))


def test_a_download_goes_on_where_it_broke_off(hub: str) -> None:
    assert len(list(Dataset.open(f"{hub}/special/breaks/train.jsonl"))) == 3
    assert [(tag, start) for _, tag, start in Hub.asked] == [(None, 0), ('"v1"', 40), ('"v1"', 80)]


def test_a_web_page_is_not_taken_for_a_file(hub: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sent a web page, not a file: .*ask for a login"):
        Dataset.open(f"{hub}/special/page/train.jsonl")
    assert not list(tmp_path.rglob("train.jsonl"))


def test_a_file_that_does_not_fit_is_not_begun(hub: str) -> None:
    with pytest.raises(DataError, match=r"do not fit into .*Make room"):
        Dataset.open(f"{hub}/special/huge/train.jsonl")


def test_a_redirect_to_another_kind_of_address_is_not_followed(hub: str) -> None:
    with pytest.raises(DataError, match="redirects to ftp://, which is not followed"):
        Dataset.open(f"{hub}/special/ftp/train.jsonl")


HELD: dict[str, tuple[str, list[str]]] = {
    "all-of-one-split": (
        "hf://datasets/me/talks",
        ["data/train.jsonl-0-of-2.jsonl", "data/train.jsonl-1-of-2.jsonl"],
    ),
    "a-split": ("hf://datasets/me/splits#train", ["data/train.jsonl"]),
    "a-subset": ("hf://datasets/me/subsets/other", ["other/train.jsonl"]),
    "a-glob": ("hf://datasets/me/talks/data/*1-of*.jsonl", ["data/train.jsonl-1-of-2.jsonl"]),
}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("source", "names"), HELD.values(), ids=HELD.keys())
def test_a_part_of_a_dataset_is_found_by_the_hubs_list(source: str, names: list[str]) -> None:
    dataset = Dataset.open(source)
    asked = [path.split("/resolve/main/")[1] for path, _, _ in Hub.asked if "/resolve/" in path]
    assert (asked, len(list(dataset))) == (names, 3 * len(names))


CHOICES: dict[str, tuple[str, str]] = {
    "splits": ("hf://datasets/me/splits", r"divided into test, train. Say which part is meant: add #test, #train"),
    "subsets": ("hf://datasets/me/subsets", r"several subsets: main, other. Name one, such as .*me/subsets/main"),
    "no-such-split": ("hf://datasets/me/talks#test", r"no split 'test'; there are train"),
    "no-data": ("hf://datasets/me/none", "holds no data file"),
    "no-such-folder": ("hf://datasets/me/talks/missing", "holds no data file under 'missing'"),
    "no-such-dataset": ("hf://datasets/me/nobody", "no such dataset or revision"),
}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("source", "words"), CHOICES.values(), ids=CHOICES.keys())
def test_what_a_dataset_leaves_open_is_said_with_the_choices(source: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset.open(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://datasets/me/talks/other.jsonl", "no such file"),
        ("hf://datasets/me", r"name a dataset or a file of one: `hf://datasets/OWNER/NAME"),
        ("hf://datasets/me/talks/../x", "name a dataset"),
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
