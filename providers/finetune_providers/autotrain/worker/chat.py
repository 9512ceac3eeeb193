# pyright: basic
"""Conversations as text, with the tokenizer and the chat template that AutoTrain chose.

AutoTrain renders a prompt and its answers one by one, which puts headers and start tokens where the model never sees
them at inference. Here the whole conversation is rendered once and cut at the border; AutoTrain gets texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def text_of(message: Message) -> str:
    """The text of a message; parts are joined."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool = False) -> str:
    """The text as the template writes it, without a start token that the tokenizer adds again.

    Without a tokenizer the texts are joined as they are.
    """
    if tokenizer is None:
        return "".join(text_of(message) for message in messages)
    plain = [{"role": _role(message["role"]), "content": text_of(message)} for message in messages]
    text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=prompt)
    start = tokenizer.bos_token
    if start and text.startswith(start) and _adds_start(tokenizer):
        text = text.removeprefix(start)
    return text


def conversation(tokenizer: Any, row: Mapping[str, Any]) -> str:
    """A chat row as one text."""
    return render(tokenizer, row["messages"])


def split(tokenizer: Any, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[str, str]:
    """The prompt as the model sees it before it answers, and what it then writes."""
    whole = render(tokenizer, [*prompt, *answer])
    asked = render(tokenizer, prompt, prompt=True) if prompt else ""
    if not whole.startswith(asked):
        asked = render(tokenizer, prompt)
    if not whole.startswith(asked):
        raise ValueError("the chat template renders a prompt differently once an answer follows it")
    return asked, whole.removeprefix(asked)


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _adds_start(tokenizer: Any) -> bool:
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and ids[0] == tokenizer.bos_token_id
