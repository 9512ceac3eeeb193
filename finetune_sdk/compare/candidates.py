"""Candidates spelt out: grids multiplied, names given, job descriptions made."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from finetune_sdk import config
from finetune_sdk._document import is_mapping
from finetune_sdk.compare.bench import Bench, Candidate, Prices
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec

_OF_THE_CANDIDATE = ("provider", "model")
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def expand(bench: Bench) -> tuple[Candidate, ...]:
    """Every candidate with a name and without a grid. Raises `SpecError` when two would have one name."""
    found: dict[str, Candidate] = {}
    for index, candidate in enumerate(bench.candidates):
        for one in _spelt_out(candidate):
            name = one.name or _described(one)
            if name in found:
                raise SpecError(
                    f"candidates[{index}]: two candidates are called {name!r}; give one of them a `name:` of its own"
                    + (" with {key} of the grid in it" if candidate.grid else "")
                )
            found[name] = one.model_copy(update={"name": name})
    if bench.reference is not None and bench.reference not in found:
        raise SpecError(f"reference: there is no candidate {bench.reference!r}; there are: {', '.join(found)}")
    for name, one in found.items():
        _check_base(name, one, found)
    return tuple(found.values())


def _check_base(name: str, candidate: Candidate, known: Mapping[str, Candidate]) -> None:
    other = known.get(candidate.base_of or name)
    if candidate.base_of is not None and (other is None or other.tune is None or other.base_of is not None):
        usable = [key for key, one in known.items() if one.tune is not None and one.base_of is None]
        raise SpecError(
            f"candidate {name!r}: base_of names {candidate.base_of!r}, which is no tuned candidate with a model of its "
            f"own; there are: {', '.join(usable) or 'none'}"
        )


def _spelt_out(candidate: Candidate) -> Iterator[Candidate]:
    if not candidate.grid:
        yield candidate
        return
    for values in itertools.product(*candidate.grid.values()):
        setting = dict(zip(candidate.grid, values, strict=True))
        own = {key: value for key, value in setting.items() if key in _OF_THE_CANDIDATE}
        deeper = {key: value for key, value in setting.items() if key not in _OF_THE_CANDIDATE}
        tune = candidate.tune if not deeper else over(candidate.tune or {}, deeper)
        name = _filled(candidate, setting)
        yield candidate.model_copy(update={**own, "tune": tune, "grid": {}, "name": name})


def _filled(candidate: Candidate, setting: Mapping[str, JsonValue]) -> str:
    shown = {key: _short(value) for key, value in setting.items()}
    if candidate.name is None:
        return "-".join(shown.values())
    named = set(_FIELD.findall(candidate.name))
    if unknown := sorted(named - set(shown)):
        raise SpecError(f"candidate {candidate.name!r}: the grid has no key {unknown[0]!r}; it has: {', '.join(shown)}")
    if not named:
        return f"{candidate.name}-{'-'.join(shown.values())}"
    return _FIELD.sub(lambda match: shown[match[1]], candidate.name)


def _short(value: JsonValue) -> str:
    if isinstance(value, Mapping):
        return str(value.get("kind", "-".join(f"{key}{item}" for key, item in value.items())))
    return _UNSAFE.sub("-", f"{value:g}" if isinstance(value, float) else str(value)).strip("-")


def _described(candidate: Candidate) -> str:
    """A name from what distinguishes a candidate."""
    if candidate.at is not None:
        return _UNSAFE.sub("-", candidate.at.model)
    if candidate.tune is None:
        return f"{candidate.provider}-{_style(candidate)}"
    adapter = candidate.tune.get("adapter", "tuned")
    return f"{candidate.provider}-{_short(adapter)}"


def _style(candidate: Candidate) -> str:
    prompt = candidate.prompt
    if prompt.few_shot is not None:
        return f"{prompt.few_shot.k}-shot" + ("-nearest" if prompt.few_shot.choose == "nearest" else "")
    if prompt.retrieve is not None:
        return f"retrieval-{prompt.retrieve}"
    return "prompt" if prompt.system is not None else "zero-shot"


def over(base: Mapping[str, JsonValue], changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`base` with dotted keys set: `{"hyperparameters.epochs": 3}`; a short form on the way becomes its `kind`."""
    made: dict[str, Any] = dict(base)
    for key, value in changes.items():
        *way, last = key.split(".")
        here = made
        for part in way:
            inner = here.get(part)
            here[part] = dict(inner) if is_mapping(inner) else {"kind": inner} if inner else {}
            here = here[part]
        here[last] = value
    return made


def merged(base: Mapping[str, JsonValue], changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`changes` over `base`, mappings merged key by key (a part of another `kind` replaces the whole)."""
    made = dict(base)
    for key, value in changes.items():
        old = made.get(key)
        together = (
            isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind") in (None, old.get("kind"))
        )
        made[key] = merged(old, value) if together else value  # type: ignore[arg-type]
    return made


def job_of(bench: Bench, candidate: Candidate, data: Mapping[str, JsonValue]) -> JobSpec:
    """The job that trains a candidate on `data`. Raises `SpecError` that names the candidate."""
    tree = merged(bench.base, candidate.tune or {})
    tree |= {"provider": candidate.provider, "data": dict(data)}
    if candidate.model is not None:
        tree["model"] = candidate.model
    tree["metadata"] = {**_mapping(tree.get("metadata")), "comparison": bench.name, "candidate": str(candidate.name)}
    try:
        return config.load(tree)
    except SpecError as error:
        raise SpecError(f"candidate {candidate.name!r}: {error}") from error


def model_of(bench: Bench, candidate: Candidate) -> str:
    """The base model's id of a candidate that is not tuned. Raises `SpecError`."""
    named = candidate.model or bench.base.get("model")
    if isinstance(named, Mapping):
        named = named.get(candidate.provider)
    if not isinstance(named, str):
        raise SpecError(f"candidate {candidate.name!r} has no model; give it `model:` or name one under `base:`")
    return named


def options_of(bench: Bench, candidate: Candidate) -> Mapping[str, JsonValue]:
    """The provider's own options: of `base`, and over them those of the candidate's `tune`."""
    shared = _mapping(merged(bench.base, candidate.tune or {}).get("options"))
    return _mapping(shared.get(candidate.provider))


def prices_of(bench: Bench, candidate: Candidate) -> Prices:
    """What is known of its prices. What answers elsewhere already (`at`) belongs to no provider: `prices: given`."""
    provider = "given" if candidate.at is not None else candidate.provider
    return candidate.prices or bench.prices.get(provider) or Prices()


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    return dict(value) if isinstance(value, Mapping) else {}
