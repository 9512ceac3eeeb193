"""Validation errors of a `JobSpec` as sentences a person can act on: one per place, with the nearest valid name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from finetune_sdk._document import KeyPath, Problem, is_list, is_mapping, show_path
from finetune_sdk._words import did_you_mean, nearest
from finetune_sdk.spec import JobSpec

# what other tools call our fields
_ELSEWHERE = {
    "lr": "learning_rate",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_length": "max_seq_length",
    "max_seq_len": "max_seq_length",
    "block_size": "max_seq_length",
    "lr_scheduler_type": "scheduler",
    "lr_scheduler": "scheduler",
    "logging_steps": "log_steps",
    "optim": "optimizer",
    "learning_rate_scale": "learning_rate_multiplier",
    "rank": "r",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_dora": "dora",
    "use_rslora": "rslora",
    "base_model": "model",
    "model_name": "model",
    "model_name_or_path": "model",
    "dataset": "data",
    "training_file": "train",
    "train_file": "train",
    "validation_file": "validation",
    "eval_file": "validation",
    "peft": "adapter",
    "hparams": "hyperparameters",
    "trainer": "method",
    "type": "kind",
}

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that fits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping (`key: value`)",
    "mapping_type": "a mapping (`key: value`)",
    "model_type": "a mapping (`key: value`)",
    "model_attributes_type": "a mapping (`key: value`)",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "string_too_short": ("min_length", "text of at least this many characters:"),
    "string_too_long": ("max_length", "text of at most this many characters:"),
    "too_short": ("min_length", "a list of at least this many items:"),
}
_UNLESS_DEEPER = frozenset((*_KINDS, "too_short"))
"""Items that are wrong are not counted: a list of them is said to be too short."""


def explain(
    error: ValidationError, tree: Any, raw: Mapping[KeyPath, str], root: type[BaseModel] = JobSpec
) -> list[Problem]:
    """Every problem in the order of the fields of `root`, alternatives of one field in one sentence."""
    grouped: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_real_path(details, tree), []).append(details)
    deeper = {path[:end] for path in grouped for end in range(len(path))}
    return [
        Problem(path, _sentence(path, group, raw.get(path), root))
        for path, group in grouped.items()
        # `train: [1]` fails as text and, deeper, as a list of texts: the deeper place says more
        if not (path in deeper and all(details["type"] in _UNLESS_DEEPER for details in group))
    ]


def _real_path(details: ErrorDetails, tree: Any) -> KeyPath:
    """pydantic's place without the names of union members that it puts in between."""
    path: list[str | int] = []
    here = tree
    for part in details["loc"]:
        inner = _inside(here, part)
        if inner is not None:
            path.append(part)
            here = inner[0]
    if details["type"] == "missing":
        path.append(details["loc"][-1])
    if details["type"] == "union_tag_invalid" and is_mapping(here):
        path.append(_discriminator(details))
    return tuple(path)


def _inside(here: Any, part: str | int) -> tuple[Any] | None:
    """What lies at a key or index, in a tuple; None if there is no such place."""
    if is_mapping(here):
        values: dict[Any, Any] = here
        return (values[part],) if part in values else None
    if is_list(here) and isinstance(part, int) and part < len(here):
        return (here[part],)
    return None


def _sentence(path: KeyPath, group: list[ErrorDetails], raw: str | None, root: type[BaseModel]) -> str:
    details = group[0]
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), details, root)
        case "missing":
            return f"missing{_about(details, root)}"
        case "union_tag_invalid":
            return _unknown_kind(details)
        case "union_tag_not_found":
            return _no_kind(details, root)
        case "value_error":
            return str(details.get("ctx", {}).get("error", details["msg"]))
        case _:
            return _wrong_value(group, raw)


def _wrong_value(group: list[ErrorDetails], raw: str | None) -> str:
    wanted = list(dict.fromkeys(_wanted(details) for details in group))
    value = group[0]["input"]
    hint = next((hint for hint in (_hint(details, value, raw) for details in group) if hint), "")
    got = "it is empty" if value is None else f"not {_show(value)}"
    return f"must be {' or '.join(wanted)}{'; ' if value is None else ', '}{got}{hint}"


