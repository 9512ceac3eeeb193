"""What the vendors demand of training rows, as data. Azure's rows differ in a few values (see its `map`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_sdk.provider import Limit

_GUIDE = "https://developers.openai.com/api/docs/guides/supervised-fine-tuning"
_SCHEMA = "openai/openai-openapi refs/pull/465 (2025-07-04), schemas FineTune*RequestInput"
_VISION = "https://developers.openai.com/api/docs/guides/vision-fine-tuning"
READ_ON = "2026-11-20"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The demands of one vendor. The defaults are OpenAI's."""

    roles: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {
            "sft": frozenset({"system", "developer", "user", "assistant", "tool"}),
            "dpo": frozenset({"system", "developer", "user", "assistant", "tool"}),
            "rft": frozenset({"developer", "user", "assistant", "tool"}),
        }
    )
    """Roles by method. Source: the schemas, plus `developer` for `sft` (guides)."""
    min_rows: int = 10
    images_per_row: int = 10
    image_rows: int = 50_000
    image_bytes: int = 10 * 1024 * 1024
    image_types: frozenset[str] = frozenset({"image/jpeg", "image/png", "image/webp"})
    answers_max: int = 1
    """Messages in each half of a preference pair."""
    answer_roles: frozenset[str] = frozenset({"assistant"})
    rft_needs_validation: bool = True
    python_grader_bytes: int = 256 * 1024
    sources: Mapping[str, str] = field(
        default_factory=lambda: {"min_rows": _GUIDE, "images": _VISION, "roles": _SCHEMA}
    )

    def limits(self) -> dict[str, Limit]:
        """The numbers of the table as `Capabilities.limits` wants them."""
        return {
            "min_rows": Limit(self.min_rows, self.sources["min_rows"], READ_ON),
            "images_per_row": Limit(self.images_per_row, self.sources["images"], READ_ON),
            "image_rows": Limit(self.image_rows, self.sources["images"], READ_ON),
            "image_bytes": Limit(self.image_bytes, self.sources["images"], READ_ON),
        }


OPENAI_RULES = Rules()
