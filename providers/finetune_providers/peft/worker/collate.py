# pyright: basic
"""Samples -> one padded batch, and the order of samples: grouped by length, the same on every resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

IGNORE = -100  # the label every loss in torch and transformers skips
_GROUP = 50  # batches sorted together: enough to remove most padding, small enough to stay random


class Collator:
    """Pads on the right to the longest sample (a multiple of `multiple`), labels are -100 where nothing is learned."""

    def __init__(self, pad_id: int, *, multiple: int = 1) -> None:
        self._pad_id = pad_id
        self._multiple = multiple

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(sample["ids"]) for sample in samples)
        width = -(-longest // self._multiple) * self._multiple
        ids = np.full((len(samples), width), self._pad_id, np.int64)
        labels = np.full((len(samples), width), IGNORE, np.int64)
        mask = np.zeros((len(samples), width), np.int64)
        weights = np.zeros((len(samples), width), np.float32)
        for row, sample in enumerate(samples):
            size = len(sample["ids"])
            ids[row, :size], mask[row, :size], weights[row, :size] = sample["ids"], 1, sample["weights"]
            labels[row, :size] = np.where(sample["weights"] != 0, sample["ids"], IGNORE)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "weights": weights}
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        if any("positions" in sample for sample in samples):
            return _packed(tensors, samples)
        return tensors


def _packed(batch: dict[str, torch.Tensor], samples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Positions that start again at 0 tell the model where one sequence ends: no mask, padding is one more sequence."""
    positions = torch.arange(batch["input_ids"].shape[1]).repeat(len(samples), 1)
    for row, sample in enumerate(samples):
        size = len(sample["positions"])
        positions[row, :size] = torch.from_numpy(np.asarray(sample["positions"], np.int64))
        positions[row, size:] -= size
    del batch["attention_mask"]
    return {**batch, "position_ids": positions}


class GroupedSampler(Sampler):
    """A permutation per epoch in which every batch holds samples of similar length.

    It depends on seed and epoch only, never on the global random state: a resumed run sees the same order.
    """

    def __init__(self, lengths: np.ndarray, *, batch: int, seed: int, grouped: bool = True) -> None:
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._grouped = grouped
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng((self._seed, self.epoch))
        order = draw.permutation(len(self._lengths))
        if not self._grouped:
            return iter(order.tolist())
        return iter(self._group(order, draw).tolist())

    def _group(self, order: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        size = self._batch * _GROUP
        whole: list[np.ndarray] = []
        rest: list[np.ndarray] = []  # an incomplete batch must stay last
        for start in range(0, len(order), size):
            part = order[start : start + size]
            part = part[np.argsort(-self._lengths[part], kind="stable")]
            for cut in range(0, len(part), self._batch):
                batch = part[cut : cut + self._batch]
                (whole if len(batch) == self._batch else rest).append(batch)
        return np.concatenate([*(whole[i] for i in draw.permutation(len(whole))), *rest])
