"""`options.autotrain`: the task where the method does not say it, and AutoTrain's own parameters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from finetune_providers.autotrain.parameters import ELSEWHERE, MANAGED, fields, fits, free
from finetune_providers.autotrain.tasks import REFUSED, TASKS, Task, default
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.spec import JobSpec

NAME = "autotrain"
CHAT_TEMPLATES = ("tokenizer", "chatml", "zephyr", "none")
"""Left out = `tokenizer`; `none`, and null as AutoTrain writes it: texts are learned as they are."""


@dataclass(frozen=True, slots=True)
class Options:
    """Validated."""

    task_name: str
    task: Task
    allow_remote_code: bool
    parameters: Mapping[str, JsonValue]
    as_they_are: bool = False
    """Texts are not put through a chat template."""


def parse(spec: JobSpec) -> Options:
    """The options of a spec. Raises `SpecError` with the nearest name, `Unsupported` for tasks that cannot run."""
    given = dict(spec.options.get(NAME, {}))
    name = _task(spec, given.pop("task", None))
    task = TASKS[name]
    remote = given.pop("allow_remote_code", False)
    if not isinstance(remote, bool):
        raise SpecError("options.autotrain.allow_remote_code must be true or false")
    for key, value in given.items():
        _check(key, value, task, name)
    plain = "chat_template" in given and given["chat_template"] in (None, "none")
    return Options(name, task, remote, {**given, "chat_template": None} if plain else given, plain)


def _task(spec: JobSpec, given: JsonValue) -> str:
    method = spec.method.kind
    if given is None:
        found = default(method)
        if found is None:
            raise SpecError(f"options.autotrain.task: AutoTrain has no task for method {method}")
        return found
    name = str(given).replace("_", "-") if ":" not in str(given) else str(given)
    name = name.replace("sentence-transformers:", "st:")
    if name in REFUSED:
        raise Unsupported(NAME, f"task {name!r}: {REFUSED[name]}", "Use AutoTrain itself for it.")
    if name not in TASKS:
        raise SpecError(f"options.autotrain.task: there is no {given!r}. {_near(name, TASKS)}")
    if method not in TASKS[name].methods:
        fitting = " or ".join(TASKS[name].methods)
        raise SpecError(f"options.autotrain.task: {name} goes with method {fitting}, not with {method}")
    return name


def _check(key: str, value: JsonValue, task: Task, name: str) -> None:
    if key in fields(task.parameters) or key in MANAGED:
        if key in ELSEWHERE:
            raise SpecError(f"options.autotrain.{key}: write it as `{ELSEWHERE[key]}`")
        if key in MANAGED:
            raise SpecError(f"options.autotrain.{key}: the provider sets it; remove it")
        if key.endswith("_column"):
            raise SpecError(f"options.autotrain.{key}: name columns in `data.columns`")
    if key not in free(task.parameters):
        known = free(task.parameters)
        raise SpecError(f"options.autotrain: task {name} has no parameter {key!r}. {_near(key, known)}")
    wanted = fields(task.parameters)[key]["type"]
    if not fits(value, wanted):
        raise SpecError(f"options.autotrain.{key}: must be of type {wanted}, not {value!r}")
    if key == "chat_template" and value not in (None, *CHAT_TEMPLATES):
        raise SpecError(f"options.autotrain.chat_template: one of {', '.join(CHAT_TEMPLATES)}, not {value!r}")


def _near(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}It has: {', '.join(('task', 'allow_remote_code', *names))}."
