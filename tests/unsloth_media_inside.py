# pyright: basic
"""Runs in Unsloth's environment: `python unsloth_media_inside.py RUNNER WORKER CODEC_JSON CODEC_FOLDER JOBDIR...`.

Unsloth's classes that need a GPU are replaced by transformers and peft; its collator, SNAC, the worker and the trainers
are the real ones. The imports happen once; each job is a fork that does what a worker's process does.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

_FOR_UNSLOTH = (
    "max_seq_length", "full_finetuning", "use_gradient_checkpointing", "random_state", "load_in_4bit", "load_in_8bit",
    "whisper_language", "whisper_task", "revision",
)  # fmt: skip


class Fast:
    """The functions that the worker calls."""

    @staticmethod
    def from_pretrained(model_name: str, *, auto_model: Any = None, **given: Any) -> tuple[Any, Any]:
        transformers: Any = importlib.import_module("transformers")
        kept = {name: value for name, value in given.items() if name not in _FOR_UNSLOTH}
        model = (auto_model or transformers.AutoModelForImageTextToText).from_pretrained(model_name, **kept)
        return model, transformers.AutoProcessor.from_pretrained(model_name)

    @staticmethod
    def get_peft_model(model: Any, **given: Any) -> Any:
        peft: Any = importlib.import_module("peft")
        kept = {name: value for name, value in given.items() if name not in _FOR_UNSLOTH}
        tuned = peft.get_peft_model(model, peft.LoraConfig(**kept))
        tuned.save_pretrained_merged = types.MethodType(_merged, tuned)
        return tuned


def _merged(self: Any, folder: str, tokenizer: Any, save_method: str) -> None:
    assert save_method == "merged_16bit"
    self.merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(runner_file: str, worker: str, codec: str, codec_folder: str, jobs: list[str]) -> None:
    os.environ |= {"UNSLOTH_AUTO_INSTALL": "0", "UNSLOTH_SKIP_TORCHVISION_CHECK": "1", "UNSLOTH_FORCE_CPU": "1"}
    unsloth: Any = importlib.import_module("unsloth")
    unsloth.FastVisionModel, unsloth.FastModel = Fast, Fast
    torch, snac = importlib.import_module("torch"), importlib.import_module("snac")
    model = snac.SNAC(**json.loads(codec))
    Path(codec_folder).mkdir()
    (Path(codec_folder) / "config.json").write_text(codec)
    torch.save(model.state_dict(), Path(codec_folder) / "pytorch_model.bin")
    runner = _loaded("_runner", Path(runner_file))
    runner.load(Path(worker), "finetune_worker")
    importlib.import_module("finetune_worker.vision")
    for job in jobs:
        child = os.fork()
        if child == 0:
            log = os.open(str(Path(job) / "worker.log"), os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os._exit(runner.run(Path(job)))
        os.waitpid(child, 0)


def _loaded(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
