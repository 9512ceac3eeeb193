"""A user's own metric: `score(answer: str | None, reference: str | None, item: dict) -> float | bool` in a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import average
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import SpecError


def python(items: Sequence[Item], answers: Sequence[Answer], options: Mapping[str, Any]) -> Measured:
    """Calls `function` (default `score`) of `file` once per item; runs in this process, with your rights."""
    path, name = Path(str(options["file"])), str(options.get("function", "score"))
    score = _load(path, name)
    return average([_one(score, item, one, f"{path}:{name}") for item, one in zip(items, answers, strict=True)])


def _one(score: Callable[..., object], item: Item, answer: Answer, where: str) -> float:
    given = score(answer.text, item.reference, msgspec.to_builtins(item))
    if not isinstance(given, int | float) or given != given:  # noqa: PLR0124 - NaN
        raise SpecError(f"{where} gave {given!r} for item {item.id}; it must give a number, True or False")
    return float(given)


def _load(path: Path, name: str) -> Callable[..., object]:
    if not path.is_file():
        raise SpecError(f"python metric: no such file: {str(path)!r}")
    spec = importlib.util.spec_from_file_location("finetune_user_metric", path)
    if spec is None or spec.loader is None:
        raise SpecError(f"python metric: {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: object = getattr(module, name, None)
    if not callable(found):
        raise SpecError(f"python metric: {str(path)!r} has no function {name!r}")
    return found
