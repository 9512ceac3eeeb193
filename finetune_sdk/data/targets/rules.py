"""The kinds of demands targets make. A target's table holds instances of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from msgspec import UNSET

from finetune_sdk.data.example import Message, Role
from finetune_sdk.data.features import FEATURES
from finetune_sdk.data.targets.base import Doc, Problem, Row, Rule, Totals, image_urls
from finetune_sdk.data.tools.strip import STRIP
from finetune_sdk.types import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuses(Rule):
    """The target has no place for something a row may use."""

    name: ClassVar[str] = "refuses"
    of: str
    """A name of `features.FEATURES`."""
    fix: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.of not in FEATURES:
            raise ValueError(f"no feature {self.of!r}")

    @property
    def rule(self) -> str:
        return self.of

    @property
    def feature(self) -> str | None:
        return self.of

    def row(self, row: Row) -> Iterator[Problem]:
        path = row.features.get(self.of)
        if path is not None:
            fix = self.fix or f"Remove it, or drop it in conversion: `--allow-loss {self.of}`."
            if not self.fix and self.of not in STRIP:
                fix = "Remove the row, or choose another target: without it the row would say something else."
            yield Problem(path, f"{FEATURES[self.of]}: {self.why or 'not accepted'}", fix)

    def words(self) -> str:
        what = "not accepted" if self.severity == "error" else "doubtful"
        return f"{FEATURES[self.of]}: {self.why or what}"


def refuses(doc: Doc, *names: str, severity: Severity = "error") -> tuple[Refuses, ...]:
    """A rule per feature."""
    return tuple(Refuses(doc=doc, of=name, severity=severity) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles(Rule):
    """Only these roles."""

    name: ClassVar[str] = "roles"
    allowed: frozenset[Role]

    def row(self, row: Row) -> Iterator[Problem]:
        for path, message in row.turns:
            if message.role not in self.allowed:
                yield Problem(f"{path}.role", f"the role {message.role!r} is not accepted", self._fix(message.role))
                return

    def _fix(self, role: Role) -> str:
        if role in ("developer", "system"):
            other = "system" if role == "developer" else "developer"
            if other in self.allowed:
                return f"Write it as {other!r}: `finetune data fix --with {other}-role`."
        return f"Accepted are {', '.join(sorted(self.allowed))}."

    def words(self) -> str:
        return f"roles: {', '.join(sorted(self.allowed))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTurn(Rule):
    """Who speaks first, system messages aside."""

    name: ClassVar[str] = "first-turn"
    role: Role = "user"

    def row(self, row: Row) -> Iterator[Problem]:
        for path, message in row.turns:
            if message.role in ("system", "developer"):
                continue
            if message.role != self.role:
                yield Problem(
                    f"{path}.role", f"starts with the {message.role}'s turn", f"Start with the {self.role}'s turn."
                )
            return

    def words(self) -> str:
        return f"the first turn is the {self.role}'s"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTurn(Rule):
    """Who speaks last in the row (in the prompt, where the row has answers beside it)."""

    name: ClassVar[str] = "last-turn"
    roles: frozenset[Role]

    def row(self, row: Row) -> Iterator[Problem]:
        last = next(((path, message) for path, message in reversed(row.turns) if path.startswith(_WHOLE)), None)
        if last is not None and last[1].role not in self.roles:
            yield Problem(
                f"{last[0]}.role",
                f"ends with the {last[1].role}'s turn",
                f"End with a turn of the {' or '.join(sorted(self.roles))}.",
            )

    def words(self) -> str:
        return f"the last turn is the {' or '.join(sorted(self.roles))}'s"


_WHOLE = ("messages", "prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Rule):
    """Which role may follow which; "" is the beginning."""

    name: ClassVar[str] = "turn-order"
    after: Mapping[str, tuple[Role, ...]] = field(hash=False)
    why: str = ""

    def row(self, row: Row) -> Iterator[Problem]:
        before: dict[str, str] = {}
        for path, message in row.turns:
            part = path.split("[")[0]
            last = before.get(part, "")
            if (last or part in _WHOLE) and message.role not in self.after.get(last, ()):
                where = f"a turn of the {message.role} {f'after the {last}' if last else 'at the beginning'}"
                yield Problem(
                    f"{path}.role",
                    f"{where} is not accepted",
                    "Merge turns of one role: `finetune data fix --with merge-turns`."
                    if last == message.role
                    else f"There may come: {', '.join(self.after.get(last, ())) or 'nothing'}.",
                )
                return
            before[part] = message.role

    def words(self) -> str:
        if self.why:
            return self.why
        steps = (f"{last or 'start'} → {'/'.join(roles)}" for last, roles in self.after.items())
        return f"order of turns: {'; '.join(steps)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Rule):
    """Which weights, and on whose turns."""

    name: ClassVar[str] = "weights"
    allowed: tuple[int, ...] = (0, 1)
    roles: frozenset[Role] = frozenset(("assistant",))

    @property
    def feature(self) -> str | None:
        return "weights-fraction"

    def row(self, row: Row) -> Iterator[Problem]:
        if not row.features.keys() & {"weights", "weights-elsewhere"}:
            return
        for path, message in row.turns:
            if message.weight is None:
                continue
            if message.weight not in self.allowed:
                yield Problem(
                    f"{path}.weight",
                    f"a weight of {message.weight:g}; accepted are {_or(self.allowed)}",
                    f"Write {_or(self.allowed)}, or drop it: `--allow-loss weights-fraction`.",
                )
            elif message.role not in self.roles:
                yield Problem(
                    f"{path}.weight",
                    f"a weight on a turn of the {message.role}",
                    f"Only turns of the {_or(sorted(self.roles))} carry one: `--allow-loss weights-elsewhere`.",
                )

    def words(self) -> str:
        return f"`weight`: {_or(self.allowed)}, on turns of the {_or(sorted(self.roles))}"


def _or(words: tuple[object, ...] | list[Role]) -> str:
    return " or ".join(map(str, words))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNames(Rule):
    """How functions may be named, in definitions and calls."""

    name: ClassVar[str] = "tool-name"
    pattern: str = r"[A-Za-z0-9_-]{1,64}"

    def row(self, row: Row) -> Iterator[Problem]:
        if "tools" not in row.features and "tool-calls" not in row.features:
            return
        shape = re.compile(self.pattern)
        for path, name in _function_names(row):
            if not shape.fullmatch(name):
                yield Problem(path, f"the function's name {name[:80]!r} is not accepted", f"Match `{self.pattern}`.")

    def words(self) -> str:
        return f"function names match `{self.pattern}`"


def _function_names(row: Row) -> Iterator[tuple[str, str]]:
    tools: list[dict[str, object]] = getattr(row.example, "tools", None) or []
    for index, tool in enumerate(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else tool.get("name")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        yield f"tools[{index}].function.name", name if isinstance(name, str) else ""
    for path, message in row.turns:
        for index, call in enumerate(message.tool_calls or []):
            yield f"{path}.tool_calls[{index}].function.name", call.function.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolIds(Rule):
    """Every call has an id, and every result names one that was asked."""

    name: ClassVar[str] = "tool-call-id"
    pattern: str = r".+"
    forbidden: frozenset[str] = frozenset()

    def row(self, row: Row) -> Iterator[Problem]:
        if "tool-calls" not in row.features:
            return
        asked: set[str] = set()
        said = ""
        for path, message in row.turns:
            for index, call in enumerate(message.tool_calls or []):
                if call.id is UNSET or not call.id or not self._good(call.id):
                    shown = None if call.id is UNSET else call.id
                    yield Problem(f"{path}.tool_calls[{index}].id", f"the call's id is {shown!r}", _NUMBER_CALLS)
                else:
                    asked.add(call.id)
            if message.role == "tool" and message.tool_call_id not in asked:
                fix = _WRITE_CALLS if _BRACKETED.fullmatch(said) else _NAME_CALLS
                yield Problem(f"{path}.tool_call_id", "the result names no call before it", fix)
            said = message.text if message.role == "assistant" else said

    def _good(self, call_id: str) -> bool:
        return call_id not in self.forbidden and re.fullmatch(self.pattern, call_id) is not None

    def words(self) -> str:
        shape = "" if self.pattern == r".+" else f" matching `{self.pattern}`"
        return f"every tool call has an id{shape}, every result names one"


_NUMBER_CALLS = "Give calls and results ids: `finetune data fix`."
_BRACKETED = re.compile(r"\s*\[\s*[A-Za-z_][^()\[\]]*\(.*\)\s*\]\s*", re.DOTALL)
"""Calls as ToolACE writes them into the answer's text."""
_WRITE_CALLS = "The call before it is a text such as [f(a=1)]: write it as `tool_calls`, its arguments as JSON."
_NAME_CALLS = f"{_NUMBER_CALLS[:-1]}, `--with calls-in-text` where <tool_call> marks calls in texts."


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResults(Rule):
    """All calls of a turn are answered before the assistant speaks again, and no call twice."""

    name: ClassVar[str] = "tool-results"

    def row(self, row: Row) -> Iterator[Problem]:
        if "tool-calls" not in row.features:
            return
        open_calls = 0
        for path, message in row.turns:
            if message.role == "tool":
                open_calls -= 1
                if open_calls < 0:
                    yield Problem(path, "more results than calls", "Remove the result, or add its call.")
                    return
            elif open_calls > 0:
                yield Problem(path, f"{open_calls} call(s) before this turn have no result", "Add the tool's results.")
                return
            open_calls = len(message.tool_calls or []) if message.role == "assistant" else max(open_calls, 0)

    def words(self) -> str:
        return "every tool call is answered before the next turn"


