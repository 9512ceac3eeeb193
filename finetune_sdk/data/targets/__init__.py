"""The table of targets. To add one: write a module with `PROFILES`, and name it here."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from finetune_sdk._words import did_you_mean
from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.example import Example
from finetune_sdk.data.formats import format_named
from finetune_sdk.data.targets import hosted, hosted_openai, local
from finetune_sdk.data.targets.base import Doc, Problem, Profile, Row, Rule, Totals
from finetune_sdk.errors import DataError

PROFILES: tuple[Profile, ...] = (*hosted_openai.PROFILES, *local.PROFILES, *hosted.PROFILES)
"""Everything known about targets, one row per target, methods and model family."""

TARGETS: tuple[str, ...] = tuple(dict.fromkeys(profile.target for profile in PROFILES))
"""The targets' names, our own providers first."""


def profiles(target: str, *, method: str | None = None, model: str | None = None) -> tuple[Profile, ...]:
    """What a target takes, narrowed to a method and a model. Raises `DataError` for an unknown target.

    Empty when the target does not offer the method, or nothing is known about the model.
    """
    if target not in TARGETS:
        raise DataError(f"unknown target {target!r}{did_you_mean(target, TARGETS) or '.'} Known: {', '.join(TARGETS)}.")
    return tuple(
        profile for profile in PROFILES if profile.target == target and profile.covers(method=method, model=model)
    )


def as_sent(example: Example, profile: Profile) -> Example:
    """The example with what writing the target's format adds by itself: ids on tool calls that came without."""
    needs_ids = profile.format is not None and format_named(profile.format).needs_call_ids
    return with_call_ids(example) if needs_ids else example


def rules_json(found: Sequence[Profile]) -> list[dict[str, JsonValue]]:
    """Profiles with all their rules in words and their sources, for programs."""
    return [
        {
            "target": profile.target,
            "methods": list(profile.methods),
            "models": list(profile.models),
            "kinds": list(profile.kinds),
            "format": profile.format,
            "hosted": profile.hosted,
            "rules": [
                {
                    "rule": rule.rule,
                    "severity": rule.severity,
                    "words": rule.words(),
                    "source": rule.doc.source,
                    "read_on": rule.doc.read_on,
                }
                for rule in profile.rules
            ],
            "notes": list(profile.notes),
            "source": profile.doc.source,
            "read_on": profile.doc.read_on,
        }
        for profile in found
    ]


__all__ = [
    "PROFILES",
    "TARGETS",
    "Doc",
    "Problem",
    "Profile",
    "Row",
    "Rule",
    "Totals",
    "as_sent",
    "profiles",
    "rules_json",
]
