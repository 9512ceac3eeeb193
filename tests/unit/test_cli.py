"""The command line, in this process, with a provider that costs nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import fake_cli
import pytest
from fakes import write_rows

from finetune_sdk.cli._app import COMMANDS, cli
from finetune_sdk.cli._main import answer
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import standing_in
from finetune_sdk.store import JobStore
from finetune_sdk.testing._vendor import FakeVendor
from finetune_sdk.types import Artifact

RUNNING = ["running"]  # a script without an end
FAILING = ["running", "failed"]


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


Finetune = Callable[..., Answer]
Spec = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def finetune(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Generator[Finetune]:
    """Run one command in the test's home."""
    monkeypatch.delenv("FINETUNE_DEBUG", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    fake_cli.hurry()

    def run(*args: str) -> Answer:
        capsys.readouterr()
        code = answer([*args, "--home", str(home)])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    with standing_in("fake", lambda folder: fake_cli.EvaluatingFake(home=folder)):
        yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Write a spec for the fake provider; keywords are its top-level keys, `script` the fake's."""

    def write(*, script: list[str] | None = None, usd: float = 0.0, **keys: Any) -> str:
        options: dict[str, Any] = {"usd": usd} | ({"script": script} if script else {})
        body = {
            "provider": "fake",
            "model": "fake/base",
            "data": {"train": str(write_rows(tmp_path))},
            "options": {"fake": options},
            **keys,
        }
        path = tmp_path / "job.yaml"
        path.write_text(json.dumps(body))
        return str(path)

    return write


def vendor(home: Path) -> FakeVendor:
    return FakeVendor(home / "fake-vendor")


def job_id(finetune: Finetune) -> str:
    jobs: list[dict[str, Any]] = finetune("jobs", "ls", "--format", "json").json
    return str(jobs[0]["id"])


# --- run ------------------------------------------------------------------------------------------------------------


def test_run_ends_with_the_models_name_and_the_report(finetune: Finetune, spec: Spec, home: Path) -> None:
    done = finetune("run", spec())
    assert done.code == 0, done.err
    assert "succeeded  fake:vendor-0001" in done.out
    (report,) = home.glob("jobs/*/report.html")
    assert str(report) in done.out


def test_run_shows_the_plan_and_the_progress_on_stderr_only(finetune: Finetune, spec: Spec) -> None:
    done = finetune("run", spec())
    assert "nothing is trained: this provider is a fake" in done.err
    assert "step 2 running  loss 0.5000" in done.err
    assert "loss" not in done.out


def test_run_shows_before_and_after(finetune: Finetune, spec: Spec) -> None:
    out = finetune("run", spec(evaluation={"metrics": ["exact_match"]})).out
    assert "0.000 (0.00 to 0.09)" in out
    assert "1.000 (0.91 to 1.00)" in out
    assert "better" in out


def test_run_answers_programs_in_json(finetune: Finetune, spec: Spec) -> None:
    found = finetune("run", spec(evaluation={}), "--format", "json").json
    assert found["job"]["status"] == "succeeded"
    assert found["evaluation"]["metrics"][0]["tuned"]["value"] == 1.0
    assert Path(found["report"]).is_file()
    assert [one["kind"] for one in found["artifacts"]] == ["adapter", "predictions"]


def test_a_model_without_its_evaluation_is_still_a_success(
    finetune: Finetune, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_cli, "PREDICTIONS", [{"prompt": 3}])
    done = finetune("run", spec(evaluation={}))
    assert done.code == 0
    assert "warning: no evaluation:" in done.err
    assert "succeeded" in done.out


def test_a_failed_job_is_exit_code_1_with_the_way_on(finetune: Finetune, spec: Spec, home: Path) -> None:
    done = finetune("run", spec(script=FAILING))
    assert done.code == 1
    assert "failed: the script says so" in done.err
    assert f"finetune jobs resume {job_id(finetune)} --home {home}" in done.err
    assert done.out == ""


def test_run_detached_answers_with_the_id_at_once(finetune: Finetune, spec: Spec) -> None:
    done = finetune("run", spec(script=RUNNING), "--detach")
    assert (done.code, done.out.strip()) == (0, job_id(finetune))
    assert "finetune jobs follow" in done.err


def test_run_stops_watching_after_the_timeout_and_the_job_goes_on(finetune: Finetune, spec: Spec) -> None:
    done = finetune("run", spec(script=RUNNING), "--timeout", "0.05")
    assert (done.code, done.out.strip()) == (1, job_id(finetune))
    assert finetune("jobs", "show", done.out.strip(), "--format", "json").json["status"] == "running"


def test_the_provider_and_single_keys_can_be_changed_on_the_command_line(finetune: Finetune, spec: Spec) -> None:
    plan = finetune(
        "plan", spec(provider="peft"), "--provider", "fake", "--set", "hyperparameters.epochs=7", "--format", "json"
    ).json
    assert (plan["provider"], plan["request"]["hyperparameters"]["epochs"]) == ("fake", 7.0)


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_wrong_spec_is_exit_code_2_with_file_and_line(finetune: Finetune, spec: Spec) -> None:
    done = finetune("run", spec(epohcs=3))
    assert done.code == 2
    assert "job.yaml:1:" in done.err
    assert done.out == ""


def test_a_wrong_spec_in_json_lists_its_problems(finetune: Finetune, spec: Spec) -> None:
    error = finetune("plan", spec(epohcs=3, seeed=1), "--format", "json").error
    assert (error["type"], error["exit_code"], error["sent"], len(error["problems"])) == ("SpecError", 2, False, 2)


def test_an_unknown_provider_names_the_nearest(finetune: Finetune, spec: Spec) -> None:
    done = finetune("plan", spec(), "--provider", "fkae")
    assert done.code == 2
    assert "--provider fkae: provider: unknown provider 'fkae'; did you mean 'fake'?" in done.err


def test_bad_data_is_exit_code_3_and_nothing_is_stored(finetune: Finetune, spec: Spec, tmp_path: Path) -> None:
    path = spec()
    (tmp_path / "train.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n' * 3)
    assert [finetune(verb, path).code for verb in ("plan", "run")] == [3, 3]
    assert finetune("jobs", "ls", "--format", "json").json == []


def test_a_plan_with_bad_data_still_shows_its_findings(finetune: Finetune, spec: Spec, tmp_path: Path) -> None:
    path = spec()
    (tmp_path / "train.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n' * 3)
    assert finetune("plan", path, "--format", "json").json["findings"][0]["severity"] == "error"


def test_a_refusing_provider_is_exit_code_4(finetune: Finetune, spec: Spec, home: Path) -> None:
    (home / "fake-vendor").mkdir(parents=True)
    vendor(home).fail_next("auth")
    done = finetune("run", spec(), "--format", "json")
    assert (done.code, done.error["type"]) == (4, "AuthFailed")


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_over_budget_is_exit_code_5(finetune: Finetune, spec: Spec, home: Path, verb: str) -> None:
    done = finetune(verb, spec(usd=30.0, budget={"max_cost_usd": 20}))
    assert done.code == 5
    assert "30.00 USD" in done.err
    assert not (home / "fake-vendor").exists()


def test_an_unknown_command_names_the_nearest(finetune: Finetune) -> None:
    done = finetune("jbos", "ls")
    assert done.code == 2
    assert "did you mean 'jobs'?" in done.err


def test_wrong_usage_in_json_is_json_too(finetune: Finetune) -> None:
    done = finetune("jobs", "show", "--format", "json")
    assert (done.code, done.error["exit_code"]) == (2, 2)


def test_a_fault_of_ours_is_one_sentence(finetune: Finetune, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(FineTuneJob, "list", broken)
    done = finetune("jobs", "ls")
    assert done.code == 1
    assert done.err == "error: internal error: RuntimeError: boom. Set FINETUNE_DEBUG=1 to see where.\n"


def test_a_traceback_is_there_for_who_asks(finetune: Finetune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DEBUG", "1")
    assert "Traceback" in finetune("jobs", "show", "nothing").err


def test_a_secret_never_reaches_an_error(finetune: Finetune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-very-secret-value")
    assert "a-very-secret-value" not in finetune("jobs", "show", "a-very-secret-value").err


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_an_empty_home_has_no_jobs(finetune: Finetune) -> None:
    assert finetune("jobs", "ls").out == "no jobs yet\n"
    assert finetune("jobs", "ls", "--format", "json").json == []


def test_jobs_are_listed_with_their_status(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    header, line = finetune("jobs", "ls").out.splitlines()
    assert header.split()[:2] == ["ID", "STATUS"]
    assert line.split()[1:5] == ["succeeded", "fake", "fake/base", "sft"]


def test_a_job_is_found_by_the_start_of_its_id(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    whole = job_id(finetune)
    assert finetune("jobs", "show", whole[:5], "--format", "json").json["id"] == whole


def test_show_in_json_has_the_spec_and_the_plan(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    found = finetune("jobs", "show", "ft-", "--format", "json").json
    assert (found["spec"]["model"], found["plan"]["provider"]) == ("fake/base", "fake")


def test_events_can_start_after_a_cursor(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    events = finetune("jobs", "events", "ft-", "--format", "json").json
    rest = finetune("jobs", "events", "ft-", "--after", events[1]["cursor"], "--format", "json").json
    assert rest == events[2:]


def test_follow_prints_one_json_object_per_event(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec(), "--detach")
    done = finetune("jobs", "follow", "ft-", "--format", "json")
    steps = [json.loads(line)["step"] for line in done.out.splitlines()]
    assert (done.code, steps) == (0, [1, 2, 3, 4, 5])


def test_following_a_job_that_fails_is_exit_code_1(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec(script=FAILING), "--detach")
    assert finetune("jobs", "follow", "ft-").code == 1


def test_a_job_can_be_cancelled(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec(script=RUNNING), "--detach")
    assert finetune("jobs", "cancel", "ft-", "--format", "json").json["status"] in ("cancelling", "cancelled")
    assert finetune("jobs", "follow", "ft-").code == 1
    assert finetune("jobs", "ls", "--format", "json").json[0]["status"] == "cancelled"


def test_a_job_can_be_paused_and_resumed(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec(script=RUNNING), "--detach")
    paused = finetune("jobs", "pause", "ft-")
    assert paused.code == 0
    assert "finetune jobs resume" in paused.err
    assert finetune("jobs", "follow", "ft-").code == 0
    assert finetune("jobs", "resume", "ft-", "--format", "json").json["status"] != "paused"


def test_checkpoints_are_listed(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    assert [one["step"] for one in finetune("jobs", "checkpoints", "ft-", "--format", "json").json] == [2, 3, 4]
    assert finetune("jobs", "checkpoints", "ft-").out.splitlines()[0].split() == ["STEP", "METRICS", "REF"]


def test_a_model_is_deployed_under_a_name(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    assert finetune("deploy", "ft-", "--name", "mine", "--format", "json").json["model"] == "mine"


def test_a_checkpoint_is_deployed_by_its_step(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    assert finetune("deploy", "ft-", "--checkpoint", "3").code == 0
    assert "its steps are: 2, 3, 4" in finetune("deploy", "ft-", "--checkpoint", "9").err


def test_what_costs_by_the_hour_is_not_deployed_unasked(finetune: Finetune, spec: Spec, home: Path) -> None:
    finetune("run", spec())
    with standing_in("fake", lambda folder: Priced(home=folder)):
        refused = finetune("deploy", "ft-")
        assert (refused.code, "3 USD by the hour" in refused.err) == (2, True)
        assert JobStore(home).deployments() == []
        assert finetune("deploy", "ft-", "--yes").code == 0


class Priced(fake_cli.EvaluatingFake):
    """Its deployments cost."""

    def deploy_terms(self, artifact: Artifact) -> str:
        return "It costs 3 USD by the hour."


def test_an_artifact_of_an_unknown_kind_is_wrong_usage(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec())
    assert finetune("deploy", "ft-", "--kind", "gold").code == 2


def test_many_jobs_are_watched_by_one_command(finetune: Finetune, spec: Spec) -> None:
    ids = [finetune("run", spec(), "--detach").out.strip() for _ in range(2)]
    told = [json.loads(line) for line in finetune("jobs", "watch", "--format", "json").out.splitlines()]
    assert {one["id"] for one in told if one["status"] == "succeeded"} == set(ids)


def test_watching_a_job_that_fails_is_exit_code_1(finetune: Finetune, spec: Spec) -> None:
    ids = finetune("run", spec(script=FAILING), "--detach").out.strip()
    watched = finetune("jobs", "watch", ids)
    assert (watched.code, "failed" in watched.out.splitlines()[-1]) == (1, True)


def test_a_finished_job_can_be_removed(finetune: Finetune, spec: Spec, home: Path) -> None:
    finetune("run", spec())
    name = job_id(finetune)
    assert finetune("jobs", "rm", name).out == f"removed {name}\n"
    assert not (home / "jobs" / name).exists()


def test_a_running_job_is_not_removed(finetune: Finetune, spec: Spec) -> None:
    finetune("run", spec(script=RUNNING), "--detach")
    assert finetune("jobs", "rm", "ft-").code == 2


def test_a_job_that_is_not_there_is_told_with_the_way_to_list_them(finetune: Finetune) -> None:
    done = finetune("jobs", "show", "ft-nothing")
    assert done.code == 4
    assert "no job 'ft-nothing'" in done.err


# --- the rest -------------------------------------------------------------------------------------------------------


def test_every_command_exists_and_has_help(finetune: Finetune) -> None:
    for name in COMMANDS:
        done = finetune(name, "--help")
        assert (done.code, done.out.startswith(f"Usage: finetune {name}")) == (0, True), name


def test_every_command_speaks_json_and_takes_a_home() -> None:
    def walk(command: click.Command, path: tuple[str, ...]) -> Generator[tuple[tuple[str, ...], click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*path, name))
        else:
            yield path, command

    for path, command in walk(cli, ()):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--home", "--format"} <= options, path


def test_the_last_home_wins(finetune: Finetune, tmp_path: Path) -> None:
    assert finetune("--home", str(tmp_path / "other"), "jobs", "ls").code == 0
    assert not (tmp_path / "other").exists()


def test_the_schema_is_json_and_can_be_written(finetune: Finetune, tmp_path: Path, home: Path) -> None:
    assert answer(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert "hyperparameters" in json.loads((tmp_path / "s.json").read_text())["properties"]


def test_providers_are_listed_without_being_imported(finetune: Finetune) -> None:
    found = finetune("providers", "ls", "--format", "json").json
    assert {"name": "peft", "target": "finetune_providers.peft.provider:PeftProvider"}.items() <= {
        one["name"]: one for one in found
    }["peft"].items()


def test_a_provider_shows_its_claims_with_their_sources(finetune: Finetune) -> None:
    found = finetune("providers", "show", "peft", "--format", "json").json
    assert found["claims"]["method.sft"]["support"] == "full"
    assert "method.sft" in finetune("providers", "show", "peft").out


def test_doctor_says_what_works(finetune: Finetune, home: Path) -> None:
    found = finetune("doctor", "--format", "json").json
    assert found["healthy"] is True
    assert {"python", "sqlite", "home", "disk", "installer", "processor", "gpu"} <= {
        c["name"] for c in found["machine"]
    }
    assert not home.exists()


def test_doctor_says_what_fixes_a_home_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code = answer(["doctor", "--home", str(tmp_path / "file" / "home")])
    said = capsys.readouterr().out
    assert code == 1
    assert "fix: export FINETUNE_HOME=" in said


def test_doctor_asked_about_an_unknown_provider_is_exit_code_1(finetune: Finetune) -> None:
    assert finetune("doctor", "nowhere").code == 1


def test_an_environment_for_a_provider_without_workers_is_refused(finetune: Finetune) -> None:
    done = finetune("envs", "create", "openai")
    assert done.code == 2
    assert "needs no environment" in done.err


def test_environments_are_listed(finetune: Finetune) -> None:
    assert finetune("envs", "ls", "--format", "json").json == []


def test_a_report_can_be_written_anywhere(finetune: Finetune, spec: Spec, tmp_path: Path) -> None:
    finetune("run", spec(evaluation={}))
    done = finetune("report", "ft-", "--out", str(tmp_path / "r.html"))
    assert done.out.strip() == str(tmp_path / "r.html")
    assert "<!doctype html>" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert answer(["completion", shell]) == 0
    assert "_FINETUNE_COMPLETE" in capsys.readouterr().out
