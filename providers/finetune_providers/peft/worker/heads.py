# pyright: basic
"""Models that end in scores instead of words: loaded for `reward` (one score) and `classification` (one per label)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSequenceClassification, set_seed

from . import model, quantize


def load(job: Any, *, labels: Sequence[str], quantized: bool) -> Any:
    """The base model with a fresh head, the same in every process and attempt: it is drawn from the job's seed."""
    set_seed(job.request["seed"])
    names = dict(enumerate(labels))
    loaded = model.weights(
        job.ctx,
        job.source,
        job.choices,
        kind=AutoModelForSequenceClassification,
        num_labels=len(labels),
        id2label=names,
        label2id={name: number for number, name in names.items()},
        **(quantize.loading(job) if quantized else {}),
    )
    loaded.config.pad_token_id = job.tokenizer.pad_token_id  # the score is read at the last token that is no padding
    if hasattr(loaded.config, "get_text_config"):
        loaded.config.get_text_config().pad_token_id = job.tokenizer.pad_token_id
    return loaded


def scores(scored: Any, batch: dict[str, Any]) -> Any:
    """The head's answer in fp32, `[rows, labels]`."""
    return scored(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
