"""Rows on their way to a worker: encoded once, and what is asked of them follows from that."""

from __future__ import annotations

import hashlib

from finetune_sdk.data.canonical import asked_in, key_of, origin_at, placed, prompt_key, render, without_source
from finetune_sdk.data.example import Example, LabelledExample, Source

DIGEST_BYTES = 16


class Row:
    """What a row says as canonical JSON without its origin, and its example, unless it is a plain conversation."""

    __slots__ = ("_content", "_start", "digest", "example", "source")

    def __init__(self, content: bytes, source: Source | None, start: int, example: Example | None = None) -> None:
        self._content = content
        self._start = start
        """Where the origin would stand."""
        self.source = source
        self.example = example
        self.digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
        """Names the content: equal rows, equal digests, whatever file they came from."""

    @classmethod
    def of(cls, example: Example) -> Row:
        """The row of an example."""
        return cls(render(without_source(example)), example.source, origin_at(example), example)

    def line(self) -> bytes:
        """What is written, with the line's end."""
        if self.source is None:
            return self._content + b"\n"
        return placed(self._content, self.source, self._start) + b"\n"

    def prompt_key(self, seed: int) -> int:
        """A number from `seed` and what the model is asked: rows that ask the same share it."""
        if self.example is not None:
            return prompt_key(self.example, seed)
        return key_of(asked_in(self._content, self._start), seed)

    @property
    def group(self) -> str:
        """The group within which shares are kept: the label of a labelled text; one group for everything else."""
        if isinstance(self.example, LabelledExample) and not isinstance(self.example.label, float):
            return repr(self.example.label)
        return ""
