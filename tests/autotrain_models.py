# pyright: basic
"""Tiny models for AutoTrain's tasks, made on the spot with the SDK's own transformers: newer than the worker's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LINES = ["hello world this is a text about number one two three", "joy anger fear surprise user assistant system"] * 20


def make(folder: Path) -> dict[str, str]:
    """A causal model, an encoder and a seq2seq model, with one tokenizer; their folders by name."""
    import torch  # noqa: PLC0415 - slow to import
    from transformers import (  # noqa: PLC0415
        BertConfig,
        BertModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    chat, plain = _tokenizer(TEMPLATE, 512), _tokenizer(None, 128)
    size, pad, end = len(chat), chat.pad_token_id, chat.eos_token_id
    layers: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    causal = LlamaConfig(
        vocab_size=size, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512, **layers,
        bos_token_id=None, eos_token_id=end, pad_token_id=pad,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )  # fmt: skip
    encoder = BertConfig(
        vocab_size=size, num_attention_heads=2, max_position_embeddings=128, pad_token_id=pad, **layers
    )
    ends: dict[str, Any] = {"pad_token_id": pad, "eos_token_id": end, "decoder_start_token_id": pad}
    both = T5Config(vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, **ends)
    made: dict[str, tuple[Any, Any]] = {
        "causal": (LlamaForCausalLM(causal), chat),
        "encoder": (BertModel(encoder), plain),
        "seq2seq": (T5ForConditionalGeneration(both), plain),
    }
    for name, (model, tokenizer) in made.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in made}


def _tokenizer(template: str | None, length: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - slow to import

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    pieces.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    special, alphabet = ["<pad>", "<|im_start|>", "<|im_end|>"], pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator(
        _LINES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    names = ["input_ids", "attention_mask"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        model_max_length=length,
        model_input_names=names,
    )
    made.chat_template = template
    return made


def rows(path: Path, lines: list[dict[str, Any]]) -> str:
    """JSONL."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


_TONES = ("joy", "anger", "fear", "surprise")


def chats(count: int = 40) -> list[dict[str, Any]]:
    """Conversations of two turns."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"a text about number {i}"},
                {"role": "assistant", "content": _TONES[i % 4]},
            ]
        }
        for i in range(count)
    ]


def plain(count: int = 40) -> list[dict[str, Any]]:
    """Prompts and answers that need no chat template."""
    return [{"prompt": f"a text about number {i}: ", "completion": _TONES[i % 4]} for i in range(count)]


def pairs(count: int = 24) -> list[dict[str, Any]]:
    """Preference pairs."""
    return [
        {"prompt": f"a text about number {i}", "chosen": _TONES[i % 4], "rejected": _TONES[(i + 1) % 4]}
        for i in range(count)
    ]


def labelled(count: int = 30) -> list[dict[str, Any]]:
    """Texts of three classes."""
    return [{"text": f"a text about {_TONES[i % 3]} {i}", "label": _TONES[i % 3]} for i in range(count)]


def numbers(count: int = 30) -> list[dict[str, Any]]:
    """Texts with a number each."""
    return [{"text": f"a text about {i % 5}", "label": float(i % 5)} for i in range(count)]


def tagged(count: int = 30) -> list[dict[str, Any]]:
    """Tokens with a tag each."""
    return [
        {"tokens": ["hello", _TONES[i % 4], "world", str(i)], "tags": ["O", "B-TONE", "O", "B-NUM"]}
        for i in range(count)
    ]


def embeddings(count: int = 30) -> list[dict[str, Any]]:
    """Pairs of texts that belong together."""
    return [{"anchor": f"about {_TONES[i % 4]} {i}", "positive": f"{_TONES[i % 4]} number {i}"} for i in range(count)]


def triplets(count: int = 30) -> list[dict[str, Any]]:
    """The same, with a text that does not belong to them."""
    return [{**row, "negative": f"nothing of the kind {i}"} for i, row in enumerate(embeddings(count))]


def judged(labels: tuple[str | float, ...], count: int = 30) -> list[dict[str, Any]]:
    """The same pairs, each with one of the labels."""
    return [
        {"text": row["anchor"], "text_pair": row["positive"], "label": labels[i % len(labels)]}
        for i, row in enumerate(embeddings(count))
    ]


def translations(count: int = 24) -> list[dict[str, Any]]:
    """Prompts with the text to write."""
    return [{"prompt": f"about number {i}", "completion": _TONES[i % 4]} for i in range(count)]
