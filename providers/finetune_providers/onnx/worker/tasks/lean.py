# pyright: basic, reportMissingImports=false
"""k_quant in pieces, and for any number of blocks: the same numbers in a fraction of the memory and the time.

onnxruntime's quantiser works on a whole weight at once and keeps a dozen arrays of its size, one in double precision.
Its blocks know nothing of one another, so a few thousand at a time give the same answer and stay in the cache.

It also packs the zero points of 4 bits across rows, where MatMulNBits wants whole bytes for each row: rows of an odd
number of blocks end in an error without this (1.31).
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
    from onnx import TensorProto, helper  # noqa: PLC0415 - calibration is tested where it is not installed
    from onnxruntime.quantization.neural_compressor import weight_only  # noqa: PLC0415 - the builder has loaded it

    usual, usual_node = weight_only.quant_tensor_k_quant_cuda, weight_only.make_matmul_weight_only_node

    def pieces(data: Any, num_bits: int = 4, group_size: int = 32) -> tuple[Any, Any, Any]:
        groups = np.reshape(data, (-1, group_size))
        count = max(1, _VALUES // group_size)
        values = np.empty(groups.shape, np.uint8)
        scales, zeros = np.empty((len(groups), 1), np.float32), np.empty((len(groups), 1), np.uint8)
        for first in range(0, len(groups), count):
            here = slice(first, first + count)
            values[here], scales[here], zeros[here] = usual(groups[here], num_bits, group_size)
        return values, scales, zeros

    def whole_bytes(**given: Any) -> tuple[Any, list[Any]]:
        zeros, blocks = given["zero_point"], given["k_blocks"]
        if zeros is None or given["num_bits"] != 4 or blocks % 2 == 0:
            return usual_node(**given)
        made, tensors = usual_node(**{**given, "zero_point": None})
        padded = np.pad(zeros.reshape(-1, blocks).astype(np.uint8), ((0, 0), (0, 1)))
        packed = padded[:, ::2] | padded[:, 1::2] << 4
        name = f"{given['node'].input[1]}_zp"
        tensors.append(helper.make_tensor(name, TensorProto.UINT8, packed.shape, packed.tobytes(), raw=True))
        made.input.append(name)
        return made, tensors

    weight_only.quant_tensor_k_quant_cuda = pieces
    weight_only.make_matmul_weight_only_node = whole_bytes
    try:
        yield
    finally:
        weight_only.quant_tensor_k_quant_cuda = usual
        weight_only.make_matmul_weight_only_node = usual_node
