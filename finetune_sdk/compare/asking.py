"""Asking a model behind OpenAI's chat API every question once: concurrently, with retries, timed."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import msgspec
import tenacity

from finetune_sdk.compare.bench import Limits
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.meter import Meter
from finetune_sdk.errors import AuthFailed, MissingExtra, SpecError, Unreachable
from finetune_sdk.redact import SHORTEST, redact, remember
from finetune_sdk.types import Deployment

_AGAIN = frozenset(
    {408, 409, 425, 429, 500, 502, 503, 504}
)  # statuses after which the same question may be asked again
_LONGEST_WAIT_S = 60.0
_SHOWN = 300  # characters of a server's error
_MOST_CALLS = 128  # tool calls of one answer; a server that counts higher is broken
_PIECES = "stream-interval=16"
"""The first text at once, then in pieces of so many tokens: our servers heed it, others do not know it. Few enough that
a slow server is still heard from within `request_timeout_s`."""


class _Refused(Exception):
    """The server's answer to a question was an error."""

    def __init__(self, status: int, text: str, after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {redact(text)[:_SHOWN]}")
        self.status = status
        self.text = text
        self.after_s = after_s


@dataclass(slots=True)
class _Manners:
    """What this server turned out to want; learned from its refusals, once for all questions."""

    stream: bool = True
    usage_while_streaming: bool = True
    temperature: bool = True
    limit: str = "max_tokens"

    def learn(self, text: str, sent: Mapping[str, Any]) -> bool:
        """Whether a refusal (status 400 or 422) of what was `sent` says what to leave out."""
        if "max_completion_tokens" in text and "max_tokens" in sent:
            self.limit = "max_completion_tokens"
        elif "stream_options" in text and "stream_options" in sent:
            self.usage_while_streaming = False
        elif "temperature" in text and "temperature" in sent:
            self.temperature = False
        elif "stream" in text and "stream" in sent:
            self.stream = False
        else:
            return False
        return True


class Asker(AbstractContextManager["Asker"]):
    """A model to be asked. Use it as a context manager; its connections are closed at the end."""

    def __init__(
        self, to: Deployment, *, limits: Limits, max_tokens: int, temperature: float, meter: Meter | None = None
    ) -> None:
        """`meter`: what counts the money of each request, and stops them; None = they cost nothing."""
        self.to, self._meter = to, meter
        self._limits, self._max_tokens, self._temperature = limits, max_tokens, temperature
        self._manners = _Manners()
        self._key = _key(to)
        self._http = connection(to, limits)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def all(
        self, items: Iterable[Item], messages: Callable[[Item], list[dict[str, Any]]], stop: Callable[[], bool]
    ) -> Iterator[Answer]:
        """The answers as they come, in no order; ends early, with no question in flight, once `stop` says so.

        An answer that did not come is an `Answer` with an `error`. Raises `AuthFailed` when the key is refused (every
        further question would be too), `BudgetExceeded` when the money is up; what was in flight is given before.
        """
        waiting = iter(items)
        ended: Exception | None = None
        with ThreadPoolExecutor(self._limits.requests, thread_name_prefix="asking") as pool:
            running: set[Future[Answer]] = set()
            while True:
                while len(running) < self._limits.requests and ended is None and not stop():
                    item = next(waiting, None)
                    if item is None:
                        break
                    running.add(pool.submit(self.ask, item, messages(item)))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    try:
                        yield one.result()
                    except Exception as error:  # noqa: BLE001 - raised below: what was paid for is given before
                        ended = error
        if ended is not None:
            raise ended

    def ask(self, item: Item, messages: list[dict[str, Any]]) -> Answer:
        """One question; see `all`."""
        at = time.time()
        try:
            return self._retrying(item, messages, at)
        except _Refused as refusal:
            if refusal.status in (401, 403):
                raise AuthFailed(
                    f"[{self.to.provider}] {self.to.base_url} refuses the key in "
                    f"{self.to.api_key_env or 'no environment variable'}: {refusal}"
                ) from refusal
            return Answer(item=item.id, error=str(refusal), at=at)
        except self._http_errors() as error:
            return Answer(item=item.id, error=redact(f"{type(error).__name__}: {error}")[:_SHOWN], at=at)

    def _retrying(self, item: Item, messages: list[dict[str, Any]], at: float) -> Answer:
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._limits.attempts),
            wait=_patience,
            retry=tenacity.retry_if_exception(self._worth_again),
            reraise=True,
        )
        answer: Answer = attempts(self._once_mannered, item, messages, at)
        tries = attempts.statistics.get("attempt_number", 1)
        return answer if tries == 1 else msgspec.structs.replace(answer, tries=tries)

    def _once_mannered(self, item: Item, messages: list[dict[str, Any]], at: float) -> Answer:
        while True:
            body = self._body(item, messages)
            try:
                return self._charged(item, body, at)
            except _Refused as refusal:
                if refusal.status not in (400, 422) or not self._manners.learn(refusal.text, body):
                    raise

    def _charged(self, item: Item, body: Mapping[str, Any], at: float) -> Answer:
        if self._meter is None:
            return self._once(item, body, at)
        with self._meter.request(body) as request:
            try:
                request.answer = self._once(item, body, at)
            except _Refused as refusal:
                request.charged = refusal.status >= 500  # what is refused costs nothing; what broke may
                raise
            except self._never_sent():
                request.charged = False
                raise
            return request.answer

    def _once(self, item: Item, body: Mapping[str, Any], at: float) -> Answer:
        begun = time.perf_counter()
        with self._http.stream("POST", "chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                raise _Refused(response.status_code, response.text, _retry_after(response.headers))
            if "text/event-stream" in response.headers.get("content-type", ""):
                heard = _heard(response.iter_lines(), begun)
            else:
                response.read()
                heard = _read(response.text)
        return Answer(
            item=item.id,
            text=None if heard.text is None else self._without_key(heard.text),
            calls=[{name: self._without_key(text) for name, text in call.items()} for call in heard.calls] or None,
            latency_s=time.perf_counter() - begun,
            first_token_s=heard.first_token_s,
            prompt_tokens=heard.usage.prompt_tokens,
            completion_tokens=heard.usage.completion_tokens,
            finish=None if heard.finish is None else self._without_key(heard.finish),
            at=at,
        )

    def _without_key(self, text: str) -> str:
        """A server that echoes our key must not bring it into an answer: answers are kept."""
        return text if self._key is None or len(self._key) < SHORTEST else text.replace(self._key, "***")

    def _body(self, item: Item, messages: list[dict[str, Any]]) -> dict[str, Any]:
        manners = self._manners
        body: dict[str, Any] = {"model": self.to.model, "messages": messages, manners.limit: self._max_tokens}
        if manners.temperature:
            body["temperature"] = self._temperature
        if item.tools:
            body["tools"] = item.tools
        if manners.stream:
            body["stream"] = True
            if manners.usage_while_streaming:
                body["stream_options"] = {"include_usage": True}
        return body

    def _worth_again(self, error: BaseException) -> bool:
        if isinstance(error, _Refused):
            return error.status in _AGAIN and "insufficient_quota" not in error.text
        return isinstance(error, self._http_errors())

    def _http_errors(self) -> tuple[type[Exception], ...]:
        import httpx  # noqa: PLC0415 - an extra

        return (httpx.HTTPError, httpx.InvalidURL)

    def _never_sent(self) -> tuple[type[Exception], ...]:
        import httpx  # noqa: PLC0415 - an extra

        return (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL)


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Said(msgspec.Struct):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Reply(msgspec.Struct):
    """A reply, or a chunk of a streamed one, as far as it is read."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


@dataclass(slots=True)
class _Heard:
    """What a reply said."""

    text: str | None = None
    calls: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    usage: _Usage = field(default_factory=_Usage)
    finish: str | None = None
    first_token_s: float | None = None


_decode = msgspec.json.Decoder(_Reply).decode


def _heard(lines: Iterator[str], begun: float) -> _Heard:
    """A stream of server-sent events, put together."""
    heard, texts, said_anything = _Heard(), list[str](), False
    for line in lines:
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if not data or data == "[DONE]":
            continue
        chunk = _reply(data)
        heard.usage = chunk.usage or heard.usage
        for choice in (chunk.choices or [])[:1]:
            said, said_anything = choice.delta or _Said(), True
            if (said.content or said.tool_calls) and heard.first_token_s is None:
                heard.first_token_s = time.perf_counter() - begun
            texts.append(said.content or "")
            _add_calls(heard.calls, said.tool_calls or [])
            heard.finish = choice.finish_reason or heard.finish
    if not said_anything:
        raise _Refused(502, "the stream ended without a choice")
    heard.text = "".join(texts)
    return heard


def _add_calls(calls: list[dict[str, str]], parts: list[_Call]) -> None:
    for part in parts:
        at = len(calls) if part.index is None else part.index
        if not 0 <= at < _MOST_CALLS:
            raise _Refused(502, f"a tool call of index {at}")
        while len(calls) <= at:
            calls.append({"name": "", "arguments": ""})
        calls[at]["name"] += part.function.name or ""
        calls[at]["arguments"] += part.function.arguments or ""


def _read(text: str) -> _Heard:
    reply = _reply(text)
    if not reply.choices:
        raise _Refused(502, f"no choices in the reply: {text}")
    choice = reply.choices[0]
    said = choice.message or _Said()
    heard = _Heard(text=said.content, usage=reply.usage or _Usage(), finish=choice.finish_reason)
    _add_calls(heard.calls, [_Call(function=call.function) for call in said.tool_calls or []])
    return heard


def _reply(text: str) -> _Reply:
    try:
        reply = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _Refused(502, f"the reply is not a chat completion: {text}") from None
    if reply.error is not None and bytes(reply.error) != b"null":
        raise _Refused(502, bytes(reply.error).decode())
    return reply


def _patience(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else twice as long each time with jitter."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, _Refused) and error.after_s is not None:
        return min(error.after_s, _LONGEST_WAIT_S)
    return tenacity.wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT_S)(state)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def prepare() -> None:
    """Import the HTTP client before threads do: two at once may see half of it. Raises `MissingExtra`."""
    try:
        importlib.import_module("httpx")
    except ImportError as error:
        raise MissingExtra("compare", "httpx") from error


def _key(to: Deployment) -> str | None:
    """The key as its environment variable holds it; from now on it is taken out of every text. Raises `AuthFailed`."""
    if to.api_key_env is None:
        return None
    key = os.environ.get(to.api_key_env)
    if not key:
        raise AuthFailed(f"[{to.provider}] the environment variable {to.api_key_env} is not set; it holds the key")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise AuthFailed(
            f"[{to.provider}] the environment variable {to.api_key_env} holds no key: there is a space, a line's end "
            "or another sign in it that no key has; copy the key again"
        )
    remember(to.api_key_env)
    return key


def connection(to: Deployment, limits: Limits) -> Any:
    """An HTTP client for the model's API; the caller closes it. Raises `AuthFailed`, `MissingExtra`, `SpecError`."""
    try:
        import httpx  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("compare", "httpx") from error
    headers = {"accept": "application/json, text/event-stream", "prefer": _PIECES}
    if (key := _key(to)) is not None:
        headers["authorization"] = f"Bearer {key}"
    if not to.base_url.startswith(("http://", "https://")):
        raise SpecError(f"base_url {to.base_url!r} is no http(s) address")
    return httpx.Client(
        base_url=to.base_url.rstrip("/") + "/",
        headers=headers,
        timeout=httpx.Timeout(limits.request_timeout_s, connect=10.0),
        limits=httpx.Limits(max_connections=limits.requests, max_keepalive_connections=limits.requests),
        trust_env=not to.base_url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]")),
    )


def reachable(to: Deployment, limits: Limits) -> None:
    """Ask for the list of models once. Raises `Unreachable` when nobody answers; one that takes its time does."""
    import httpx  # noqa: PLC0415 - an extra

    with connection(to, limits) as http:
        try:
            http.get("models", timeout=10.0)
        except httpx.ReadTimeout:
            return
        except httpx.HTTPError as error:
            raise Unreachable(f"[{to.provider}] nobody answers at {to.base_url}: {error}") from error
