# pyright: basic
"""A prompt and one answer to it -> one sample whose loss covers the answer: what all preference methods read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .findings import Findings
from .loss import CompactHead, weighted_loss
from .rows import Encoder, Sample


class Answers:
    """Encodes (prompt, answer) pairs; what is wrong with a row becomes a finding."""

    def __init__(self, job: Any, findings: Findings) -> None:
        self._findings = findings
        self._encoder = Encoder(job.tokenizer, train_on="assistant", max_length=job.max_length, findings=findings)

    def encode(self, row: Mapping[str, Any], answer: Sequence[Mapping[str, Any]]) -> Sample | None:
        """The sample; None (and a finding) when the answer carries no loss or cannot be told from the prompt."""
        messages = [{**message, "weight": 0} for message in row["prompt"]]
        messages += [{**message, "weight": 1} for message in answer]
        samples = self._encoder.encode({**row, "kind": "chat", "messages": messages})
        if len(samples) > 1:
            self._findings.add(
                "row-several-turns",
                "warning",
                "the chat template rewrites history, so an answer of several turns has no single rendering",
                fix="It is left out; shorten the answer to one assistant turn.",
                source=row.get("source"),
            )
            return None
        return samples[0] if samples else None


def log_probs(model: Any, head: CompactHead, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probability of each sequence's answer, its number of tokens), one each per row of the batch."""
    losses, _ = weighted_loss(model, head, {name: batch[name] for name in _MODEL_INPUTS})
    counts = (batch["labels"][:, 1:] != -100).sum(1)
    sums = [part.sum() for part in (-losses).split(counts.tolist())]
    return torch.stack(sums), counts.clamp(min=1)


_MODEL_INPUTS = ("input_ids", "attention_mask", "labels", "weights")
