# pyright: basic
"""Run by test_peft_losses: the same training with TRL's SFTTrainer and with ours, fp32; prints both loss lists as JSON.

python peft_parity.py MODEL_FOLDER ROWS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from peft_worker import module
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments, set_seed
from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportPrivateImportUsage]

COMMON: dict[str, Any] = {
    "max_steps": 8,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 3e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
ADAPTER: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def base(folder: str) -> Any:
    """The model in fp32 with its adapter, whose random start is the same every time."""
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    set_seed(0)
    return get_peft_model(loaded, LoraConfig(**ADAPTER))


def theirs(folder: str, rows: list[dict[str, Any]], out: str) -> list[float]:
    """TRL with rows in the order of the file."""
    trainer = SFTTrainer(
        model=base(folder),
        args=SFTConfig(
            output_dir=out,
            assistant_only_loss=True,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            **COMMON,
        ),
        train_dataset=Dataset.from_list([{"messages": row["messages"]} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    return losses(trainer)


def ours(folder: str, rows: list[dict[str, Any]], out: str) -> list[float]:
    """Our encoder, collator and trainer over the same order."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    findings = module("findings").Findings()
    encoder = module("rows").Encoder(tokenizer, train_on="assistant", max_length=1024, findings=findings)
    samples = module("store").write(Path(out) / "samples", (sample for row in rows for sample in encoder.encode(row)))
    inner = module("trainer").CompactTrainer

    class InOrder(inner):  # type: ignore[misc,valid-type]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            self.sampler = super()._get_train_sampler(train_dataset)
            return torch.utils.data.SequentialSampler(samples)

    trainer = InOrder(
        model=base(folder),
        args=TrainingArguments(output_dir=out, remove_unused_columns=False, **COMMON),
        train_dataset=samples,
        data_collator=module("collate").Collator(tokenizer.pad_token_id),
        grouped=False,
    )
    trainer.train()
    return losses(trainer)


def losses(trainer: Any) -> list[float]:
    """One number per optimizer step."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    model, data = sys.argv[1:3]
    given = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    folder = str(Path(data).parent)
    result = {"trl": theirs(model, given, folder + "/theirs"), "ours": ours(model, given, folder + "/ours")}
    print("\nRESULT " + json.dumps(result))  # noqa: T201 - its one purpose
