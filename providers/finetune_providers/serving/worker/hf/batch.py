# pyright: basic
"""Rows of one model that decode together: prompts padded on the left, one KV cache, rows join and leave at any step.

Each row's positions and mask are its own, so its answer is the one `generate` gives it alone (to rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from ..rows import Row
from . import echo

_PREFILL_TOKENS = 16_384  # padded tokens that go through the model at once while prompts are read: bounds memory


class Batch:
    """`model` is the plain transformers model; `prefix` its virtual tokens' embeddings (prompt tuning), else None."""

    def __init__(self, model: Any, *, prefix: Any = None, cache: Any = None) -> None:
        self._model = model
        self._prefix = prefix
        self._given = cache is not None
        self._cache: Any = cache
        """Given: the cache this model needs; such a batch holds one row. None = grown and cut here."""
        self._mask: Any = None
        self._tokens: Any = None
        self.rows: list[Row] = []

    def join(self, fresh: Sequence[Row]) -> Any:
        """Read the prompts of new rows and put them beside the others; the logits of their first tokens."""
        fresh = sorted(fresh, key=lambda row: len(row.prompt))
        logits: list[Any] = []
        for group in _groups(fresh, self._virtual):
            last, cache, mask = self._prefill(group)
            self._cache, self._mask = _joined(self._cache if self.rows else None, self._mask, cache, mask)
            self.rows += group
            logits.append(last)
        return fresh, torch.cat(logits)

    @property
    def _virtual(self) -> int:
        return 0 if self._prefix is None else self._prefix.shape[0]

    def _prefill(self, group: Sequence[Row]) -> tuple[Any, Any, Any]:
        device, virtual = self._model.device, self._virtual
        longest = max(len(row.prompt) for row in group) + virtual
        ids = torch.zeros((len(group), longest - virtual), dtype=torch.long)
        mask = torch.zeros((len(group), longest), dtype=torch.long)
        for i, row in enumerate(group):
            ids[i, -len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, -len(row.prompt) - virtual :] = 1
        ids, mask = ids.to(device), mask.to(device)
        cache = self._cache if self._cache is not None and not self.rows else DynamicCache()
        inputs = {"input_ids": ids} if self._prefix is None else {"inputs_embeds": self._embedded(ids, mask, longest)}
        if any(row.listens for row in group):
            return self._read(group, inputs, mask, cache), cache, mask
        out = self._forward(inputs, mask, _positions(mask), cache, logits_to_keep=1)
        return out[:, -1], cache, mask

    def _read(self, group: Sequence[Row], inputs: dict[str, Any], mask: Any, cache: Any) -> Any:
        """The last logits; the rows note those before, piece by piece: all at once they can be larger than the model.

        A cache that cannot be cut may not take pieces either, so there it is all at once.
        """
        width, positions = mask.shape[1], _positions(mask)
        size = width if self._given else echo.piece(self._model, len(group))
        out: Any = None
        for start in range(0, width, size):
            end = min(start + size, width)
            part = {name: values[:, start:end] for name, values in inputs.items()}
            out = self._forward(part, mask[:, :end], positions[:, start:end], cache)
            for row, logits in zip(group, out, strict=True):
                echo.note(row, logits, start=start, width=width)
        return out[:, -1]

    def _embedded(self, ids: Any, mask: Any, longest: int) -> Any:
        words = self._model.get_input_embeddings()(ids)
        out = torch.zeros((len(ids), longest, words.shape[-1]), dtype=words.dtype, device=words.device)
        out[:, self._virtual :] = words
        starts = mask.argmax(-1)
        for i, start in enumerate(starts.tolist()):
            out[i, start : start + self._virtual] = self._prefix.to(words.dtype)
        return out

    def step(self, tokens: Sequence[int]) -> Any:
        """The logits that follow when each row goes on with its token."""
        ids = torch.tensor(tokens, device=self._model.device)[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(tokens), 1))], dim=1)
        positions = self._mask.sum(-1, keepdim=True) - 1
        return self._forward({"input_ids": ids}, self._mask, positions, self._cache)[:, -1]

    def _forward(self, inputs: dict[str, Any], mask: Any, positions: Any, cache: Any, **more: Any) -> Any:
        out = self._model(
            **inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, **more
        )
        return out.logits

    def keep(self, rows: Sequence[Row]) -> None:
        """Drop all other rows, and the padding that only they needed."""
        if len(rows) == len(self.rows):
            return
        wanted = set(map(id, rows))
        at = torch.tensor([i for i, row in enumerate(self.rows) if id(row) in wanted], device=self._model.device)
        self.rows = [row for row in self.rows if id(row) in wanted]
        if not self.rows:
            self._cache = self._mask = None
            return
        self._mask = self._mask[at]
        cut = int(self._mask.argmax(-1).min())
        self._mask = self._mask[:, cut:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[at, :, cut:], layer.values[at, :, cut:]


def _positions(mask: Any) -> Any:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _groups(rows: Sequence[Row], virtual: int) -> list[list[Row]]:
    """Rows in the order of their lengths, cut where one more would be too much at once."""
    groups: list[list[Row]] = []
    for row in rows:
        if groups and (len(groups[-1]) + 1) * (len(row.prompt) + virtual) <= _PREFILL_TOKENS:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _joined(cache: Any, mask: Any, fresh: Any, fresh_mask: Any) -> tuple[Any, Any]:
    """The two caches one below the other, the shorter padded on the left."""
    if cache is None:
        return fresh, fresh_mask
    longest = max(mask.shape[1], fresh_mask.shape[1])
    for old, new in zip(cache.layers, fresh.layers, strict=True):
        old.keys = torch.cat([_padded(old.keys, longest), _padded(new.keys, longest)])
        old.values = torch.cat([_padded(old.values, longest), _padded(new.values, longest)])
    pad = torch.nn.functional.pad
    both = [pad(one, (longest - one.shape[1], 0)) for one in (mask, fresh_mask)]
    return cache, torch.cat(both)


def _padded(states: Any, length: int) -> Any:
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[2], 0))
