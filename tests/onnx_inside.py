# pyright: basic, reportMissingImports=false
"""Runs in the onnx environment: `python onnx_inside.py TASK ...` writes what the tests compare, as JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import Any

import numpy as np
import onnxruntime
import onnxruntime_genai as og
from onnx import TensorProto, helper, numpy_helper
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


def blocks(tasks: str) -> object:
    """How far a product in 4 bits is from the exact one, as a share of it, for rows of one to four blocks."""
    sys.path.insert(0, tasks)
    lean = importlib.import_module("lean")
    drawn = np.random.default_rng(0)
    with contextlib.redirect_stdout(sys.stderr):
        return [_product(lean, drawn, count * 32) for count in (1, 2, 3, 4)]


def _product(lean: Any, drawn: Any, width: int) -> float:
    weight = drawn.standard_normal((width, 24)).astype(np.float32) + 1  # zero points differ from the default
    rows = drawn.standard_normal((5, width)).astype(np.float32)
    places = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "g", places[:1], places[1:], [numpy_helper.from_array(weight, "w")])
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    with lean.k_quant(), np.errstate(all="ignore"):
        model = weight_only.rtn_quantize(
            helper.make_model(graph, opset_imports=domains, ir_version=10),
            num_bits=4,
            group_size=32,
            algorithm="k_quant",
        )
    found = onnxruntime.InferenceSession(model.model.SerializeToString()).run(None, {"x": rows})[0]
    exact = rows @ weight
    return float(np.abs(np.asarray(found) - exact).mean() / np.abs(exact).mean())


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"ask": ask, "blocks": blocks, "pieces": pieces}[sys.argv[1]](*sys.argv[2:])))