def _wanted(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"])
    if kind in _BOUNDS:
        name, word = _BOUNDS[kind]
        bound = context[name]
        return f"{word} {bound:g}" if isinstance(bound, int | float) else f"{word} {bound}"
    return _KINDS.get(kind, details["msg"].removeprefix("Input should be "))


def _hint(details: ErrorDetails, value: Any, raw: str | None) -> str:
    kind = details["type"]
    if kind == "string_type" and isinstance(value, int | float):
        return f'; put it in quotes: "{raw if raw is not None else _show(value)}"'
    if kind in ("tuple_type", "list_type") and isinstance(value, str | int | float):
        return f"; write [{raw if raw is not None else value}]"
    if kind == "literal_error" and isinstance(value, str):
        return did_you_mean(value, _quoted(str(details.get("ctx", {}).get("expected", ""))))
    return ""


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else text[:77] + "..."


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _discriminator(details: ErrorDetails) -> str:
    return str(details.get("ctx", {}).get("discriminator", "'kind'")).strip("'")


def _unknown_kind(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    tag, tags = str(context.get("tag")), _quoted(str(context.get("expected_tags")))
    known = f"known: {', '.join(tags)}"
    meant = did_you_mean(tag, tags)
    return f"unknown {_discriminator(details)} {tag!r}{meant + f' ({known})' if meant else f'; {known}'}"


def _no_kind(details: ErrorDetails, root: type[BaseModel]) -> str:
    kinds = [str(tag) for model in _models_at(root, details["loc"]) for tag in _tags(model)]
    return f"needs `{_discriminator(details)}`, one of: {', '.join(kinds)}"


def _unknown_key(key: str, details: ErrorDetails, root: type[BaseModel]) -> str:
    names = [name for model in _models_at(root, details["loc"][:-1]) for name in model.model_fields]
    meant = _ELSEWHERE.get(key.lower())
    if meant in names:
        return f"unknown key; here it is called `{meant}`"
    if (close := nearest(key, names)) is not None:
        return f"unknown key; did you mean `{close}`?"
    if owners := [
        kind for model in _models_at(root, details["loc"][:-2]) if key in model.model_fields for kind in _tags(model)
    ]:
        return f"unknown key for {details['loc'][-2]}; {', '.join(owners)} {'has' if len(owners) == 1 else 'have'} it"
    if homes := [show_path(path) for path in _places(root) if path[-1] in (key, meant)]:
        return f"unknown key here; it belongs to {' or '.join(f'`{home}`' for home in homes[:3])}"
    return f"unknown key; the keys here are: {', '.join(names)}"


def _about(details: ErrorDetails, root: type[BaseModel]) -> str:
    name = str(details["loc"][-1])
    fields = [model.model_fields[name] for model in _models_at(root, details["loc"][:-1]) if name in model.model_fields]
    described = fields[0].description if fields else None
    return f": {' '.join(described.split())}" if described else ""


def _models_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that may stand at pydantic's place `loc`; the union tags in it narrow the choice."""
    here: list[type[BaseModel]] = [root]
    for part in loc:
        fields = [model.model_fields[part] for model in here if isinstance(part, str) and part in model.model_fields]
        if fields:
            here = [model for field in fields for model in _models(field.annotation)]
        else:
            here = [model for model in here if part in _tags(model)] or here
    return here


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for part in get_args(annotation) for model in _models(part)))


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind") or model.model_fields.get("type")
    return get_args(field.annotation) if field is not None else ()


def _places(model: type[BaseModel], prefix: KeyPath = ()) -> list[KeyPath]:
    """The path of every field of the spec, top first; members of a union share paths."""
    paths: list[KeyPath] = [(*prefix, name) for name in model.model_fields]
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            paths += _places(inner, (*prefix, name))
    return list(dict.fromkeys(paths))
