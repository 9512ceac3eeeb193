# pyright: basic
"""The engine on transformers and peft: full and merged models, and several adapters over one base."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from ..choosing import Taste
from ..rows import Refused, Row
from ..speech import Speech
from . import spared

with spared.without(*spared.UNUSED):
    from transformers import DynamicCache

    from .batch import Batch
    from .loading import Loaded, Variant, free_memory, load_models
    from .prompts import Prompts
    from .tongue import GUIDED

_CUTTABLE = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers whose cache is keys and values of every token: rows can be joined and cut."""


_REMEMBERED_BYTES = 1 << 29
"""Of prompts that were read; never more than a sixteenth of the memory that is free."""


class HFEngine:
    """See `service.Engine`. Rows of the same model (adapter) share a batch; the adapters take turns."""

    patience = 2

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.tongues = loaded.tongues
        self._together = _can_share(loaded.config)
        self._remembers = self._together and not _depends_on_length(loaded.config)
        self._remembered = min(_REMEMBERED_BYTES, free_memory(loaded.model.device) // 16)
        self._prompts: dict[int, Prompts] = {}
        self._fresh: list[Row] = []
        self._batches: list[tuple[Variant, Batch]] = []
        self.facts = {
            "engine": "transformers",
            "device": str(loaded.model.device),
            "precision": str(loaded.model.dtype).removeprefix("torch."),
            "batched": self._together,
            "abilities": ["logit_bias", "logprobs", "prompt_logprobs", *(["json_schema"] if GUIDED else [])],
            "models": {name: {"context": one.context, "chats": one.chats} for name, one in self.tongues.items()},
        }

    @property
    def rows(self) -> int:
        """How many are being generated."""
        return len(self._fresh) + sum(len(batch.rows) for _, batch in self._batches)

    def join(self, row: Row) -> None:
        """Its prompt is read with the next step."""
        self._fresh.append(row)

    def leave(self, row: Row) -> None:
        """Its place is given up with the next step; with the last one, all memory is."""
        row.state = "left"
        if all(one.state == "left" for _, batch in self._batches for one in batch.rows):
            self._batches.clear()

    def clear(self) -> None:
        """Forget all rows, and every prompt that was read."""
        self._fresh.clear()
        self._batches.clear()
        self._prompts.clear()

    def step(self) -> list[Any]:
        """New rows get their first token, all others one more."""
        with torch.inference_mode():
            return self._step()

    def _step(self) -> list[Any]:
        told: list[Any] = []
        going = list(self._batches)
        fresh, self._fresh = [row for row in self._fresh if row.state != "left"], []
        for variant, batch in going:
            told += self._guarded(batch, batch.rows, self._more, variant, batch)
        for name in {row.model: None for row in fresh}:
            rows = [row for row in fresh if row.model == name]
            for group in [rows] if self._together else [[row] for row in rows]:
                variant = self._loaded.variants[name]
                batch = self._batch(variant)
                told += self._guarded(batch, group, self._first, variant, batch, group)
        self._batches = [(variant, batch) for variant, batch in self._batches if batch.rows]
        return told

    def _batch(self, variant: Variant) -> Batch:
        for one, batch in self._batches:
            if one is variant and self._together:
                return batch
        cache = None if self._together else DynamicCache(config=self._loaded.config)
        batch = Batch(self._loaded.model, prefix=variant.prefix, cache=cache, prompts=self._known(variant))
        self._batches.append((variant, batch))
        return batch

    def _known(self, variant: Variant) -> Prompts | None:
        if not self._remembers or variant.prefix is not None:
            return None
        return self._prompts.setdefault(id(variant), Prompts(self._remembered // len(self._loaded.variants)))

    def _guarded(self, batch: Batch, rows: Sequence[Row], deed: Any, *args: Any) -> list[Any]:
        """What fails (memory, mostly) fails for the rows of this batch only."""
        concerned = [row for row in {*batch.rows, *rows} if row.state != "left"]
        try:
            return deed(*args)
        except (RuntimeError, ValueError, IndexError) as exc:
            traceback.print_exc()
            batch.keep([])
            self._prompts.clear()
            return [(row, exc, None) for row in concerned]

    def _more(self, variant: Variant, batch: Batch) -> list[Any]:
        batch.keep([row for row in batch.rows if row.state != "left"])
        if not batch.rows:
            return []
        self._loaded.activate(variant)
        return _chosen(batch.rows, batch.step([row.made[-1] for row in batch.rows]))

    def _first(self, variant: Variant, batch: Batch, rows: Sequence[Row]) -> list[Any]:
        self._loaded.activate(variant)
        return _chosen(*batch.join(rows))


def _chosen(rows: Sequence[Row], logits: Any) -> list[Any]:
    """A token per row: the likeliest where nothing else is asked for, else as the row's taste has it."""
    likeliest = logits.argmax(-1).tolist()
    choosy = [i for i, row in enumerate(rows) if not row.taste.plain]
    told: list[Any] = [(row, token, None) for row, token in zip(rows, likeliest, strict=True)]
    if choosy:
        some = logits if len(choosy) == len(rows) else logits[choosy]
        for i, one in zip(choosy, some.float().cpu().numpy(), strict=True):
            told[i] = (rows[i], *rows[i].taste.choose(one))
    return told


def _can_share(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds <= _CUTTABLE and not getattr(config, "num_kv_shared_layers", 0) and not config.is_encoder_decoder


def _depends_on_length(config: Any) -> bool:
    """Whether positions are turned by angles that change with the length of the whole text: no prompt shares any."""
    return any(kind in json.dumps(getattr(config, "rope_parameters", None) or {}) for kind in ("dynamic", "longrope"))


def _warm(engine: HFEngine) -> None:
    """Answer once: what libraries import and set up for a first answer, nobody who asks should wait for."""
    name, tongue = next(iter(engine.tongues.items()))
    prompt = [min(tongue.ends, default=0)]
    if tongue.chats:
        with suppress(Refused):  # a template may want more than this
            prompt = tongue.render({"messages": [{"role": "user", "content": "hello"}]})
    for index in range(2):
        taste, speech = Taste(temperature=0.0), Speech(tongue.decode)
        ends: frozenset[int] = frozenset()
        engine.join(Row(id="", index=index, model=name, prompt=prompt, limit=2, ends=ends, taste=taste, speech=speech))
    for _ in range(2):
        for row, token, _told in engine.step():
            if isinstance(token, Exception):
                engine.leave(row)  # the first who asks is told
            else:
                row.take(token)
    engine.clear()


def load(message: dict[str, Any]) -> HFEngine:
    """What the first message says. Raises `Failed`."""
    engine = HFEngine(load_models(message))
    _warm(engine)
    return engine
