"""Writes `model/` beside this file: a Llama of two small layers with random weights, its tokenizer, a chat template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
TEXTS = HERE.parent / "01_quickstart" / "tone.jsonl"
PAD, START, END = "<pad>", "<|im_start|>", "<|im_end|>"  # they become 0, 1 and 2
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main(folder: Path = HERE / "model") -> Path:
    """Make and save it, unless it is there."""
    if not folder.exists():
        tokenizer = _tokenizer()
        _model(tokenizer).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    pieces.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=[PAD, START, END], initial_alphabet=alphabet)
    pieces.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token=PAD,
        eos_token=END,
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=TEMPLATE,
    )


def _texts() -> Iterator[str]:
    for line in TEXTS.read_text(encoding="utf-8").splitlines()[:400]:
        yield from (message["content"] for message in json.loads(line)["messages"])


def _model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


if __name__ == "__main__":
    main()
