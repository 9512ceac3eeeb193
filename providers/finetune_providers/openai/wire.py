"""What one generation of the fine-tuning API can carry, as rows: OpenAI's own, and servers that speak it with quirks.

Azure's generations are rows of the same type, in `finetune_providers.azure.map`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_sdk.types import JobStatus

WORDS: Mapping[str, JobStatus] = {
    "validating_files": JobStatus.VALIDATING,
    "queued": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "pausing": JobStatus.RUNNING,  # in the live reference of 2026-11-10, outside the spec's enum
    "paused": JobStatus.PAUSED,  # what the spec's own pause example answers, outside its enum
    "cancelling": JobStatus.CANCELLING,
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}
"""OpenAI's status words. Source: openai/openai-openapi f85dbe2 (2026-08-21) and its examples."""

SETTLING = frozenset({"pending", "running", "uploaded"})
"""File statuses that may still change. OpenAI's `uploaded` may be final (the field is deprecated there)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What a server understands. The defaults are OpenAI's own."""

    name: str
    methods: frozenset[str] = frozenset({"sft", "dpo", "rft"})
    method_object: bool = True
    """Whether `method` is sent; otherwise hyperparameters travel in the older top-level field."""
    auto: bool = True
    """Whether the word "auto" may be sent; otherwise such values are left out."""
    metadata: bool = True
    integrations: bool = True
    seed: bool = True
    suffix_max: int = 64
    pause: bool = True
    uploads: bool = True
    """Multi-part uploads for files above the Files API's limit."""
    file_bytes_max: int = 512 * 1024 * 1024
    upload_bytes_max: int = 8 * 1024 * 1024 * 1024
    file_expiry_s: int | None = None
    """Sent as `expires_after` with each file where the generation demands it; None = not sent."""
    bom: bool = False
    """Whether data files start with a UTF-8 byte order mark."""
    vendor_dates: bool = True
    """Whether the vendor's retirement dates and prices apply; False for servers that only speak the format."""
    ask_model: bool = True
    """Whether `GET /models/{id}` says when the base model ends."""
    filters_files: bool = True
    """Whether the list of files takes an order and a limit; otherwise it comes whole."""
    lists_jobs: bool = True
    """Whether jobs can be listed. Without it a doubtful submission stays doubtful."""
    lists_models: bool = True
    """Whether `GET /models` lists what answers, tuned models included."""
    tuned_prefix: str = "ft:"
    """How ids of tuned models begin in that list; empty = they cannot be told from base models."""
    one_job_at_a_time: bool = False
    """Whether 409 to a creating request means "another job is running", for sure: nothing was created."""
    max_tokens_key: str = "max_completion_tokens"
    """What limits an answer of the chat API; older servers know `max_tokens` only."""
    words: Mapping[str, JobStatus] = field(default_factory=lambda: WORDS)
    source: str = ""
    read_on: str = ""


OPENAI = Wire(
    name="openai",
    source="https://github.com/openai/openai-openapi/blob/f85dbe223d40e1a31cba812ab2d755c7e98a92a3/openapi.yaml",
    read_on="2026-11-20",
)
WIRES: Mapping[str, Wire] = {
    wire.name: wire
    for wire in (
        OPENAI,
        Wire(
            name="compatible",
            vendor_dates=False,
            ask_model=False,
            tuned_prefix="",
            max_tokens_key="max_tokens",
            source="no promise beyond OpenAI's own format",
        ),
        Wire(
            name="unsloth-studio",
            methods=frozenset({"sft"}),
            metadata=False,
            pause=False,
            uploads=False,
            vendor_dates=False,
            ask_model=False,
            filters_files=False,
            tuned_prefix="",
            one_job_at_a_time=True,
            max_tokens_key="max_tokens",
            source="measured, Unsloth Studio 2026.10.9 driven by openai 3.52.0: unknown fields answer 400",
            read_on="2026-11-20",
        ),
        # LiteLLM's pass-through route forwards `method` but strips `metadata`; its own /fine_tuning route needs a
        # licence and drops `method`, so it is not offered.
        Wire(name="litellm", metadata=False, vendor_dates=True, ask_model=False, source="measured, LiteLLM 1.106.2"),
        Wire(
            name="portkey",
            metadata=False,
            pause=False,
            lists_jobs=False,
            lists_models=False,
            vendor_dates=True,
            ask_model=False,
            source="measured, Portkey gateway 1.15.2: list, pause, resume, cancel and models answer 500",
        ),
    )
}
