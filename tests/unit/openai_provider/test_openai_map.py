"""Translation between the SDK's nouns and the wire's JSON, as tables."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest
from finetune_providers.azure.map import DATED, V1
from finetune_providers.openai import map as wire_map
from finetune_providers.openai.options import JobOptions
from finetune_providers.openai.rules import OPENAI_RULES
from finetune_providers.openai.wire import OPENAI, WIRES, Wire
from wire import contract
from wire.helpers import job_spec

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus


def body(spec: JobSpec, wire: Wire = OPENAI) -> dict[str, Any]:
    return wire_map.create_body(spec, JobOptions(), wire, OPENAI_RULES, "openai")


def job(**fields: Any) -> dict[str, Any]:
    return {"id": "ftjob-1", "status": "running", **fields}


@pytest.mark.parametrize(
    ("wire", "word", "status"),
    [
        (OPENAI, "validating_files", JobStatus.VALIDATING),
        (OPENAI, "queued", JobStatus.QUEUED),
        (OPENAI, "running", JobStatus.RUNNING),
        (OPENAI, "pausing", JobStatus.RUNNING),
        (OPENAI, "paused", JobStatus.PAUSED),
        (OPENAI, "failed", JobStatus.FAILED),
        (OPENAI, "cancelled", JobStatus.CANCELLED),
        (V1, "paused", JobStatus.PAUSED),
        (DATED, "created", JobStatus.QUEUED),
        (DATED, "pending", JobStatus.QUEUED),
        (DATED, "notRunning", JobStatus.QUEUED),
        (DATED, "running", JobStatus.RUNNING),
    ],
)
def test_every_word_of_every_generation_has_a_status(wire: Wire, word: str, status: JobStatus) -> None:
    assert wire_map.job_state(job(status=word), wire).status is status


def test_a_new_word_is_kept_and_marked_as_unknown() -> None:
    state = wire_map.job_state(job(status="quantizing"), OPENAI)
    assert (state.known, state.raw_status, state.status) == (False, "quantizing", JobStatus.RUNNING)


def test_a_succeeded_job_without_its_models_name_is_not_over_yet() -> None:
    assert wire_map.job_state(job(status="succeeded", fine_tuned_model=None), OPENAI).status is JobStatus.RUNNING


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"code": "c", "message": "bad rows", "param": "training_file"}, "bad rows [c, training_file]"),
        ({"code": None, "message": None, "param": None}, "the vendor gave no reason"),
        ({}, "the vendor gave no reason"),
        (None, "the vendor gave no reason"),
    ],
)
def test_a_failure_always_has_words(error: Any, text: str) -> None:
    assert wire_map.job_state(job(status="failed", error=error), OPENAI).error == text


def test_empty_error_objects_of_healthy_jobs_mean_nothing() -> None:
    assert wire_map.job_state(job(error={"code": None, "message": None, "param": None}), OPENAI).error is None


@pytest.mark.skipif(not contract.available(), reason=contract.WHY_SKIPPED)
def test_every_job_and_event_in_the_vendors_own_examples_is_understood() -> None:
    text = (contract.SPECS / "openai_finetuning.doc_examples.json").read_text("utf-8")
    jobs: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for one in _objects(json.loads(text)):
        kind = one.get("object")
        jobs += [one] if kind == "fine_tuning.job" else []
        events += [one] if kind == "fine_tuning.job.event" else []
    assert all(wire_map.job_state(one, OPENAI).known for one in jobs)
    assert all(wire_map.event(one).cursor for one in events)
    assert (len(jobs) > 5, len(events) > 1) == (True, True)


def _objects(value: Any) -> list[dict[str, Any]]:
    """Every object in the examples, which are JSON in strings, some of it broken."""
    if isinstance(value, str):
        try:
            return _objects(json.loads(value)) if value.lstrip().startswith(("{", "[")) else []
        except ValueError:
            return []
    if isinstance(value, list):
        return [found for one in cast("list[Any]", value) for found in _objects(one)]
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return [known, *(found for one in known.values() for found in _objects(one))]
    return []


def test_numbers_in_an_events_text_become_metrics() -> None:
    event = wire_map.event(
        {"id": "e", "created_at": 1, "message": "Step 131/303: training loss=0.25, validation loss=0.37", "data": None}
    )
    assert (event.step, event.metrics) == (131, {"total_steps": 303.0, "loss": 0.25, "eval_loss": 0.37})


def test_an_event_without_an_id_has_a_cursor_of_its_own() -> None:
    first, second = ({"created_at": 1, "message": text} for text in ("a", "b"))
    assert wire_map.event(first).cursor != wire_map.event(second).cursor


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "base64"])
def test_result_files_are_read_plain_and_wrapped(wrapped: bool) -> None:
    content = b"step,train_loss,valid_loss,valid_mean_token_accuracy\n1,2.0,2.5,\n2,1.0,,0.7\n"
    metrics = wire_map.result_metrics(base64.b64encode(content) if wrapped else content)
    assert metrics == {"train_loss": 1.0, "eval_loss": 2.5, "valid_mean_token_accuracy": 0.7}


def test_left_open_knobs_are_left_out(tmp_path: Any) -> None:
    assert body(job_spec(tmp_path, "http://x"))["method"] == {"type": "supervised", "supervised": {}}


def test_every_knob_arrives_under_its_wire_name(tmp_path: Any) -> None:
    knobs = {"epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5}
    sent = body(job_spec(tmp_path, "http://x", kind="dpo", hyperparameters=knobs, method={"beta": 0.1}))
    expected = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5, "beta": 0.1}
    assert sent["method"] == {"type": "dpo", "dpo": {"hyperparameters": expected}}


def test_reinforcement_sends_its_knobs_and_grader(tmp_path: Any) -> None:
    method = {"reasoning_effort": "low", "compute_multiplier": 2, "eval_interval": 5, "eval_samples": 3}
    part = body(job_spec(tmp_path, "http://x", kind="rft", method=method))["method"]["reinforcement"]
    assert (part["hyperparameters"], part["grader"]["type"]) == (method, "string_check")


def test_the_dated_azure_generation_takes_hyperparameters_at_the_top(tmp_path: Any) -> None:
    sent = body(job_spec(tmp_path, "http://x", hyperparameters={"epochs": 2}), DATED)
    assert ("method" in sent, sent["hyperparameters"], "metadata" in sent) == (False, {"n_epochs": 2}, False)


def test_the_token_travels_in_the_suffix_and_in_the_metadata(tmp_path: Any) -> None:
    sent = wire_map.fill(body(job_spec(tmp_path, "http://x", suffix="mine")), {"token": "tok", "train": "file-1"})
    marks = (sent["suffix"], sent["metadata"][wire_map.TOKEN_KEY], sent["training_file"])
    assert marks == ("mine-tok", "tok", "file-1")


def test_braces_of_the_user_are_not_filled(tmp_path: Any) -> None:
    spec = job_spec(tmp_path, "http://x", metadata={"template": "{train}"})
    assert wire_map.fill(body(spec), {"token": "t", "train": "file-1"})["metadata"]["template"] == "{train}"


@pytest.mark.parametrize(("wire", "room"), [(OPENAI, 48), (V1, 24), (DATED, 24)])
def test_a_suffix_that_leaves_no_room_for_the_token_is_refused(tmp_path: Any, wire: Wire, room: int) -> None:
    body(job_spec(tmp_path, "http://x", suffix="x" * room), wire)
    with pytest.raises(SpecError, match=f"at most {room} fit"):
        body(job_spec(tmp_path, "http://x", suffix="x" * (room + 1)), wire)


@pytest.mark.parametrize(
    ("part", "knob"),
    [
        ({"hyperparameters": {"epochs": 51}}, "epochs"),
        ({"hyperparameters": {"epochs": 1.5}}, "epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "batch_size"),
        ({"kind": "dpo", "method": {"beta": 2.5}}, "beta"),
        ({"kind": "rft", "method": {"compute_multiplier": 11}}, "compute_multiplier"),
        ({"kind": "rft", "method": {"compute_multiplier": 1e-5}}, "compute_multiplier"),
    ],
    ids=str,
)
def test_a_knob_outside_its_range_is_named(tmp_path: Any, part: dict[str, Any], knob: str) -> None:
    assert [knob in text for text in wire_map.out_of_range(job_spec(tmp_path, "http://x", **part))] == [True]


def test_a_job_is_ours_by_its_training_file_alone() -> None:
    assert wire_map.is_ours(job(training_file="file-1"), token="tok", files=frozenset({"file-1"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"user_provided_suffix": "mine-tok"},
        {"metadata": {wire_map.TOKEN_KEY: "tok"}},
        {"fine_tuned_model": "ft:gpt:org:mine-tok:abc"},
    ],
)
def test_a_job_is_ours_by_any_place_of_its_token(fields: dict[str, Any]) -> None:
    assert wire_map.is_ours(job(training_file="other", **fields), token="tok", files=frozenset())


@pytest.mark.parametrize("fields", [{"metadata": None}, {"metadata": {}, "user_provided_suffix": "not it"}])
def test_somebody_elses_job_is_not_ours(fields: dict[str, Any]) -> None:
    assert not wire_map.is_ours(job(training_file="other", **fields), token="tok", files=frozenset({"file-1"}))


def test_tokens_differ_by_key_and_fit_every_suffix() -> None:
    tokens = {wire_map.submission_token(f"ft-{number}") for number in range(1000)}
    assert (len(tokens), {len(token) for token in tokens}) == (1000, {wire_map.TOKEN_LENGTH})


def test_every_kind_of_server_says_where_it_was_learned() -> None:
    assert [wire.name for wire in WIRES.values() if not wire.source] == []
