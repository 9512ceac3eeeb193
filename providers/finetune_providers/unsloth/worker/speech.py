# pyright: basic
"""Text to speech with SNAC: sounds become tokens of the model's own vocabulary, as Orpheus has them.

The order of the codes and the numbers of the tokens are those that Unsloth's own test of orpheus-3b-0.1-ft reads back
(its tests/saving/text_to_speech_models/test_orpheus.py, commit 03e8f8c, read 2026-11-21). Once sounds are tokens, the
model is a language model and trains like one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import torch

from . import encode, media
from .job import Job
from .local import part

RATE = 24_000
BOOK = 4096
"""Entries of SNAC's codebook."""
END_OF_TEXT, START_OF_SPEECH, END_OF_SPEECH = 128_009, 128_257, 128_258
START_OF_HUMAN, END_OF_HUMAN, START_OF_AI, END_OF_AI = 128_259, 128_260, 128_261, 128_262
FIRST_SOUND = 128_266
VOCABULARY = FIRST_SOUND + 7 * BOOK
_LAYERS = ((0, 1, 0), (1, 2, 0), (2, 4, 0), (2, 4, 1), (1, 2, 1), (2, 4, 2), (2, 4, 3))
"""The seven tokens of a frame: layer of the codec, its codes per frame, which of them."""


class SpeechJob(Job):
    """The shared job; only its rows are sounds."""

    task = "text-to-speech"

    def columns(self) -> tuple[Any, Any]:
        """Prompt and sound of each row as tokens."""
        if self.config.get_text_config().vocab_size < VOCABULARY:
            raise self.ctx.Failed(
                f"options.unsloth.codec: snac needs a model with Orpheus's {VOCABULARY:,} tokens; "
                f"{self.source} has {self.config.get_text_config().vocab_size:,}"
            )
        findings = part("findings").Findings()
        codec = self._codec()
        made: dict[str, Any] = {}
        for role in ("train", "validation"):
            file = self.ctx.dir / "data" / f"{role}.jsonl"
            rows = list(self._samples(codec, file, findings)) if file.exists() else []
            made[role] = datasets.Dataset.from_list(rows) if rows else None
        findings.report(self.ctx)
        if made["train"] is None:
            raise self.ctx.Failed("no train row carries loss; see the warnings before")
        counted = sum(map(len, made["train"]["input_ids"]))
        text = f"data: {len(made['train'])} rows, {counted:,} tokens of text and sound"
        self.ctx.event(text, samples=float(len(made["train"])), tokens=float(counted))
        return made["train"], made["validation"]

    def _codec(self) -> Any:
        name = self.request["options"]["codec_model"]
        try:
            codec = importlib.import_module("snac").SNAC.from_pretrained(name)
        except Exception as exc:  # the codec's own loader raises whatever the hub and torch raise
            raise self.ctx.Failed(f"the codec {name!r} cannot be loaded: {' '.join(str(exc).split())[:300]}") from exc
        self.ctx.event(f"codec: {name}, {codec.sampling_rate} samples a second")
        if codec.sampling_rate != RATE or codec.codebook_size != BOOK or codec.vq_strides != [4, 2, 1]:
            raise self.ctx.Failed(f"the codec {name!r} is not SNAC for {RATE} samples a second; Orpheus speaks that")
        return codec.to(self.choices.device).eval()

    def _samples(self, codec: Any, file: Any, findings: Any) -> Iterator[dict[str, Any]]:
        everything = self.request["method"]["train_on"] == "all"
        for number, row in enumerate(part("rows").read(file)):
            if number % 10 == 0 and self.ctx.stop:
                raise self.Stopped(self.ctx.stop)
            asked, said = self._asked(row), self._said(codec, row)
            if len(asked) + len(said) > self.max_length:
                message = f"{len(asked) + len(said)} tokens, max_seq_length is {self.max_length}"
                fix = "It is left out: half a sound teaches to stop. Raise max_seq_length, or cut the recording."
                findings.add("sound-too-long", "warning", message, fix=fix, source=row.get("source"))
                continue
            yield {
                "input_ids": [*asked, *said],
                "labels": [*(asked if everything else [encode.IGNORED] * len(asked)), *said],
            }

    def _asked(self, row: Mapping[str, Any]) -> list[int]:
        """The text to speak, after the speaker's name where the user's message has one."""
        user = next(message for message in row["messages"] if message["role"] == "user")
        text = part("template").text_of(user["content"])
        spoken = f"{user['name']}: {text}" if user.get("name") else text
        ids = self.tokenizer(spoken)["input_ids"]
        return [START_OF_HUMAN, *ids, END_OF_TEXT, END_OF_HUMAN, START_OF_AI, START_OF_SPEECH]

    def _said(self, codec: Any, row: Mapping[str, Any]) -> list[int]:
        samples = heard(self, row, "assistant", RATE)
        with torch.inference_mode():
            codes = codec.encode(torch.from_numpy(samples).to(self.choices.device)[None, None])
        return [*sounds([layer[0].tolist() for layer in codes]), END_OF_SPEECH, END_OF_AI]


def heard(job: Any, row: Mapping[str, Any], role: str, rate: int) -> Any:
    """The first sound in the messages of a role, as samples."""
    source = row.get("source")
    where = "a row" if source is None else f"{source.get('file')}:{source.get('line')}"
    for message in row["messages"]:
        content = message.get("content")
        if message["role"] != role or not isinstance(content, list):
            continue
        for one in content:
            url = media.address(one)
            if url is None:
                continue
            try:
                return media.sound(media.content(url, source, job.request["folder"]), rate)
            except media.Unreadable as exc:
                raise job.ctx.Failed(f"the sound of {where} cannot be used: {exc}") from exc
    raise job.ctx.Failed(f"{where}: no message of the {role} holds a sound")


def sounds(codes: Sequence[Sequence[int]]) -> list[int]:
    """The codec's layers as tokens, frame by frame; a frame that begins like the one before it is left out."""
    tokens: list[int] = []
    before = None
    for frame, first in enumerate(codes[0]):
        if first == before:
            continue
        before = first
        tokens += [
            codes[layer][frame * rate + offset] + FIRST_SOUND + place * BOOK
            for place, (layer, rate, offset) in enumerate(_LAYERS)
        ]
    return tokens
