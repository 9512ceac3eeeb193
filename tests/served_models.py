# pyright: basic
"""A tiny base model and adapters over it, made without training, for the tests of serving; made by a script of its own.

`python served_models.py FOLDER` writes `base`, `loud`, `quiet` (adapters whose answers differ) and `whole` (merged).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = ("base", "loud", "quiet", "whole")
_ROWS = (
    '{"kind":"chat","messages":[{"role":"user","content":"I smile about number %d, and the sun shines"},'
    '{"role":"assistant","content":"joy"}]}\n'
)


def make(folder: Path) -> Path:
    """Write the models, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def once(base: Path) -> Path:
    """The models of this run of the suite, made when first asked for; `base` is pytest's base folder."""
    folder = base / "served-models"
    if not folder.is_dir():
        folder.mkdir()
        make(folder)
    return folder


def _write(folder: Path) -> None:
    from finetune_providers.serving.worker.hf import spared  # noqa: PLC0415 - in the other process only

    with spared.without(*spared.UNUSED, "bitsandbytes"):
        _write_models(folder)


def _write_models(folder: Path) -> None:
    import torch  # noqa: PLC0415
    from finetune_providers.peft.worker import builtin  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    rows = folder / "rows.jsonl"
    rows.write_text("".join(_ROWS % number for number in range(40)), encoding="utf-8")
    base = builtin.make(folder / "base", data=rows, seed=3)
    for seed, name in enumerate(("loud", "quiet")):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        config = LoraConfig(
            r=8, target_modules="all-linear", init_lora_weights=False, base_model_name_or_path=str(base)
        )
        tuned: Any = get_peft_model(model, config)
        tuned.save_pretrained(folder / name)
        tuned.merge_and_unload().save_pretrained(folder / "whole")
    _copy_tokenizer(base, folder / "whole")


def _copy_tokenizer(base: Path, to: Path) -> None:
    for file in base.iterdir():
        if "token" in file.name or file.name.startswith("chat_template"):
            (to / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
