# pyright: basic
"""The forms that are compared: as trained (adapter on its base, training's own template), transformers, llama.cpp."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..hf import spared

with spared.without(*spared.UNUSED):
    from ..hf.loading import load_models


class HFForm:
    """A folder as transformers and this project's server read it; `template`: render as training does instead."""

    def __init__(self, name: str, load: dict[str, Any], *, template: Path | None = None) -> None:
        self.name = name
        loaded = load_models({"precision": "float32", **load, "models": {"m": load["model"]}})
        loaded.activate(loaded.variants["m"])
        self._model, self._prefix = loaded.model, loaded.variants["m"].prefix
        self._tongue = loaded.tongues["m"]
        self.ends = self._tongue.ends
        self.tokenizer = self._tongue.tokenizer
        self._training = None if template is None else _training_template(template)(self._tongue.tokenizer)

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if self._training is None:
            return self._tongue.render({"messages": list(messages)})
        text = self._training.render(messages, prompt=True)
        return self._tongue.tokenizer(text, add_special_tokens=False)["input_ids"]

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        ids = torch.tensor([list(prompt)], device=self._model.device)
        with torch.inference_mode():
            out = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                eos_token_id=sorted(self.ends) or None,
                pad_token_id=0,
            )
        return [token for token in out[0, ids.shape[1] :].tolist() if token not in self.ends]


def _training_template(path: Path) -> Any:
    """`ChatTemplate` of the worker that trains."""
    spec = importlib.util.spec_from_file_location("_finetune_training_template", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.ChatTemplate


class LlamaForm:
    """A GGUF file in llama.cpp: its own template engine, its own tokenizer."""

    def __init__(self, file: Path, *, ends: frozenset[int]) -> None:
        xllamacpp: Any = importlib.import_module("xllamacpp")  # only for GGUF

        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx = 2048
        params.n_parallel = 1
        params.use_jinja = True
        params.warmup = False
        self._server = xllamacpp.Server(params)
        self.name = file.stem.rpartition("-")[2] + " GGUF"
        self.ends = ends

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import json  # noqa: PLC0415
        import urllib.request  # noqa: PLC0415

        url = f"{self._server.listening_address}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        text = self._post("/apply-template", {"messages": list(messages)})["prompt"]
        told = self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return list(told["tokens"])

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        body = {"prompt": list(prompt), "n_predict": count, "temperature": 0, "return_tokens": True, "top_k": 1}
        tokens = self._post("/completion", {**body, "cache_prompt": False})["tokens"]
        return [token for token in tokens if token not in self.ends]
