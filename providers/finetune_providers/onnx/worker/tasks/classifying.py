# pyright: basic, reportMissingImports=false
"""A classifier's package as its user meets it: onnxruntime and tokenizers, nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Classifier:
    """Scores of texts."""

    def __init__(self, package: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(package / "model.onnx"), options, ["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
        self.tokenizer.no_padding()
        config = json.loads((package / "config.json").read_text(encoding="utf-8"))
        self.labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        self.pad = config.get("pad_token_id") or 0

    def encode(self, texts: Sequence[str], length: int) -> tuple[list[int], list[int]]:
        """Ids and token types of one text or pair."""
        self.tokenizer.enable_truncation(length)
        found = self.tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)
        return found.ids, found.type_ids

    def scores(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Any:
        """`[rows, labels]` of encoded texts."""
        longest = max(len(ids) for ids, _ in rows)
        made = {
            "input_ids": [[*ids, *[self.pad] * (longest - len(ids))] for ids, _ in rows],
            "attention_mask": [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows],
            "token_type_ids": [[*types, *[0] * (longest - len(types))] for _, types in rows],
        }
        return self._session.run(None, {name: np.asarray(made[name], np.int64) for name in self._inputs})[0]
