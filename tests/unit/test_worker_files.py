"""Reading what workers wrote, however badly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_sdk.errors import ProviderError
from finetune_sdk.worker import ends, launchers, locks, pins, process, surroundings, wire
from finetune_sdk.worker.installers import Installer, in_uvs_words


def line(cursor: int, **more: object) -> str:
    row = {"cursor": f"{cursor:09d}", "at": "2026-11-20T10:00:00+00:00", "level": "info", "message": f"m{cursor}"}
    return json.dumps(row | more) + "\n"


def test_a_torn_last_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    whole = line(1) + line(2)
    (tmp_path / wire.EVENTS).write_text(whole[:-5])
    assert [event.cursor for event in process.events(tmp_path)] == ["000000001"]
    (tmp_path / wire.EVENTS).write_text(whole)
    assert [event.cursor for event in process.events(tmp_path, "000000001")] == ["000000002"]


@pytest.mark.parametrize("after", [0, 1, 7, 4998, 4999, 5000])
def test_following_a_long_history_misses_and_repeats_nothing(tmp_path: Path, after: int) -> None:
    (tmp_path / wire.EVENTS).write_text("".join(line(n, metrics={"loss": n / 7}) for n in range(1, 5001)))
    found = process.events(tmp_path, f"{after:09d}")
    assert [int(event.cursor) for event in found] == list(range(after + 1, 5001))


def test_a_metric_that_is_no_finite_number_is_left_out(tmp_path: Path) -> None:
    text = line(1, metrics={"a": float("nan"), "b": "x", "c": 1, "d": None})
    (tmp_path / wire.EVENTS).write_text(text)
    assert dict(process.events(tmp_path)[0].metrics) == {"c": 1.0}


def test_a_foreign_cursor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="'ftevent-1' is no cursor"):
        process.events(tmp_path, "ftevent-1")


def test_a_progress_bar_takes_one_line_of_the_tail(tmp_path: Path) -> None:
    (tmp_path / wire.LOG).write_text("old\nbegin\n  0%|\r 50%|\r100%|\nValueError: no\n")
    assert wire.log_tail(tmp_path, offset=4) == "begin\n100%|\nValueError: no"


def test_a_json_file_is_replaced_whole_and_leaves_no_part(tmp_path: Path) -> None:
    wire.write_json(tmp_path / "x.json", {"a": 1})
    wire.write_json(tmp_path / "x.json", {"a": 2})
    assert wire.read_field(tmp_path / "x.json", "a") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_what_is_no_json_object_reads_as_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert wire.read_json(tmp_path / "x.json") is None


@pytest.mark.parametrize(
    ("code", "oom", "words"),
    [
        (1, False, "exited with code 1 before writing a result"),
        (137, False, "exited with 137 (killed by SIGKILL)"),
        (-15, False, "killed by SIGTERM"),
        (-9, True, "killed by SIGKILL: out of memory (the kernel's OOM killer)"),
        (200, False, "exited with code 200"),
        (None, False, "the worker and its supervisor were killed"),
    ],
)
def test_an_exit_status_is_put_into_words(code: int | None, oom: bool, words: str) -> None:
    assert words in ends.how(code, oom_killed=oom)


def test_one_process_is_isolated_and_several_go_through_torchrun() -> None:
    python, job = Path("/env/bin/python"), Path("/jobs/1")
    runner = str(launchers.RUNNER)
    assert launchers.command(python, job) == ["/env/bin/python", "-I", "-u", runner, "/jobs/1"]
    several = " ".join(launchers.command(python, job, processes=2))
    assert "-I -u -m torch.distributed.run --standalone --nproc_per_node 2" in several


def test_the_environment_passes_what_stacks_read_and_drops_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENAI_API_KEY", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, "x")
    environment = surroundings.minimal({"HF_HOME": "given"})
    assert environment["HF_HOME"] == "given"
    assert {"PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"} <= environment.keys()
    assert not {"OPENAI_API_KEY", "PYTHONSTARTUP"} & environment.keys()


def test_pips_settings_are_put_into_uvs_words() -> None:
    pip = {"find-links": "/a /b", "index-url": "https://i/simple", "extra-index-url": "https://j\nhttps://k"}
    assert in_uvs_words(pip) == {
        "UV_FIND_LINKS": "/a,/b",
        "UV_DEFAULT_INDEX": "https://i/simple",
        "UV_INDEX": "https://k https://j",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def test_a_lock_with_torch_holds_for_every_build_of_it() -> None:
    resolved = [
        "numpy==2.4.6",
        "nvidia-cublas==13.1 ; sys_platform == 'linux'",
        "torch==2.13.0 ; python_full_version >= '3.12'",
        "torch==2.13.0+cpu ; python_full_version < '3.12'",
        "triton==3.7.1",
    ]
    assert pins.for_any_build(resolved, "worker.in").splitlines()[1:] == [
        "# finetune: install torch with dependencies",
        "numpy==2.4.6",
        "torch==2.13.0",
    ]


@pytest.mark.parametrize("installer", [Installer("/bin/uv"), Installer(None)], ids=["uv", "pip"])
def test_dependencies_are_installed_only_when_the_lock_asks_for_them(tmp_path: Path, installer: Installer) -> None:
    lock = tmp_path / "worker.lock"
    lock.write_text("torch==2.13.0\nnumpy==2.4.6\n")
    assert installer.commands(Path("python"), tmp_path, locks.read(lock))[1][-3:] == ["--no-deps", "-r", str(lock)]
    lock.write_text("# finetune: install torch with dependencies\ntorch==2.13.0\nnumpy==2.4.6\n")
    _, exact, torch = installer.commands(Path("python"), tmp_path, locks.read(lock))
    assert exact[-3:] == ["--no-deps", "-r", str(lock)]
    assert torch[-3:] == ["-c", str(lock), "torch==2.13.0"]
    lock.write_text("# finetune: install with dependencies\ntorch==2.13.0\n")
    assert "--no-deps" not in installer.commands(Path("python"), tmp_path, locks.read(lock))[-1]
