"""What a vendor demands of training rows: the SDK's table of targets, the one behind `finetune data check --for`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finetune_sdk.data.example import Example
from finetune_sdk.data.targets import Profile, Row, Totals, as_sent, profiles
from finetune_sdk.data.targets.rules import Images, MaxBytes, MaxImageRows, MaxTokens, MinRows
from finetune_sdk.provider import Limit
from finetune_sdk.types import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The demands of one vendor; those of rows are `finetune_sdk.data.targets`."""

    target: str
    """The vendor's name in that table."""
    rft_needs_validation: bool = True
    python_grader_bytes: int = 256 * 1024

    def profile(self, method: str) -> Profile:
        """The rows of the table for a method, whatever the model: what a model can is in `models.toml`."""
        (found,) = profiles(self.target, method=method)
        return found

    def sent(self, example: Example, method: str) -> Example:
        """The example as it is sent: tool calls have ids."""
        return as_sent(example, self.profile(method))

    def row(self, example: Example, method: str, *, tokens: float = 0) -> Iterator[Finding]:
        """Whatever the vendor would say against one row, as it is sent."""
        row = Row.of(example, tokens=tokens)
        source = example.source
        for rule in self.profile(method).rules:
            for problem in rule.row(row):
                yield Finding(
                    rule=rule.rule,
                    severity=rule.severity,
                    message=problem.message,
                    fix=problem.fix,
                    file=source.file if source else None,
                    line=source.line if source else None,
                    path=problem.path or None,
                )

    def whole(self, totals: Totals, method: str) -> Iterator[Finding]:
        """What it would say against the training file. How large a file may be depends on the server: not here."""
        for rule in self.profile(method).rules:
            for problem in () if isinstance(rule, MaxBytes) else rule.whole(totals):
                yield Finding(rule=rule.rule, severity=rule.severity, message=problem.message, fix=problem.fix)

    def limits(self) -> dict[str, Limit]:
        """The numbers of the table for supervised training, as `Capabilities.limits` wants them."""
        found: dict[str, Limit] = {}
        for rule in self.profile("sft").rules:
            numbers: dict[str, float | None] = {}
            if isinstance(rule, MinRows):
                numbers = {"min_rows": rule.rows}
            elif isinstance(rule, Images):
                numbers = {"images_per_row": rule.per_example, "image_bytes": rule.max_bytes}
            elif isinstance(rule, MaxImageRows):
                numbers = {"image_rows": rule.rows}
            elif isinstance(rule, MaxTokens):
                numbers = {"tokens_per_row": rule.tokens}
            found |= {
                name: Limit(value, rule.doc.source, rule.doc.read_on)
                for name, value in numbers.items()
                if value is not None
            }
        return found


OPENAI_RULES = Rules(target="openai")
