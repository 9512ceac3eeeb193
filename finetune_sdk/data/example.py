"""The canonical examples: what every format is read into and written from, without losing anything.

The structs mirror the canonical JSONL exactly, so encoding one is one call (see `canonical`). They are frozen; their
lists and dicts are shared, not copied: treat them as read-only. `dict[str, Any]` stands for JSON kept verbatim.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from finetune_sdk.types import Finding

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")

Part: TypeAlias = dict[str, Any]
"""One piece of a multi-part content in OpenAI's shape: `{"type": "text", "text": ...}`,
`{"type": "image_url", "image_url": {"url": ..., "detail"?: ...}}`; other types are kept verbatim."""

Tool: TypeAlias = dict[str, Any]
"""A tool definition in OpenAI's shape: `{"type": "function", "function": {"name", "description"?, "parameters"?}}`."""

Content: TypeAlias = str | list[Part] | UnsetType | None
"""A text, a list of parts, an explicit null, or UNSET where the key was absent: four different things on the wire."""


class Source(Struct, frozen=True, gc=False):
    """Where a row came from. `line` is 1-based; it is the row's number in Parquet, Arrow and JSON on one line."""

    file: str
    line: int


class FunctionCall(Struct, frozen=True, gc=False):
    """`arguments` is the JSON text exactly as it was sent; it need not be valid JSON."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A call the model made. The id is UNSET or null where the source has none."""

    id: str | UnsetType | None = UNSET
    type: str
    function: FunctionCall
    arguments_object: bool = False
    """The source held the arguments as an object, not as text: writers that take objects give it back as one."""
    extra: dict[str, Any] = {}


class Span(Struct, frozen=True, kw_only=True, gc=False):
    """Characters `begin` to `end` (end excluded) of a message's text are trained on, or not."""

    begin: int
    end: int
    train: bool


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One turn."""

    role: Role
    content: Content = UNSET
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    """None = the key was absent, which is not the same as an empty list."""
    tool_call_id: str | None = None
    weight: int | float | None = None
    """Factor on this turn's loss; 0 = not trained on, negative is allowed, None = not stated."""
    reasoning: str | None = None
    refusal: str | None = None
    spans: list[Span] | None = None
    source_role: str | None = None
    """The role's word in the source, where it is not the format's usual one."""
    spelling: dict[str, str] = {}
    """Fields above that the source wrote under another key than the usual one, such as `thinking` for `reasoning`."""
    extra: dict[str, Any] = {}
    """Keys of the source that have no place above, verbatim."""

    @property
    def text(self) -> str:
        """The content as one string: its text parts joined; "" where there is none."""
        if isinstance(self.content, str):
            return self.content
        if not self.content:  # null or absent
            return ""
        return "".join(part["text"] for part in self.content if isinstance(part.get("text"), str))


class Turns(list[Message]):
    """Turns of which checks and losses need to know no more than their layout: whoever makes it has looked.

    They are texts, none of them blank, and calls with their results: one call a turn, without text beside it, its
    arguments an object, and none with an id. Never change one: make a plain list of it.
    """

    __slots__ = ("layout",)

    def __init__(self, layout: tuple[str, ...], messages: Iterable[Message]) -> None:
        super().__init__(messages)
        self.layout = layout
        """Who speaks, and `CALL` where a function is called."""


CALL = "call"


class Texts(Turns):
    """Turns that are texts and nothing else, none a tool's."""

    __slots__ = ()


class SharedTools(list[Tool]):
    """Tools that many rows have in common: never change them."""

    __slots__ = ("told",)

    def __init__(self, tools: Iterable[Tool]) -> None:
        super().__init__(tools)
        self.told: tuple[Finding, ...] | None = None
        """What `check_tools` says about them, once it was asked."""


class _Row(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    """What every kind of example has."""

    extra: dict[str, Any] = {}
    """Top-level keys of the source without a place of their own, verbatim (a grader's `item` fields live here)."""
    shape: str | None = None
    """The source's shape where it matters later, such as "prompt_completion" for a pair of plain strings."""
    aside: dict[str, Any] = {}
    """What only the format it came from needs to write the row back as it was."""
    source: Source | None = None


class ChatExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="chat"):
    """A conversation to learn from."""

    messages: list[Message]
    tools: list[Tool] | None = None
    """None = not stated; an empty list is kept as such, templates treat them differently."""
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class PreferenceExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="preference"):
    """Two answers to one prompt, the first one better."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Tool] | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    margin: int | float | None = None


class UnpairedPreference(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="unpaired"):
    """An answer and whether it is a good one."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    tools: list[Tool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class PromptExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="prompt"):
    """A prompt without an answer: the model samples, a grader scores with the fields in `extra`."""

    prompt: list[Message]
    tools: list[Tool] | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TextExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="text"):
    """Plain text, every token of it learned."""

    text: str


Label: TypeAlias = str | bool | int | float | list[str]


class LabelledExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="labelled"):
    """A text (or a pair of texts) and its class, its classes, or its number."""

    text: str
    text_pair: str | None = None
    label: Label


class StepwiseExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="stepwise"):
    """Steps of a solution, each marked right or wrong. `completions` and `labels` are equally long."""

    prompt: str
    completions: list[str]
    labels: list[bool]


class EmbeddingExample(_Row, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="embedding"):
    """Texts that belong together (anchor, positive) and some that do not; `score` grades the pair."""

    anchor: str
    positive: str
    negative: str | None = None
    negatives: list[str] = []
    """Further texts that do not belong, after `negative`."""
    score: int | float | None = None


Example: TypeAlias = (
    ChatExample
    | PreferenceExample
    | UnpairedPreference
    | PromptExample
    | TextExample
    | LabelledExample
    | StepwiseExample
    | EmbeddingExample
)
Kind: TypeAlias = Literal["chat", "preference", "unpaired", "prompt", "text", "labelled", "stepwise", "embedding"]

KIND_NAMES: dict[Kind, str] = {
    "chat": "conversations",
    "preference": "preference pairs",
    "unpaired": "answers marked good or bad",
    "prompt": "prompts without answers",
    "text": "plain text",
    "labelled": "labelled texts",
    "stepwise": "solutions with steps marked right or wrong",
    "embedding": "pairs of texts, with or without negatives",
}


def kind_of(example: Example) -> Kind:
    """The example's kind, as in its canonical JSON."""
    return _KINDS[type(example)]


_KINDS: dict[type[Struct], Kind] = {
    ChatExample: "chat",
    PreferenceExample: "preference",
    UnpairedPreference: "unpaired",
    PromptExample: "prompt",
    TextExample: "text",
    LabelledExample: "labelled",
    StepwiseExample: "stepwise",
    EmbeddingExample: "embedding",
}


def conversation(example: Example) -> list[Message]:
    """All messages of an example in order (both answers of a preference pair); empty for plain text."""
    if isinstance(example, ChatExample):
        return example.messages
    if isinstance(example, PreferenceExample):
        return [*example.prompt, *example.chosen, *example.rejected]
    if isinstance(example, UnpairedPreference):
        return [*example.prompt, *example.completion]
    return example.prompt if isinstance(example, PromptExample) else []
