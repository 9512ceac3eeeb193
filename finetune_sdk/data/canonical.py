"""Canonical JSONL: the one form in which rows travel from the SDK to a worker. One compact object per line."""

from __future__ import annotations

import hashlib

import msgspec

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    LabelledExample,
    Message,
    PreferenceExample,
    PromptExample,
    Source,
    TextExample,
    UnpairedPreference,
    kind_of,
)
from finetune_sdk.errors import DataError

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Example] = msgspec.json.Decoder(Example)


def render(example: Example) -> bytes:
    """The example as one line of canonical JSON, without a line end. Keys that say nothing are left out."""
    return _encoder.encode(example)


def parse(line: bytes | str) -> Example:
    """The example of one canonical line; unknown keys are ignored. Raises `DataError`."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"not a canonical row: {error}") from error


def without_source(example: Example) -> Example:
    """The same example, its origin forgotten: equal content, equal bytes, wherever it was read."""
    return example if example.source is None else msgspec.structs.replace(example, source=None)


def origin_at(example: Example) -> int:
    """Where the origin would stand in the canonical line of an example without one."""
    at = len(f'{{"kind":"{kind_of(example)}",')
    for key in ("extra", "shape", "aside"):
        value = getattr(example, key)
        at += len(key) + len('"":,') + len(_encoder.encode(value)) if value else 0
    return at


def placed(content: bytes, source: Source, at: int) -> bytes:
    """A canonical line with its origin: what `render` says of an example that has one."""
    return b'%b"source":%b,%b' % (content[:at], _encoder.encode(source), content[at:])


def content_digest(example: Example) -> bytes:
    """16 bytes that name the example's content: equal rows, equal digests, whatever file they came from."""
    return hashlib.blake2b(_encoder.encode(without_source(example)), digest_size=16).digest()


def prompt_key(example: Example, seed: int) -> int:
    """A number from `seed` and what the model is asked: rows that ask the same share it."""
    return key_of(_encoder.encode(_asked(example)), seed)


def content_key(example: Example, seed: int) -> int:
    """Like `prompt_key`, from the whole content."""
    return key_of(_encoder.encode(without_source(example)), seed)


def key_of(content: bytes, seed: int) -> int:
    """A number from `seed` and some content."""
    digest = hashlib.blake2b(str(seed).encode() + b"\0", digest_size=8)
    digest.update(content)
    return int.from_bytes(digest.digest(), "big")


def asked_in(content: bytes, at: int) -> bytes:
    """What the model is asked in a conversation that ends with an answer, as `prompt_key` has it: all but the answer.

    `at`: where the origin would stand in the conversation's canonical line, before its messages.
    """
    first = at + len('"messages":')
    answer = content.rfind(_ANSWER)  # its quotes are not escaped: no text can hold it
    return content[first:-1] if answer < 0 else content[first:answer] + b"}]"


_ANSWER = b'},{"role":"assistant",'


def _asked(example: Example) -> object:
    if isinstance(example, ChatExample):
        return _up_to_last_answer(example.messages)
    if isinstance(example, PreferenceExample | UnpairedPreference | PromptExample):
        return example.prompt or without_source(example)
    if isinstance(example, LabelledExample):
        return (example.text, example.text_pair)
    if isinstance(example, TextExample):
        return example.text
    return without_source(example)


def _up_to_last_answer(messages: list[Message]) -> list[Message]:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return messages[:index] or messages
    return messages
