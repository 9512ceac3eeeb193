"""Taking a foreign document apart so that no key can be forgotten: what nobody took is a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune_sdk._document import is_mapping
from finetune_sdk.imports._found import Mapped
from finetune_sdk.types import Finding, Severity

MISSING = object()


class Walk:
    """A foreign document, our document as it grows, and what is to be told about the way."""

    def __init__(self, document: Mapping[str, Any], file: str) -> None:
        self._left = dict(_leaves(document))
        self._file = file
        self.made: dict[str, Any] = {}
        self.mapped: list[Mapped] = []
        self.findings: list[Finding] = []

    def take(self, key: str, default: Any = MISSING) -> Any:
        """The value under a dotted key, which then counts as dealt with. Raises `KeyError` without a default."""
        value = self._left.pop(key, default)
        if value is MISSING:
            raise KeyError(key)
        return value

    def has(self, key: str) -> bool:
        """True while nobody took it."""
        return key in self._left

    def left(self, prefix: str = "") -> list[str]:
        """The keys that nobody took yet."""
        return [key for key in self._left if key.startswith(prefix)]

    def put(self, key: str, to: str, value: Any) -> None:
        """Write `value` to a dotted key of ours, and note that the foreign `key` went there."""
        here = self.made
        *path, last = to.split(".")
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
        self.mapped.append(Mapped(key, to))

    def note(self, key: str, to: str) -> None:
        """The foreign key is covered by something that stands elsewhere, or is our default."""
        self.mapped.append(Mapped(key, to))

    def lacks_rows(self, why: str) -> None:
        """A file that stands for the rows nobody names: even an export is measured on some."""
        self.made["data"] = {"train": "rows.jsonl"}
        fix = "Put some that the model was not trained on into rows.jsonl, or name another file as data.train."
        self.tell("import-rows", "warning", "", f"{why}: a job needs rows, an export some to be measured on", fix)

    def tell(self, rule: str, severity: Severity, key: str, message: str, fix: str = "") -> None:
        """A finding about a foreign key."""
        self.findings.append(
            Finding(rule=rule, severity=severity, message=message, fix=fix, file=self._file, path=key or None)
        )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        if is_mapping(item) and item:
            found += _leaves(item, f"{name}.")
        else:
            found.append((name, item))
    return found
