# pyright: basic
"""Ollama's Modelfile. Its templates are Go's: the chat template is taken apart, put together again, and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROLES = ("system", "user", "assistant")


def write(path: Path, model: Path, tokenizer: Any, conversations: Sequence[Any]) -> None:
    """`TEMPLATE` is written where taking apart was right for every conversation; else Ollama has to know it itself."""
    lines = [f"FROM ./{model.name}"]
    pieces = _pieces(tokenizer)
    if pieces is not None and all(_joined(pieces, one) == _rendered(tokenizer, one) for one in conversations):
        lines.append(f'TEMPLATE """{_go(pieces)}"""')
    else:
        lines.append("# the chat template is not a plain one: Ollama takes it from the file if it knows it")
    if tokenizer.eos_token:
        lines.append(f"PARAMETER stop {json.dumps(tokenizer.eos_token)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, prompt: bool = True) -> str:
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=prompt, tokenize=False)


def _pieces(tokenizer: Any) -> dict[str, tuple[str, str]] | None:
    """What the template puts before and after each role's text, and before the answer; None = it is no plain one."""
    marks = {role: f"@{role}@" for role in _ROLES}
    talk = [{"role": role, "content": marks[role]} for role in _ROLES]
    try:
        whole = _rendered(tokenizer, [*talk, {"role": "user", "content": "@again@"}])
        opened = _rendered(tokenizer, talk[1:2])
        closed = _rendered(tokenizer, talk[1:2], prompt=False)
    except Exception:  # noqa: BLE001 - a template may mind anything; then it is no plain one
        return None
    answer = opened.removeprefix(closed)
    user = closed.partition(marks["user"])
    system = whole.partition(marks["system"])
    after_system, _, _ = system[2].partition(user[0] + marks["user"]) if user[0] else ("", "", "")
    assistant = whole.partition(marks["user"] + user[2])[2].partition(marks["assistant"])
    after_assistant, _, _ = assistant[2].partition(user[0] + "@again@")
    return {
        "system": (system[0], after_system),
        "user": (user[0], user[2]),
        "assistant": (assistant[0], after_assistant),
        "answer": (answer, ""),
    }


def _joined(pieces: Mapping[str, tuple[str, str]], messages: Sequence[Mapping[str, Any]]) -> str | None:
    if any(message["role"] not in _ROLES for message in messages):
        return None
    turns = [pieces[message["role"]][0] + message["content"] + pieces[message["role"]][1] for message in messages]
    return "".join(turns) + pieces["answer"][0]


def _go(pieces: Mapping[str, tuple[str, str]]) -> str:
    def said(text: str) -> str:
        return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""

    turns = [
        f'{{{{ {"if" if i == 0 else "else if"} eq .Role "{role}" }}}}{said(pieces[role][0])}{{{{ .Content }}}}'
        + said(pieces[role][1])
        for i, role in enumerate(_ROLES)
    ]
    return "{{ range .Messages }}" + "".join(turns) + "{{ end }}{{ end }}" + said(pieces["answer"][0])
