# pyright: basic
"""Encoded samples on disk, mapped into memory: any number of rows, any number of processes, no copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from .rows import Sample


class Samples(Dataset):
    """Token ids and loss weights by index. `lengths[i]` is the number of tokens of sample i."""

    def __init__(self, folder: Path) -> None:
        self._ends = np.load(folder / "ends.npy")
        self._ids = _mapped(folder / "ids.bin", np.int32)
        self._weights = _mapped(folder / "weights.bin", np.float32)
        packed = (folder / "positions.bin").exists()
        self._positions = _mapped(folder / "positions.bin", np.int32) if packed else None
        self.lengths = np.diff(self._ends, prepend=0)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        end = int(self._ends[index])
        cut = slice(end - int(self.lengths[index]), end)
        sample = {"ids": self._ids[cut], "weights": self._weights[cut]}
        return sample if self._positions is None else {**sample, "positions": self._positions[cut]}

    @property
    def tokens(self) -> int:
        """Tokens in one pass over all samples."""
        return int(self._ends[-1]) if len(self) else 0

    @property
    def supervised(self) -> int:
        """Tokens that carry loss in one pass."""
        return int(np.count_nonzero(self._weights))


def write(folder: Path, samples: Iterable[Sample]) -> Samples:
    """Write the samples as they come and open them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ends, total = [], 0
    with ExitStack() as files:
        ids, weights = (files.enter_context((folder / f"{name}.bin").open("wb")) for name in ("ids", "weights"))
        positions = None
        for sample in samples:
            np.asarray(sample.ids, np.int32).tofile(ids)
            np.asarray(sample.weights, np.float32).tofile(weights)
            if sample.positions is not None:
                positions = positions or files.enter_context((folder / "positions.bin").open("wb"))
                np.asarray(sample.positions, np.int32).tofile(positions)
            total += len(sample.ids)
            ends.append(total)
    np.save(folder / "ends.npy", np.asarray(ends, np.int64))
    return Samples(folder)


def _mapped(path: Path, dtype: type) -> np.ndarray:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
