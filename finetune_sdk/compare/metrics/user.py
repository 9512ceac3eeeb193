"""A user's own metric: `score(answer: str | None, reference: str | None, item: dict) -> float | bool` in a file."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

import msgspec

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import Unfit, average
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import SpecError


def python(items: Sequence[Item], answers: Sequence[Answer], options: Mapping[str, Any]) -> Measured:
    """Calls `function` (default `score`) of `file` once per item; runs in this process, with your rights.

    Raises `Unfit` where it raises, or gives no finite number: the other metrics go on.
    """
    path, name = Path(str(options["file"])), str(options.get("function", "score"))
    score = _load(path, name)
    higher = bool(options.get("higher_is_better", True))
    return average(
        [_one(score, item, one, f"{path.name}:{name}", higher) for item, one in zip(items, answers, strict=True)]
    )


def _one(score: Callable[..., object], item: Item, answer: Answer, where: str, higher: bool) -> float:
    place = f"item {item.id}" + (f" ({item.file}:{item.line})" if item.file else "")
    try:
        given = score(answer.text, item.reference, msgspec.to_builtins(item))
        value = float(given) if isinstance(given, SupportsFloat) else math.nan
    except (Exception, SystemExit) as error:
        if answer.error and higher:
            return 0.0  # it cannot do without an answer, and a question that failed is wrong
        raise Unfit(
            f"{where} raised {type(error).__name__}: {error} for {place}, answer {_short(answer.text)}"
        ) from error
    if not math.isfinite(value):
        raise Unfit(f"{where} gave {given!r} for {place}, answer {_short(answer.text)}; it must give a finite number")
    return value


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 80 else text[:79] + "…")


def _load(path: Path, name: str) -> Callable[..., object]:
    if not path.is_file():
        raise SpecError(f"python metric: no such file: {str(path)!r}")
    spec = importlib.util.spec_from_file_location("finetune_user_metric", path)
    if spec is None or spec.loader is None:
        raise SpecError(f"python metric: {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SpecError(f"python metric: {str(path)!r} cannot be loaded: {type(error).__name__}: {error}") from error
    found: object = getattr(module, name, None)
    if not callable(found):
        raise SpecError(f"python metric: {str(path)!r} has no function {name!r}")
    return found
