"""The loop around an engine: which requests it takes in when, and how often it tells what was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from finetune_providers.serving.worker.rows import Row
from finetune_providers.serving.worker.service import Service
from finetune_providers.serving.worker.wire import Gone

Json = dict[str, Any]


class Tongue:
    """Each token is a letter."""

    ends: frozenset[int] = frozenset()
    context = 1_000

    def render(self, request: Json) -> list[int]:
        return list(map(ord, request["prompt"]))

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


class Engine:
    """Says `a`, `b`, `c`, ... to every prompt, and notes with how many others each step was made."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.tongues = {"m": Tongue()}
        self.running: list[Row] = []
        self.joined: list[list[str]] = [[]]

    def join(self, row: Row) -> None:
        self.running.append(row)
        self.joined[-1].append(row.id)

    def leave(self, row: Row) -> None:
        self.running.remove(row)

    def step(self) -> list[Any]:
        self.joined.append([])
        return [(row, ord("a") + len(row.made), None) for row in self.running]


class Line:
    """All requests come at once; nobody is left when the last was answered."""

    def __init__(self, requests: list[Json]) -> None:
        self.requests, self.out = requests, list[Json]()

    def receive(self, *, wait: bool) -> list[Json]:
        if wait and not self.requests:
            raise Gone
        found, self.requests = self.requests, []
        return found

    def send(self, message: Mapping[str, Any]) -> None:
        self.out += message.get("out", [])


def asked(name: str, tokens: int, **more: Any) -> Json:
    return {"op": "generate", "id": name, "model": "m", "prompt": "p", "param": "prompt", "max_tokens": tokens, **more}


def serve(requests: list[Json], patience: int, places: int) -> tuple[Engine, list[Json]]:
    engine, line = Engine(patience), Line(requests)
    service: Any = Service(engine, line, max_rows=places)  # type: ignore[arg-type]
    with pytest.raises(Gone):
        service.serve()
    return engine, line.out


@pytest.mark.parametrize(
    ("patience", "groups"),
    [(0, [["1", "2"], ["3"], ["4"]]), (1, [["1", "2"], ["3", "4"]])],
    ids=["takes the first place", "waits a step"],
)
def test_a_free_place_waits_for_company_while_more_wait_than_there_is_room(
    patience: int, groups: list[list[str]]
) -> None:
    engine, _ = serve([asked("1", 2), asked("2", 3), asked("3", 4), asked("4", 4)], patience, 2)
    assert [group for group in engine.joined if group] == groups


def test_who_has_a_place_does_not_wait() -> None:
    engine, _ = serve([asked("1", 2), asked("2", 3), asked("3", 4)], 5, 3)
    assert engine.joined[0] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"stream": True}, ["a", "b", "c", "d", "e", "f"]),
        ({"stream": True, "every": 2}, ["a", "bc", "de", "f"]),
        ({"stream": True, "every": 2, "stop": ["zz"]}, ["a", "bc", "de", "f"]),
        ({"stream": True, "every": 100}, ["a", "bcdef"]),
        ({}, ["abcdef"]),
    ],
    ids=["each token", "every second", "every second, with a stop sequence", "the first and the rest", "whole"],
)
def test_an_answer_is_told_as_often_as_it_is_asked_for(more: Json, told: list[str]) -> None:
    _, out = serve([asked("1", 6, **more)], 0, 1)
    assert [one["text"] for one in out] == told
    assert out[-1]["tokens"] == 6
