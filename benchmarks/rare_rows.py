"""The rows of the throughput benchmark with a rare feature in every one, as ShareGPT and as chat."""

# pyright: basic

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
RARE_MB = 200
"""At most so much of the rows, with a rare feature in every one."""
TOOLS = [
    {
        "name": f"{name}_{what}",
        "description": f"Find {what}: whatever was asked for",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    }
    for name in ("search", "look_up")
    for what in ("people", "places", "prices", "news")
]


def write_rare(source: Path) -> None:
    """The rows again, beside the source: as ShareGPT and as chat, each with a rare feature, in turn."""
    chance = random.Random(1)
    left = int(RARE_MB * 1e6)
    with (
        source.open(encoding="utf-8") as read,
        source.with_name("rare-sharegpt.jsonl").open("w", encoding="utf-8") as sharegpt,
        source.with_name("rare-chat.jsonl").open("w", encoding="utf-8") as chat,
    ):
        for at, line in enumerate(read):
            turns = [turn for turn in json.loads(line)["conversations"] if turn["from"] in ("system", "human", "gpt")]
            for out, features in ((sharegpt, RARE_SHAREGPT), (chat, RARE_CHAT)):
                row = features[at % len(features)]([dict(turn) for turn in turns], chance)
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            left -= len(line.encode())
            if left < 0:
                break


Turns = list[dict[str, Any]]
Rare = Callable[[Turns, random.Random], dict[str, Any]]


def _answers(turns: Turns) -> Turns:
    return [turn for turn in turns if turn["from"] == "gpt"]


def _asking(turns: Turns, number: int) -> tuple[Turns, list[str], Turns]:
    """What comes before the last answer, questions to tools, and that answer."""
    return turns[:-1], [str(turn["value"])[:60] for turn in turns[-2:]][:number], turns[-1:]


def _weighted(turns: Turns, chance: random.Random) -> dict[str, Any]:
    for turn in _answers(turns):
        turn["weight"] = chance.choice((0, 1, 0.5))
    turns[-1]["weight"] = 1
    return {"conversations": turns}


def _with_tools(turns: Turns, chance: random.Random) -> dict[str, Any]:
    tools = chance.sample(TOOLS, 1) if chance.random() < 0.5 else TOOLS[:4]
    before, asked, answer = _asking(turns, chance.randrange(1, 3))
    calls = [{"name": tools[0]["name"], "arguments": {"query": question}} for question in asked]
    value = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    said = [{"from": "observation", "value": json.dumps({"found": question})} for question in asked]
    turns = [*before, {"from": "function_call", "value": value}, *said, *answer]
    return {"conversations": turns, "tools": json.dumps(tools)}


def _keys_beside(turns: Turns, chance: random.Random) -> dict[str, Any]:
    more = {"source": "forum", "score": chance.random(), "meta": {"tags": ["a", "b: c"], "langs": {"en": 1}}}
    return {"id": f"row_{chance.randrange(10**6)}", "conversations": turns, **more}


def _keys_in_turns(turns: Turns, chance: random.Random) -> dict[str, Any]:
    for at, turn in enumerate(turns):
        turn.update(turn=at, lang=chance.choice(("en", "de", None)))
    return {"conversations": turns}


def _other_layout(turns: Turns, _chance: random.Random) -> dict[str, Any]:
    words = {"human": "user", "gpt": "assistant", "system": "system"}
    turned = [{"value": turn["value"], "from": words[str(turn["from"])]} for turn in turns]
    return {"system": "Be brief: one line.", "tools": "", "conversations": turned}


def _messages(rare: Rare) -> Rare:
    """The same feature of a chat row."""

    def row(turns: Turns, chance: random.Random) -> dict[str, Any]:
        found = rare(turns, chance)
        said: Turns = []
        for turn in found.pop("conversations"):
            word, text, more = turn.pop("from"), turn.pop("value"), turn
            role = ROLES.get(str(word), word)
            said.append({"role": role, "content": text, **more})
        return {"messages": said, **found}

    return row


def _with_calls(turns: Turns, chance: random.Random) -> dict[str, Any]:
    before, asked, answer = _asking(turns, chance.randrange(1, 3))
    tools = [{"type": "function", "function": tool} for tool in TOOLS[: chance.choice((1, 4))]]
    calls = [
        {
            "id": f"call_{chance.randrange(10**9)}",
            "type": "function",
            "function": {"name": TOOLS[0]["name"], "arguments": json.dumps({"query": question})},
        }
        for question in asked
    ]
    content = chance.choice(({"content": None}, {"content": ""}, {}))
    pairs = zip(asked, calls, strict=True)
    results = [{"from": "tool", "value": question, "tool_call_id": call["id"]} for question, call in pairs]
    said = [{"role": "assistant", **content, "tool_calls": calls}]
    rows = [_messages(lambda found, _: {"conversations": found})(part, chance) for part in (before, results, answer)]
    parts = [row["messages"] for row in rows]
    return {"messages": [*parts[0], *said, *parts[1], *parts[2]], "tools": tools}


def _named(turns: Turns, chance: random.Random) -> dict[str, Any]:
    for turn in turns:
        turn["name"] = chance.choice(("ann", "bob"))
    return {"conversations": turns}


def _in_parts(turns: Turns, chance: random.Random) -> dict[str, Any]:
    for turn in turns:
        parts: list[object] = [{"type": "text", "text": turn["value"]}]
        if turn["from"] == "human" and chance.random() < 0.3:
            image = {"url": f"https://example.org/{chance.randrange(10**6)}.png", "detail": "low"}
            parts.append({"type": "image_url", "image_url": image})
        turn["value"] = parts
    return {"conversations": turns}


def _thoughtful(turns: Turns, _chance: random.Random) -> dict[str, Any]:
    for turn in _answers(turns):
        turn.update(reasoning_content=str(turns[0]["value"])[:200], refusal=None)
    return {"conversations": turns, "parallel_tool_calls": False}


RARE_SHAREGPT: tuple[Rare, ...] = (_weighted, _with_tools, _keys_beside, _keys_in_turns, _other_layout)
RARE_CHAT: tuple[Rare, ...] = (
    *map(_messages, (_weighted, _named, _keys_beside, _keys_in_turns, _in_parts, _thoughtful)),
    _with_calls,
)
