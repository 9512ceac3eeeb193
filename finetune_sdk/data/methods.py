"""Which kinds of examples a method learns from, and what to do with a file that holds another kind."""

from __future__ import annotations

import msgspec

from finetune_sdk.data.example import KIND_NAMES, Example, Kind, PreferenceExample, UnpairedPreference, kind_of
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding

NEEDS: dict[str, tuple[Kind, ...]] = {
    "sft": ("chat",),
    "pretraining": ("text",),
    "dpo": ("preference",),
    "orpo": ("preference",),
    "reward": ("preference",),
    "kto": ("unpaired", "preference"),
    "classification": ("labelled",),
    "rft": ("prompt",),
    "embedding": ("embedding",),
}
"""The kinds each method accepts; the first one is what it learns from, the others are turned into it.

"embedding" is no method of a job description: providers use it for tasks that their options name.
"""

_REMEDIES: dict[tuple[str, Kind], str] = {
    ("sft", "text"): "Use `method: pretraining`, or map columns: `columns: {prompt: ..., completion: ...}`.",
    ("sft", "preference"): "Where the better answer ends a whole conversation, `format: chat` reads that alone.",
    ("sft", "labelled"): "To answer with the label, map the columns: `columns: {prompt: ..., completion: ...}`.",
    ("sft", "prompt"): "Use `method: rft` with a grader, or add the assistant's answers.",
    ("classification", "chat"): "Map the columns: `columns: {text: ..., label: ...}`.",
    ("rft", "chat"): "End each row with the user's turn; give the expected answer a key of its own for the grader.",
    ("sft", "embedding"): "`provider: autotrain` learns from it with `options.autotrain.task: st:pair`.",
    ("pretraining", "chat"): "Use `method: sft`, or map a column: `columns: {text: ...}`.",
}  # fmt: skip


def kinds_for(method: str) -> tuple[Kind, ...]:
    """The kinds a method accepts. Raises `DataError` for a method without data rules."""
    try:
        return NEEDS[method]
    except KeyError:
        raise DataError(f"no data rules for method {method!r}; known: {', '.join(NEEDS)}.") from None


def misfit(kind: Kind, method: str, file: str, line: int | None) -> Finding:
    """The finding for a row of a kind the method cannot learn from."""
    fitting = [name for name, kinds in NEEDS.items() if kind in kinds and name != "embedding"]
    wanted = " or ".join(KIND_NAMES[need] for need in NEEDS[method])
    remedy = _REMEDIES.get((method, kind), "")
    fits = f"Methods for it: {', '.join(fitting)}." if fitting else "No method trains on it."
    return Finding(
        rule="method-data-mismatch",
        severity="error",
        message=f"the file holds {KIND_NAMES[kind]}; method {method!r} needs {wanted}",
        fix=f"{fits} {remedy}".strip(),
        file=file,
        line=line,
    )


def adapted(example: Example, method: str) -> list[Example]:
    """The example as the method learns it: itself, or (KTO from pairs) one row per answer."""
    if method == "kto" and isinstance(example, PreferenceExample):
        fields = {name: getattr(example, name) for name in ("prompt", "tools", "chat_template_kwargs", "source")}
        fields["extra"] = example.extra
        return [
            UnpairedPreference(**fields, completion=example.chosen, label=True),
            UnpairedPreference(**fields, completion=example.rejected, label=False),
        ]
    return [example]


def accepted(example: Example, method: str) -> bool:
    """Whether the method can learn from this example."""
    return kind_of(example) in NEEDS[method]


def plain(example: Example) -> Example:
    """The example without what only its source format needs."""
    return msgspec.structs.replace(example, aside={}) if example.aside else example
