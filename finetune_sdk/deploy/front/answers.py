"""What the engine says, as OpenAI's response objects and stream chunks."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)  # Hermes, Qwen and our own template write so


@dataclass(kw_only=True)
class Heading:
    """What all objects of one answer share."""

    id: str
    kind: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def chat(cls, model: str) -> Heading:
        return cls(id=f"chatcmpl-{secrets.token_hex(12)}", kind="chat.completion", model=model)

    @classmethod
    def completion(cls, model: str) -> Heading:
        return cls(id=f"cmpl-{secrets.token_hex(12)}", kind="text_completion", model=model)

    def object(self, **fields: Any) -> Json:
        """The whole answer."""
        return {"id": self.id, "object": self.kind, "created": self.created, "model": self.model, **fields}

    def chunk(self, **fields: Any) -> Json:
        """A part of a stream."""
        kind = "chat.completion.chunk" if self.kind == "chat.completion" else self.kind
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}


@dataclass
class Tally:
    """Tokens of a request, as they are counted for `usage`."""

    prompt: int = 0
    completion: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def add(self, item: Json) -> bool:
        """What the engine says; whether it is the last of an answer."""
        self.prompt += item.get("prompt_tokens", 0)
        if "tokens" in item:
            self.completion[item["id"], item["i"]] = item["tokens"]
        return "end" in item

    def usage(self) -> Json:
        made = sum(self.completion.values())
        return {"prompt_tokens": self.prompt, "completion_tokens": made, "total_tokens": self.prompt + made}


@dataclass
class Spoken:
    """One answer, gathered."""

    text: str = ""
    logprobs: list[Json] = field(default_factory=list[Json])
    end: str | None = None
    echo: Json | None = None
    """The prompt, where it is told again."""

    def add(self, item: Json) -> None:
        """What one step gave."""
        self.text += item["text"]
        self.echo = item.get("echo", self.echo)
        self.logprobs += item.get("logprobs", ())
        self.end = item.get("end", self.end)


def chat_choice(index: int, spoken: Spoken, *, logprobs: bool, tools: bool) -> Json:
    """A choice of a whole chat completion."""
    text, calls = tool_calls(spoken.text) if tools else (spoken.text, [])
    message: Json = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message |= {"content": text or None, "tool_calls": calls}
    return {
        "index": index,
        "message": message,
        "logprobs": {"content": spoken.logprobs, "refusal": None} if logprobs else None,
        "finish_reason": "tool_calls" if calls else spoken.end,
    }


def chat_delta(index: int, delta: Json, *, end: str | None = None, logprobs: list[Json] | None = None) -> Json:
    """A choice of a chat chunk."""
    told = None if logprobs is None else {"content": logprobs, "refusal": None}
    return {"index": index, "delta": delta, "logprobs": told, "finish_reason": end}


def text_choice(index: int, spoken: Spoken, *, logprobs: bool, offset: int = 0) -> Json:
    """A choice of a text completion, whole or a chunk; `offset`: characters of this answer sent before."""
    prompt = "" if spoken.echo is None else spoken.echo["text"]
    told = text_logprobs(spoken.logprobs, offset + len(prompt)) if logprobs else None
    if told is not None and spoken.echo is not None:
        before = prompt_logprobs(spoken.echo)
        told = {name: before[name] + told[name] for name in told}
    return {"index": index, "text": prompt + spoken.text, "logprobs": told, "finish_reason": spoken.end}


def text_logprobs(told: list[Json], offset: int) -> Json:
    """In the older form: parallel lists."""
    offsets: list[int] = []
    for one in told:
        offsets.append(offset)
        offset += len(one["token"])
    return _parallel(told, offsets)


def prompt_logprobs(echo: Json) -> Json:
    """The same for a prompt. Its first token has none; a token that is not in the text, as a BOS, has no width."""
    text: str = echo["text"]
    offsets: list[int] = []
    at = 0
    for one in echo["logprobs"]:
        found = text.find(one["token"], at, at + len(one["token"]) + _ASTRAY)
        offsets.append(at if found < 0 else found)
        at = at if found < 0 else found + len(one["token"])
    return _parallel(echo["logprobs"], offsets)


_ASTRAY = 8  # characters between tokens: a space that decoding drops, a character in parts


def _parallel(told: list[Json], offsets: list[int]) -> Json:
    return {
        "tokens": [one["token"] for one in told],
        "token_logprobs": [one["logprob"] for one in told],
        "top_logprobs": [_alternatives(one) for one in told],
        "text_offset": offsets,
    }


def _alternatives(one: Json) -> Json | None:
    """The likeliest tokens and the one that came, which may be one more; of two with one name the likelier."""
    if one["top_logprobs"] is None:
        return None
    found: Json = {}
    for top in [*one["top_logprobs"], one]:
        found.setdefault(top["token"], top["logprob"])
    return found


def tool_calls(text: str) -> tuple[str, list[Json]]:
    """The calls that a model wrote between its marks, and the text without them. A broken call stays text."""
    calls: list[Json] = []
    rest = text
    for found in _CALL.finditer(text):
        try:
            call = json.loads(found.group(1))
            name, arguments = call["name"], call.get("arguments", {})
        except (ValueError, KeyError, TypeError):
            continue
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = {"name": name, "arguments": written}
        calls.append({"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function})
        rest = rest.replace(found.group(0), "", 1)
    return rest.strip() if calls else text, calls
