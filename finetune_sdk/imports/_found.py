"""What an importer answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from finetune_sdk._document import render
from finetune_sdk.types import Finding


class Mapped(NamedTuple):
    """A key of the foreign document and where it went in ours."""

    key: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A foreign job description in our words."""

    document: dict[str, Any]
    """Our job description as plain values; `finetune_sdk.config.load` takes it."""
    mapped: tuple[Mapped, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What has no counterpart, changes its meaning, or wants a look before the job runs."""
    importer: str = ""

    @property
    def yaml(self) -> str:
        """The document as the text of a spec file."""
        return render(self.document)
