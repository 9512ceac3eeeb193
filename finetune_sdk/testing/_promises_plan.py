"""Promises before anything is sent: claims, construction, plans."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from finetune_sdk.data import prepare
from finetune_sdk.errors import DataError, SpecError, Unsupported
from finetune_sdk.provider import FEATURES, Claim, Limit, Plan, Provider, Support, demands
from finetune_sdk.redact import secret_name
from finetune_sdk.spec import DataSpec, JobSpec
from finetune_sdk.testing._variations import Variation, variations
from finetune_sdk.testing._watch import Reopen, tree

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_VERBS = {name: name for name in FEATURES if name not in ("events", "evaluate")}


class PlanPromises:
    """What holds before a job exists."""

    def test_the_name_is_a_plain_lower_case_word(self, provider: Provider) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", provider.name)

    def test_every_limit_and_every_outside_claim_says_where_and_when_it_was_read(self, provider: Provider) -> None:
        dated: dict[str, Limit | Claim] = {**provider.capabilities.limits, **_with_source(provider)}
        undated = sorted(name for name, one in dated.items() if not (one.source and _DATE.fullmatch(one.read_on)))
        assert undated == []

    def test_every_answer_between_yes_and_no_has_a_note(self, provider: Provider) -> None:
        plain = (Support.FULL, Support.UNSUPPORTED)
        claims = provider.capabilities.claims.items()
        assert sorted(name for name, claim in claims if claim.support not in plain and not claim.note) == []

    def test_every_claimed_verb_is_written_and_every_other_refuses(self, provider: Provider) -> None:
        for feature, verb in _VERBS.items():
            written = getattr(type(provider), verb) is not getattr(Provider, verb)
            claimed = bool(provider.capabilities.claim(f"feature.{feature}").support)
            assert written or not claimed, f"feature.{feature} is claimed, but `{verb}` is not written"

    def test_constructing_needs_no_credentials_and_leaves_no_trace(
        self, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if secret_name(name)]:
            monkeypatch.delenv(name)
        type(provider)(home=tmp_path)
        assert tree(tmp_path) == {}

    def test_what_is_not_claimed_is_refused_by_name_with_a_remedy(self, provider: Provider, spec: JobSpec) -> None:
        for one in variations(spec):
            refused = [demand for demand in one.added if not provider.capabilities.claim(demand).support]
            if not refused:
                continue
            with pytest.raises(Unsupported) as caught:
                provider.check(one.spec)
            assert f"[{provider.name}]" in str(caught.value)
            assert refused[0].partition("=")[0].rpartition(".")[2] in str(caught.value), one.about
            assert caught.value.remedy.strip(), one.about

    def test_what_is_claimed_is_planned(self, provider: Provider, spec: JobSpec) -> None:
        for one in variations(spec):
            if _claimed(provider, one, in_full=True):
                provider.check(one.spec)
                _plan_unless_the_data_refuse(provider, one.spec)

    def test_no_claimed_knob_is_ignored(self, provider: Provider, spec: JobSpec) -> None:
        requests: dict[str, list[str]] = defaultdict(list)
        for one in variations(spec):
            plan = _plan_unless_the_data_refuse(provider, one.spec) if _claimed(provider, one) else None
            if plan is not None:
                requests[one.about].append(_as_json(plan.request))
        alike = sorted(about for about, texts in requests.items() if len(set(texts)) < len(texts))
        assert alike == [], "these were set to two values and planned the same request"

    def test_a_plan_is_the_same_twice_and_from_a_new_object(
        self, provider: Provider, reopen: Reopen, spec: JobSpec
    ) -> None:
        assert provider.plan(spec) == provider.plan(spec) == reopen().plan(spec)

    def test_planning_writes_nothing(self, provider: Provider, spec: JobSpec) -> None:
        before = tree(provider.home)
        provider.plan(spec)
        assert tree(provider.home) == before

    def test_a_plan_is_json_and_names_its_provider_and_data(self, provider: Provider, spec: JobSpec) -> None:
        plan = provider.plan(spec)
        assert json.loads(_as_json(msgspec.to_builtins(plan)))["provider"] == provider.name
        assert plan.request
        assert all(file.rows > 0 and file.sha256 for file in plan.data)
        assert plan.data

    def test_the_rows_are_read_as_everywhere_else(self, provider: Provider, spec: JobSpec) -> None:
        common = prepare(spec.data, method=spec.method.kind).files
        assert {file.role: (file.rows, file.sha256) for file in provider.plan(spec).data} == {
            file.role: (file.rows, file.sha256) for file in common
        }

    def test_the_spec_of_the_suite_plans_without_errors(self, provider: Provider, spec: JobSpec) -> None:
        assert provider.plan(spec).errors == ()

    def test_an_unknown_option_of_its_own_is_refused_by_name(self, provider: Provider, spec: JobSpec) -> None:
        options = {**spec.options.get(provider.name, {}), "no_such_option": 1}
        with pytest.raises(SpecError, match="no_such_option"):
            provider.plan(spec.model_copy(update={"options": {provider.name: options}}))

    def test_a_missing_data_file_is_named_before_anything_is_sent(
        self, provider: Provider, spec: JobSpec, tmp_path: Path
    ) -> None:
        data = DataSpec(train=str(tmp_path / "nowhere.jsonl"))
        with pytest.raises((DataError, SpecError), match=r"nowhere\.jsonl"):
            _raise_errors(provider.plan(spec.model_copy(update={"data": data})))


def _with_source(provider: Provider) -> dict[str, Claim]:
    return {name: claim for name, claim in provider.capabilities.claims.items() if claim.source}


def _claimed(provider: Provider, one: Variation, *, in_full: bool = False) -> bool:
    supports = [provider.capabilities.claim(demand).support for demand in one.added]
    return all(one is Support.FULL for one in supports) if in_full else all(supports)


def _plan_unless_the_data_refuse(provider: Provider, spec: JobSpec) -> Plan | None:
    """The data of the suite fit one method only, and a machine may lack what a claim in part needs."""
    try:
        return provider.plan(spec)
    except Unsupported:
        if all(provider.capabilities.claim(demand).support is Support.FULL for demand in demands(spec)):
            raise
        return None
    except (DataError, SpecError):
        return None


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _raise_errors(plan: Plan) -> None:
    if plan.errors:
        raise DataError("; ".join(str(finding) for finding in plan.errors))
