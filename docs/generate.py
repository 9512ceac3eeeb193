"""Write the pages of docs/ that are made from code: `python docs/generate.py`. A test checks them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune_sdk import config
from finetune_sdk.data.example import KIND_NAMES
from finetune_sdk.data.features import FEATURES, SHAPE_ONLY
from finetune_sdk.data.formats import FORMATS, Format
from finetune_sdk.data.targets import PROFILES, Profile
from finetune_sdk.provider import Capabilities, Claim, Support
from finetune_sdk.registry import provider_class, providers

DOCS = Path(__file__).resolve().parent
OURS = "finetune-sdk"
WORDS = {
    Support.FULL: "yes",
    Support.PARTIAL: "partly",
    Support.NOT_IMPLEMENTED: "not yet",
    Support.UNSUPPORTED: "no",
    Support.UNKNOWN: "unknown",
}
HEAD = """\
# What each provider can do

Generated from the providers' `Capabilities` by `python docs/generate.py`; do not edit. A row is what a spec can ask
for, as a dotted key; what no provider claims is not listed and refused everywhere. *yes* and *partly* (with the limits
of the note) are accepted; *not yet* means that the vendor can and we do not; *no* that the vendor cannot; *unknown*
that nobody could verify it. `finetune providers show NAME` prints the same for one provider.
"""


def capabilities_page() -> str:
    """docs/capabilities.md: all claims side by side, then the notes and limits of each provider."""
    table = {one.name: provider_class(one.name).capabilities for one in providers() if one.distribution == OURS}
    return "\n".join([HEAD, *_matrix(table), *(line for name in table for line in _details(name, table[name]))])


def _matrix(table: dict[str, Capabilities]) -> Iterator[str]:
    yield "| | " + " | ".join(f"`{name}`" for name in table) + " |"
    yield "|---|" + "---|" * len(table)
    for demand in sorted({key for capabilities in table.values() for key in capabilities.claims}):
        cells = (WORDS[capabilities.claim(demand).support] for capabilities in table.values())
        yield f"| `{demand}` | " + " | ".join(cells) + " |"
    yield ""


def _details(name: str, capabilities: Capabilities) -> Iterator[str]:
    noted = [(key, claim) for key, claim in sorted(capabilities.claims.items()) if claim.note or claim.source]
    yield f"## {name}\n"
    yield from (f"{note}\n" for note in capabilities.notes)
    if noted:
        yield from ("| | | note | source |", "|---|---|---|---|", *(_row(key, claim) for key, claim in noted), "")
    if capabilities.limits:
        yield from ("| limit | value | source |", "|---|---|---|")
        for key, limit in sorted(capabilities.limits.items()):
            yield f"| `{key}` | {limit.value:,g} | {_source(limit.source, limit.read_on)} |"
        yield ""


def _row(key: str, claim: Claim) -> str:
    return f"| `{key}` | {WORDS[claim.support]} | {claim.note} | {_source(claim.source, claim.read_on)} |"


def _source(source: str, read_on: str) -> str:
    return ", ".join(part for part in (source, read_on) if part)


KEYS_HEAD = """\
# Every key of a job description

Generated from the code by `python docs/generate.py`; do not edit. How the file is read: [config.md](config.md). Which
provider takes which key: [capabilities.md](capabilities.md). "auto" = the provider decides, and says what and why.
"""
_PARTS = {
    "Methods (`method:`)": ("SFT", "Pretraining", "DPO", "KTO", "ORPO", "RewardModel", "Classification", "RFT"),
    "Graders (`method.grader:`)": ("StringCheck", "TextSimilarity", "PythonGrader", "ScoreModel", "MultiGrader"),
    "Adapters (`adapter:`)": ("LoRA", "IA3", "PromptTuning", "Full"),
    "The rest": ("DataSpec", "Hyperparameters", "EarlyStopping", "Compute", "Budget", "Evaluation"),
}


def keys_page() -> str:
    """docs/config-keys.md: every key with its values, default and meaning, from the JSON Schema."""
    schema: dict[str, Any] = config.schema()
    parts = schema["$defs"]
    lines = [KEYS_HEAD, "## The whole\n", *_keys(schema)]
    for title, names in _PARTS.items():
        lines.append(f"## {title}\n")
        for name in (name for name in names if name in parts):
            word = next((field["const"] for field in parts[name]["properties"].values() if "const" in field), None)
            lines += [f"### {name}" + (f" (`{word}`)" if word else "") + f"\n\n{parts[name].get('description', '')}\n"]
            lines += _keys(parts[name])
    return "\n".join(lines)


def _keys(part: dict[str, Any]) -> Iterator[str]:
    fields = {name: field for name, field in part["properties"].items() if "const" not in field}
    if not fields:
        return
    yield from ("| key | values | default | |", "|---|---|---|---|")
    for name, field in fields.items():
        default = "**required**" if name in part.get("required", ()) else _default(field)
        yield f"| `{name}` | {_values(field)} | {default} | {' '.join(field.get('description', '').split())} |"
    yield ""


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default in (None, [], {}) or isinstance(default, dict) else f"`{json.dumps(default)}`".replace('"', "")


def _values(field: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    options = [one for key in ("anyOf", "oneOf") for one in field.get(key, ()) if one.get("type") != "null"]
    if options:
        return " or ".join(dict.fromkeys(_values(one) for one in options))
    if field.get("type") == "array":
        return f"list of {_values(field.get('items', {}))}"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {field[key]:g}" for key, sign in bounds if key in field]
    return " ".join([words.get(field.get("type", ""), "mapping"), *limits])


FORMATS_HEAD = """\
# Data formats

