"""What an evaluation will cost: counted while the rows are planned, priced from the table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_sdk.data.example import Example
from finetune_sdk.spec import Evaluation

from .models import BaseModel
from .questions import Question, free, question
from .tokens import TokenCount, token_count


def held_out_role(roles: Mapping[str, int]) -> str | None:
    """Which rows an evaluation asks about; None = there are none."""
    return next((role for role in ("test", "validation") if roles.get(role)), None)


@dataclass(slots=True)
class Asking:
    """The questions of an evaluation, added up."""

    wanted: Evaluation
    role: str | None
    """Whose rows are asked about."""
    questions: int = 0
    tokens: TokenCount = field(default_factory=token_count)
    """Of the questions, to one model."""

    def __post_init__(self) -> None:
        for prompt in self.wanted.prompts:
            self._count(free(prompt))

    def look(self, role: str, example: Example) -> None:
        """Take a row into account."""
        most = self.wanted.max_rows
        if role != self.role or (most is not None and self.questions - len(self.wanted.prompts) >= most):
            return
        asked = question(example)
        if asked is not None:
            self._count(asked)

    def _count(self, asked: Question) -> None:
        self.questions += 1
        self.tokens.add({"messages": list(asked.messages), "tools": asked.tools})

    def usd(self, model: BaseModel) -> float | None:
        """The most it can cost: every answer as long as it may be. None = a price is not known."""
        prices = [(model.usd_per_million_tuned_input, model.usd_per_million_tuned_output)]
        if self.wanted.baseline:
            prices.append((model.usd_per_million_input, model.usd_per_million_output))
        longest = self.questions * self.wanted.max_new_tokens
        total = 0.0
        for per_input, per_output in prices:
            if per_input is None or per_output is None:
                return None
            total += (self.tokens.total * per_input + longest * per_output) / 1e6
        return total

    def words(self, model: BaseModel) -> str:
        """The cost in words, for the plan."""
        usd, who = self.usd(model), "base and tuned model" if self.wanted.baseline else "the tuned model"
        price = "at prices not known here" if usd is None else f"up to {usd:.2f} USD"
        return f"evaluation: {self.questions} questions to {who}, {self.tokens.total} tokens to each, {price}"
