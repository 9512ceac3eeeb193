"""How likely a model finds the reference answers: log-probabilities, where its server tells them.

Asked are `POST /tokenize` (as vLLM and our own servers have it: beside `/v1`, with `messages`) and `POST
/v1/completions` with `echo`, `logprobs` and no new token. Servers without them are not measured, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from finetune_sdk.compare.asking import connection
from finetune_sdk.compare.bench import Limits
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.types import Deployment

_T = TypeVar("_T")


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float | None]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs


class _Echo(msgspec.Struct):
    choices: list[_Choice]


class NotTold(Exception):
    """This server does not tell log-probabilities of a given text; the text says what it answered."""


class Likelihood:
    """The references' likelihood at one server. Use it as a context manager."""

    def __init__(self, to: Deployment, limits: Limits) -> None:
        self._to, self._limits = to, limits
        self._http = connection(to, limits)

    def __enter__(self) -> Likelihood:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def all(
        self,
        items: Sequence[Item],
        messages: Callable[[Item], list[dict[str, Any]]],
        answers: Callable[[Item], Answer],
        stop: Callable[[], bool],
    ) -> Iterator[Answer]:
        """The items' answers with `nll` filled in; ends early once `stop` says so. Raises `NotTold`."""
        wanted = [item for item in items if item.reference]
        if not wanted:
            return
        one = partial(self._one, messages=messages, answers=answers)
        yield one(wanted[0])  # alone: says whether the server can do it at all
        with ThreadPoolExecutor(self._limits.requests, thread_name_prefix="likelihood") as pool:
            for start in range(1, len(wanted), self._limits.requests):
                if stop():
                    return
                yield from pool.map(one, wanted[start : start + self._limits.requests])

    def _one(
        self, item: Item, *, messages: Callable[[Item], list[dict[str, Any]]], answers: Callable[[Item], Answer]
    ) -> Answer:
        asked = messages(item)
        before = self._tokens(asked, item.tools, prompt=True)
        whole = self._tokens([*asked, {"role": "assistant", "content": item.reference}], item.tools, prompt=False)
        empty = self._tokens([*asked, {"role": "assistant", "content": ""}], item.tools, prompt=False)
        start = _common(before, whole)
        end = len(whole) - min(_common(whole[::-1], empty[::-1]), len(whole) - start)  # without the template's own end
        logprobs = self._echo(whole[:end])[start:end]
        known = [one for one in logprobs if one is not None]
        if not known or len(known) != len(logprobs):
            raise NotTold("it tells no log-probability for some tokens")
        return msgspec.structs.replace(answers(item), nll=-sum(known), nll_tokens=len(known))

    def _tokens(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *, prompt: bool) -> list[int]:
        body: dict[str, Any] = {"model": self._to.model, "messages": messages, "add_generation_prompt": prompt}
        if tools:
            body["tools"] = tools
        root = self._to.base_url.rstrip("/").removesuffix("/v1")
        return self._posted(f"{root}/tokenize", body, _Tokens).tokens

    def _echo(self, ids: list[int]) -> list[float | None]:
        body = {"model": self._to.model, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 0}
        choices = self._posted("completions", body, _Echo).choices
        return choices[0].logprobs.token_logprobs if choices else []

    def _posted(self, path: str, body: dict[str, Any], kind: type[_T]) -> _T:
        import httpx  # noqa: PLC0415 - an extra

        try:
            response = self._http.post(path, json=body)
        except httpx.HTTPError as error:
            raise NotTold(f"{type(error).__name__}: {error}") from error
        if response.status_code != 200:
            raise NotTold(f"HTTP {response.status_code} at {response.url.path}")
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise NotTold(f"{response.url.path} answers something else: {error}") from error


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for index, (first, second) in enumerate(zip(one, two, strict=False)):
        if first != second:
            return index
    return min(len(one), len(two))
