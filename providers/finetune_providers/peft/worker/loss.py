# pyright: basic
"""The language-model loss over supervised positions only: the LM head never sees the others.

In short chat rows more than half of all positions carry no loss, and the head is the largest product of a small model.
A hook in front of the head picks the positions, so any architecture, adapter or wrapper keeps its own forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from .collate import IGNORE


class CompactHead:
    """While `mask` is set, the output head computes logits for the marked positions only: `[marked, vocabulary]`."""

    def __init__(self, model: Any) -> None:
        self.mask: torch.Tensor | None = None
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._select)

    def remove(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def _select(self, _module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self.mask is None:
            return None
        hidden, mask = args[0], self.mask
        if hidden.shape[1] > mask.shape[1]:  # virtual tokens of a tuned prompt stand in front
            mask = functional.pad(mask, (hidden.shape[1] - mask.shape[1], 0))
        return (hidden[mask], *args[1:])


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Loss of each supervised token; the onnx provider's worker may put a user's own function here."""
    return functional.cross_entropy(logits, labels, reduction="none")


def weighted_loss(model: Any, head: CompactHead, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted loss per supervised token, weights): both of shape `[marked]`, in fp32. `batch` is left as it is."""
    labels = batch["labels"][:, 1:]
    marked = labels != IGNORE
    head.mask = functional.pad(marked, (0, 1))
    try:
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "weights")}
        logits = model(**inputs, use_cache=False).logits
    finally:
        head.mask = None
    losses = token_losses(logits.float(), labels[marked])
    weights = batch["weights"][:, 1:][marked]
    return losses * weights, weights
