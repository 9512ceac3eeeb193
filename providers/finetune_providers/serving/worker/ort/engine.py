# pyright: basic
"""The engine on onnxruntime-genai: one generator per row; rows take turns, token by token."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded

import onnxruntime_genai as og  # pyright: ignore[reportMissingImports] - in its environment only

from ..rows import Failed, Refused, Row
from .grammar import Grammars

_ABILITIES = ("logit_bias", "logprobs", "prompt_logprobs")


class ORTTongue:
    """See `rows.Tongue`; the package's own tokenizer and chat template."""

    def __init__(self, tokenizer: Any, config: Mapping[str, Any], folder: Path, *, chats: bool) -> None:
        self._tokenizer = tokenizer
        self.ends = frozenset(int(token) for token in tokenizer.eos_token_ids)
        self.context = int(config["model"]["context_length"])
        self.chats = chats
        self.grammars = Grammars(folder, size=int(config["model"]["vocab_size"]), ends=self.ends)

    def render(self, request: dict[str, Any]) -> list[int]:
        """The chat template writes its own BOS, if any."""
        if "messages" not in request:
            prompt = request["prompt"]
            return [int(token) for token in self._tokenizer.encode(prompt)] if isinstance(prompt, str) else list(prompt)
        if not self.chats:
            raise Refused("this model has no chat template: ask it at /v1/completions", param="messages")
        messages = [self._plain(message) for message in request["messages"]]
        tools = json.dumps(request["tools"]) if request.get("tools") else ""
        try:
            opened = request.get("add_generation_prompt", True)
            text = self._tokenizer.apply_chat_template(json.dumps(messages), tools=tools, add_generation_prompt=opened)
        except Exception as exc:
            raise Refused(f"the chat template refuses the conversation: {exc}", param="messages") from exc
        return [int(token) for token in self._tokenizer.encode(text)]

    def _plain(self, message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content") or ""
        text = content if isinstance(content, str) else "".join(part["text"] for part in content)
        return {**message, "content": text}

    def decode(self, ids: Sequence[int]) -> str:
        """Without the end tokens."""
        kept = [token for token in ids if token not in self.ends]
        return self._tokenizer.decode(kept) if kept else ""

    def spell(self, ids: Sequence[int]) -> str:
        """Special tokens are shown, where llguidance is installed: the package's tokenizer leaves them out."""
        raw = self.grammars.spelled(ids)
        return self._tokenizer.decode(list(ids)) if raw is None else raw.decode("utf-8", "replace")

    def token(self, token: int) -> tuple[str, list[int]]:
        """A token that is part of a character has bytes, and a replacement character as text."""
        raw = self.grammars.spelled([token])
        if raw is None:
            raw = self._tokenizer.decode([token]).encode()
        return raw.decode("utf-8", "replace"), list(raw)

    def grammar(self, wanted: dict[str, Any]) -> Any:
        """Raises `Refused` for a schema that cannot be followed."""
        return self.grammars.of(wanted)


class ORTEngine:
    """See `service.Engine`."""

    patience = 0

    def __init__(self, model: Any, name: str, tongue: ORTTongue, device: str) -> None:
        self._model = model
        self.tongues: dict[str, Any] = {name: tongue}
        self._rows: list[Row] = []
        self.facts = {
            "engine": "onnxruntime-genai",
            "device": device,
            "batched": False,
            "abilities": [*_ABILITIES, *(["json_schema"] if tongue.grammars.possible else [])],
            "models": {name: {"context": tongue.context, "chats": tongue.chats}},
        }

    @property
    def rows(self) -> int:
        """How many are being generated."""
        return len(self._rows)

    def join(self, row: Row) -> None:
        """Its prompt is read with the next step."""
        self._rows.append(row)

    def leave(self, row: Row) -> None:
        """Its memory is given back at once."""
        row.state = None
        self._rows.remove(row)

    def step(self) -> list[Any]:
        """One more token for every row."""
        return [self._next(row) for row in list(self._rows)]

    def _next(self, row: Row) -> Any:
        try:
            if row.state is None:
                params = og.GeneratorParams(self._model)
                most = min(len(row.prompt) + row.limit + 1, self.tongues[row.model].context)  # beyond it, it refuses
                params.set_search_options(max_length=most, batch_size=1)
                row.state = og.Generator(self._model, params)
                logits = self._read(row)
            else:
                logits = self._after(row, [row.made[-1]])
        except Exception as exc:  # noqa: BLE001 - the library raises plain Exceptions; told to whoever asked
            traceback.print_exc()
            return (row, exc, None)
        return (row, *row.taste.choose(logits))

    def _read(self, row: Row) -> Any:
        """The logits after the prompt; where the row wants to know of each of its tokens, one by one."""
        if not row.listens:
            return self._after(row, row.prompt)
        logits = self._after(row, row.prompt[:1])
        for token in row.prompt[1:]:
            row.heard.append(row.taste.look(logits, token))
            logits = self._after(row, [token])
        return logits

    def _after(self, row: Row, tokens: Sequence[int]) -> Any:
        row.state.append_tokens(list(tokens))
        logits = row.state.get_output("logits")  # `get_logits` takes a last token that is the pad token for padding
        return logits.reshape(-1, logits.shape[-1])[-1]


def load(message: dict[str, Any]) -> ORTEngine:
    """What the first message says. Raises `Failed`."""
    if len(message["models"]) != 1:
        raise Failed("a server for ONNX holds one model")
    ((name, place),) = message["models"].items()
    folder = Path(place)
    try:
        config = json.loads((folder / "genai_config.json").read_text())
        model = og.Model(str(folder))
        tokenizer = og.Tokenizer(model)
    except Exception as exc:
        raise Failed(f"cannot load {place!r}: {' '.join(str(exc).split())[:500]}") from exc
    chats = (folder / "chat_template.jinja").is_file() or "chat_template" in _text(folder / "tokenizer_config.json")
    return ORTEngine(model, name, ORTTongue(tokenizer, config, folder, chats=chats), str(model.device_type))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
