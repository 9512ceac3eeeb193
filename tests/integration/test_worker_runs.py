"""A worker from start to a good end: protocol, environment, isolation, survival of the submitter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import worker_jobs as jobs

from finetune_sdk.errors import EnvError, JobNotFound, ProviderError, StoreError
from finetune_sdk.types import JobStatus, Usage
from finetune_sdk.worker import process

TESTS = str(Path(jobs.__file__).parent)


def test_a_worker_runs_and_says_what_it_made(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train")
    state = jobs.end(job)
    assert state.status is JobStatus.SUCCEEDED
    assert state.model == "artifacts/adapter"
    assert state.metrics == {"train_loss": 0.5}
    assert state.usage == Usage(trained_tokens=7, train_s=0.1)
    [artifact] = process.artifacts(job)
    assert (artifact.kind, artifact.uri, artifact.sha256) == ("adapter", str(job / "artifacts/adapter"), "ab")


def test_events_come_in_order_and_resume_after_a_cursor(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train", steps=3)
    jobs.end(job)
    events = process.events(job)
    assert [event.step for event in events] == [1, 2, 3, 3]
    assert [event.message for event in process.events(job, events[1].cursor)] == ["step", "done"]
    assert process.events(job, events[-1].cursor) == []


def test_what_a_worker_imports_is_not_looked_through_for_garbage(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "tell_of_garbage")
    jobs.end(job)
    importing, imported = (event.metrics for event in process.events(job))
    assert importing == {"collects": False}
    assert imported == {"collects": True, "looks_at_it": False}


def test_a_finished_worker_leaves_no_process_and_no_helper_file(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train")
    jobs.end(job)
    jobs.until(lambda: jobs.gone(jobs.pid(job)))  # the result is there a moment before its writer has left
    jobs.until(lambda: jobs.gone(jobs.pid(job, "worker_pid")))
    assert {path.name for path in job.iterdir()} == {
        *("spec.json", "events.jsonl", "result.json", "worker.log", "process.json", ".start.lock", "checkpoint")
    }


def test_the_submitter_is_left_without_children_and_warnings(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import os, pathlib, worker_jobs as jobs\n"
        "jobs.start(pathlib.Path(sys.argv[1]), 'train', held_at=2)\n"
        "try: os.waitpid(-1, os.WNOHANG); print('has a child')\n"
        "except ChildProcessError: print('none')\n"
    )
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", code, str(tmp_path / "job"), TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("none\n", "")
    (tmp_path / "job" / "go").touch()
    assert jobs.end(tmp_path / "job").status is JobStatus.SUCCEEDED


def test_a_job_survives_its_submitter_being_killed_with_its_whole_group(tmp_path: Path) -> None:
    job = tmp_path / "job"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import pathlib, time, worker_jobs as jobs\n"
        "jobs.start(pathlib.Path(sys.argv[1]), 'train', held_at=2); print('started', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(job), TESTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as submitter:
        assert submitter.stdout is not None
        assert submitter.stdout.readline() == b"started\n"
        os.killpg(submitter.pid, signal.SIGKILL)
    (job / "go").touch()
    assert jobs.end(job).status is JobStatus.SUCCEEDED
    assert process.events(job)[-1].message == "done"


def test_the_worker_gets_a_minimal_environment_and_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_PRIVATE", "of the submitter")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    job = jobs.start(tmp_path / "job", "write_environment", env={"HF_TOKEN": "hf_given"})
    jobs.end(job)
    environment = json.loads((job / "environ.json").read_text())
    assert environment["HF_TOKEN"] == "hf_given"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert not {"SOMETHING_PRIVATE", "PYTHONPATH"} & environment.keys()


def test_relative_paths_lead_where_the_submitter_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert jobs.end(jobs.start(Path("job"), "train")).status is JobStatus.SUCCEEDED
    assert (tmp_path / "job" / "result.json").exists()


def test_signals_that_the_submitter_ignores_still_work_in_the_worker(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import pathlib, signal, worker_jobs as jobs\n"
        "for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)\n"
        "jobs.start(pathlib.Path(sys.argv[1]), 'kill_self')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "job"), TESTS], check=True)
    assert "killed by SIGKILL" in (jobs.end(tmp_path / "job").error or "")


def test_secrets_are_in_no_file_of_the_job(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "leak", env={"TOY_API_KEY": "correct-horse-battery"})
    state = jobs.end(job)
    assert state.error == "ValueError: bad key ***"
    assert not [path for path in job.iterdir() if path.is_file() and b"correct-horse" in path.read_bytes()]


def test_a_worker_is_loaded_under_a_private_name_and_nothing_lying_about_shadows_a_library(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "random.py").write_text("raise RuntimeError('shadowed')")
    assert jobs.end(jobs.start(job, "who_am_i")).model == "finetune_worker.deeds True"


def test_a_single_file_is_a_worker_too(tmp_path: Path) -> None:
    file = tmp_path / "torch.py"  # whatever it is called
    file.write_text("def main(ctx): return {'model': ctx.job_id}")
    process.start(tmp_path / "job", python=Path(sys.executable), worker=file, request={}, job_id="job-1")
    assert jobs.end(tmp_path / "job").model == "job-1"


def test_junk_on_stdout_and_in_the_events_is_harmless(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "make_junk")
    assert jobs.end(job).status is JobStatus.SUCCEEDED
    [event] = process.events(job)
    assert (event.message, dict(event.metrics)) == ("after the junk", {})


def test_starting_twice_is_refused(tmp_path: Path) -> None:
    job = jobs.start(tmp_path / "job", "train")
    with pytest.raises(ProviderError, match="already started; attach to it, or resume it"):
        jobs.start(job, "train")
    jobs.end(job)


def test_of_several_starts_at_once_one_wins(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import pathlib, worker_jobs as jobs\n"
        "sys.stdin.readline()\n"
        "try: jobs.start(pathlib.Path(sys.argv[1]), 'train', steps=50); print('won')\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "job"), TESTS]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
    said = sorted(racer.communicate()[0].strip() for racer in racers)
    assert said.count("won") == 1
    losers = [line for line in said if line != "won"]
    assert all(line.startswith("ProviderError") and str(tmp_path / "job") in line for line in losers)
    assert jobs.end(tmp_path / "job").status is JobStatus.SUCCEEDED
    assert [event.step for event in process.events(tmp_path / "job")].count(1) == 1


def test_a_folder_without_a_job_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        process.poll(tmp_path)
    with pytest.raises(JobNotFound):
        process.cancel(tmp_path)
    assert process.started(tmp_path) is False
    assert process.events(tmp_path) == []


def test_an_interpreter_that_is_not_there_is_named_and_leaves_the_job_unstarted(tmp_path: Path) -> None:
    python = tmp_path / "no" / "python"
    with pytest.raises(EnvError, match=str(python)):
        process.start(tmp_path / "job", python=python, worker=jobs.TOY, request={}, job_id="j")
    assert process.started(tmp_path / "job") is False


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write the job folder"):
        jobs.start(tmp_path / "file" / "job", "train")
