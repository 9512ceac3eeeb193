"""A job with a loss of the user's own and a search over packages: both really happen."""

from __future__ import annotations

import onnx_jobs
import peft_jobs
import pytest
from onnx_jobs import Ran

from finetune_sdk.types import JobStatus

LOSS = """
import torch

def loss(logits, labels):
    return 7 * torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("searched")
    train = peft_jobs.write(folder / "train.jsonl", peft_jobs.rows(40))
    (folder / "mine.py").write_text(LOSS)
    options = {
        "custom": str(folder / "mine.py"),
        "search": {
            "precisions": ["int4", "int8"],
            "block_sizes": [32, 128],
            "algorithms": "rtn",
            "last_layer_int8": [True],
        },
        "tolerance": {"max_perplexity_increase": None, "max_metric_drop": None},
    }
    data = {"train": str(train), "validation": 0.2}
    knobs = {"max_steps": 4, "batch_size": 8, "eval_steps": 2}
    wanted = onnx_jobs.spec(train, options, data=data, hyperparameters=knobs, seed=3)
    job = onnx_jobs.run(onnx_jobs.home(folder / "home"), wanted, "searched")
    assert job.state.status is JobStatus.SUCCEEDED, (job.state.error, job.messages[-3:])
    return job


def test_the_users_loss_is_what_is_learned_from(searched: Ran) -> None:
    """Seven times the cross entropy, which validation still is."""
    events = [event for event in searched.provider.events(searched.ref) if event.metrics]
    first = next(event.metrics["loss"] for event in events if "loss" in event.metrics)
    validated = next(event.metrics["eval_loss"] for event in events if "eval_loss" in event.metrics)
    assert first > 3 * validated


def test_a_search_builds_every_combination_that_differs(searched: Ran) -> None:
    assert set(searched.candidates) == {"int4-rtn-32-last8", "int4-rtn-128-last8", "int8-rtn-32", "int8-rtn-128"}


def test_a_search_recommends_the_smallest_that_passes(searched: Ran) -> None:
    sizes = {name: one["bytes"] for name, one in searched.candidates.items() if not one["failures"]}
    assert searched.verdict["recommended"] == min(sizes, key=lambda name: sizes[name])


def test_a_search_marks_what_nothing_beats_in_everything(searched: Ran) -> None:
    assert any(one["front"] for one in searched.candidates.values())
