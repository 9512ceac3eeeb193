"""From tokens to text that may be sent: whole characters only, and nothing that could still become a stop sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"  # what decoding the first half of a character gives
_FEW = 8


class Speech:
    """The text of one answer as it grows.

    Decoding token by token is wrong (a character may span tokens, a space may depend on its neighbour), decoding all
    of it each time is slow: so each step decodes the last few tokens, and takes what is longer than before the newest.

    `every`: at most every so many tokens there is text, but for the first; 0 = with the last token only. Stop sequences
    are looked for with every token.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = (), *, every: int = 1) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._every = 1 if stops else every
        self._ids: list[int] = []
        self._from = 0
        """Where the last few tokens begin."""
        self._upto = 0
        self._before = ""
        """Their text up to `_upto`; what comes after it was not sent."""
        self._held: str = ""
        """Decoded and not sent: it may be the beginning of a stop sequence."""
        self.stopped = False
        """A stop sequence has come; what followed it is dropped."""

    def add(self, token: int) -> str:
        """The text that may be sent now that `token` has come; often "", sometimes several characters."""
        self._ids.append(token)
        if self._waits():
            return ""
        now = self._decode(self._ids[self._from :])
        before = self._before
        if len(now) <= len(before) or now.endswith(_INCOMPLETE):
            return ""
        if len(self._ids) - self._from > _FEW:
            self._from = self._upto
            self._before = self._decode(self._ids[self._from :])
        else:
            self._before = now
        self._upto = len(self._ids)
        return self._release(now[len(before) :])

    def finish(self) -> str:
        """What is left when no token follows any more."""
        if self.stopped:
            return ""
        left = "" if self._upto == len(self._ids) else self._decode(self._ids[self._from :])[len(self._before) :]
        rest = self._release(left)
        held, self._held = self._held, ""
        return rest if self.stopped else rest + held

    def _waits(self) -> bool:
        unread = len(self._ids) - self._upto
        return not self._every or (self._upto > 0 and unread < self._every)

    def _release(self, text: str) -> str:
        text, self._held = self._held + text, ""
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
