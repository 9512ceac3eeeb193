"""The dry run of the hosted providers: options, retirement dates, prices, tables. No request leaves."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.provider import AzureProvider
from finetune_providers.openai.connection import Connection, dereference
from finetune_providers.openai.models import Ends, ends_of, load, retirement
from finetune_providers.openai.provider import OpenAIProvider
from wire import stub
from wire.helpers import MODEL, chat_rows, job_spec, write

from finetune_sdk.errors import AuthFailed, BudgetExceeded, PermissionRefused, SpecError, Unsupported
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import standing_in
from finetune_sdk.spec import JobSpec

VENDOR = "https://api.openai.com/v1"
TODAY = date(2026, 11, 20)


class Dated(OpenAIProvider):
    """On a day of the tests' choice."""

    day = TODAY

    def today(self) -> date:
        return self.day


class DatedAzure(AzureProvider):
    """On a day of the tests' choice."""

    def today(self) -> date:
        return TODAY


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def provider(tmp_path: Path) -> Dated:
    return Dated(home=tmp_path / "home")


def spec_for(folder: Path, model: str = MODEL, url: str = VENDOR, **parts: Any) -> JobSpec:
    return job_spec(folder, url, **parts).model_copy(update={"model": model})


def azure_spec(folder: Path, model: str = MODEL, kind: str = "sft", **options: Any) -> JobSpec:
    base = job_spec(folder, "", provider="azure", kind=kind)
    where = {"endpoint": "https://acct.openai.azure.com", **options}
    return base.model_copy(update={"options": {"azure": where}, "model": model})


@pytest.mark.parametrize(
    ("given", "named"),
    [({"base_ulr": "x"}, "base_url"), ({"wandb": {"projct": "x"}}, "project"), ({"sever": "x"}, "server")],
    ids=str,
)
def test_a_wrong_option_names_the_nearest_right_one(
    provider: Dated, tmp_path: Path, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(SpecError, match=f"did you mean `{named}`"):
        provider.plan(spec_for(tmp_path, options=given))


def test_an_unknown_kind_of_server_lists_the_known_ones(provider: Dated, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="litellm"):
        provider.plan(spec_for(tmp_path, options={"server": "litelm"}))


@pytest.mark.parametrize(
    ("day", "severity"), [(date(2026, 8, 1), None), (TODAY, "warning"), (date(2027, 1, 14), "error")], ids=str
)
def test_a_doomed_base_model_warns_and_a_dead_one_is_refused(
    provider: Dated, tmp_path: Path, day: date, severity: str | None
) -> None:
    provider.day = day
    found = [one.severity for one in provider.plan(spec_for(tmp_path)).findings if one.rule == "base-model-ends"]
    assert (found[0] if found else None) == severity


def test_what_the_vendor_says_wins_over_the_table() -> None:
    models = load(OpenAIProvider.models_file)
    vendor = Ends(model=date(2026, 11, 1))
    found = retirement(models, MODEL, today=TODAY, ways_out="", vendor=vendor)
    assert [(one.severity, "vendor's API" in one.message) for one in found] == [("error", True)]


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ({"shutdown_date": "2027-01-14"}, Ends(model=date(2027, 1, 14))),
        ({"shutdown_date": None}, Ends()),
        ({"shutdown_date": "soon"}, Ends()),
        (
            {"deprecation": {"fine_tune": 1798761600, "inference": 1814400000}},
            Ends(model=date(2027, 7, 1), training=date(2027, 1, 1)),
        ),
        ({}, Ends()),
    ],
    ids=str,
)
def test_both_vendors_ways_to_state_an_end_are_read(answer: dict[str, Any], ends: Ends) -> None:
    assert ends_of(answer) == ends


