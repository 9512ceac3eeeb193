"""Servers that mean no good, or do not know better: no key gets into a file, and nobody else is stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tones import Serve, bench, right
from toy_chat import Reply

from finetune_sdk.compare import Comparison
from finetune_sdk.compare.asking import connection
from finetune_sdk.compare.bench import Limits
from finetune_sdk.errors import AuthFailed
from finetune_sdk.types import Deployment

KEY = "corridor-7788-velvet"


def test_servers_that_echo_the_key_get_it_into_no_file_whatever_its_variable_is_called(
    tmp_path: Path, rows: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_VARIABLE", KEY)
    finished = {"choices": [{"delta": {"content": "yes"}, "finish_reason": KEY}]}
    replies: list[Reply] = [
        (401, f"no key: {KEY}"),
        (400, f"no key: {KEY}"),
        f"the key is {KEY}",
        b"data: " + json.dumps(finished).encode() + b"\n\n",
    ]
    servers = [serve(lambda _body, reply=reply: reply) for reply in replies]
    candidates = [
        {"name": f"echo-{place}", "at": {"base_url": one.base_url, "model": "m", "api_key_env": "THEIR_VARIABLE"}}
        for place, one in enumerate(servers)
    ]
    comparison = Comparison(bench(rows, {}, candidates=candidates), home=tmp_path / "home")
    comparison.run()
    assert all(f"Bearer {KEY}" in one.keys for one in servers)
    leaky = [path for path in comparison.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert leaky == []


def test_a_word_that_stands_in_for_a_key_is_left_in_answers(
    tmp_path: Path, rows: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_VARIABLE", "joy")
    at = {"base_url": serve(right).base_url, "model": "m", "api_key_env": "THEIR_VARIABLE"}
    results = Comparison(bench(rows, {}, candidates=[{"name": "one", "at": at}]), home=tmp_path / "home").run()
    assert results.candidate("one").scores["accuracy"].value == 1.0


@pytest.mark.parametrize("key", ["corridor-7788\r", "corridor 7788\n", "corridor\u00e9"])
def test_a_variable_that_holds_no_key_is_refused_without_being_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_VARIABLE", key)
    to = Deployment(
        id="m", provider="given", model="m", base_url="http://x/v1", status="ready", api_key_env="THEIR_VARIABLE"
    )
    with pytest.raises(AuthFailed, match="THEIR_VARIABLE holds no key") as caught:
        connection(to, Limits())
    assert "corridor" not in str(caught.value)


def _chunk(delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


def test_a_stream_that_is_no_answer_is_an_error_of_its_question_and_stops_nobody(
    tmp_path: Path, rows: Path, serve: Serve
) -> None:
    streams = {
        "nothing": b"",
        "an-end-only": b"data: [DONE]\n\n",
        "a-call-before-the-first": _chunk({"tool_calls": [{"index": -1, "function": {"name": "a"}}]}),
        "brackets-without-end": b"data: " + b"[" * 200_000 + b"\n\n",
        "a-nest-without-end": b'data: {"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n\n",
        "the-thousand-millionth-call": _chunk({"tool_calls": [{"index": 10**9, "function": {"name": "a"}}]}),
    }
    servers = {name: serve(lambda _body, stream=stream: stream) for name, stream in streams.items()}
    described = bench(rows, {**servers, "good": serve(right)}, limits={"attempts": 1})
    results = Comparison(described, home=tmp_path / "home").run()
    assert {one.name: one.failed for one in results.candidates} == {**dict.fromkeys(streams, 36), "good": 0}
