"""The contract's own logic: demands, claims, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import fake_spec

from finetune_sdk.errors import Unsupported
from finetune_sdk.provider import YES, Capabilities, Claim, Plan, Support, demands
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import Finding, JobState, JobStatus


def spec(**parts: object) -> JobSpec:
    return JobSpec.model_validate({**fake_spec(Path("/d")).model_dump(mode="json"), **parts})


def test_a_plain_spec_demands_its_method_only() -> None:
    assert demands(spec()) == ["method.sft"]


@pytest.mark.parametrize(
    ("parts", "demand"),
    [
        ({"method": {"kind": "dpo", "beta": 0.2}}, "method.dpo.beta"),
        ({"adapter": {"kind": "lora", "quantize": "4bit"}}, "adapter.lora.quantize=4bit"),
        ({"hyperparameters": {"packing": False}}, "hyperparameters.packing"),
        ({"data": {"train": "/d", "validation": 0.5}}, "data.validation"),
        ({"seed": 0}, "seed"),
        ({"report_to": ["wandb"]}, "report_to=wandb"),
        ({"budget": {"max_hours": 2}}, "budget.max_hours"),
        ({"compute": {"processes": 2}}, "compute.processes"),
    ],
)
def test_what_differs_from_the_default_is_a_demand(parts: dict[str, object], demand: str) -> None:
    assert demand in demands(spec(**parts))


def test_auto_demands_nothing() -> None:
    assert demands(spec(hyperparameters={"epochs": "auto"})) == ["method.sft"]


def test_a_claim_for_a_value_wins_over_the_bare_one() -> None:
    partly = Claim(Support.PARTIAL, "on x86")
    capabilities = Capabilities(claims={"adapter.lora.quantize": YES, "adapter.lora.quantize=4bit": partly})

    assert capabilities.claim("adapter.lora.quantize=4bit") is partly
    assert capabilities.claim("adapter.lora.quantize=8bit") is YES


def test_what_nobody_claimed_is_unsupported() -> None:
    assert Capabilities().claim("method.sft").support is Support.UNSUPPORTED


@pytest.mark.parametrize(("support", "go"), [(Support.FULL, True), (Support.PARTIAL, True), (Support.UNKNOWN, False)])
def test_only_full_and_partial_mean_go_ahead(support: Support, go: bool) -> None:
    assert bool(support) is go


def test_a_refusal_names_everything_refused_with_its_note(tmp_path: Path) -> None:
    wanted = spec(method={"kind": "dpo"}, hyperparameters={"packing": True})

    with pytest.raises(Unsupported) as caught:
        FakeProvider(home=tmp_path).check(wanted)
    assert all(
        text in str(caught.value) for text in ("method.dpo", "nobody needed it", "hyperparameters.packing", "sft")
    )


def test_only_error_findings_forbid_submission() -> None:
    findings = tuple(Finding(rule="r", severity=level, message=level) for level in ("error", "warning", "info"))

    assert Plan(provider="p", request={}, findings=findings).errors == findings[:1]


@pytest.mark.parametrize(("word", "known"), [("queued", True), ("frobbing", False)])
def test_a_status_word_is_read_from_a_table_and_never_raises(word: str, known: bool) -> None:
    state = JobState.from_word(word, {"queued": JobStatus.QUEUED})

    assert (state.known, state.raw_status) == (known, word)
