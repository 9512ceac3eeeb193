# pyright: basic
"""Rows of one model that decode together: prompts padded on the left, one KV cache, rows join and leave at any step.

Each row's positions and mask are its own, so its answer is the one `generate` gives it alone (to rounding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..rows import Row
from . import echo
from .cache import Growing, growing
from .prompts import Known, Prompts, shared

_PREFILL_TOKENS = 16_384  # padded tokens that go through the model at once while prompts are read: bounds memory
_FORWARD_TOKENS = {"cpu": 32}  # reading so many more costs as much as going through the model once more
_FORWARD_TOKENS_GPU = 4096


class Batch:
    """`model` is the plain transformers model; `prefix` its virtual tokens' embeddings (prompt tuning), else None.

    `prompts`: what was read before; None = each prompt is read as a whole.
    """

    def __init__(self, model: Any, *, prefix: Any = None, cache: Any = None, prompts: Prompts | None = None) -> None:
        self._model = model
        self._prefix = prefix
        self._prompts = prompts
        self._given = cache is not None
        self._cache: Any = cache
        """Given: the cache this model needs; such a batch holds one row. None = grown and cut here."""
        self._mask: Any = None
        self._tokens: Any = None
        self.rows: list[Row] = []

    def join(self, fresh: Sequence[Row]) -> Any:
        """Read the prompts of new rows and put them beside the others; the rows, and the logits of their first tokens.

        Where their beginnings are equal, one is read before the others.
        """
        rows: list[Row] = []
        logits: list[Any] = []
        for part in self._parts(fresh):
            begun = {id(row): self._begun(row) for row in part}
            for group in _groups(part, {id(row): self._unread(row, begun) for row in part}, self._forward_tokens):
                last, cache, mask = self._prefill(group, [begun[id(row)] for row in group])
                self._cache, self._mask = _joined(self._cache if self.rows else None, self._mask, cache, mask)
                self.rows += group
                rows += group
                logits.append(last)
        return rows, torch.cat(logits)

    @property
    def _virtual(self) -> int:
        return 0 if self._prefix is None else self._prefix.shape[0]

    @property
    def _forward_tokens(self) -> int:
        return _FORWARD_TOKENS.get(self._model.device.type, _FORWARD_TOKENS_GPU)

    def _parts(self, fresh: Sequence[Row]) -> list[Sequence[Row]]:
        """All at once, or the first before the others where that saves more than it costs."""
        if self._prompts is None or len(fresh) == 1:
            return [fresh]
        first, rest = fresh[0], fresh[1:]
        start = np.asarray(first.prompt)
        saved = (min(shared(start, np.asarray(row.prompt)), len(row.prompt) - 1) - self._begun(row)[0] for row in rest)
        return [[first], rest] if sum(max(0, count) for count in saved) > self._forward_tokens else [fresh]

    def _begun(self, row: Row) -> tuple[int, Known | None]:
        """How much of its prompt was read before. A row that listens hears all of it."""
        return (0, None) if self._prompts is None or row.listens else self._prompts.longest(row.prompt)

    def _unread(self, row: Row, begun: Mapping[int, tuple[int, Known | None]]) -> int:
        return len(row.prompt) + self._virtual - begun[id(row)][0]

    def _prefill(self, group: Sequence[Row], begun: Sequence[tuple[int, Known | None]]) -> tuple[Any, Any, Any]:
        """Rows of a group are read in equal widths: a row with a shorter rest reads more of its beginning again."""
        device, virtual = self._model.device, self._virtual
        longest = max(len(row.prompt) for row in group) + virtual
        width = max(len(row.prompt) + virtual - count for row, (count, _) in zip(group, begun, strict=True))
        ids = torch.zeros((len(group), longest - virtual), dtype=torch.long)
        mask = torch.zeros((len(group), longest), dtype=torch.long)
        for i, row in enumerate(group):
            ids[i, -len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, -len(row.prompt) - virtual :] = 1
        ids, mask = ids.to(device), mask.to(device)
        cache = self._cache if self._given and not self.rows else growing()
        inputs = {"input_ids": ids} if self._prefix is None else {"inputs_embeds": self._embedded(ids, mask, longest)}
        if any(row.listens for row in group):
            return self._read(group, inputs, mask, cache), cache, mask
        if width < longest:
            _begin(cache, [len(row.prompt) - width for row in group], [known for _, known in begun], longest - width)
        inputs = {name: values[:, -width:] for name, values in inputs.items()}
        out = self._forward(inputs, mask, _positions(mask)[:, -width:], cache, logits_to_keep=1)
        if self._prompts is not None:
            for i, row in enumerate(group):
                self._prompts.note(row.prompt, cache.layers, i)
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
            layer.put(layer.keys[at, :, cut:], layer.values[at, :, cut:])


def _positions(mask: Any) -> Any:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _groups(rows: Sequence[Row], unread: Mapping[int, int], forward: int) -> list[list[Row]]:
    """Rows of like lengths together: the cheapest cuts, where each group costs its padded tokens and `forward` more."""
    rows = sorted(rows, key=lambda row: unread[id(row)])
    cost, cuts = [0], [0]
    for end in range(1, len(rows) + 1):
        widest = unread[id(rows[end - 1])]
        begins = [start for start in range(end) if start == end - 1 or (end - start) * widest <= _PREFILL_TOKENS]
        cuts.append(min(begins, key=lambda start: cost[start] + forward + (end - start) * widest))
        cost.append(cost[cuts[-1]] + forward + (end - cuts[-1]) * widest)
    groups: list[list[Row]] = []
    end = len(rows)
    while end:
        groups.insert(0, rows[cuts[end] : end])
        end = cuts[end]
    return groups


def _begin(cache: Any, counts: Sequence[int], known: Sequence[Known | None], width: int) -> None:
    """Fill an empty cache with the first `counts` tokens of what was read before, each row padded on the left."""
    layers = next(one for one in known if one is not None).layers
    for at, pair in enumerate(layers):
        rooms = [one.new_zeros((len(counts), one.shape[0], width, one.shape[2])) for one in pair]
        for i, (count, one) in enumerate(zip(counts, known, strict=True)):
            if count > 0 and one is not None:
                for room, held in zip(rooms, one.layers[at], strict=True):
                    room[i, :, width - count :] = held[:, :count]
        layer = Growing()
        layer.put(*rooms)
        cache.layers.append(layer)


def _joined(cache: Any, mask: Any, fresh: Any, fresh_mask: Any) -> tuple[Any, Any]:
    """The two caches one below the other, the shorter padded on the left."""
    if cache is None:
        return fresh, fresh_mask
    longest = max(mask.shape[1], fresh_mask.shape[1])
    for old, new in zip(cache.layers, fresh.layers, strict=True):
        old.put(
            torch.cat([_padded(old.keys, longest), _padded(new.keys, longest)]),
            torch.cat([_padded(old.values, longest), _padded(new.values, longest)]),
        )
    pad = torch.nn.functional.pad
    both = [pad(one, (longest - one.shape[1], 0)) for one in (mask, fresh_mask)]
    return cache, torch.cat(both)


def _padded(states: Any, length: int) -> Any:
    return torch.nn.functional.pad(states, (0, 0, length - states.shape[2], 0))
