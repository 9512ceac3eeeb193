# pyright: basic
"""A prompt that is read in pieces is told as one that is read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import served_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served_models.once(tmp_path_factory.getbasetemp())


def heard(model: Any) -> list[list[float]]:
    """What rows of different lengths note of their prompts."""
    from finetune_providers.serving.worker.choosing import Taste  # noqa: PLC0415 - torch
    from finetune_providers.serving.worker.hf.batch import Batch  # noqa: PLC0415
    from finetune_providers.serving.worker.rows import Row  # noqa: PLC0415
    from finetune_providers.serving.worker.speech import Speech  # noqa: PLC0415

    rows = [
        Row(
            id=str(length),
            index=0,
            model="m",
            prompt=list(range(5, 5 + length)),
            limit=0,
            ends=frozenset(),
            taste=Taste(logprobs=2),
            speech=Speech(str),
            echo=True,
        )
        for length in (1, 2, 9, 30)
    ]
    Batch(model).join(rows)
    return [[one["logprob"] for one in row.heard] for row in rows]


def test_a_prompt_read_in_pieces_is_told_as_one_read_at_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: PLC0415 - slow to load
    from finetune_providers.serving.worker.hf import echo  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model: Any = AutoModelForCausalLM.from_pretrained(models / "base")
    with torch.inference_mode():
        at_once = heard(model.eval())
        monkeypatch.setattr(echo, "_NUMBERS", 7 * 4 * model.config.vocab_size)
        in_pieces = heard(model)

    assert [len(one) for one in at_once] == [0, 1, 8, 29]
    for one, other in zip(at_once, in_pieces, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
