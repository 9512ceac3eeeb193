"""What asking costs, question by question: nothing is sent whose dearest answer could break the cap."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

import msgspec

from finetune_sdk._document import is_list, is_mapping
from finetune_sdk.compare.bench import Prices
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.prompts import Ask
from finetune_sdk.errors import BudgetExceeded

_BYTES_PER_TOKEN = 2.5  # a cautious guess of what is likely; no tokenizer makes more tokens than there are bytes
_TOKENS_PER_MESSAGE = 16  # of a chat template
_TOKENS_PER_PART = 3_000  # an image or a sound that is named, not written out
_encode = msgspec.json.Encoder().encode


def paid(prices: Prices, answer: Answer) -> float | None:
    """What an answer has cost by the tokens that its server counted. None = a price or the count is unknown."""
    if prices.input_per_mtok is None or prices.output_per_mtok is None:
        return None
    if answer.prompt_tokens is None or answer.completion_tokens is None:
        return None
    return (answer.prompt_tokens * prices.input_per_mtok + answer.completion_tokens * prices.output_per_mtok) / 1e6


class Meter(AbstractContextManager["Meter"]):
    """The money of one candidate's questions, as a context manager around asking them.

    With a cap each request is sent only while its dearest answer can be paid beside everything else that was set aside.
    A request whose outcome nobody knows (a timeout, a server's fault, a kill) counts as its dearest answer.
    """

    def __init__(
        self, budget: Budget, name: str, prices: Prices, *, max_tokens: int, what: str = "asking", free: bool = False
    ) -> None:
        self._budget, self._prices, self._max_tokens = budget, prices, max_tokens
        self._name, self._what, self._key = name, what, f"{name}: {what}"
        self._unread = f"{name}: {what}, replies that never came"
        self._lock = threading.Lock()
        self._free = free
        self._known = free or not (prices.input_per_mtok is None or prices.output_per_mtok is None)
        self._paid = self._flying = self._likely = 0.0
        self._share = 0.0  # of what is likely, for each answer
        self._begun = False

    def likely(self, items: Iterable[Item], messages: Ask) -> float | None:
        """What asking these comes to if every answer is as long as it may be. None = unknown."""
        if not self._known:
            return None
        return sum(self._cost(_size(messages(one), one.tools) / _BYTES_PER_TOKEN + 20) for one in items)

    def begin(self, items: Sequence[Item], known: Mapping[str, Answer], messages: Ask, *, at_once: int) -> None:
        """Set aside what those of `items` will cost that have no answer yet, beside what the `known` answers have cost.

        `at_once`: how many are in flight at a time; so many are lost sight of by a kill. Raises `BudgetExceeded`.
        """
        missing = [one for one in items if one.id not in known or known[one.id].error]
        likely = 0.0 if self._free else self.likely(missing, messages)
        if self._free or likely is None:
            self._budget.affords(self._name, likely, what=self._what)
            self._begun = not self._free
            return
        self._add_unread(self._budget.lost(self._key))
        self._paid = sum(self._came_to(one, known[one.id], messages) for one in items if one.id in known)
        self._budget.set_aside(self._key, self._paid)
        self._budget.affords(self._name, likely, what=self._what)
        self._likely, self._share = likely, likely / max(1, len(missing))
        dearest = sorted((self._dearest(messages(one), one.tools) for one in missing), reverse=True)[:at_once]
        self._budget.set_aside(self._key, self._paid + likely, flying=sum(dearest))
        self._begun = True

    @contextmanager
    def request(self, body: Mapping[str, Any]) -> Generator[Request]:
        """Around one request. Raises `BudgetExceeded`, with nothing sent, when it can no longer be paid."""
        if self._free or not self._known:
            yield Request()
            return
        bound = self._dearest(body["messages"], body.get("tools"))
        with self._lock:
            if not self._budget.may(self._key, self._paid + self._flying + bound):
                raise BudgetExceeded(
                    f"{self._what} of {self._name} was stopped: the next answer may cost {bound:.2g} USD, and less "
                    f"is left of {self._budget.cap:g}"
                )
            self._flying += bound
            self._budget.set_aside(self._key, self._held(self._flying))
        request = Request(charged=True)
        try:
            yield request
        finally:
            with self._lock:
                self._flying -= bound
                if request.answer is not None:
                    cost = paid(self._prices, request.answer)
                    self._paid += bound if cost is None else cost
                    self._likely = max(0.0, self._likely - self._share)
                self._budget.set_aside(self._key, self._held(self._flying))
                if request.answer is None and request.charged:
                    self._add_unread(bound)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            self._budget.settle(self._key, self._paid if self._known else None)

    def _held(self, flying: float) -> float:
        return self._paid + max(flying, self._likely)

    def _came_to(self, item: Item, answer: Answer, messages: Ask) -> float:
        if answer.error:
            return 0.0  # what it may have cost was counted apart
        cost = paid(self._prices, answer)
        return self._dearest(messages(item), item.tools) if cost is None else cost  # its server counts no tokens

    def _add_unread(self, usd: float) -> None:
        if usd:
            self._budget.settle(self._unread, self._budget.of(self._unread) + usd)

    def _dearest(self, messages: Sequence[Mapping[str, Any]], tools: object) -> float:
        return self._cost(_size(messages, tools))

    def _cost(self, read: float) -> float:
        prices = self._prices
        return (read * (prices.input_per_mtok or 0.0) + self._max_tokens * (prices.output_per_mtok or 0.0)) / 1e6


class Request:
    """One request under way: what came back, and whether it may have been charged if nothing did."""

    def __init__(self, *, charged: bool = False) -> None:
        self.answer: Answer | None = None
        self.charged = charged


def _size(messages: Sequence[Mapping[str, Any]], tools: object) -> int:
    """More tokens than any tokenizer makes of it."""
    size = len(_encode(tools)) if tools else 0
    for message in messages:
        size += len(_encode(message)) + _TOKENS_PER_MESSAGE
        size += sum(_TOKENS_PER_PART for kind in _parts(message.get("content")) if kind != "text")
    return size


def _parts(content: object) -> list[str]:
    """The kinds of a message's parts; none of a plain text."""
    return [str(part.get("type")) for part in content if is_mapping(part)] if is_list(content) else []
