# pyright: basic
"""A served model's tokenizer: prompts rendered as in training, answers decoded, tokens named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from ..rows import Refused
from .grammar import Grammar, Grammars

GUIDED = find_spec("llguidance") is not None


class HFTongue:
    """See `rows.Tongue`."""

    def __init__(self, tokenizer: Any, *, ends: frozenset[int], context: int, vocabulary: int) -> None:
        self.tokenizer = tokenizer
        self.ends = ends
        self.context = context
        self._special = frozenset(tokenizer.all_special_ids) | ends
        self._grammars = Grammars(tokenizer, size=vocabulary, ends=ends)
        self._arguments_as_text = False
        self._plain = _undressed(tokenizer)

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return bool(self.tokenizer.chat_template)

    def render(self, request: dict[str, Any]) -> list[int]:
        """A conversation through the chat template, without a further BOS: the template writes what it wants."""
        if "messages" in request:
            return list(self.tokenizer(self._conversation(request), add_special_tokens=False)["input_ids"])
        prompt = request["prompt"]
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt)["input_ids"])
        size = len(self.tokenizer)
        if any(not 0 <= token < size for token in prompt):
            raise Refused(f"a token of the prompt is not in the vocabulary of {size} tokens", param="prompt")
        return list(prompt)

    def _conversation(self, request: dict[str, Any]) -> str:
        if not self.chats:
            raise Refused(
                "this model has no chat template: ask it at /v1/completions with a `prompt`", param="messages"
            )
        try:
            return self._templated(request)
        except TypeError:  # this template concatenates the arguments of tool calls instead of serialising them
            self._arguments_as_text = True
            return self._templated(request)
        except TemplateError as exc:
            raise Refused(f"the chat template refuses the conversation: {exc}", param="messages") from exc

    def _templated(self, request: dict[str, Any]) -> str:
        template = self.tokenizer.get_chat_template(tools=request.get("tools"))
        messages = [self._message(message, developer="developer" in template) for message in request["messages"]]
        return self.tokenizer.apply_chat_template(
            messages,
            tools=request.get("tools"),
            add_generation_prompt=request.get("add_generation_prompt", True),
            tokenize=False,
            **request.get("chat_template_kwargs", {}),
        )

    def _message(self, message: Mapping[str, Any], *, developer: bool) -> dict[str, Any]:
        plain = {key: value for key, value in message.items() if value is not None}
        if plain["role"] == "developer" and not developer:
            plain["role"] = "system"
        content = plain.get("content", "")
        plain["content"] = content if isinstance(content, str) else "".join(part["text"] for part in content)
        if calls := plain.get("tool_calls"):
            plain["tool_calls"] = [self._call(call) for call in calls]
        return plain

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call["function"]
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, str) and not self._arguments_as_text:
            try:
                arguments = json.loads(arguments)
            except ValueError as exc:
                raise Refused(f"a tool call's arguments are no JSON: {exc}", param="messages") from exc
        return {**call, "function": {**function, "arguments": arguments}}

    def decode(self, ids: Sequence[int]) -> str:
        """Special tokens are dropped; nothing is tidied up."""
        kept = [token for token in ids if token not in self._special]
        if self._plain is not None:
            return self._plain.decode(kept, skip_special_tokens=True)
        return self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def spell(self, ids: Sequence[int]) -> str:
        """Special tokens are shown."""
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def token(self, token: int) -> tuple[str, list[int]]:
        """A token that is part of a character has bytes, and a replacement character as text."""
        text = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        if "\ufffd" not in text:
            return text, list(text.encode())
        raw = self.tokenizer.convert_ids_to_tokens(token)
        known = _bytes_of_characters()
        if all(letter in known for letter in raw):
            return text, [known[letter] for letter in raw]
        if len(raw) == 6 and raw.startswith("<0x"):  # SentencePiece's way of writing a byte
            return text, [int(raw[1:5], 16)]
        return text, list(text.encode())

    def grammar(self, wanted: dict[str, Any]) -> Grammar:
        """Raises `Refused` for a schema that cannot be followed."""
        return self._grammars.of(wanted)


def _undressed(tokenizer: Any) -> Any:
    """The tokenizer below, where decoding adds nothing to it: it is asked with every token of every answer."""
    ours = (type(tokenizer).decode, type(tokenizer)._decode)
    theirs = (PreTrainedTokenizerFast.decode, PreTrainedTokenizerFast._decode)
    return tokenizer.backend_tokenizer if ours == theirs else None


@cache
def _bytes_of_characters() -> dict[str, int]:
    """The letters that byte-level tokenizers write for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