Generated from the table in `finetune_sdk/data/formats` by `python docs/generate.py`; do not edit. What can be done with
them: [data.md](data.md). Every format can be read; those with a renderer can be written too.

In the second table: *yes* = survives writing (tested with generated examples), *loses* = a finding that refuses to
write unless it is allowed (only a warning where just the spelling changes, marked *spelling*), *no* = cannot be written
at all. A format's own kind of example decides which features can occur.
"""


def formats_page() -> str:
    """docs/data-formats.md: all formats, then what each writer loses."""
    lines = [FORMATS_HEAD, "| format | holds | written | what | also called | source |", "|---|---|---|---|---|---|"]
    ordered = sorted(FORMATS, key=lambda entry: (entry.kind, entry.name))
    for entry in ordered:
        cells = (
            f"`{entry.name}`",
            entry.kind,
            "no" if entry.render is None else "yes",
            entry.summary.replace("|", "\\|"),
            ", ".join(f"`{name}`" for name in entry.aliases),
            _source(entry.source, entry.read_on),
        )
        lines.append(f"| {' | '.join(cells)} |")
    writers = [entry for entry in ordered if entry.render is not None and (entry.loses or entry.cannot)]
    lines += ["", "| | " + " | ".join(f"`{entry.name}`" for entry in writers) + " |", "|---|" + "---|" * len(writers)]
    for name, meaning in FEATURES.items():
        lines.append(f"| `{name}`: {meaning} | " + " | ".join(_survives(entry, name) for entry in writers) + " |")
    lines += ["", "What becomes of lost features:", ""]
    for entry in writers:
        lost = "; ".join(f"`{name}` {what}" for name, what in entry.loses.items())
        lines += [f"- `{entry.name}`: {lost}."] if lost else []
    return "\n".join([*lines, ""])


def _survives(entry: Format, feature: str) -> str:
    if feature in entry.cannot:
        return "no"
    if feature not in entry.loses:
        return "yes"
    return "spelling" if feature in SHAPE_ONLY else "loses"


TARGETS_HEAD = """\
# What each target accepts

Generated from `finetune_sdk.data.targets` by `python docs/generate.py`; do not edit. `finetune data check FILE --for
TARGET` judges a dataset by these rules, `finetune data convert --to TARGET` refuses what they forbid, and
`finetune data targets TARGET` prints them. A rule marked *warning* is told, not refused. What holds for all targets is
in [data.md](data.md), "What is checked".
"""


def targets_page() -> str:
    """docs/data-targets.md: who takes what, then every target's rules with their sources."""
    rows = (
        f"| {one.target} | {', '.join(one.methods)} | {one.family or 'all'} "
        f"| {', '.join(KIND_NAMES[kind] for kind in one.kinds)} | `{one.format}` | {'yes' if one.hosted else 'no'} |"
        for one in PROFILES
    )
    head = ("| target | methods | models | takes | written as | leaves the machine |", "|---|---|---|---|---|---|")
    return "\n".join([TARGETS_HEAD, *head, *rows, "", *(line for one in PROFILES for line in _profile(one)), ""])


def _profile(profile: Profile) -> Iterator[str]:
    yield f"## {profile.name}"
    yield ""
    docs = list(dict.fromkeys([profile.doc, *(rule.doc for rule in profile.rules)]))
    for rule in profile.rules:
        warning = " *(warning)*" if rule.severity == "warning" else ""
        yield f"- {rule.words()}{warning} [{docs.index(rule.doc) + 1}]"
    if not profile.rules:
        yield "No rules beside the general ones."
    yield ""
    if profile.notes:
        yield from (f"> {note}" for note in profile.notes)
        yield ""
    yield from (f"{number}. {doc.source}, read {doc.read_on}" for number, doc in enumerate(docs, 1))
    yield ""


PAGES = {
    "capabilities.md": capabilities_page,
    "config-keys.md": keys_page,
    "data-formats.md": formats_page,
    "data-targets.md": targets_page,
}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
