# pyright: basic
"""The engine on llama.cpp: its own server inside this process, on loopback and with a key that nobody else knows.

The server batches and samples; a thread per row reads its tokens as they come.
"""

from __future__ import annotations

import http.client
import json
import queue
import secrets
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp as _untyped

from ..rows import Failed, Refused, Row
from .vocabulary import Vocabulary

xllamacpp: Any = _untyped  # compiled: its names are known when it runs
_SLOTS = 8  # answers that the server writes at once; further ones wait there
_CONTEXT = 4096  # tokens of a slot, where the model has more: the memory is taken at the start
_TIMEOUT_S = 600.0
_STEP_S = 0.25
_ANY_SEED = 0xFFFFFFFF


class Server:
    """llama.cpp's HTTP server, in this process."""

    def __init__(self, file: Path, message: dict[str, Any], *, context: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_parallel = _SLOTS
        params.n_ctx = context * _SLOTS
        params.use_jinja = True
        params.warmup = False
        params.verbosity = 1
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        if message.get("device") == "cpu":
            params.n_gpu_layers = 0
        if message.get("threads"):
            params.cpuparams.n_threads = message["threads"]
        self._server = xllamacpp.Server(params)
        place = urlsplit(self._server.listening_address)
        self._host, self._port = place.hostname or "127.0.0.1", place.port

    def open(self, path: str, body: dict[str, Any] | None) -> tuple[Any, Any]:
        """Connection and answer; the caller closes it."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        return connection, connection.getresponse()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A whole answer. Raises `Refused` with the server's reason."""
        connection, answer = self.open(path, body)
        try:
            told = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(f"llama.cpp refuses it: {told.get('error', {}).get('message', answer.status)}")
        return told


class LlamaTongue:
    """See `rows.Tongue`; template and tokenizer are llama.cpp's own."""

    def __init__(self, server: Server, vocabulary: Vocabulary, *, context: int, chats: bool) -> None:
        self._server = server
        self._vocabulary = vocabulary
        self.ends = vocabulary.ends
        self.context = context
        self.chats = chats

    def render(self, request: dict[str, Any]) -> list[int]:
        """The chat template writes its own BOS, if any."""
        prompt = request.get("prompt")
        if isinstance(prompt, list):
            if any(not 0 <= token < len(self._vocabulary) for token in prompt):
                size = len(self._vocabulary)
                raise Refused(f"a token of the prompt is not in the vocabulary of {size} tokens", param="prompt")
            return list(prompt)
        if prompt is None:
            if not self.chats:
                raise Refused("this model has no chat template: ask it at /v1/completions", param="messages")
            wanted = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt")
            prompt = self._server.ask("/apply-template", {k: request[k] for k in wanted if k in request})["prompt"]
        told = self._server.ask("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
        return list(told["tokens"])

    def decode(self, ids: Sequence[int]) -> str:
        """Without special tokens."""
        return self._vocabulary.text(ids)

    def spell(self, ids: Sequence[int]) -> str:
        """With special tokens."""
        return self._vocabulary.text(ids, special=True)

    def token(self, token: int) -> tuple[str, list[int]]:
        """One token as text and as bytes."""
        raw = self._vocabulary.raw(token)
        return raw.decode("utf-8", "replace"), list(raw)

    def grammar(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Followed by the server itself."""
        return wanted


class LlamaEngine:
    """See `service.Engine`."""

    patience = 0

    def __init__(self, server: Server, vocabulary: Vocabulary, name: str, tongue: LlamaTongue, precision: str) -> None:
        self._server = server
        self._vocabulary = vocabulary
        self.tongues: dict[str, Any] = {name: tongue}
        self._rows: set[Row] = set()
        self._said: queue.SimpleQueue[tuple[Row, int | Exception, dict[str, Any] | None]] = queue.SimpleQueue()
        self.facts = {
            "engine": "llama.cpp",
            "precision": precision,
            "batched": True,
            "abilities": ["logit_bias", "logprobs", "json_schema"],
            "models": {name: {"context": tongue.context, "chats": tongue.chats}},
        }

    @property
    def rows(self) -> int:
        """How many are being generated."""
        return len(self._rows)

    def join(self, row: Row) -> None:
        """The server takes it as soon as it has room."""
        self._rows.add(row)
        threading.Thread(target=self._read, args=[row], daemon=True).start()

    def leave(self, row: Row) -> None:
        """The server is told by the end of the connection."""
        self._rows.discard(row)
        if row.state is not None:
            row.state.close()

    def step(self) -> list[Any]:
        """What has come since."""
        found: list[Any] = []
        ended: set[int] = set()
        try:
            found.append(self._said.get(timeout=_STEP_S))
            while True:
                found.append(self._said.get_nowait())
        except queue.Empty:
            pass
        kept: list[Any] = []
        for one in found:  # what comes after a row's end is nobody's
            row = one[0]
            if row not in self._rows or id(row) in ended:
                continue
            kept.append(one)
            if isinstance(one[1], Exception) or one[1] in row.ends or len(row.made) + _count(kept, row) >= row.limit:
                ended.add(id(row))
        return kept

    def _read(self, row: Row) -> None:
        try:
            connection, answer = self._server.open("/completion", _asked(row))
            row.state = connection
            counted = 0
            for line in answer:
                if line.startswith(b"data: "):
                    counted = self._hear(row, json.loads(line[6:]), counted)
                elif answer.status != 200:
                    self._hear(row, json.loads(line), counted)
        except (OSError, ValueError, http.client.HTTPException, RuntimeError, AttributeError) as exc:
            if row in self._rows:  # else it was cancelled, and this is how that ends
                traceback.print_exc()
                self._said.put((row, exc if isinstance(exc, RuntimeError) else RuntimeError(str(exc)), None))

    def _hear(self, row: Row, told: dict[str, Any], before: int) -> int:
        """Pass on what one chunk says; how many tokens the server has counted by then.

        It keeps quiet about tokens that are only part of a character, and does not name them later: what is missing of
        the text then stands for the first of them, and nothing for the others.
        """
        if "error" in told:
            raise RuntimeError(told["error"].get("message", "llama.cpp failed"))
        tokens, content = told.get("tokens") or [], told.get("content", "")
        counted = int(told.get("tokens_predicted", before))
        lost = counted - before - len(tokens)
        if lost > 0:
            known = b"".join(self._vocabulary.raw(token) for token in tokens if token not in row.ends)
            missing = content.encode().removesuffix(known)
            parts = [missing, *[b""] * (lost - 1)]
            for raw in parts:
                self._said.put((row, self._vocabulary.stand_in(raw), None))
        logprobs = told.get("completion_probabilities") or []
        for i, token in enumerate(tokens):
            self._said.put((row, token, _probable(logprobs[i], row) if i < len(logprobs) else None))
        if told.get("stop") and row.ends:
            self._said.put((row, min(row.ends), None))
        return counted


def _count(kept: Sequence[Any], row: Row) -> int:
    return sum(one[0] is row for one in kept)


def _probable(told: dict[str, Any], row: Row) -> dict[str, Any] | None:
    count = row.taste.logprobs
    if count is None:
        return None
    top = [(one["id"], one["logprob"]) for one in told["top_logprobs"][:count]]
    return {"logprob": told["logprob"], "top": top}


def _asked(row: Row) -> dict[str, Any]:
    taste = row.taste
    asked: dict[str, Any] = {
        "prompt": row.prompt,
        "n_predict": row.limit,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": False,  # a prompt that was read before gives other roundings
        "samplers": ["penalties", "temperature", "top_p"],
        "temperature": taste.temperature,
        "top_p": taste.top_p,
        "presence_penalty": taste.presence_penalty,
        "frequency_penalty": taste.frequency_penalty,
        "repeat_last_n": len(row.prompt) + row.limit,
        "seed": _ANY_SEED if taste.seed is None else taste.seed % _ANY_SEED,
        "logit_bias": [[token, bias] for token, bias in taste.logit_bias.items()],
        "ignore_eos": not row.ends,
    }
    if taste.logprobs is not None:
        asked["n_probs"] = max(1, taste.logprobs)
    if taste.grammar is not None:
        asked["json_schema"] = taste.grammar
    return asked


def load(message: dict[str, Any]) -> LlamaEngine:
    """What the first message says. Raises `Failed`."""
    if len(message["models"]) != 1:
        raise Failed("a server for GGUF holds one model")
    ((name, place),) = message["models"].items()
    file = _file(Path(place))
    try:
        vocabulary = Vocabulary(file)
        server = Server(file, message, context=min(vocabulary.context, _CONTEXT))
        props = server.ask("/props")
    except (ValueError, KeyError, OSError, RuntimeError, Refused) as exc:
        raise Failed(f"cannot load {str(file)!r}: {' '.join(str(exc).split())[:500]}") from exc
    context = int(props["default_generation_settings"]["n_ctx"])
    tongue = LlamaTongue(server, vocabulary, context=context, chats=bool(props.get("chat_template")))
    return LlamaEngine(server, vocabulary, name, tongue, str(props.get("model_ftype", "")))


def _file(place: Path) -> Path:
    if place.is_file():
        return place
    found = sorted(place.glob("*.gguf"))
    if len(found) != 1:
        raise Failed(f"{place} holds {len(found)} .gguf files: name the one to serve")
    return found[0]
