"""What is counted while prepared rows stream by: rows, content hashes, labels, duplicates, leaks; then the split."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

from finetune_sdk.data.classes import Classes
from finetune_sdk.data.example import Source
from finetune_sdk.data.report import Report
from finetune_sdk.data.rows import Row
from finetune_sdk.data.split import Keys, Split
from finetune_sdk.spec import DataSpec
from finetune_sdk.types import Finding, Severity

DataRole = Literal["train", "validation", "test"]
ROLES: tuple[DataRole, ...] = ("train", "validation", "test")
FEW_ROWS = 10  # OpenAI's and Azure's minimum
_TRACKED = 1_000_000  # rows compared for duplicates; later ones are not


class Hash(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def role_named(name: str) -> DataRole:
    """The role of that name."""
    return "validation" if name == "validation" else "test" if name == "test" else "train"


def running_hash() -> Hash:
    """The hash of a role's content: SHA-256 over the digests of its rows, in order."""
    return hashlib.sha256()


class Tally:
    """One pass over all rows. `finish` decides the split and adds the findings that need all rows."""

    def __init__(self, data: DataSpec) -> None:
        self.report = Report()
        self.rows: dict[DataRole, int] = dict.fromkeys(ROLES, 0)
        self.hashes: dict[DataRole, Hash] = {role: running_hash() for role in ROLES}
        self.shares: dict[str, float] = {
            role: share for role in ("validation", "test") if isinstance(share := getattr(data, role), float)
        }
        self._seed = data.split_seed
        self._keys = Keys(data.split_seed) if self.shares else None
        self._classes = Classes()
        self._seen: set[bytes] = set()
        self._held_out: set[int] = set()
        self._file: str | None = None

    def add(self, role: DataRole, row: Row) -> None:
        """Count a row of one of the given files; held-out files come before the training file."""
        self.rows[role] += 1
        if role != "train":
            self.hashes[role].update(row.digest)
            if len(self._held_out) < _TRACKED:
                self._held_out.add(row.prompt_key(self._seed))
            return
        self._file = row.source.file if row.source else None
        if self._keys is not None:
            self._keys.add(row)
        else:
            self.hashes[role].update(row.digest)
        self._compare(row)
        if row.example is not None:
            self._classes.add(row.example)

    def _compare(self, row: Row) -> None:
        if row.digest in self._seen:
            self._say(
                "duplicate-row",
                "warning",
                "the row was seen before",
                "Remove it: `finetune data dedupe`.",
                row.source,
            )
        elif len(self._seen) < _TRACKED:
            self._seen.add(row.digest)
        if self._held_out and row.prompt_key(self._seed) in self._held_out:
            self._say(
                "split-leak",
                "warning",
                "the prompt is also in the held-out data: the evaluation will flatter the model",
                "Remove it from one side.",
                row.source,
            )

    def finish(self) -> Split | None:
        """Decide the split, settle the hashes, and report what only the whole shows."""
        split = self._hold_out() if self._keys is not None else None
        self._check_size()
        for remark in self._classes.remarks():
            self._say(*remark)
        return split

    def _hold_out(self) -> Split | None:
        assert self._keys is not None, "called with shares only"  # noqa: S101
        if not len(self._keys):
            return None
        total = self.rows["train"]
        split = self._keys.split(self.shares)
        self.rows["train"] = 0
        for name, digest in self._keys.roles(split):
            role = role_named(name)
            self.rows[role] += 1
            self.hashes[role].update(digest)
        for role in ROLES:
            if role in (*self.shares, "train") and not self.rows[role]:
                self._say_empty(role, total)
        return split

    def _say_empty(self, role: DataRole, total: int) -> None:
        share = self.shares.get(role)
        what = f"a {role} share of {share:g}" if share is not None else "the held-out share"
        need = f"at least {int(1 / share) + 1} rows" if share else "more rows"
        self._say(
            "split-empty",
            "error",
            f"{what} of {total} row{'s' if total != 1 else ''} leaves no {role} row",
            f"Give {need}, another share, or a file of its own: `{role if share else 'validation'}: PATH`.",
        )

    def _check_size(self) -> None:
        rows = self.rows["train"]
        if 0 < rows < FEW_ROWS:
            self._say(
                "few-rows",
                "warning",
                f"only {rows} training row{'s' if rows != 1 else ''}",
                f"Expect memorisation, not learning; hosted providers ask for at least {FEW_ROWS}.",
            )
        if not rows and not self.report.errors:
            self._say("no-rows", "error", "no row is left to train on", "See the other findings.")

    def _say(self, rule: str, severity: Severity, message: str, fix: str, source: Source | None = None) -> None:
        self.report.add(
            Finding(
                rule=rule,
                severity=severity,
                message=message,
                fix=fix,
                file=source.file if source else self._file,
                line=source.line if source else None,
            )
        )
