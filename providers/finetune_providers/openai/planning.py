"""The dry run: every row looked at once, tokens and bytes added up, the vendor's rules applied. Sends nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from finetune_sdk.data.example import Example, conversation
from finetune_sdk.data.report import Report
from finetune_sdk.data.targets import Totals
from finetune_sdk.data.tools.scan import leaving
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import Estimate, Finding, Severity

from .inference import Asking
from .models import BaseModel
from .options import JobOptions
from .rows import check, images, render
from .rules import Rules
from .tokens import TokenCount, epochs_guess, token_count
from .wire import Wire

encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Survey:
    """What the rows come to."""

    method: str
    rules: Rules
    model: BaseModel
    item_fields: frozenset[str] = frozenset()
    """Row keys a grader asks for."""
    last_answer_only: bool = False
    allowed: Collection[str] = ()
    """What may leave this machine: `data.allow`."""
    report: Report = field(default_factory=Report)
    rows: dict[str, int] = field(default_factory=dict[str, int])
    bytes: dict[str, int] = field(default_factory=dict[str, int])
    tokens: TokenCount = field(default_factory=token_count)
    """Of the training rows, one epoch."""
    image_rows: int = 0

    def look(self, examples: Iterable[tuple[str, Example]], asking: Asking | None = None) -> None:
        """Look at every row that would be sent, and at those that an evaluation asks about."""
        for role, example in examples:
            if asking is not None:
                asking.look(role, example)
            if role != "test" or asking is not None:
                for finding in leaving(example, self.allowed):
                    self.report.add(finding)
            if role == "test":
                continue
            self.rows[role] = self.rows.get(role, 0) + 1
            sent = self.rules.sent(example, self.method)
            row = render(sent, self.method, last_answer_only=self.last_answer_only)
            size = self.tokens.add(row) if row is not None and role == "train" else 0
            for finding in check(sent, self.method, self.rules, tokens=size):
                self.report.add(finding)
            if row is None:
                continue
            self.bytes[role] = self.bytes.get(role, 0) + len(encode(row)) + 1
            self._look_closer(example, row, size)

    def _look_closer(self, example: Example, row: dict[str, object], size: int) -> None:
        if self.model.max_tokens is not None and size > self.model.max_tokens:
            self._note(example, "row-truncated", "warning", f"about {size} tokens, {self.model.max_tokens} are used",
                       "Shorten the row; the vendor cuts it off.")  # fmt: skip
        if images(conversation(example)):
            self.image_rows += 1
            if self.model.images is False:
                self._note(example, "images-not-supported", "error", f"{self.model.id} is tuned on text only",
                           "Choose a model that takes images, or remove them.")  # fmt: skip
        missing = sorted(self.item_fields - row.keys())
        if missing:
            self._note(example, "grader-item-missing", "error", f"the grader asks for item.{missing[0]}",
                       f"Add the key {missing[0]!r} to the row, or change the grader.")  # fmt: skip

    def _note(self, example: Example, rule: str, severity: Severity, message: str, fix: str) -> None:
        source = example.source
        self.report.add(
            Finding(
                rule=rule,
                severity=severity,
                message=message,
                fix=fix,
                file=source.file if source else None,
                line=source.line if source else None,
            )
        )

    def findings(self, wire: Wire) -> tuple[Finding, ...]:
        """What was found in the rows, and what holds for the files as a whole."""
        return (*self.report.findings(), *self._of_files(wire))

    def _of_files(self, wire: Wire) -> Iterable[Finding]:
        yield from self.rules.whole(Totals(rows=self.rows.get("train", 0), image_rows=self.image_rows), self.method)
        if self.method == "rft" and self.rules.rft_needs_validation and not self.rows.get("validation"):
            yield _whole(
                "rft-needs-validation", "no validation rows", "Set `data.validation`: a path, or a share as 0.1."
            )
        most = wire.upload_bytes_max if wire.uploads else wire.file_bytes_max
        for role, size in self.bytes.items():
            if size > most:
                yield _whole("file-too-large", f"the {role} file has {size} bytes", f"At most {most} can be uploaded.")


def _whole(rule: str, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity="error", message=message, fix=fix)


def estimate(
    spec: JobSpec, survey: Survey, options: JobOptions, price_source: Mapping[str, str], asking: Asking | None = None
) -> Estimate:
    """What the job and its evaluation will cost. An unknown price stays unknown."""
    training = _training(spec, survey, options, price_source)
    if asking is None:
        return training
    usd, basis = asking.usd(survey.model), f"{training.basis}; {asking.words(survey.model)}"
    if training.usd is not None and usd is not None:
        return replace(training, usd=training.usd + usd, basis=basis)
    known = "" if training.usd is None else f"unknown: training {training.usd:.2f} USD and an evaluation; "
    return replace(training, usd=None, basis=known + basis)


def _training(spec: JobSpec, survey: Survey, options: JobOptions, price_source: Mapping[str, str]) -> Estimate:
    rows, count = survey.rows.get("train", 0), survey.tokens
    epochs = spec.hyperparameters.epochs
    times = epochs_guess(rows) if epochs == "auto" else int(epochs)
    chosen = ', "auto" as the vendor\'s cookbook reckons it' if epochs == "auto" else ""
    total = count.total * times
    basis = f"{count.total} tokens x {times} epochs{chosen}; {count.basis}"
    known = Estimate(usd=None, basis=basis, tokens=total, tokens_exact=count.exact and epochs != "auto")
    price = options.price_per_million_tokens
    origin = "your `price_per_million_tokens`"
    if price is None:
        price = survey.model.usd_per_million_tokens
        origin = f"{price_source.get('usd_per_million_tokens', 'the table')}, {price_source.get('read_on', '')}"
    if survey.method == "rft":
        hourly = survey.model.usd_per_hour
        by_hour = (
            f"{hourly:g} USD per hour of training" if hourly is not None else "by the hour, at a rate not known here"
        )
        return replace(known, basis=f"unknown: reinforcement is charged {by_hour}, plus the grader's tokens; {basis}")
    if price is None:
        return replace(known, basis=f"unknown: no price is known for {spec.model_id!r}; {basis}")
    return replace(known, usd=total * price / 1e6, basis=f"{basis}; {price:g} USD per million tokens ({origin})")
