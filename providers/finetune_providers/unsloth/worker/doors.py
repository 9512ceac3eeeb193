# pyright: basic
"""Which kind of job a model and its rows ask for."""

from __future__ import annotations

import importlib
from typing import Any

from .job import Job

_KINDS = {
    "sentence": ("embedding", "EmbeddingJob"),
    "whisper": ("hearing", "HearingJob"),
}
"""By the class that loads the model."""


def of(ctx: Any) -> type[Job]:
    """The kind of job: by its codec, its model, or the pictures in its rows."""
    options = ctx.request["options"]
    place = _KINDS.get(options["model_class"])
    if options["codec"] is not None:
        place = ("speech", "SpeechJob")
    elif options["model_class"] == "vision" and _pictures(ctx):
        place = ("vision", "VisionJob")
    if place is None:
        return Job
    module, name = place
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


def _pictures(ctx: Any) -> bool:
    """Whether some row holds one; rows of texts alone go the way of texts."""
    with (ctx.dir / "data" / "train.jsonl").open(encoding="utf-8") as lines:
        return any('"image_url"' in line for line in lines)
