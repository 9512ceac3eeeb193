# pyright: basic
"""Conversations with pictures: FastVisionModel with Unsloth's own collator.

Each answer to learn is a sample of its own, with everything before it as its prompt: the collator then masks the
prompt by itself, whatever marks the chat template writes. Pictures are read when a batch needs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets

from . import media, trainers
from .job import Job
from .local import part


class Samples:
    """Samples whose pictures are read when they are asked for."""

    def __init__(self, job: Job, kept: Sequence[tuple[Mapping[str, Any], int | None]]) -> None:
        self._job = job
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, answer = self._kept[index]
        messages = [self._message(row, message) for message in row["messages"]]
        extra = {"chat_template_kwargs": part("rows").template_extra(row)}
        if answer is None:
            return {"messages": messages, **extra}
        return {"prompt": messages[:answer], "completion": messages[answer : answer + 1], **extra}

    def _message(self, row: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        kept = {name: message[name] for name in ("role", "tool_calls", "tool_call_id", "name") if message.get(name)}
        return {**kept, "content": [self._part(row, one) for one in parts]}

    def _part(self, row: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
        url = media.address(one)
        if url is None:
            return {"type": "text", "text": one["text"]}
        source = row.get("source")
        try:
            data = media.content(url, source, self._job.request["folder"])
            return {"type": "image", "image": media.picture(data)}
        except media.Unreadable as exc:
            raise self._job.ctx.Failed(f"a picture of {_where(source)} cannot be used: {exc}") from exc


class VisionJob(Job):
    """The shared job with pictures in its rows."""

    task = "image-text-to-text"

    def columns(self) -> tuple[Any, Any]:
        """(train, validation) as numbers of samples, whose pictures are read batch by batch."""
        made = {role: list(self._samples(role)) for role in ("train", "validation")}
        if not made["train"]:
            raise self.ctx.Failed("no train row carries loss")
        count = len(made["train"])
        self.ctx.event(f"data: {count} answers to learn", samples=float(count))
        self.samples = Samples(self, [*made["train"], *made["validation"]])
        numbered = datasets.Dataset.from_dict({"sample": list(range(len(self.samples)))})
        held_out = numbered.select(range(count, len(self.samples))) if made["validation"] else None
        return numbered.select(range(count)), held_out

    def _samples(self, role: str) -> Iterator[tuple[Mapping[str, Any], int | None]]:
        file, train_on = self.ctx.dir / "data" / f"{role}.jsonl", self.request["method"]["train_on"]
        for row in part("rows").read(file) if file.exists() else ():
            turns = [i for i, message in enumerate(row["messages"]) if message["role"] == "assistant"]
            if train_on == "all":
                yield row, None
                continue
            for turn in turns[-1:] if train_on == "last_assistant" else turns:
                weight = row["messages"][turn].get("weight", 1)
                if weight not in (0, 1):
                    raise self.ctx.Failed(f"{_where(row.get('source'))}: Unsloth knows no message weight but 0 and 1")
                if weight and turn:
                    yield row, turn

    def longest(self) -> int:
        """What a row may have at most: pictures are not counted before they are read."""
        return self.max_length

    def base(self) -> Any:
        """The model; its processor takes the place of the tokenizer."""
        model = super().base()
        template = self.tokenizer.chat_template
        if self.request["options"]["chat_template"] and template:
            self.processor.chat_template = template
        self.tokenizer = self.processor
        return model

    def make(self, tuned: Any, common: dict[str, Any]) -> Any:
        """TRL's trainer with Unsloth's collator."""
        args = trainers.trl.SFTConfig(
            **common, max_length=self.max_length, dataset_text_field="", dataset_kwargs={"skip_prepare_dataset": True}
        )
        return trainers.SftTrainer(
            model=tuned,
            args=args,
            train_dataset=self.train,
            eval_dataset=self.validation,
            processing_class=self.processor,
            data_collator=self._collator(tuned),
        )

    def _collator(self, tuned: Any) -> Any:
        kind: Any = importlib.import_module("unsloth_zoo.vision_utils").UnslothVisionDataCollator
        collate = kind(tuned, self.processor, max_seq_length=self.max_length)

        def collated(rows: list[dict[str, Any]]) -> Any:
            try:
                return collate([self.samples[row["sample"]] for row in rows])
            except ValueError as exc:  # a processor refuses a text whose picture was cut off
                text = f"a batch does not fit max_seq_length {self.max_length}, pictures count as tokens too"
                raise self.ctx.Failed(f"{text}: {' '.join(str(exc).split())[:300]}") from exc

        return collated


def _where(source: Mapping[str, Any] | None) -> str:
    return "a row" if source is None else f"{source.get('file')}:{source.get('line')}"
