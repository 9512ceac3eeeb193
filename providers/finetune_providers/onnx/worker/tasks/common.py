# pyright: basic
"""What several tasks need: memory, texts, comparisons. numpy at most."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)


def peak_memory_bytes() -> int:
    """The most main memory this process held at once. Not `getrusage`: that counts the parent before `exec`, too."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def settle(package: Path) -> None:
    """What a package needs beside what the builder writes: a pad token that no prompt can end with, no planned memory.

    onnxruntime-genai takes the last tokens of a prompt for padding where they are the pad token, and answers the
    position before; many models' pad token is what ends a turn. -1 counts from the end of the table of embeddings, so
    rows that are padded to one length still run, and what stands there is never attended to. Planned memory is kept
    for every length that was met; without it eight rows take a seventh less and are as fast (onnxruntime 1.31).
    """
    file = package / "genai_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["model"]["pad_token_id"] = -1
    config["model"]["decoder"].setdefault("session_options", {})["enable_mem_pattern"] = False
    file.write_text(json.dumps(config, indent=4), encoding="utf-8")


def answer_text(text: str) -> str:
    """An answer as it is compared: without a leading thought and outer spaces."""
    return _THOUGHT.sub("", text).strip()


def exact_match(answers: Sequence[str], expected: Sequence[str | None]) -> float | None:
    """Share of answers that are what the row expects; None when no row expects anything."""
    pairs = [(a, e) for a, e in zip(answers, expected, strict=True) if e is not None]
    return sum(a == e.strip() for a, e in pairs) / len(pairs) if pairs else None


def kl(reference: Any, other: Any) -> Any:
    """Kullback-Leibler divergence of each row of logits from the reference's."""
    p, q = log_softmax(reference), log_softmax(other)
    return np.maximum((np.exp(p) * (p - q)).sum(-1), 0.0)  # rounding may leave it below


def log_softmax(logits: Any) -> Any:
    """Log probabilities, in double precision: between equal models, rounding would be all that is seen."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def folder_bytes(folder: Path) -> int:
    """Bytes in its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def user_metrics(child: Any, file: str | None, rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What `metrics(rows)` of the user's file answers; empty without a file or without that function."""
    if file is None:
        return {}
    found = getattr(user_module(child, file), "metrics", None)
    if found is None:
        return {}
    answered = found(list(rows))
    if not isinstance(answered, dict) or not all(isinstance(v, int | float) for v in answered.values()):
        raise child.Failed(f"{file}: metrics(rows) must answer a dict of numbers, not {type(answered).__name__}")
    return {str(name): float(value) for name, value in answered.items()}


def user_module(child: Any, file: str) -> Any:
    """The user's Python file, loaded once."""
    name = "finetune_onnx_custom"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise child.Failed(f"options.onnx.custom: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def peft_worker(folder: str, module: str) -> Any:
    """A module of the peft provider's worker, which is loaded as the runner would load it."""
    name = "finetune_worker"
    if name not in sys.modules:
        root = Path(folder)
        where = [str(root)]
        spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=where)
        if spec is None or spec.loader is None:
            raise ImportError(f"no worker at {folder}")
        package = importlib.util.module_from_spec(spec)
        sys.modules[name] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{name}.{module}") if module else sys.modules[name]
