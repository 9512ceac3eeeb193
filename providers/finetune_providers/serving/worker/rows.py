"""One answer being written: what a request asks for, split into rows that share nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .choosing import Taste
from .speech import Speech


class Refused(Exception):
    """A request that cannot be answered; the text goes to whoever sent it. `code` is a word of OpenAI's API."""

    def __init__(self, text: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(text)
        self.param = param
        self.code = code


class Failed(Exception):
    """The engine cannot start; the text says why and what to do."""


class Tongue(Protocol):
    """A served model's tokenizer and chat template."""

    ends: frozenset[int]
    """Tokens that end an answer."""
    context: int
    """Tokens that prompt and answer may have together."""

    def render(self, request: dict[str, Any]) -> list[int]:
        """The prompt's tokens. Raises `Refused`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        ...

    def spell(self, ids: Sequence[int]) -> str:
        """Text with special tokens."""
        ...

    def token(self, token: int) -> tuple[str, list[int]]:
        """One token as text and as bytes."""
        ...

    def grammar(self, wanted: dict[str, Any]) -> Any:
        """What keeps an answer to a JSON schema. Raises `Refused`."""
        ...


@dataclass(eq=False, kw_only=True)
class Row:
    """An answer and how far it has come."""

    id: str
    index: int
    model: str
    prompt: list[int]
    limit: int
    """Tokens it may have."""
    ends: frozenset[int]
    taste: Taste
    speech: Speech
    every: int = 1
    """Tokens between two pieces that are told, after the first; 0 = nobody reads along, all is told at the end."""
    echo: bool = False
    """The prompt is told again before the answer."""
    given: str | None = None
    """The prompt as it was written; None = it came as tokens, or as a conversation."""
    heard: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """How likely each token of the prompt but the first was: the engine notes it for rows that `listens`."""
    made: list[int] = field(default_factory=list[int])
    untold: dict[str, Any] | None = None
    """What was not told yet."""
    told: int = 0
    """Tokens that were."""
    state: Any = None
    """The engine's own."""

    @property
    def listens(self) -> bool:
        """Whether the logprobs of the prompt are asked for."""
        return self.echo and self.taste.logprobs is not None

    @property
    def due(self) -> bool:
        """Whether what was not told yet is to be told before the end: the first text at once."""
        if self.every <= 1:
            return self.every == 1
        said = self.untold is not None and bool(self.untold["text"])
        return said and (not self.told or len(self.made) - self.told >= self.every)

    def take(self, token: int) -> tuple[str, str | None]:
        """The text to send now that `token` was chosen, and the reason if this was the end."""
        if self.limit == 0:
            return "", "length"
        self.made.append(token)
        if token in self.ends:
            return self.speech.finish(), "stop"
        text = self.speech.add(token)
        if self.speech.stopped:
            return text, "stop"
        if len(self.made) >= self.limit:
            text += self.speech.finish()
            return text, "stop" if self.speech.stopped else "length"
        return text, None


def rows(request: dict[str, Any], tongue: Tongue) -> list[Row]:
    """The answers a request asks for. Raises `Refused` when its prompt does not fit the model's context."""
    prompt = tongue.render(request)
    room = tongue.context - len(prompt)
    asked = request.get("max_tokens")
    silent = asked == 0
    _tellable(request, prompt)
    if not prompt:
        raise Refused("the prompt is empty: this model has no token to begin with", param="prompt")
    if room < (0 if silent else 1) or (asked is not None and asked > room):
        wanted = f" and {asked} for the answer" if asked is not None else ""
        raise Refused(
            f"This model's maximum context length is {tongue.context} tokens; the prompt has {len(prompt)}{wanted}.",
            param="max_tokens" if room > 0 else request["param"],
            code="context_length_exceeded",
        )
    return [_row(request, tongue, prompt, index, room) for index in range(request.get("n", 1))]


def _tellable(request: dict[str, Any], prompt: list[int]) -> None:
    """What is told about a prompt goes through memory and a socket in one piece. Raises `Refused`."""
    count = len(prompt) * (1 + request.get("logprobs", 0)) * request.get("n", 1)
    if request.get("echo") and count > _TOLD:
        raise Refused(
            f"{count} logprobs of prompt tokens at once are too many (at most {_TOLD}): ask for fewer alternatives "
            "(logprobs), for one answer (n), or about a part of the prompt",
            param="logprobs",
        )


def _row(request: dict[str, Any], tongue: Tongue, prompt: list[int], index: int, room: int) -> Row:
    seed = request.get("seed")
    taste = Taste(
        **{name: request[name] for name in _TASTE if name in request},
        logit_bias={int(token): bias for token, bias in request.get("logit_bias", {}).items()},
        seed=None if seed is None else (seed + index) % 2**63,
        grammar=tongue.grammar(request["schema"]) if "schema" in request else None,
    )
    asked, every = request.get("max_tokens"), request.get("every", 1) if request.get("stream") else 0
    return Row(
        id=request["id"],
        index=index,
        model=request["model"],
        prompt=prompt,
        limit=room if asked is None else asked,
        every=every,
        echo=bool(request.get("echo")),
        given=request["prompt"] if isinstance(request.get("prompt"), str) else None,
        ends=frozenset() if request.get("ignore_eos") else tongue.ends,
        taste=taste,
        speech=Speech(tongue.decode, request.get("stop", ()), every=every),
    )


_TOLD = 300_000
_TASTE = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs")
