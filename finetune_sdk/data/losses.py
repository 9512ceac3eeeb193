"""What writing an example in a format would lose: found before a row is written, never after."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from finetune_sdk.data.example import KIND_NAMES, Example, Part, PreferenceExample, conversation, kind_of
from finetune_sdk.data.features import FEATURES, RESPONSES_TEXTS, SHAPE_ONLY, features
from finetune_sdk.data.formats.base import Format
from finetune_sdk.data.methods import adapted
from finetune_sdk.types import Finding


def as_kind(example: Example, entry: Format) -> list[Example]:
    """The example as the format's kind: itself, or the two rows of a preference pair; empty where it cannot be."""
    if kind_of(example) == entry.kind:
        return [example]
    if entry.kind == "unpaired" and isinstance(example, PreferenceExample):
        return adapted(example, "kto")
    return []


def wrong_kind(example: Example, entry: Format) -> Finding:
    """The finding for an example that the format has no room for at all."""
    return Finding(
        rule="wrong-kind",
        severity="error",
        message=f"{entry.name} holds {KIND_NAMES[entry.kind]}, this row is one of {KIND_NAMES[kind_of(example)]}",
        fix="Choose a format for that kind; `finetune data formats` lists them.",
    )


def losses(example: Example, entry: Format, allow: Collection[str] = ()) -> Iterator[Finding]:
    """One finding per feature the format cannot keep. Errors forbid writing, unless `allow` names the feature.

    "all" in `allow` allows every loss; what a format cannot express at all stays an error.
    """
    clash = _clash(example, entry) if example.extra else None
    if clash is not None:
        yield Finding(
            rule="cannot-reserved-key",
            severity="error",
            message=f"the row's own key {clash!r} has another meaning in {entry.name}",
            fix="Rename the key in the source.",
            path=clash,
        )
    broken = entry.breaks(example) if entry.breaks is not None else None
    if broken is not None:
        yield Finding(
            rule="cannot-marks",
            severity="error",
            message=f"{entry.name} cannot express its own marks inside a text: it would be read otherwise",
            fix="Remove the marks, or choose another format.",
            path=broken,
        )
    seen: set[str] = set()
    for feature, path in features(example, entry.matters):
        if feature in seen:
            continue
        seen.add(feature)
        if feature == "other-parts" and entry.takes is not None and all(map(entry.takes, _other_parts(example))):
            continue
        if feature in entry.cannot:
            otherwise = _written_otherwise(example, entry) if feature == "other-parts" else ""
            yield Finding(
                rule=f"cannot-{feature}",
                severity="error",
                message=f"{entry.name} cannot express {FEATURES[feature]}",
                fix=f"{otherwise}{'; otherwise remove' if otherwise else 'Remove'} the row, or choose another format.",
                path=path,
            )
        elif feature in entry.loses:
            yield _loss(feature, path, entry, allowed=feature in allow or "all" in allow)


_FILES = frozenset(("file", "input_file", "input_audio", "audio", "video", "document", "video_url", "audio_url"))
"""Types of parts that are files, as several vendors write them."""


def _written_otherwise(example: Example, entry: Format) -> str:
    """How to write parts that the format could hold, were they written so."""
    kinds = {str(part.get("type")) for part in _other_parts(example)}
    if kinds <= RESPONSES_TEXTS:
        return "Write `text` as the type of these texts: theirs is the Responses API's"
    return entry.taken if kinds & _FILES else ""


def _other_parts(example: Example) -> list[Part]:
    contents = [message.content for message in conversation(example)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part for part in parts if part.get("type") not in ("text", "image_url")]


def _clash(example: Example, entry: Format) -> str | None:
    found = next((key for key in example.extra if key in entry.reserved), None)
    return entry.clashes(example) if found is None and entry.clashes is not None else found


def _loss(feature: str, path: str, entry: Format, *, allowed: bool) -> Finding:
    harmless = feature in SHAPE_ONLY
    return Finding(
        rule=f"loses-{feature}",
        severity="info" if allowed else "warning" if harmless else "error",
        message=f"{entry.name} loses {FEATURES[feature]}: {entry.loses[feature]}",
        fix="" if allowed or harmless else f"Allow it with `--allow-loss {feature}`, or choose another format.",
        path=path,
    )
