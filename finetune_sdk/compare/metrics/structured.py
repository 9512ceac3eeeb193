"""Metrics for answers that are data: JSON, JSON of a schema, tool calls."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import Unfit, share
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import MissingExtra, SpecError

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*?)\n?```\Z", re.DOTALL)
_NOTHING = object()


def json_valid(_items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """The whole answer is one JSON value; a Markdown fence around it is forgiven."""
    return share([_value(one.text) is not _NOTHING for one in answers])


def json_schema(_items: Sequence[Item], answers: Sequence[Answer], options: Mapping[str, Any]) -> Measured:
    """The answer is JSON and conforms to `schema` (a mapping, or the path of a file)."""
    validator = _validator(options["schema"])
    values = [_value(one.text) for one in answers]
    return share([value is not _NOTHING and validator.is_valid(value) for value in values])


def tool_name(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """The tools called are those expected, in order; where none is expected, none is called."""
    _expect_calls(items)
    return share([_names(item.calls) == _names(one.calls) for item, one in _pairs(items, answers)])


def tool_call(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Names and arguments are those expected; arguments are compared as JSON values, so key order does not count."""
    _expect_calls(items)
    return share([_calls(item.calls) == _calls(one.calls) for item, one in _pairs(items, answers)])


def _pairs(items: Sequence[Item], answers: Sequence[Answer]) -> list[tuple[Item, Answer]]:
    """An item that failed must not pass for one that rightly called nothing."""
    failed = Answer(item="", calls=[{"name": "", "arguments": ""}])
    return [(item, failed if one.error else one) for item, one in zip(items, answers, strict=True)]


def _expect_calls(items: Sequence[Item]) -> None:
    if not any(item.calls for item in items):
        raise Unfit("tool metrics need test rows that expect a tool call, and there is none; choose another metric")


def _names(calls: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return [str(call.get("name")) for call in calls or ()]


def _calls(calls: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, str]]:
    return [(str(call.get("name")), _normal(call.get("arguments"))) for call in calls or ()]


def _normal(arguments: object) -> str:
    if isinstance(arguments, str):
        value = _value(arguments)
        if value is _NOTHING:
            return f"no JSON: {arguments}"
    else:
        value = arguments
    return json.dumps(value, sort_keys=True)


def _value(text: str | None) -> object:
    if text is None:
        return _NOTHING
    inner = _FENCE.match(text.strip())
    try:
        return json.loads(inner[1] if inner else text)
    except ValueError:
        return _NOTHING


def _validator(schema: object) -> Any:
    try:
        jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError as error:
        raise MissingExtra("compare", "jsonschema") from error
    if isinstance(schema, str):
        try:
            schema = json.loads(Path(schema).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"json_schema: {schema!r} cannot be read as JSON: {error}") from error
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SpecError(f"json_schema: not a JSON Schema: {error.message} (at {error.json_path})") from error
    return kind(schema)
