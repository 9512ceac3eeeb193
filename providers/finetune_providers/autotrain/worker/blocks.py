# pyright: basic
"""How long a packed sequence may be: AutoTrain fills blocks and throws away what does not fill the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig

from .context import Context

_DEFAULT = 1024  # autotrain/trainers/clm/utils.py: configure_block_size
_SHARDS = 4  # train_clm_default.py groups texts in four processes, each by itself
ALONE = 20_000
"""Fewer rows are prepared in one process: four cut the rows apart, and forks of a process with threads may hang."""
_BATCH = 1000


def fit(ctx: Context, params: Any, tokenizer: Any, texts: Sequence[str]) -> None:
    """Set `block_size` so that it fits the model, and so that few rows still fill a block."""
    asked = params.block_size if isinstance(params.block_size, int) and params.block_size > 0 else _DEFAULT
    block = min(asked, tokenizer.model_max_length, _context(params) or asked)
    if block < asked:
        ctx.event(f"max_seq_length: {block} instead of {asked} (the model's context)")
    if params.trainer in ("sft", "default"):
        lengths = [len(tokenizer(text)["input_ids"]) + 1 for text in texts]
        there = sum(lengths) if params.trainer == "sft" else min(_portions(lengths))
        if there < block:
            ctx.event(f"max_seq_length: {there} instead of {block}, the rows have no more tokens to fill a block with")
            block = there
    params.block_size = max(2, block)


def _portions(lengths: Sequence[int]) -> list[int]:
    """Tokens of each portion that is cut into blocks by itself."""
    shards = _SHARDS if len(lengths) >= ALONE else 1
    size, more = divmod(len(lengths), shards)
    found: list[int] = []
    start = 0
    for shard in range(shards):
        end = start + size + (shard < more)
        found += [sum(lengths[at : min(at + _BATCH, end)]) for at in range(start, end, _BATCH)]
        start = end
    return found


def _context(params: Any) -> int | None:
    config = AutoConfig.from_pretrained(params.model)
    return getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