INLINE = "Write `image_url` parts: `finetune data fix --with images-inline`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Images(Rule):
    """How many images, where, from where, in which formats."""

    name: ClassVar[str] = "images-limits"
    per_example: int | None = None
    """None = not stated."""
    roles: frozenset[Role] = frozenset(("user",))
    schemes: frozenset[str] = frozenset(("http", "https", "data"))
    formats: frozenset[str] | None = frozenset(("jpeg", "png", "webp"))
    max_bytes: int | None = 10 * 1024 * 1024

    @property
    def feature(self) -> str | None:
        return "images"

    def row(self, row: Row) -> Iterator[Problem]:
        if row.features.get("images") == "images":
            yield Problem("images", "the pictures lie beside the conversation, not in it", INLINE)
        if not row.images:
            return
        if self.per_example is not None and row.images > self.per_example:
            yield Problem(
                row.features["images"], f"{row.images} images; at most {self.per_example} a row", "Split the row."
            )
        for path, message in row.turns:
            for index, url in image_urls(message):
                yield from self._image(message, url, f"{path}.content[{index}].image_url.url")

    def _image(self, message: Message, url: str, path: str) -> Iterator[Problem]:
        if message.role not in self.roles:
            yield Problem(path, f"an image in a turn of the {message.role}", "Only the user's turns may hold images.")
        scheme = url.split(":", 1)[0].lower() if ":" in url[:16] else "file"
        if scheme not in self.schemes:
            yield Problem(
                path,
                f"the image is {'a local file' if scheme == 'file' else f'at {scheme}://'}",
                f"Accepted: {', '.join(sorted(self.schemes))}.",
            )
        elif scheme == "data":
            yield from self._inline(url, path)

    def _inline(self, url: str, path: str) -> Iterator[Problem]:
        head, _, body = url.partition(",")
        kind = head[5:].split(";", 1)[0].removeprefix("image/").replace("jpg", "jpeg")
        if self.formats is not None and kind not in self.formats:
            yield Problem(path, f"the image is {kind or 'of no stated kind'}", f"Accepted: {_list(self.formats)}.")
        if self.max_bytes is not None and len(body) * 3 // 4 > self.max_bytes:
            yield Problem(path, f"the image is larger than {self.max_bytes // 2**20} MB", "Scale it down.")
        try:
            base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            yield Problem(path, "the image's base64 is broken", "Encode the picture again.")

    def words(self) -> str:
        count = "any number of images" if self.per_example is None else f"at most {self.per_example} images a row"
        size = "" if self.max_bytes is None else f", at most {self.max_bytes // 2**20} MB each"
        formats = "" if self.formats is None else f", {_list(self.formats)}"
        return f"{count}, {_list(self.roles)} turns only, {_list(self.schemes)}{formats}{size}"


