# pyright: basic
"""llguidance over the package's own `tokenizer.json`: answers that must fit a JSON schema, and the bytes of tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..hf.grammar import Grammar
from ..rows import Refused

GUIDED = find_spec("llguidance") is not None


class Grammars:
    """The grammars of one package."""

    def __init__(self, folder: Path, *, size: int, ends: frozenset[int]) -> None:
        self._file = folder / "tokenizer.json"
        self._size = size
        self._ends = ends
        self._vocabulary: Any = None

    def spelled(self, ids: Sequence[int]) -> bytes | None:
        """The tokens as they are, special ones and parts of characters, too; None where that cannot be known."""
        return self._known().decode_bytes(list(ids)) if self.possible else None

    def _known(self) -> Any:
        if self._vocabulary is None:
            import llguidance  # noqa: PLC0415 - in the engine's own environment

            end = sorted(self._ends) or None
            self._vocabulary = llguidance.LLTokenizer(str(self._file), n_vocab=self._size, eos_token=end)
        return self._vocabulary

    @property
    def possible(self) -> bool:
        """Whether this environment and this package have what it takes."""
        return GUIDED and self._file.is_file()

    def of(self, wanted: dict[str, Any]) -> Grammar:
        """For a JSON schema. Raises `Refused` when it is none that can be followed."""
        if not self.possible:
            raise Refused("this engine cannot hold answers to a JSON schema", param="response_format")
        import llguidance  # noqa: PLC0415 - in the engine's own environment

        try:
            text = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(wanted))
            matcher = llguidance.LLMatcher(self._known(), text)
        except ValueError as exc:
            raise Refused(f"the JSON schema cannot be followed: {exc}", param="response_format") from exc
        if matcher.is_error():
            raise Refused(f"the JSON schema cannot be followed: {matcher.get_error()}", param="response_format")
        return Grammar(matcher)
