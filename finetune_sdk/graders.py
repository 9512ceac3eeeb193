"""Graders: how an answer is scored in reinforcement fine-tuning. The JSON shapes are OpenAI's: one spec serves all.

Source: openai/openai-openapi f85dbe2 (2026-08-21), schemas `GraderStringCheck`, `GraderTextSimilarity`,
`GraderPython`, `GraderScoreModel`, `GraderMulti`. Templates such as `{{sample.output_text}}` and `{{item.answer}}`
are filled per sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator


class _Grader(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "grader"


class StringCheck(_Grader):
    """1.0 where the comparison holds, else 0.0."""

    type: Literal["string_check"]
    input: str = "{{sample.output_text}}"
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"] = "eq"
    """`like` = contains, `ilike` = contains regardless of case."""


class TextSimilarity(_Grader):
    """A similarity between 0.0 and 1.0."""

    type: Literal["text_similarity"]
    input: str = "{{sample.output_text}}"
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ] = "fuzzy_match"  # fmt: skip


class PythonGrader(_Grader):
    """A Python function `grade(sample: dict, item: dict) -> float`, as source text or as a file beside the spec."""

    type: Literal["python"]
    source: str | None = None
    file: str | None = None
    """Path of a Python file, relative to the spec. It runs only in the worker (or at the vendor)."""
    confined: bool = False
    """Run it without network, new processes or writing, and with bounded memory and time, as a vendor would. What comes
    through `finetune serve` always is. Linux on x86-64 and arm64."""

    @model_validator(mode="after")
    def _one_source(self) -> PythonGrader:
        if (self.source is None) == (self.file is None):
            raise ValueError("a python grader needs exactly one of `source` (text) and `file` (path)")
        return self


class ScoreModel(_Grader):
    """Another model scores the answer. Hosted providers only."""

    type: Literal["score_model"]
    model: str
    input: tuple[Mapping[str, JsonValue], ...]
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: Mapping[str, JsonValue] = Field(default_factory=dict)


class MultiGrader(_Grader):
    """Several graders, combined by a formula over their names."""

    type: Literal["multi"]
    graders: Mapping[
        str, Annotated[StringCheck | TextSimilarity | PythonGrader | ScoreModel, Field(discriminator="type")]
    ]
    calculate_output: str
    """Arithmetic over the grader names, such as `0.7 * correct + 0.3 * short`."""


Grader = Annotated[StringCheck | TextSimilarity | PythonGrader | ScoreModel | MultiGrader, Field(discriminator="type")]
