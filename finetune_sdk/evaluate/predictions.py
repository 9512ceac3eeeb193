"""Reading `predictions.jsonl`: one row per held-out example or free prompt, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.errors import DataError


class Message(msgspec.Struct, frozen=True):
    """One message of a prompt, as far as it is shown."""

    role: str = ""
    content: str | list[dict[str, Any]] | None = None


class Row(msgspec.Struct, frozen=True):
    """One line of the file. Unknown keys are ignored."""

    prompt: str | list[Message] = ""
    row: int = 0
    expected: str | None = None
    base: str | None = None
    tuned: str | None = None
    base_nll: float | None = None
    """Negative log-likelihood of the expected answer, summed over its `tokens` tokens (natural logarithm)."""
    tuned_nll: float | None = None
    tokens: int | None = None


def read(path: Path) -> Iterator[Row]:
    """The rows in order. Raises `DataError` with the line for one that cannot be read, or when there is no file."""
    decoder = msgspec.json.Decoder(Row)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise DataError(f"{path}:{number}: not a row of predictions: {error}") from error
    except OSError as error:
        raise DataError(f"the predictions cannot be read: {path}: {error.strerror}") from error


def prompt_text(prompt: str | list[Message]) -> str:
    """A prompt as a person reads it: one message is its text, a longer conversation names the roles."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return _content(prompt[0])
    return "\n".join(f"{message.role}: {_content(message)}" for message in prompt)


def _content(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return " ".join(str(part.get("text") or f"[{part.get('type', 'part')}]") for part in message.content)
