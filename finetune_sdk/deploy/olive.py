"""Olive's run configuration (`olive run --config`), judged without Olive: its keys, its passes, their parameters.

Olive itself ignores a parameter that a pass does not have, and answers 0 when a run came to nothing; so names are
looked up in a table taken from its own classes, `olive_passes.json`, which says of which version.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_sdk._document import is_list, is_mapping, parse
from finetune_sdk._words import did_you_mean
from finetune_sdk.errors import SpecError

TRAINING = ("LoRA", "QLoRA", "DoRA", "LoHa", "LoKr", "LoftQ")
"""Passes that train an adapter on rows."""
_TABLE = Path(__file__).with_name("olive_passes.json")


@dataclass(frozen=True, slots=True)
class Table:
    """Names that one version of Olive knows."""

    source: str
    read_on: str
    """ISO date."""
    keys: frozenset[str]
    """At the top of a configuration: those of a run, and the engine's, which may stand there too."""
    pass_keys: frozenset[str]
    """Beside a pass's own parameters."""
    passes: Mapping[str, frozenset[str]]
    """Parameters by pass."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a configuration."""

    name: str
    kind: str | None
    """As Olive writes it; None = no `type` is given: it changes a pass of this name that somebody else writes."""
    settings: Mapping[str, Any]
    """Its parameters, without `type`; those under `config` are moved up, as Olive does."""


@functools.cache
def table() -> Table:
    """What olive-ai 0.13.0 knows."""
    told: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return Table(
        source=told["source"],
        read_on=told["read_on"],
        keys=frozenset((*told["run"], *told["engine"])),
        pass_keys=frozenset(told["pass"]),
        passes={name: frozenset(names) for name, names in told["passes"].items()},
    )


def read(given: str | Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """The configuration: a mapping as it is, or the JSON or YAML file of that name. `place` is named in errors.

    Variables such as `${TOKEN}` stay as they are: what is secret must not end up in a job's files.
    """
    if not isinstance(given, str):
        return dict(given)
    file = Path(given).expanduser()
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{place}: {given!r} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise SpecError(f"{place}: cannot read {given!r}: {error.strerror or error}") from error
    document = parse(text.replace("${", "$${"), name=str(file), environ={})
    if document.problems:
        problem = document.problems[0]
        raise SpecError(f"{place}: {problem.mark or document.mark(problem.path)}: {problem.text}")
    if not is_mapping(document.value):
        raise SpecError(f"{place}: {given!r}: a run configuration is a mapping of keys")
    return document.value


def check(document: Mapping[str, Any], *, place: str) -> tuple[Pass, ...]:
    """The passes in their order. Raises `SpecError` for unknown keys, passes and parameters, with their neighbours."""
    found = tuple(_passes(document.get("passes", {}), place))
    known = table().keys
    wrong = [
        f"{place}: a run configuration of Olive has no {key!r}{did_you_mean(key, known)}"
        for key in document
        if key not in known
    ]
    wrong += [
        text
        for one in found
        if one.kind is not None
        for text in _unknown(one.kind, one.settings, f"{place}.passes.{one.name}")
    ]
    if wrong:
        raise SpecError("\n".join(wrong))
    return found


def check_settings(kind: str, settings: Mapping[str, Any], *, place: str) -> None:
    """Raise `SpecError` for parameters that Olive's pass `kind` does not have."""
    if wrong := list(_unknown(kind, settings, place)):
        raise SpecError("\n".join(wrong))


def _unknown(kind: str, settings: Mapping[str, Any], place: str) -> Iterator[str]:
    known = table().passes[kind] | table().pass_keys
    for key in settings:
        if key not in known:
            yield f"{place}: Olive's pass {kind} has no {key!r}{did_you_mean(key, known)}"


def _passes(given: object, place: str) -> Iterator[Pass]:
    if not is_mapping(given):
        raise SpecError(f"{place}.passes: a mapping from names to passes, not {type(given).__name__}")
    for name, value in given.items():
        here = f"{place}.passes.{name}"
        only: object = value[0] if is_list(value) and len(value) == 1 else value  # Olive takes a list of one, too
        if is_list(only):
            raise SpecError(f"{here}: a list of passes is a choice that Olive 0.13 cannot search over; give one")
        if not is_mapping(only):
            raise SpecError(f"{here}: a pass is a mapping with a `type`, such as LoRA")
        yield _one(name, only, here)


def _one(name: str, value: Mapping[str, Any], place: str) -> Pass:
    known = {one.lower(): one for one in table().passes}
    kind: object = value.get("type")
    if kind is not None and str(kind).lower() not in known:
        raise SpecError(f"{place}: Olive has no pass {kind!r}{did_you_mean(str(kind), table().passes)}")
    nested: object = value.get("config")
    inner = nested if is_mapping(nested) else {}
    settings = {key: item for key, item in {**value, **inner}.items() if key not in ("type", "config")}
    return Pass(name=name, kind=None if kind is None else known[str(kind).lower()], settings=settings)


def searched(settings: object) -> bool:
    """Whether some value in here is one of Olive's search parameters."""
    if is_mapping(settings):
        return "olive_parameter_type" in settings or any(searched(value) for value in settings.values())
    return is_list(settings) and any(searched(value) for value in settings)
