# pyright: basic
"""A GGUF file's vocabulary: which bytes each token stands for. llama.cpp's server tells text only, not halves of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gguf import GGUFReader, TokenType

from ..rows import Failed

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + i): byte for i, byte in enumerate(_OTHERS)}
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


class Vocabulary:
    """Of byte-level BPE ("gpt2") and SentencePiece ("llama")."""

    def __init__(self, file: Path) -> None:
        fields = GGUFReader(file).fields
        told: dict[str, Any] = {name: field.contents() for name, field in fields.items() if "merges" not in name}
        self._model = told.get("tokenizer.ggml.model")
        if self._model not in ("gpt2", "llama"):
            raise Failed(
                f"cannot serve {str(file)!r}: its tokenizer is of kind {self._model}, known are gpt2 and llama"
            )
        self._tokens: list[str] = told["tokenizer.ggml.tokens"]
        kinds = told["tokenizer.ggml.token_type"]
        self._control = frozenset(i for i, kind in enumerate(kinds) if kind == TokenType.CONTROL)
        self._bytes = frozenset(i for i, kind in enumerate(kinds) if kind == TokenType.BYTE)
        self._written = frozenset(i for i, kind in enumerate(kinds) if kind == TokenType.USER_DEFINED)
        self._stand_ins: dict[bytes, int] = {}
        self._more: list[bytes] = []
        self.ends = frozenset(told[key] for name in _ENDS if (key := f"tokenizer.ggml.{name}") in told)
        self.context = int(told[f"{told['general.architecture']}.context_length"])

    def __len__(self) -> int:
        return len(self._tokens)

    def stand_in(self, raw: bytes) -> int:
        """A number for bytes whose tokens are not known."""
        if raw not in self._stand_ins:
            self._stand_ins[raw] = len(self._tokens) + len(self._more)
            self._more.append(raw)
        return self._stand_ins[raw]

    def raw(self, token: int) -> bytes:
        """The bytes of one token, of a special one its name."""
        if token >= len(self._tokens):
            return self._more[token - len(self._tokens)]
        text = self._tokens[token]
        if token in self._bytes:
            return bytes([int(text[1:-1], 16)])
        if token in self._control or token in self._written:
            return text.encode()
        if self._model == "llama":
            return text.replace("\u2581", " ").encode()
        return bytes(_BYTES[letter] for letter in text if letter in _BYTES)

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Special tokens are left out unless asked for."""
        kept = ids if special else [token for token in ids if token not in self._control]
        return b"".join(map(self.raw, kept)).decode("utf-8", "replace")