def test_a_snapshot_and_a_tuned_model_have_the_row_of_their_base() -> None:
    models = load(OpenAIProvider.models_file)
    names = ["gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "ft:gpt-4.1-mini-2025-04-14:org:x:1"]
    assert [models.find(name).id for name in names] == ["gpt-4.1-mini"] * 3


def test_an_unknown_model_is_known_to_be_unknown() -> None:
    row = load(OpenAIProvider.models_file).find("gpt-99")
    assert (row.methods, row.ends, row.usd_per_million_tokens) == (None, None, None)


def test_a_method_the_model_lacks_is_refused_by_name(provider: Dated, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"method\.sft.*o4-mini"):
        provider.plan(spec_for(tmp_path, model="o4-mini"))


def test_a_learning_rate_is_not_a_multiplier(provider: Dated, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="learning_rate_multiplier"):
        provider.plan(spec_for(tmp_path, hyperparameters={"learning_rate": 1e-4}))


def test_an_unknown_price_is_unknown_and_not_free(provider: Dated, tmp_path: Path) -> None:
    cost = provider.plan(spec_for(tmp_path)).cost
    assert (cost.usd, "no price is known" in cost.basis) == (None, True)


def test_a_known_price_is_tokens_times_epochs_times_price(provider: Dated, tmp_path: Path) -> None:
    cost = provider.plan(spec_for(tmp_path, model="gpt-4o-mini", hyperparameters={"epochs": 2})).cost
    assert cost.tokens is not None
    assert (cost.usd, cost.tokens_exact) == (pytest.approx(cost.tokens * 3.0 / 1e6), True)


def test_the_user_can_edit_the_prices(provider: Dated, tmp_path: Path) -> None:
    provider.home.mkdir()
    (provider.home / "openai-models.toml").write_text('[[model]]\nid = "gpt-4.1-mini"\nusd_per_million_tokens = 5.0\n')
    cost = provider.plan(spec_for(tmp_path)).cost
    assert (cost.usd is not None, "openai-models.toml" in cost.basis) == (True, True)


@pytest.mark.parametrize("text", ["[[model]]\nends = 1\n", "[[model]\n", '[[model]]\nid = "x"\nprice = 1\n'], ids=repr)
def test_a_broken_price_table_is_named(provider: Dated, tmp_path: Path, text: str) -> None:
    provider.home.mkdir()
    (provider.home / "openai-models.toml").write_text(text)
    with pytest.raises(SpecError, match=r"openai-models\.toml"):
        provider.plan(spec_for(tmp_path))


@pytest.mark.parametrize("price", [None, 1000.0], ids=["unknown", "too high"])
def test_a_budget_is_kept_before_anything_is_sent(provider: Dated, tmp_path: Path, price: float | None) -> None:
    options = {} if price is None else {"price_per_million_tokens": price}
    spec = spec_for(tmp_path, url="http://127.0.0.1:1/v1", options=options, budget={"max_cost_usd": 0.01})
    with standing_in("openai", lambda home: Dated(home=home)), pytest.raises(BudgetExceeded):
        FineTuneJob.submit(spec, home=provider.home)


def test_without_a_key_nothing_is_sent_and_the_variable_is_named(provider: Dated, tmp_path: Path) -> None:
    plan = provider.plan(spec_for(tmp_path))
    with pytest.raises(AuthFailed, match="OPENAI_API_KEY") as caught:
        provider.submit(plan, key="ft-1")
    assert caught.value.sent is False


def test_too_few_rows_are_an_error_before_anything_is_sent(provider: Dated, tmp_path: Path) -> None:
    spec = spec_for(tmp_path)
    few = {"train": write(tmp_path / "few.jsonl", chat_rows(3))}
    plan = provider.plan(spec.model_copy(update={"data": spec.data.model_copy(update=few)}))
    assert "rows-too-few" in {one.rule for one in plan.errors}


def test_a_grader_that_asks_for_a_missing_field_is_found_in_the_row(provider: Dated, tmp_path: Path) -> None:
    grader = {"type": "string_check", "reference": "{{item.solution}}"}
    spec = spec_for(tmp_path, model="a", url="http://127.0.0.1:1/v1", kind="rft", method={"grader": grader})
    assert "grader-item-missing" in [one.rule for one in provider.plan(spec).errors]


def test_reinforcement_needs_validation_rows(provider: Dated, tmp_path: Path) -> None:
    spec = spec_for(tmp_path, model="a", url="http://127.0.0.1:1/v1", kind="rft")
    plan = provider.plan(spec.model_copy(update={"data": spec.data.model_copy(update={"validation": None})}))
    assert "rft-needs-validation" in [one.rule for one in plan.errors]


@pytest.mark.parametrize("source", ["x = 1", "def grade(sample, item):\n    return 1.0\n" + "#" * 262_145], ids=len)
def test_a_python_grader_the_vendor_would_refuse_is_refused(provider: Dated, tmp_path: Path, source: str) -> None:
    method = {"grader": {"type": "python", "source": source}}
    with pytest.raises(SpecError, match=r"method\.grader"):
        provider.plan(spec_for(tmp_path, model="a", url="http://127.0.0.1:1/v1", kind="rft", method=method))


def test_a_missing_extra_names_the_command(provider: Dated, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['openai'] = None; sys.modules['httpx2'] = None\n"
        "from pathlib import Path\n"
        "from finetune_providers.openai.provider import OpenAIProvider\n"
        f"OpenAIProvider(home=Path({str(tmp_path)!r})).poll('ftjob-1')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "finetune-sdk[openai]"' in done.stderr


def test_importing_a_provider_imports_no_vendor_sdk() -> None:
    code = (
        "import sys, finetune_providers.openai.provider, finetune_providers.azure.provider\n"
        "print([one for one in ('openai', 'azure', 'httpx2') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- references


@pytest.mark.parametrize(
    "connection",
    [
        Connection(url=VENDOR, wire="openai", api_key_env="OPENAI_API_KEY"),
        Connection(url="http://127.0.0.1:1/v1", wire="compatible", api_key_env="OPENAI_API_KEY"),
        Connection(url="https://x/a/b", wire="litellm", api_key_env="OTHER", organization="org", project="p 1"),
        Connection(url="https://x", wire="v1", api_key_env="K", settings=(("account", "a&b"), ("sku", "Standard"))),
    ],
    ids=lambda one: one.url,
)
def test_a_reference_leads_back_to_its_server(connection: Connection) -> None:
    default = Connection(url=VENDOR, wire="openai", api_key_env="OPENAI_API_KEY")
    text = connection.reference("ft:gpt:org:x:1", default=default)
    assert dereference(text, default=default) == (connection, "ft:gpt:org:x:1")


def test_the_vendors_own_jobs_have_bare_references() -> None:
    default = Connection(url=VENDOR, wire="openai", api_key_env="OPENAI_API_KEY")
    assert default.reference("ftjob-1", default=default) == "ftjob-1"


# --- azure


def test_azure_without_an_endpoint_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="AZURE_OPENAI_ENDPOINT"):
        DatedAzure(home=tmp_path).plan(azure_spec(tmp_path, endpoint=None))


def test_an_endpoint_pasted_with_a_path_is_understood(tmp_path: Path) -> None:
    plan = DatedAzure(home=tmp_path).plan(azure_spec(tmp_path, endpoint="https://acct.openai.azure.com/openai/v1/"))
    assert "https://acct.openai.azure.com " in plan.notes[0]


@pytest.mark.parametrize("chosen", ["GlobalStandard", "globalstandard", "developerTier", "SomethingNew"])
def test_the_training_type_is_sent_verbatim(tmp_path: Path, chosen: str) -> None:
    create: Any = DatedAzure(home=tmp_path).plan(azure_spec(tmp_path, training_type=chosen)).request["create"]
    assert create["trainingType"] == chosen


def test_the_dated_generation_refuses_what_it_has_not(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"method\.dpo.*2024-10-21"):
        DatedAzure(home=tmp_path).plan(azure_spec(tmp_path, kind="dpo", api="2024-10-21"))


def test_the_price_of_hosting_is_shown_before_anything_is_deployed(tmp_path: Path) -> None:
    notes = " ".join(DatedAzure(home=tmp_path).plan(azure_spec(tmp_path)).notes)
    assert ("1.70 USD per hour" in notes, "15 days" in notes) == (True, True)


def test_a_retired_base_model_that_can_still_be_tuned_says_for_whom(tmp_path: Path) -> None:
    findings = DatedAzure(home=tmp_path).plan(azure_spec(tmp_path)).findings
    assert ["existing customers" in one.message for one in findings] == [True]


# --- the base model, as the vendor knows it


def test_a_base_model_that_the_api_calls_dead_stops_before_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    service = stub.Service(dialect=stub.DIALECTS["azure-v1"])
    with stub.serving(service) as running:
        provider = DatedAzure(home=tmp_path / "home")
        plan = provider.plan(azure_spec(tmp_path, endpoint=f"http://127.0.0.1:{running.port}"))
        service.shutdown = {MODEL: "2026-11-01"}
        with pytest.raises(PermissionRefused, match="2026-11-01"):
            provider.submit(plan, key="ft-1")
    assert service.files == {}


def test_a_base_model_this_account_does_not_see_is_an_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    service = stub.Service(dialect=stub.DIALECTS["azure-v1"], hidden_models=frozenset({MODEL}))
    with stub.serving(service) as running:
        spec = azure_spec(tmp_path, endpoint=f"http://127.0.0.1:{running.port}")
        assert [one.rule for one in DatedAzure(home=tmp_path).plan(spec).errors] == ["base-model"]
