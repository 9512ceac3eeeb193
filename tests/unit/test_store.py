"""The job store, through its public verbs."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import fake_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_sdk._migrations import MIGRATIONS
from finetune_sdk.errors import JobNotFound, SpecError, StoreError
from finetune_sdk.provider import Plan
from finetune_sdk.store import JobStore
from finetune_sdk.types import Deployment, Event, JobState, JobStatus, Usage

PLAN = Plan(provider="fake", request={"model": "m"})
NO_EVENTS: list[Event] = []


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "home")


def new_job(store: JobStore, ref: str | None = None) -> str:
    job = store.create(fake_spec(Path("/data/train.jsonl")), PLAN)
    if ref is not None:
        store.bind(job.id, ref)
    return job.id


def event(cursor: str, message: str = "step") -> Event:
    return Event(cursor=cursor, at=datetime(2026, 11, 21, tzinfo=UTC), level="info", message=message)


def see(store: JobStore, job_id: str, status: JobStatus, attempt: int = 1) -> JobStatus:
    state = JobState(status=status, model="m" if status is JobStatus.SUCCEEDED else None)
    return store.observe(job_id, state, NO_EVENTS, attempt=attempt).status


def test_a_new_job_is_preparing_and_holds_what_was_asked_for(store: JobStore) -> None:
    job = store.get(new_job(store))

    assert (job.status, job.provider, job.attempt, job.ref) == (JobStatus.PREPARING, "fake", 1, None)
    assert job.job_spec == fake_spec(Path("/data/train.jsonl"))
    assert job.spec_sha256 == job.job_spec.sha256


def test_another_store_object_sees_the_same_job(store: JobStore) -> None:
    job_id = new_job(store)

    assert JobStore(store.home).get(job_id) == store.get(job_id)


def test_an_unknown_id_is_not_found(store: JobStore) -> None:
    with pytest.raises(JobNotFound, match="ft-none"):
        store.get("ft-none")


def test_the_start_of_an_id_finds_its_job(store: JobStore) -> None:
    job_id = new_job(store)

    assert store.resolve(job_id[:8]) == job_id


def test_the_start_of_two_ids_names_both(store: JobStore) -> None:
    ids = sorted([new_job(store), new_job(store)])

    with pytest.raises(SpecError) as caught:
        store.resolve("ft-")
    assert all(job_id in str(caught.value) for job_id in ids)


def test_a_prefix_is_no_pattern(store: JobStore) -> None:
    new_job(store)

    with pytest.raises(JobNotFound):
        store.resolve("ft_%")


def test_jobs_come_newest_first(store: JobStore) -> None:
    ids = [new_job(store) for _ in range(3)]

    assert [job.id for job in store.jobs()] == ids[::-1]


def test_a_reference_is_bound_once(store: JobStore) -> None:
    job_id = new_job(store, ref="vendor-1")
    store.bind(job_id, "vendor-1")

    with pytest.raises(StoreError, match="vendor-2"):
        store.bind(job_id, "vendor-2")


def test_two_jobs_cannot_share_a_reference(store: JobStore) -> None:
    new_job(store, ref="vendor-1")

    with pytest.raises(StoreError):
        new_job(store, ref="vendor-1")


@pytest.mark.parametrize("terminal", [status for status in JobStatus if status.terminal])
@pytest.mark.parametrize("later", list(JobStatus))
def test_a_terminal_status_is_never_overwritten(store: JobStore, terminal: JobStatus, later: JobStatus) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, terminal)

    assert see(store, job_id, later) is terminal


def test_the_sql_itself_guards_a_terminal_status(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.SUCCEEDED)

    assert store.end(job_id, JobStatus.FAILED, "late").status is JobStatus.SUCCEEDED


@settings(max_examples=15, deadline=None)
@given(words=st.lists(st.sampled_from(list(JobStatus)), max_size=8))
def test_a_status_never_goes_backwards(tmp_path_factory: pytest.TempPathFactory, words: list[JobStatus]) -> None:
    order = [["preparing"], ["validating"], ["queued"], ["running", "paused"], ["cancelling"]]
    height = {word: index for index, group in enumerate(order) for word in group}
    store = JobStore(tmp_path_factory.mktemp("home"))
    job_id = new_job(store, ref="r")

    heights = [height.get(see(store, job_id, word), 9) for word in words]

    assert heights == sorted(heights)


def test_going_backwards_leaves_a_warning(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.RUNNING)
    see(store, job_id, JobStatus.QUEUED)

    assert [one.level for one in store.events(job_id)] == ["warning"]


def test_an_unknown_word_keeps_the_status_and_warns_once(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.QUEUED)
    words = {"queued": JobStatus.QUEUED}
    for _ in range(2):
        store.observe(job_id, JobState.from_word("frobbing", words), NO_EVENTS, attempt=1)

    job = store.get(job_id)
    assert (job.status, job.raw_status) == (JobStatus.QUEUED, "frobbing")
    assert ["frobbing" in one.message for one in store.events(job_id)] == [True]


def test_a_failure_without_a_reason_says_so(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.FAILED)

    assert store.get(job_id).error == "the provider gave no reason"


def test_reopening_starts_the_next_attempt(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.FAILED)
    job = store.reopen(job_id)

    assert (job.status, job.attempt, job.error) == (JobStatus.QUEUED, 2, None)


def test_what_was_seen_of_an_earlier_attempt_is_ignored(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    see(store, job_id, JobStatus.FAILED)
    store.reopen(job_id)

    assert see(store, job_id, JobStatus.FAILED, attempt=1) is JobStatus.QUEUED


def test_usage_and_metrics_are_kept(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    state = JobState(
        status=JobStatus.RUNNING, usage=Usage(trained_tokens=7), metrics={"loss": 1.5, "bad": float("nan")}
    )
    store.observe(job_id, state, NO_EVENTS, attempt=1)

    job = store.get(job_id)
    assert (job.usage, job.metrics) == (Usage(trained_tokens=7), {"loss": 1.5})


def test_events_are_stored_once_and_in_order(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    for batch in (["a", "b"], ["b", "c"]):
        store.observe(job_id, JobState(status=JobStatus.RUNNING), [event(name) for name in batch], attempt=1)

    assert [one.cursor for one in store.events(job_id)] == ["a", "b", "c"]
    assert store.events(job_id, after="b") == [event("c")]
    assert store.provider_cursor(job_id) == "c"


def test_a_cursor_that_was_never_given_is_refused(store: JobStore) -> None:
    with pytest.raises(SpecError, match="nope"):
        store.events(new_job(store), after="nope")


def test_cancel_is_an_intent_until_it_is_delivered(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    store.intend(job_id, "cancel")

    assert (store.get(job_id).status, store.get(job_id).intent) == (JobStatus.CANCELLING, "cancel")
    assert store.delivered(job_id, "cancel").intent is None


def test_a_pause_does_not_replace_a_cancel(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    store.intend(job_id, "cancel")

    assert store.intend(job_id, "pause").intent == "cancel"


def test_a_removed_job_leaves_nothing(store: JobStore) -> None:
    job_id = new_job(store)
    store.remove(job_id)

    assert (store.jobs(), list((store.home / "jobs").iterdir())) == ([], [])


def test_deployments_are_kept(store: JobStore) -> None:
    job_id = new_job(store, ref="r")
    deployment = Deployment(id="d", provider="fake", model="m", base_url="http://x/v1", status="ready")
    store.save_deployment(job_id, deployment)

    assert store.deployments() == [deployment]


def test_no_secret_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-very-secret-value")
    store = JobStore(tmp_path)
    spec = fake_spec(Path("/d")).model_copy(update={"metadata": {"note": "uses a-very-secret-value"}})
    job = store.create(spec, Plan(provider="fake", request={"key": "a-very-secret-value"}))
    store.bind(job.id, "r")
    failed = JobState(status=JobStatus.FAILED, error="a-very-secret-value was refused")
    store.observe(job.id, failed, [event("1", "a-very-secret-value")], attempt=1)

    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"a-very-secret" in path.read_bytes()] == []


def test_the_files_are_for_this_user_only(store: JobStore) -> None:
    job_id = new_job(store)

    modes = {path.name: path.stat().st_mode & 0o077 for path in (store.home, store.home / "jobs" / job_id)}
    assert set(modes.values()) == {0}
    assert (store.home / "jobs.db").stat().st_mode & 0o077 == 0


# --- damage ---------------------------------------------------------------------------------------------------------


def _junk(file: Path) -> None:
    file.write_bytes(b"this is no database" * 500)


def _torn(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 4096 - 100)


def _flipped(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def _gone(file: Path) -> None:
    file.unlink()


def _empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("damage", [_junk, _torn, _flipped, _gone, _empty])
def test_a_damaged_store_is_rebuilt_from_the_job_folders(store: JobStore, damage: object) -> None:
    job_id = new_job(store, ref="vendor-1")
    see(store, job_id, JobStatus.RUNNING)
    before = store.get(job_id)
    assert callable(damage)
    damage(store.home / "jobs.db")

    assert JobStore(store.home).jobs() == [before]


def test_a_damaged_store_is_kept_aside(store: JobStore) -> None:
    new_job(store)
    _junk(store.home / "jobs.db")
    store.jobs()

    assert [path.read_bytes()[:4] for path in store.home.glob("jobs.db.corrupt-*")] == [b"this"]


def test_a_folder_without_a_row_is_inserted_by_rebuild(store: JobStore) -> None:
    job_id = new_job(store)
    with closing(sqlite3.connect(store.home / "jobs.db")) as db:
        db.execute("DELETE FROM job")
        db.commit()

    assert store.rebuild() == [job_id]
    assert store.rebuild() == []


def test_an_unreadable_job_file_does_not_stop_the_others(store: JobStore) -> None:
    ids = [new_job(store), new_job(store)]
    (store.home / "jobs" / ids[0] / "job.json").write_text('{"id": 3}')
    _gone(store.home / "jobs.db")

    assert [job.id for job in store.jobs()] == [ids[1]]


def test_a_newer_schema_is_refused_and_left_alone(store: JobStore) -> None:
    file = store.home / "jobs.db"
    store.jobs()
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    with pytest.raises(StoreError, match="newer finetune-sdk"):
        store.jobs()
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


def test_jobs_of_the_first_schema_are_kept_and_their_pauses_rest(store: JobStore) -> None:
    jobs = {word: new_job(store, ref=f"r-{word}") for word in ("running", "paused")}
    for word, job_id in jobs.items():
        see(store, job_id, JobStatus(word))
    with closing(sqlite3.connect(store.home / "jobs.db")) as db:
        db.execute("ALTER TABLE job DROP COLUMN held")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    assert {word: store.get(job_id).held for word, job_id in jobs.items()} == {"running": False, "paused": True}


def test_the_database_is_in_wal_mode_and_strict(store: JobStore) -> None:
    store.jobs()
    with closing(sqlite3.connect(store.home / "jobs.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert {row[5] for row in db.execute("PRAGMA table_list") if row[1] in ("job", "event", "deployment")} == {1}
