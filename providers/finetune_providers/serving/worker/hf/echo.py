# pyright: basic
"""How likely the tokens of a prompt were: noted from the logits while it is read."""

from __future__ import annotations

from typing import Any

import torch

from ..rows import Row

_NUMBERS = 1 << 26  # logits held at once, 256 MB in float32


def piece(model: Any, rows: int) -> int:
    """Columns of a padded batch whose logits fit into that."""
    return max(1, _NUMBERS // (rows * model.get_output_embeddings().weight.shape[0]))


def note(row: Row, logits: Any, *, start: int, width: int) -> None:
    """Note what the logits of the columns from `start` on, of `width` in all, say of the tokens that follow them."""
    if not row.listens:
        return
    first = width - len(row.prompt)  # columns before it are padding and virtual tokens
    low, high = max(start, first), min(start + len(logits), width - 1)
    if low >= high:
        return
    told = torch.log_softmax(logits[low - start : high - start].float(), -1)
    following = torch.tensor(row.prompt[low - first + 1 : high - first + 1], device=told.device)
    chosen = told.gather(-1, following[:, None])[:, 0].tolist()
    best = told.topk(min(row.taste.logprobs or 0, told.shape[-1]), dim=-1)
    for logprob, ids, values in zip(chosen, best.indices.tolist(), best.values.tolist(), strict=True):
        row.heard.append({"logprob": logprob, "top": list(zip(ids, values, strict=True))})
