# pyright: basic, reportMissingImports=false
"""A package's file, changed after it was built: the table of embeddings in int8, nothing else touched.

Tensors are copied from file to file in pieces, so this takes no memory to speak of. A row of the table is cut into
blocks with a scale each, as in the products beside it; in 8 bits that moves no logit that 4 bits have not moved more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

_ALIGNED = 4096
_LARGE = 1 << 20
"""Tensors from this size on begin at a page, so that they can be mapped instead of read."""
_PIECE = 1 << 22
_ROWS = 1024
_MIDDLE = 128
"""What stands for zero in unsigned 8 bits where no zero points are given."""


def eight_bit_embeddings(folder: Path, block: int) -> bool:
    """Rewrite the package's table of embeddings; False where there is none in fp32 to rewrite."""
    file = folder / "model.onnx"
    model = onnx.load(str(file), load_external_data=False)
    found = _table(model.graph, block)
    if found is None:
        return False
    node, table = found
    old = folder / _place(table)["location"]
    new = old.with_name(f"{old.name}.part")
    with old.open("rb") as source, new.open("wb") as target:
        for tensor in model.graph.initializer:
            if tensor is not table and tensor.data_location == TensorProto.EXTERNAL:
                _moved(tensor, source, target)
        made = _quantised(table, old, target, block)
    model.graph.initializer.remove(table)
    model.graph.initializer.extend(made)
    _exchange(model, node, [made[0].name, node.input[1], made[1].name], block)
    onnx.save(model, str(file))
    new.replace(old)
    return True


def _table(graph: Any, block: int) -> tuple[Any, Any] | None:
    """The node that looks tokens up, and the table it looks them up in."""
    large = {one.name: one for one in graph.initializer if one.data_location == TensorProto.EXTERNAL}
    for node in graph.node:
        table = large.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or node.input[1] != "input_ids" or table.data_type != TensorProto.FLOAT:
            continue
        users = sum(name == table.name for other in graph.node for name in other.input)
        if users == 1 and len(table.dims) == 2 and table.dims[1] % block == 0:
            return node, table
    return None


def _place(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _moved(tensor: Any, source: IO[bytes], target: IO[bytes]) -> None:
    place = _place(tensor)
    length = int(place["length"])
    source.seek(int(place.get("offset", 0)))

    def write() -> None:
        left = length
        while left:
            left -= target.write(source.read(min(left, _PIECE)))

    _put(tensor, target, place["location"], length, write)


def _put(tensor: Any, target: IO[bytes], location: str, length: int, write: Callable[[], None]) -> None:
    """Let `write` add the tensor's bytes, and note where they lie."""
    if length >= _LARGE:
        target.seek(-target.tell() % _ALIGNED, os.SEEK_CUR)
    offset = target.tell()
    write()
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _quantised(table: Any, file: Path, target: IO[bytes], block: int) -> list[Any]:
    """The table's bytes and scales, written."""
    place = _place(table)
    rows, width = table.dims
    values = np.memmap(file, np.float32, "r", int(place.get("offset", 0)), (rows, width))
    scales = np.empty((rows, width // block), np.float32)

    def write() -> None:
        for first in range(0, rows, _ROWS):
            piece = np.asarray(values[first : first + _ROWS]).reshape(-1, width // block, block)
            largest = np.abs(piece).max(-1)
            scale = scales[first : first + _ROWS] = np.where(largest > 0, largest / 127, 1.0)
            target.write((np.round(piece / scale[..., None]) + _MIDDLE).astype(np.uint8).tobytes())

    data = TensorProto(name=f"{table.name}_Q8", data_type=TensorProto.UINT8, dims=(rows, width))
    _put(data, target, place["location"], rows * width, write)
    kept = TensorProto(name=f"{table.name}_scales", data_type=TensorProto.FLOAT, dims=scales.shape)
    _put(kept, target, place["location"], scales.nbytes, lambda: _written(target, scales))
    return [data, kept]


def _written(target: IO[bytes], values: Any) -> None:
    target.write(values.tobytes())


def _exchange(model: Any, node: Any, inputs: list[str], block: int) -> None:
    """Another node in the same place."""
    made = helper.make_node(
        "GatherBlockQuantized",
        inputs,
        list(node.output),
        name=f"{node.name}_Q8",
        domain="com.microsoft",
        bits=8,
        block_size=block,
        gather_axis=0,
        quantize_axis=1,
    )
    node.CopyFrom(made)
    if not any(one.domain == "com.microsoft" for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
