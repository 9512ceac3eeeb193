# pyright: basic
"""`builtin/tiny`: a small language model made on the spot from the training data and the seed. Nothing is downloaded.

Two Llama layers of width 128, untied embeddings, a byte-level BPE trained on the data, a chat template with tools,
reasoning and generation marks. It knows nothing before training; it exists to show and test the whole way.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from .rows import read

NAME = "builtin/tiny"
_VOCABULARY = 1100
_PAD, _START, _END = "<|pad|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nTools:\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}
{%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>\\n' }}{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) + '</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>' }}
{%- endgeneration %}
{{- '\\n' }}
{%- else %}
{{- (message.content or '') + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def make(folder: Path, *, data: Path, seed: int) -> Path:
    """Write model and tokenizer to `folder`, unless a whole one lies there. Same data and seed, same bytes."""
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        tokenizer = _tokenizer(_texts(read(data)))
        tokenizer.save_pretrained(part)
        _model(tokenizer, seed).save_pretrained(part)
        part.rename(folder)
    return folder


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=[_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def _model(tokenizer: Any, seed: int) -> LlamaForCausalLM:
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)


def _texts(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every text a row holds, whatever its kind; roles and template words come along so that they become tokens."""
    yield "system\nuser\nassistant\ntool\n<think></think>\n<tool_call></tool_call>"
    for row in rows:
        for key in ("text", "text_pair"):
            if isinstance(row.get(key), str):
                yield row[key]
        for key in ("messages", "prompt", "completion", "chosen", "rejected"):
            for message in row.get(key) or ():
                content = message.get("content")
                yield content if isinstance(content, str) else ""