def _list(words: frozenset[str] | frozenset[Role]) -> str:
    return ", ".join(sorted(words))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedStarts(Rule):
    """Texts may not begin with the target's own marks."""

    name: ClassVar[str] = "reserved-start"
    marks: tuple[str, ...]

    def row(self, row: Row) -> Iterator[Problem]:
        for path, message in row.turns:
            text = message.text
            mark = next((mark for mark in self.marks if text.startswith(mark)), None)
            if mark is not None:
                yield Problem(f"{path}.content", f"the text begins with {mark!r}, a mark of the target", "Rephrase it.")

    def words(self) -> str:
        return f"no text begins with {', '.join(f'`{mark}`' for mark in self.marks)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedKeys(Rule):
    """Keys that mean something else to the target."""

    name: ClassVar[str] = "reserved-key"
    keys: frozenset[str]
    why: str

    @property
    def feature(self) -> str | None:
        return "row-keys"

    def row(self, row: Row) -> Iterator[Problem]:
        if row.example.extra:
            for key in row.example.extra.keys() & self.keys:
                yield Problem(key, f"the key {key!r} is reserved: {self.why}", "Rename it, or `--allow-loss row-keys`.")

    def words(self) -> str:
        return f"no key {', '.join(f'`{key}`' for key in sorted(self.keys))}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxTokens(Rule):
    """Tokens a row may have. What lies beyond is cut off, or the row is refused."""

    name: ClassVar[str] = "row-too-long"
    tokens: int
    effect: str = "cut off"

    def row(self, row: Row) -> Iterator[Problem]:
        if row.tokens > self.tokens:
            yield Problem(
                "", f"about {row.tokens:,.0f} tokens; beyond {self.tokens:,} a row is {self.effect}", "Shorten it."
            )

    def words(self) -> str:
        return f"at most {self.tokens:,} tokens a row (longer: {self.effect})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinRows(Rule):
    """The smallest dataset."""

    name: ClassVar[str] = "rows-too-few"
    rows: int

    def whole(self, totals: Totals) -> Iterator[Problem]:
        if totals.rows < self.rows:
            yield Problem("", f"{totals.rows} rows; at least {self.rows} are needed", "Add rows.")

    def words(self) -> str:
        return f"at least {self.rows:,} rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxRows(Rule):
    """The largest dataset."""

    name: ClassVar[str] = "rows-too-many"
    rows: int

    def whole(self, totals: Totals) -> Iterator[Problem]:
        if totals.rows > self.rows:
            yield Problem(
                "",
                f"{totals.rows:,} rows; at most {self.rows:,}",
                f"Take a sample: `finetune data sample -n {self.rows}`.",
            )

    def words(self) -> str:
        return f"at most {self.rows:,} rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxBytes(Rule):
    """The largest file."""

    name: ClassVar[str] = "file-too-large"
    bytes: int

    def whole(self, totals: Totals) -> Iterator[Problem]:
        if totals.bytes > self.bytes:
            yield Problem(
                "", f"about {totals.bytes / 1e6:,.0f} MB; at most {self.bytes / 1e6:,.0f} MB", "Take a sample."
            )

    def words(self) -> str:
        return f"at most {self.bytes / 1e6:,.0f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxImageRows(Rule):
    """How many rows may hold images."""

    name: ClassVar[str] = "image-rows-too-many"
    rows: int

    def whole(self, totals: Totals) -> Iterator[Problem]:
        if totals.image_rows > self.rows:
            yield Problem("", f"{totals.image_rows:,} rows hold images; at most {self.rows:,}", "Take a sample.")

    def words(self) -> str:
        return f"at most {self.rows:,} rows with images"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBorder(Rule):
    """Plain pairs, which a model without a chat template learns glued together, border and all."""

    name: ClassVar[str] = "pair-border"
    severity: Severity = "warning"

    def row(self, row: Row) -> Iterator[Problem]:
        if row.example.shape != "prompt_completion" or len(row.turns) != 2:
            return
        prompt = row.turns[0][1].text
        if prompt.endswith((" ", "\t")):
            yield Problem(
                "prompt",
                "the prompt ends with a space: without a chat template that is a token of its own, unlike in any text",
                "Move it to the start of the completion.",
            )

    def words(self) -> str:
        return "a plain prompt does not end with a space"
