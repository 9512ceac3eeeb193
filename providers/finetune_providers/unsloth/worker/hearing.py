# pyright: basic
"""Speech recognition: Whisper through FastModel, from sounds to the texts that were said."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch

from . import encode, loading, trainers, vendor
from .job import Job
from .local import part
from .speech import heard

_transformers: Any = importlib.import_module("transformers")
RATE = 16_000


class HearingTrainer(trainers.Watched, _transformers.Seq2SeqTrainer):
    """Texts from sounds."""


class HearingJob(Job):
    """The shared job with Whisper's features and labels."""

    task = "automatic-speech-recognition"

    def columns(self) -> tuple[Any, Any]:
        """Rows; sounds become features when a batch needs them."""
        made = {role: list(self._rows(role)) for role in ("train", "validation")}
        if not made["train"]:
            raise self.ctx.Failed("there is no row to learn from")
        self.ctx.event(f"data: {len(made['train'])} recordings", samples=float(len(made["train"])))
        return made["train"], made["validation"] or None

    def _rows(self, role: str) -> Iterator[dict[str, Any]]:
        file = self.ctx.dir / "data" / f"{role}.jsonl"
        yield from part("rows").read(file) if file.exists() else ()

    def _max_length(self) -> int:
        return min(self.request["training"]["max_seq_length"], self.config.max_target_positions)

    def longest(self) -> int:
        """Tokens of the longest text there may be."""
        return self.max_length

    def base(self) -> Any:
        """Whisper with its language settled; the processor takes the place of the tokenizer."""
        options = self.request["options"]
        spoken = {"whisper_language": options["language"], "whisper_task": "transcribe"}
        given = {**loading.arguments(self), **spoken, "auto_model": _transformers.WhisperForConditionalGeneration}
        model = loading.load(self, vendor.fast(self.request), given)
        model.generation_config.forced_decoder_ids = None
        words = self.processor.tokenizer
        words.pad_token = words.pad_token or words.eos_token
        self.tokenizer = self.processor
        return model

    def adapted(self, base: Any) -> Any:
        """With LoRA, whose wrapper must not look for input_ids."""
        return loading.adapted(self, base, task_type=None)

    def make(self, tuned: Any, common: dict[str, Any]) -> Any:
        """transformers' trainer for sequences."""
        args = _transformers.Seq2SeqTrainingArguments(**common, label_names=["labels"])
        return HearingTrainer(
            model=tuned,
            args=args,
            train_dataset=self.train,
            eval_dataset=self.validation,
            processing_class=self.processor,
            data_collator=self._collated,
        )

    def _collated(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sounds = [heard(self, row, "user", RATE) for row in rows]
        features = self.processor.feature_extractor(sounds, sampling_rate=RATE, return_tensors="pt").input_features
        texts = [part("template").text_of(row["messages"][-1]["content"]) for row in rows]
        made = self.processor.tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self.max_length
        )
        labels = made.input_ids.masked_fill(made.attention_mask == 0, encode.IGNORED)
        start = self.config.decoder_start_token_id
        if bool((labels[:, 0] == start).all()):  # the model puts it in front by itself
            labels = labels[:, 1:]
        return {"input_features": features, "labels": labels}
