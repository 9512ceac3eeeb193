"""Base models: where the one lies that a candidate is asked with, or starts from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finetune_sdk.compare.bench import Bench, Candidate
from finetune_sdk.compare.candidates import model_of
from finetune_sdk.errors import SpecError
from finetune_sdk.job import FineTuneJob

_BUILT_IN = "builtin/"


def base_model(bench: Bench, candidate: Candidate, jobs: Iterable[FineTuneJob | None]) -> str:
    """Its id or folder; of one that is made while it is tuned the folder, from one of `jobs` that made it.

    Raises `SpecError` when none of them has, or has yet.
    """
    model = model_of(bench, candidate)
    if not model.startswith(_BUILT_IN):
        return model
    for job in jobs:
        if job is not None and job.spec.model_id == model and job.record.status.terminal:
            for artifact in job.artifacts():
                if artifact.base_model is not None and Path(artifact.base_model).is_dir():
                    return artifact.base_model
    raise SpecError(
        f"candidate {candidate.name!r}: {model} is made while it is tuned, and no candidate has done that yet; a "
        "comparison that needs it by itself needs one that trains an adapter on it"
    )
