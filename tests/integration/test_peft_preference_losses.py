# pyright: basic
"""The losses of preference learning are TRL's: same models, same token ids, same numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft_inside
import pytest
import toy_data

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL warns about itself

LOSSES = ("sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down")
BETA = 0.3


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A policy and a reference that differ, a tokenizer, and 12 pairs of strings."""
    import torch  # noqa: PLC0415 - slow to load
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    ctx, _ = peft_inside.train(
        tmp_path_factory.mktemp("home"), toy_data.pairs(16), method="dpo", hyperparameters={"max_steps": 1}
    )
    policy = AutoModelForCausalLM.from_pretrained(ctx.dir / "base", dtype=torch.float32)
    reference = copy.deepcopy(policy)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    rows = [
        {"prompt": f"say {i}: ", "chosen": f"yes, {i} please", "rejected": f"no, never {i}" + "!" * (i % 3)}
        for i in range(12)
    ]
    tokenizer = AutoTokenizer.from_pretrained(ctx.dir / "base")
    return SimpleNamespace(policy=policy, reference=reference, tokenizer=tokenizer, rows=rows, folder=ctx.dir)


def _sums(bench: Any, model: Any, pairs: list[tuple[str, str]]) -> tuple[Any, Any]:
    """Our log-probabilities and counts of the second texts after the first ones."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from finetune_providers.peft.worker.collate import Collator  # noqa: PLC0415
    from finetune_providers.peft.worker.completions import log_probs  # noqa: PLC0415
    from finetune_providers.peft.worker.loss import CompactHead  # noqa: PLC0415

    samples: list[dict[str, Any]] = []
    for prompt, answer in pairs:
        before = bench.tokenizer(prompt)["input_ids"]
        whole = bench.tokenizer(prompt + answer + bench.tokenizer.eos_token)["input_ids"]
        assert whole[: len(before)] == before, "the comparison needs prompts that end on a token's border"
        weights = np.asarray([0.0] * len(before) + [1.0] * (len(whole) - len(before)), np.float32)
        samples.append({"ids": whole, "weights": weights})
    head = CompactHead(model)
    with torch.no_grad():
        found = log_probs(model, head, Collator(bench.tokenizer.pad_token_id)(samples))
    head.remove()
    return found


def _arguments(folder: Path, **more: Any) -> dict[str, Any]:
    sizes = {"per_device_train_batch_size": 12, "per_device_eval_batch_size": 12}
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False}
    return {"output_dir": str(folder / "trl"), "beta": BETA, **sizes, **quiet, **more}


@pytest.fixture(scope="module")
def trl_dpo(bench: SimpleNamespace) -> Any:
    from datasets import Dataset  # noqa: PLC0415 - slow to load
    from trl.trainer.dpo_config import DPOConfig  # noqa: PLC0415
    from trl.trainer.dpo_trainer import DPOTrainer  # noqa: PLC0415

    data = Dataset.from_list(bench.rows)
    return DPOTrainer(
        model=copy.deepcopy(bench.policy),
        ref_model=copy.deepcopy(bench.reference),
        args=DPOConfig(**_arguments(bench.folder)),
        train_dataset=data,
        eval_dataset=data,
        processing_class=bench.tokenizer,
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_dpo_loss_is_trls(name: str, bench: SimpleNamespace, trl_dpo: Any) -> None:
    from finetune_providers.peft.worker import losses  # noqa: PLC0415 - loads torch

    smoothing = 0.1 if name == "robust" else 0.0
    trl_dpo.loss_types, trl_dpo.label_smoothing = [name], smoothing
    theirs = trl_dpo.evaluate()

    pairs = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in bench.rows]
    (policy, counts), (reference, _) = (_sums(bench, model, pairs) for model in (bench.policy, bench.reference))
    ratios = losses.Ratios(*(policy - reference).chunk(2), *counts.chunk(2))
    ours = losses.dpo(name, ratios, beta=BETA, smoothing=smoothing).mean().item()

    assert ours == pytest.approx(theirs["eval_loss"], rel=1e-4, abs=1e-5)
    margin = BETA * (ratios.chosen - ratios.rejected).mean().item()
    assert margin == pytest.approx(theirs["eval_rewards/margins"], rel=1e-4, abs=1e-5)


def test_the_kto_loss_and_its_kl_are_trls(bench: SimpleNamespace) -> None:
    import torch  # noqa: PLC0415 - slow to load
    from datasets import Dataset  # noqa: PLC0415
    from finetune_providers.peft.worker import losses  # noqa: PLC0415
    from trl.trainer.kto_config import KTOConfig  # noqa: PLC0415
    from trl.trainer.kto_trainer import KTOTrainer  # noqa: PLC0415

    sides = ["chosen" if i % 3 else "rejected" for i in range(12)]
    answers = [row[side] for row, side in zip(bench.rows, sides, strict=True)]
    prompts = [row["prompt"] for row in bench.rows]
    labels = [side == "chosen" for side in sides]
    rows = [{"prompt": p, "completion": a, "label": g} for p, a, g in zip(prompts, answers, labels, strict=True)]
    trainer = KTOTrainer(
        model=copy.deepcopy(bench.policy),
        ref_model=copy.deepcopy(bench.reference),
        args=KTOConfig(**_arguments(bench.folder, undesirable_weight=1.5, train_sampling_strategy="sequential")),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        processing_class=bench.tokenizer,
    )
    theirs = trainer.evaluate()

    own = list(zip(prompts, answers, strict=True))
    partners = list(zip(prompts, [answers[-1], *answers[:-1]], strict=True))
    ratio, apart = (
        _sums(bench, bench.policy, texts)[0] - _sums(bench, bench.reference, texts)[0] for texts in (own, partners)
    )
    good, kl = torch.tensor(labels), apart.mean().clamp(min=0)
    weight = torch.where(good, 1.0, 1.5)
    ours = (weight * losses.kto(ratio, good, kl, beta=BETA)).mean().item()

    assert kl.item() == pytest.approx(theirs["eval_kl"], rel=1e-4, abs=1e-5)
    assert ours == pytest.approx(theirs["eval_loss"], rel=1e-4)


def test_the_odds_ratio_term_is_trls() -> None:
    import torch  # noqa: PLC0415 - slow to load
    from finetune_providers.peft.worker import losses  # noqa: PLC0415
    from trl.experimental.orpo import ORPOTrainer  # noqa: PLC0415

    chosen: Any
    rejected: Any
    chosen, rejected = -torch.rand(64) * 5 - 1e-3, -torch.rand(64) * 5 - 1e-3
    stand_in: Any = SimpleNamespace(beta=BETA, accelerator=SimpleNamespace(device="cpu"))
    theirs = ORPOTrainer.odds_ratio_loss(stand_in, chosen, rejected)[0]

    assert torch.allclose(-BETA * losses.odds_ratio(chosen, rejected), theirs, atol=1e-5)
