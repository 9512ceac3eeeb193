# pyright: basic
"""Sentence embeddings: FastSentenceTransformer, trained on texts that belong together.

Pairs and triplets learn from the other rows of their batch (multiple negatives ranking); pairs with scores from the
order of those (CoSENT). Encoders such as BERT also train without a GPU: the class for GPUs then works on the CPU.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import datasets

from . import loading, saving, trainers, vendor
from .job import Job
from .local import part

_sentences: Any = importlib.import_module("sentence_transformers")
_losses: Any = importlib.import_module("sentence_transformers.sentence_transformer.losses")


class SentenceTrainer(trainers.Watched, _sentences.SentenceTransformerTrainer):
    """Texts that belong together come closer to one another than to the rest of their batch."""

    zero_loss_is_fine = True  # a batch that is told apart for certain


class EmbeddingJob(Job):
    """The shared job with sentence-transformers in the places of TRL."""

    task = "sentence-similarity"

    def columns(self) -> tuple[Any, Any]:
        """The texts as they are: sentence-transformers tokenizes each batch."""
        made = {role: self._texts(role) for role in ("train", "validation")}
        train = made["train"]
        if train is None or not len(train):
            raise self.ctx.Failed("there is no row to learn from")
        self.ctx.event(f"data: {len(train)} rows, {' + '.join(train.column_names)}", samples=float(len(train)))
        return train, made["validation"]

    def _texts(self, role: str) -> Any:
        file = self.ctx.dir / "data" / f"{role}.jsonl"
        if not file.exists():
            return None
        rows = list(part("rows").read(file))
        names = ["anchor", "positive"]
        for name in ("negative", "score"):
            having = sum(row.get(name) is not None for row in rows)
            if having not in (0, len(rows)):
                raise self.ctx.Failed(f"{role}: {having} of {len(rows)} rows have a {name}; give it to all or to none")
            if having:
                names.append(name)
        if len(names) == 4:
            raise self.ctx.Failed(f"{role}: rows have a negative and a score; a row learns from one of them")
        return datasets.Dataset.from_list(
            [{name: float(row[name]) if name == "score" else row[name] for name in names} for row in rows]
        )

    def longest(self) -> int:
        """What a row is cut to."""
        return self.max_length

    def base(self) -> Any:
        """A SentenceTransformer."""
        try:
            with vendor.tolerated():
                model = vendor.fast(self.request).from_pretrained(self.source, **arguments(self))
        except loading.LOADING as exc:
            reason = " ".join(str(exc).split())[:400]
            raise self.ctx.Failed(f"Unsloth cannot load {self.source!r}: {reason}") from exc
        if self.request["adapter"]["kind"] == "full":
            self.inside(model).requires_grad_(requires_grad=True)
        return model

    def inside(self, model: Any) -> Any:
        """The encoder."""
        return model[0].auto_model

    def make(self, tuned: Any, common: dict[str, Any]) -> Any:
        """The trainer with the loss that fits the columns."""
        scored = "score" in self.train.column_names
        loss = _losses.CoSENTLoss(tuned) if scored else _losses.MultipleNegativesRankingLoss(tuned)
        args = _sentences.SentenceTransformerTrainingArguments(
            **common, batch_sampler="batch_sampler" if scored else "no_duplicates"
        )
        return SentenceTrainer(
            model=tuned, args=args, train_dataset=self.train, eval_dataset=self.validation, loss=loss
        )

    def write(self, model: Any, folder: Path) -> list[str]:
        """A folder that sentence-transformers loads, and the adapter by itself."""
        if self.request["adapter"]["kind"] == "full":
            model.save_pretrained(str(folder / "model"))
            saving.differs(self, folder / "model")
            return ["model"]
        inner = self.inside(model)
        for config in inner.peft_config.values():
            config.base_model_name_or_path = self.source
        inner.save_pretrained(folder / "adapter")
        if not self.request["options"]["merge"]:
            return ["adapter"]
        with vendor.tolerated():
            model.save_pretrained_merged(str(folder / "merged"), self.tokenizer)
        saving.differs(self, folder / "merged")
        return ["adapter", "merged"]


def arguments(job: Any) -> dict[str, Any]:
    """The request in the words of FastSentenceTransformer's `from_pretrained`."""
    given = loading.arguments(job)
    local = {"device_map": "cpu"} if job.choices.device == "cpu" else {}
    quantized = given["load_in_4bit"] or given["load_in_8bit"]
    return {
        **{name: value for name, value in given.items() if name != "attn_implementation"},
        "load_in_16bit": not (quantized or given["full_finetuning"]),
        "use_gradient_checkpointing": job.gradient_checkpointing,
        **local,
    }
