"""Which packages pass, which is recommended, what is searched, what fits on the disk: pure functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finetune_providers.onnx import map as mapping
from finetune_providers.onnx.options import OnnxOptions, Tolerance, parse
from finetune_providers.onnx.worker import room, verdict

from finetune_sdk.errors import SpecError

REFERENCE: dict[str, Any] = {
    "bytes": 400,
    "peak_memory_bytes": 700,
    "tokens_per_s_1": 10.0,
    "perplexity": 2.0,
    "exact_match": 0.9,
    "metrics": {"f1": 0.8},
}


def figures(**changes: Any) -> dict[str, Any]:
    usual = {
        **REFERENCE,
        "bytes": 100,
        "kl": 0.001,
        "logits_max_diff": 0.2,
        "greedy_agreement": 0.95,
        "first_token_agreement": 1.0,
        "finite": True,
    }
    return {**usual, **changes}


def broken(tolerance: dict[str, Any], **changes: Any) -> list[str]:
    return verdict.failures(REFERENCE, figures(**changes), Tolerance.model_validate(tolerance).model_dump())


def test_what_keeps_every_limit_passes() -> None:
    assert broken({}) == []


@pytest.mark.parametrize(
    ("tolerance", "changes"),
    [
        ({"max_logits_diff": 0.1}, {}),
        ({"max_kl": 0.0001}, {}),
        ({"min_greedy_agreement": 0.99}, {}),
        ({"min_first_token_agreement": 1.0}, {"first_token_agreement": 0.9}),
        ({}, {"perplexity": 2.3}),
        ({}, {"exact_match": 0.8}),
        ({"metrics": {"f1": 0.01}}, {"metrics": {"f1": 0.7}}),
        ({"max_bytes_ratio": 0.2}, {}),
        ({"max_memory_ratio": 0.5}, {}),
        ({"min_speedup": 2.0}, {}),
    ],
)
def test_each_limit_fails_what_breaks_it(tolerance: dict[str, Any], changes: dict[str, Any]) -> None:
    assert len(broken(tolerance, **changes)) == 1


def test_logits_that_are_no_numbers_fail_whatever_the_tolerance() -> None:
    assert broken({"max_perplexity_increase": None, "max_metric_drop": None}, finite=False)


def test_a_package_that_another_beats_in_everything_is_not_on_the_front() -> None:
    good, worse = figures(), figures(bytes=200, kl=0.1, tokens_per_s_1=5.0)
    assert verdict.front({"good": good, "worse": worse}) == {"good"}


def test_the_smallest_is_recommended_and_the_closer_among_equals() -> None:
    found = {"big": figures(bytes=300), "far": figures(kl=0.5), "near": figures()}
    assert verdict.recommended(found) == "near"


def test_nothing_passing_means_nothing_recommended() -> None:
    assert verdict.recommended({}) is None


def test_auto_tries_int4_then_int8_then_fp32() -> None:
    policy, found = mapping.candidates(OnnxOptions(), "causal", 0)
    assert (policy, [one.name for one in found]) == ("ladder", ["int4", "int8", "fp32"])


def test_int4_is_k_quant_with_its_last_product_in_int8() -> None:
    _, found = mapping.candidates(OnnxOptions(), "causal", 0)
    assert found[0].extra["algo_config"] == "k_quant"
    assert found[0].extra["matmul_mixed_precision"] == "last_matmul:int8"


def test_a_search_has_an_order_that_its_seed_repeats() -> None:
    options = parse({"search": {"precisions": ["int4", "int8", "fp32"]}})
    names = [[one.name for one in mapping.candidates(options, "causal", seed)[1]] for seed in (1, 1, 2)]
    assert names[0] == names[1]
    assert names[0] != names[2]
    assert sorted(names[0]) == sorted(names[2])


def test_an_unknown_option_is_named_with_its_neighbour() -> None:
    with pytest.raises(SpecError, match="Did you mean 'min_greedy_agreement'"):
        parse({"tolerance": {"min_greedy_agrement": 1}})


class Context:
    """As much of the runner's as the check of the disk uses."""

    class Failed(Exception):
        """A failure with a reason."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder


def test_an_export_that_will_not_fit_on_the_disk_is_refused_with_the_figures(tmp_path: Path) -> None:
    need = room.needed(4_000_000_000, ["int4", "fp32"], merges=True)
    with pytest.raises(Context.Failed, match=r"needs about 14\.\d\d GB.*1\.00 GB are free"):
        room.check(Context(tmp_path), need, free=1_000_000_000)  # pyright: ignore[reportArgumentType]
