# pyright: basic, reportMissingImports=false
"""Runs in the onnx environment: `python onnx_inside.py TASK ...` writes what the tests compare, as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np
import onnxruntime_genai as og
from onnxruntime.quantization.neural_compressor import weight_only


def ask(package: str, prompts: str) -> object:
    """For each list of prompts: the logits after each of them, in one batch, and the tokens that follow."""
    model = og.Model(package)
    pad = og.Tokenizer(model).pad_token_id
    return [_rows(model, rows, pad) for rows in json.loads(prompts)]


def _rows(model: Any, rows: list[list[int]], pad: int) -> list[dict[str, object]]:
    longest = max(map(len, rows))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=longest + 4, do_sample=False, batch_size=len(rows))
    generator = og.Generator(model, params)
    padded = np.asarray([[*row, *[pad] * (longest - len(row))] for row in rows], np.int32)
    generator.append_tokens(padded if len(rows) > 1 else padded[0])
    logits = np.array(generator.get_logits(), np.float32).reshape(len(rows), -1)
    generator.generate_next_token()
    return [
        {"logits": logits[number].tolist(), "next": int(generator.get_sequence(number)[longest])}
        for number in range(len(rows))
    ]


def pieces(tasks: str) -> object:
    """Whether k_quant in pieces answers what onnxruntime's own does, for weights, zeros and short blocks."""
    sys.path.insert(0, tasks)
    lean = importlib.import_module("lean")
    weight = np.random.default_rng(0).standard_normal((2048, 320)).astype(np.float32)
    weight[3:7] = 0.0
    same = []
    for bits, block in ((4, 32), (8, 32), (4, 128)):
        with np.errstate(all="ignore"):
            whole = weight_only.quant_tensor_k_quant_cuda(weight.T, bits, block)
            with lean.k_quant():
                parts = weight_only.quant_tensor_k_quant_cuda(weight.T, bits, block)
        same += [bool(np.array_equal(np.asarray(a, b.dtype), b)) for a, b in zip(whole, parts, strict=True)]
    return same


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"ask": ask, "pieces": pieces}[sys.argv[1]](*sys.argv[2:])))
