# pyright: basic
"""Rows that decode together, join late and share beginnings are answered as `generate` answers each alone."""

from __future__ import annotations

from typing import Any

import pytest
from finetune_providers.serving.worker.choosing import Taste
from finetune_providers.serving.worker.hf.prompts import Prompts
from finetune_providers.serving.worker.rows import Row
from finetune_providers.serving.worker.speech import Speech
from later import Later

torch = Later("torch")
transformers = Later("transformers")
batches = Later("finetune_providers.serving.worker.hf.batch")

_TOKENS = 8
_START = list(range(3, 43))
_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_KINDS = {
    "llama": lambda: transformers.LlamaConfig(**_SHAPE),
    "a sliding window": lambda: transformers.MistralConfig(**_SHAPE, sliding_window=12),
    "qwen3": lambda: transformers.Qwen3Config(**_SHAPE, head_dim=16),
}
_PROMPTS = {
    "one beginning": [[*_START, *range(50, 50 + size)] for size in (1, 2, 9, 30)],
    "the same prompt": [_START] * 4,
    "one inside the other": [_START, _START[:20], [*_START, 60]],
    "nothing in common": [[start, *_START[:size]] for start, size in ((50, 3), (60, 17), (70, 40))],
}


def _model(kind: str) -> Any:
    torch.manual_seed(1)
    return transformers.AutoModelForCausalLM.from_config(_KINDS[kind](), dtype=torch.float32).eval()


def _row(prompt: list[int]) -> Row:
    taste, speech = Taste(temperature=0), Speech(str)
    return Row(id="1", index=0, model="m", prompt=prompt, limit=99, ends=frozenset(), taste=taste, speech=speech)


def _alone(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=_TOKENS, do_sample=False)
    return made[0, len(prompt) :].tolist()


def _answers(batch: Any, *waves: list[list[int]]) -> list[tuple[list[int], list[int]]]:
    """Each wave joins one step after the one before it; a row leaves when it has its tokens."""
    everybody: list[Row] = []
    coming = list(waves)
    with torch.inference_mode():
        while coming or batch.rows:
            batch.keep([row for row in batch.rows if len(row.made) < _TOKENS])
            if batch.rows:
                _took(batch.rows, batch.step([row.made[-1] for row in batch.rows]))
            if coming:
                fresh = [_row(prompt) for prompt in coming.pop(0)]
                everybody += fresh
                _took(*batch.join(fresh))
    return [(row.prompt, row.made) for row in everybody]


def _took(rows: list[Row], logits: Any) -> None:
    for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True):
        row.made.append(token)


@pytest.mark.parametrize("prompts", _PROMPTS.values(), ids=_PROMPTS)
@pytest.mark.parametrize("kind", _KINDS)
def test_answers_are_those_of_generate_alone(kind: str, prompts: list[list[int]]) -> None:
    model = _model(kind)
    told = _answers(batches.Batch(model, prompts=Prompts(1 << 24)), prompts)

    assert told == [(prompt, _alone(model, prompt)) for prompt in prompts]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_prompt_that_was_read_before_is_answered_the_same(kind: str) -> None:
    model, prompts = _model(kind), Prompts(1 << 24)
    first, again = (_answers(batches.Batch(model, prompts=prompts), _PROMPTS["one beginning"]) for _ in range(2))

    assert first == again


def test_rows_that_join_late_are_answered_as_alone() -> None:
    model = _model("llama")
    waves = list(_PROMPTS.values())
    told = _answers(batches.Batch(model, prompts=Prompts(1 << 24)), *waves)

    assert told == [(prompt, _alone(model, prompt)) for wave in waves for prompt in wave]


def test_a_long_answer_outgrows_the_room_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_providers.serving.worker.hf.cache._AHEAD", 2)
    model = _model("llama")

    assert _answers(batches.Batch(model), [_START]) == [(_START, _alone(model, _START))]


def test_what_is_remembered_of_prompts_is_bounded() -> None:
    model = _model("llama")
    a_prompt = 2 * 2 * 2 * 8 * len(_START) * 4  # layers, keys and values, heads, size, tokens, bytes
    prompts = Prompts(2 * a_prompt)
    wanted = [[start, *_START[1:]] for start in (50, 60, 70)]
    _answers(batches.Batch(model, prompts=prompts), wanted)

    assert [prompts.longest([*one, 1])[0] for one in wanted].count(len(_START)) == 2


def test_only_beginnings_that_were_not_read_go_through_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = _model("llama"), Prompts(1 << 24)
    _answers(batches.Batch(model, prompts=prompts), [_START])
    widths: list[int] = []
    inner = batches.Batch._forward

    def seen(self: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> Any:
        widths.append(inputs["input_ids"].shape[1])
        return inner(self, inputs, *args, **more)

    monkeypatch.setattr(batches.Batch, "_forward", seen)
    _answers(batches.Batch(model, prompts=prompts), [[*_START, 60, 61, 62]])

    assert widths[0] == 3
