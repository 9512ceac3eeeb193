# pyright: basic, reportMissingImports=false
"""k_quant in pieces: the same numbers in a fraction of the memory and the time.

onnxruntime's quantiser works on a whole weight at once and keeps a dozen arrays of its size, one in double precision.
Its blocks know nothing of one another, so a few thousand at a time give the same answer and stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_VALUES = 1 << 17
"""Weights in a piece: half a megabyte in fp32."""


@contextmanager
def k_quant() -> Iterator[None]:
    """While it lasts, onnxruntime quantises in pieces."""
    from onnxruntime.quantization.neural_compressor import weight_only  # noqa: PLC0415 - the builder has loaded it

    usual = weight_only.quant_tensor_k_quant_cuda

    def pieces(data: Any, num_bits: int = 4, group_size: int = 32) -> tuple[Any, Any, Any]:
        groups = np.reshape(data, (-1, group_size))
        count = max(1, _VALUES // group_size)
        values = np.empty(groups.shape, np.uint8)
        scales, zeros = np.empty((len(groups), 1), np.float32), np.empty((len(groups), 1), np.uint8)
        for first in range(0, len(groups), count):
            here = slice(first, first + count)
            values[here], scales[here], zeros[here] = usual(groups[here], num_bits, group_size)
        return values, scales, zeros

    weight_only.quant_tensor_k_quant_cuda = pieces
    try:
        yield
    finally:
        weight_only.quant_tensor_k_quant_cuda = usual
