"""The verdict: which packages keep the tolerance, which lie on the pareto front, which one is recommended. Pure.

`reference` and a candidate's figures are what the tasks `reference` and `measure` answer; see docs/onnx.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
_HEAD = (
    "MB", "peak MB", "load s", "first token ms", "tokens/s", "tokens/s x8", "logits diff", "KL", "same tokens",
    "perplexity", "exact match",
)  # fmt: skip
SMALLER = ("bytes", "peak_memory_bytes", "kl")
LARGER = ("tokens_per_s_1",)


def failures(reference: Figures, found: Figures, tolerance: Figures) -> list[str]:
    """Why a candidate is not good enough, one sentence per limit it breaks; empty = it passes."""
    if not found["finite"]:
        return ["its logits are not finite"]
    broken = [_broken(name, found[figure], limit, upper=upper) for name, figure, limit, upper in _simple(tolerance)]
    broken += _relative(reference, found, tolerance)
    broken += _metrics(reference, found, tolerance)
    return [text for text in broken if text is not None]


def _simple(tolerance: Figures) -> list[tuple[str, str, float, bool]]:
    limits = (
        ("max_logits_diff", "logits_max_diff", True),
        ("max_kl", "kl", True),
        ("min_greedy_agreement", "greedy_agreement", False),
        ("min_first_token_agreement", "first_token_agreement", False),
    )
    return [(name, figure, tolerance[name], upper) for name, figure, upper in limits if tolerance[name] is not None]


def _broken(name: str, value: float, limit: float, *, upper: bool) -> str | None:
    if (value <= limit) if upper else (value >= limit):
        return None
    return f"{name} is {limit:g}, it has {value:.4g}"


def _relative(reference: Figures, found: Figures, tolerance: Figures) -> list[str | None]:
    """Limits on a ratio to the PyTorch model."""
    ratios = (
        ("max_perplexity_increase", "perplexity", -1.0, True),
        ("max_bytes_ratio", "bytes", 0.0, True),
        ("max_memory_ratio", "peak_memory_bytes", 0.0, True),
        ("min_speedup", "tokens_per_s_1", 0.0, False),
    )
    texts: list[str | None] = []
    for name, figure, shift, upper in ratios:
        limit, before, after = tolerance[name], reference.get(figure), found.get(figure)
        if limit is not None and before and after is not None:
            texts.append(_broken(name, after / before + shift, limit, upper=upper))
    return texts


def _metrics(reference: Figures, found: Figures, tolerance: Figures) -> list[str | None]:
    """Limits on how far a task metric may fall: the built-in one, and those of the user's file."""
    drops: dict[str, Any] = {"exact_match": tolerance["max_metric_drop"], **tolerance["metrics"]}
    before, after = _task_metrics(reference), _task_metrics(found)
    return [
        _broken(f"the allowed drop of {name}", before[name] - after[name], limit, upper=True)
        for name, limit in drops.items()
        if limit is not None and name in before and name in after
    ]


def _task_metrics(figures: Figures) -> dict[str, float]:
    usual = {} if figures["exact_match"] is None else {"exact_match": figures["exact_match"]}
    return {**usual, **figures["metrics"]}


def front(candidates: Mapping[str, Figures]) -> set[str]:
    """Names of those that no other beats in size, memory, closeness and speed at once."""
    return {name for name, one in candidates.items() if not any(_beats(other, one) for other in candidates.values())}


def _beats(one: Figures, other: Figures) -> bool:
    pairs = [(one[name], other[name]) for name in SMALLER] + [(other[name], one[name]) for name in LARGER]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def recommended(candidates: Mapping[str, Figures]) -> str | None:
    """The smallest of the passing candidates, the closer one among equals: figures that do not change with the day."""
    ranked = sorted(candidates, key=lambda name: (candidates[name]["bytes"], candidates[name]["kl"], name))
    return ranked[0] if ranked else None


def table(reference: Figures, candidates: Sequence[Figures]) -> str:
    """The comparison in Markdown, PyTorch first."""
    lines = [
        "| | " + " | ".join(_HEAD) + " | |",
        "|---" * 13 + "|",
    ]
    lines += [_row("PyTorch, unquantised", reference, "")]
    lines += [_row(one["name"], one, _remark(one)) for one in candidates]
    return "\n".join(lines) + "\n"


def _remark(one: Figures) -> str:
    if one["failures"]:
        return "fails: " + "; ".join(one["failures"])
    words = ["chosen"] if one.get("chosen") else []
    return ", ".join([*words, *(["pareto front"] if one.get("front") else [])])


def _row(name: str, one: Figures, remark: str) -> str:
    cells = (
        name,
        f"{one['bytes'] / 1e6:.1f}",
        f"{one['peak_memory_bytes'] / 1e6:.0f}",
        f"{one['load_s']:.2f}",
        f"{one['first_token_s_1'] * 1000:.1f}",
        f"{one['tokens_per_s_1']:.0f}",
        f"{one['tokens_per_s_8']:.0f}",
        _number(one.get("logits_max_diff"), ".3g"),
        _number(one.get("kl"), ".2g"),
        _number(one.get("greedy_agreement"), ".3f"),
        _number(one.get("perplexity"), ".3f"),
        _number(one.get("exact_match"), ".3f"),
        remark,
    )
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
