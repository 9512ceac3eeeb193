"""A request's body, checked, as the engine is asked. What cannot be honoured is refused by name, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finetune_sdk.deploy.front.errors import APIError, bad

Json = dict[str, Any]
Stops = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]

_NO_EFFECT = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
)
"""Accepted and without effect here: they concern the vendor's bookkeeping."""
_REFUSED = {
    "functions": "use `tools`",
    "function_call": "use `tools`",
    "audio": "this server speaks text",
    "web_search_options": "this server searches nothing",
    "prediction": "this server predicts without help",
    "reasoning_effort": "give the template's own switch in `chat_template_kwargs`",
    "verbosity": "ask for it in the prompt",
    "suffix": "the engines complete at the end only",
    "best_of": "ask for `n` answers and choose",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    stream: bool | None = None
    stream_options: Json | None = None
    stop: str | Stops | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> _Body:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options is only allowed when stream is set")
        if self.logit_bias and not all(key.isdecimal() for key in self.logit_bias):
            raise ValueError("logit_bias maps token ids (decimal numbers) to numbers")
        return self

    def common(self) -> Json:
        """What both kinds of request share, as the engine takes it."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        asked: Json = {
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "n": self.n,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias,
            "stop": stop,
            "stream": self.stream or None,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the counts."""
        return bool((self.stream_options or {}).get("include_usage"))


class Message(BaseModel):
    """One message of a conversation; text only."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None

    @model_validator(mode="after")
    def _text(self) -> Message:
        if isinstance(self.content, list):
            kinds = {str(part.get("type")) for part in self.content} - {"text"}
            if kinds:
                raise ValueError(f"content parts of type {', '.join(sorted(kinds))}: this model takes text only")
            if not all(isinstance(part.get("text"), str) for part in self.content):
                raise ValueError("a text part needs a `text`")
        return self


class ChatBody(_Body):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: Json | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    chat_template_kwargs: Json | None = None
    modalities: list[Literal["text"]] | None = None

    def asked(self) -> Json:
        """As the engine takes it. Raises `APIError`."""
        out = self.common()
        out["messages"] = [message.model_dump(exclude_none=True) for message in self.messages]
        out["param"] = "messages"
        limit = self.max_completion_tokens or self.max_tokens
        if limit is not None:
            out["max_tokens"] = limit
        if self.top_logprobs is not None and not self.logprobs:
            raise bad("top_logprobs needs logprobs: true", param="top_logprobs")
        if self.logprobs:
            out["logprobs"] = self.top_logprobs or 0
        if (schema := _schema(self.response_format)) is not None:
            out["schema"] = schema
        if self.tools and self.tool_choice not in (None, "auto", "none"):
            raise bad("tool_choice can be auto or none: this server cannot force a call", param="tool_choice")
        if self.tools and self.tool_choice != "none":
            out["tools"] = self.tools
            out.pop("stream", None)  # whether it is a call shows at the end
        if self.chat_template_kwargs:
            out["chat_template_kwargs"] = self.chat_template_kwargs
        return out


class CompletionBody(_Body):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(min_length=1)
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None

    def asked(self) -> list[Json]:
        """One request per prompt, as the engine takes them. Raises `APIError`."""
        limit = _DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens
        if limit == 0 and not self.echo:
            raise bad("max_tokens: 0 asks for nothing, unless with echo: true", param="max_tokens")
        out = self.common() | {"max_tokens": limit, "param": "prompt"}
        if self.logprobs is not None:
            out["logprobs"] = self.logprobs
        if self.echo:
            out["echo"] = True
        prompts: list[Any] = [self.prompt]
        if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int):
            prompts = list(self.prompt)
        return [out | {"prompt": prompt} for prompt in prompts]


class TokensBody(BaseModel):
    """POST /tokenize, as vLLM has it: a prompt's tokens, or a conversation's as the model is given them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    tools: list[Json] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: Json | None = None

    @model_validator(mode="after")
    def _one(self) -> TokensBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("either a prompt or messages")
        return self

    def asked(self) -> Json:
        """As the engine takes it."""
        if self.messages is None:
            return {"model": self.model, "prompt": self.prompt, "param": "prompt"}
        return {
            "model": self.model,
            "messages": [message.model_dump(exclude_none=True) for message in self.messages],
            "param": "messages",
            "add_generation_prompt": self.add_generation_prompt,
            "chat_template_kwargs": self.chat_template_kwargs or {},
            **({"tools": self.tools} if self.tools else {}),
        }


_DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's default of /v1/completions


def _schema(wanted: Json | None) -> Json | None:
    """The JSON schema that a `response_format` demands; None = any text."""
    kind = None if wanted is None else wanted.get("type")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    form: Json = (wanted.get("json_schema") or {}) if kind == "json_schema" else {}
    schema: Json | None = form.get("schema")
    if not isinstance(schema, dict):
        raise bad(
            "response_format is {type: text}, {type: json_object} or {type: json_schema, json_schema: {name, schema}}",
            param="response_format",
        )
    return schema


def read_chat(raw: bytes) -> ChatBody:
    """Raises `APIError` for what is no such request."""
    return _as(ChatBody, raw)


def read_completion(raw: bytes) -> CompletionBody:
    """Raises `APIError` for what is no such request."""
    return _as(CompletionBody, raw)


def read_tokens(raw: bytes) -> TokensBody:
    """Raises `APIError` for what is no such request."""
    return _as(TokensBody, raw)


Read = TypeVar("Read", bound=BaseModel)


def _as(kind: type[Read], raw: bytes) -> Read:
    body = _read(raw)
    try:
        return kind.model_validate(body)
    except ValidationError as exc:
        raise _first(exc) from exc


def _read(raw: bytes) -> Json:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise bad(f"We could not parse the JSON body of your request: {exc}") from exc
    if not isinstance(body, dict):
        raise bad("the body of the request is a JSON object")
    given = cast("Json", body)
    found = {key: value for key, value in given.items() if key not in _NO_EFFECT}
    for name, instead in _REFUSED.items():
        if found.pop(name, None) is not None:
            raise bad(f"Unsupported parameter: {name!r}; {instead}.", param=name, code="unsupported_parameter")
    return found


def _first(exc: ValidationError) -> APIError:
    error = exc.errors()[0]
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][0])
        return bad(f"Unrecognized request argument supplied: {name}", param=name)
    place = _place(error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return bad(f"you must provide {place or 'it'}", param=place, code="missing_required_parameter")
    return bad(f"Invalid {place!r}: {message}" if place else message, param=place)


def _place(loc: tuple[int | str, ...]) -> str | None:
    """`messages[0].role`; names of union members, which pydantic adds, are left out."""
    shown = ""
    for part in loc:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "int"):
            shown += f".{part}" if shown else part
    return shown or None
