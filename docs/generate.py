"""Write the pages of docs/ that are made from code: `python docs/generate.py`. A test checks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


PAGES = {"capabilities.md": capabilities_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
