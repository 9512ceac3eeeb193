# pyright: basic
"""Small export jobs through the onnx provider, for the tests; one managed environment for the whole suite."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft_jobs
import peft_models
from finetune_providers.onnx.provider import OnnxProvider
from managed_envs import managed_home

from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobState

PATIENCE_S = 600.0


class Ran(peft_jobs.Ran):
    """An export and what it left."""

    @property
    def package(self) -> Path:
        return self.folder / "artifacts" / "onnx"

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.package / "manifest.json").read_text())
        return found

    @property
    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "artifacts" / "verdict.json").read_text())
        return found

    @property
    def candidates(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.verdict["candidates"]}

    def said(self, words: str) -> bool:
        """Whether some event's text contains the words."""
        return any(words in message for message in self.messages)

    def until_said(self, words: str) -> None:
        """Wait for an event."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not self.said(words):
            assert time.monotonic() < give_up_s, f"waited too long for {words!r}; {self.messages[-3:]}"
            assert not self.state.status.terminal, f"it ended before {words!r}: {self.state.error}"
            time.sleep(0.02)

    def end(self) -> JobState:
        """Wait for the end or a pause."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not (self.state.status.terminal or self.state.status.value == "paused"):
            assert time.monotonic() < give_up_s, f"waited too long; {self.messages[-3:]}"
            time.sleep(0.05)
        return self.state


def home(folder: Path) -> Path:
    """A home whose environments are the suite's."""
    return managed_home(folder)


def spec(train: Path, options: Mapping[str, Any], **parts: Any) -> JobSpec:
    """An export of `options["source"]`, or a short training on `builtin/tiny` and its export; one thread."""
    whole: dict[str, Any] = {
        "provider": "onnx",
        "model": "builtin/tiny",
        "data": {"train": str(train)},
        "compute": {"environment": "managed", "threads": 1},
        "options": {"onnx": {"bench_prompt": 16, "bench_new": 4, "new_tokens": 8, "eval_rows": 12, **options}},
        **parts,
    }
    if "source" not in options:
        whole.setdefault("hyperparameters", {"max_steps": 30, "batch_size": 8})
    return JobSpec.model_validate(whole)


def submit(home: Path, wanted: JobSpec, key: str = "job") -> Ran:
    """Plan and start."""
    provider = OnnxProvider(home=home)
    plan = provider.plan(wanted)
    assert not plan.errors, plan.errors
    return Ran(provider, provider.submit(plan, key=key))


def run(home: Path, wanted: JobSpec, key: str = "job") -> Ran:
    """Plan, start and wait."""
    job = submit(home, wanted, key)
    job.end()
    return job


def merged(job: Path, folder: Path) -> Path:
    """The job's adapter in its base, as a whole model with its tokenizer."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by an old name
        model: Any = peft_models.adapter(job / "artifacts" / "adapter")
    model.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(job / "artifacts" / "tokenizer").save_pretrained(folder)
    return folder


def random_lora(base: Path, name: str, folder: Path) -> str:
    """An adapter that changes the answers: `one` of rank 8 everywhere, any other of rank 4 on two projections."""
    import torch  # noqa: PLC0415 - slow to load
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415

    torch.manual_seed(len(name) + ord(name[0]))
    rank, targets = (8, "all-linear") if name == "one" else (4, ["q_proj", "v_proj"])
    settings = LoraConfig(r=rank, lora_alpha=8, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by an old name
        get_peft_model(peft_models.merged(base), settings).save_pretrained(str(folder))
    return str(folder)


def encoder(folder: Path, labels: Sequence[str]) -> str:
    """A small BERT with a head for these labels, untrained, and a tokenizer of bytes."""
    import torch  # noqa: PLC0415 - slow to load
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast  # noqa: PLC0415

    words = ["[PAD]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    names = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", model_max_length=128, model_input_names=names
    ).save_pretrained(folder)
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    BertForSequenceClassification(settings).save_pretrained(folder)
    return str(folder)
