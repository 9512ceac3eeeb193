"""The environment store, with real installers and wheels made on the spot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import worker_jobs as jobs
from tiny_wheels import make_wheel, only_from, write_lock

from finetune_sdk.errors import EnvError
from finetune_sdk.worker.build import MARK
from finetune_sdk.worker.envs import EnvStore
from finetune_sdk.worker.installers import WITH_DEPENDENCIES, Wanted

HELD_UP = "import pathlib, time\npathlib.Path({flag!r}).touch()\ntime.sleep(600)\n"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder, "tinything")
    only_from(folder, monkeypatch)
    return folder


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return write_lock(tmp_path / "provider", "tinything==1.0")


def imports(python: Path, module: str) -> bool:
    return subprocess.run([python, "-I", "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_environment_is_built_from_its_lock_and_used_again(
    tmp_path: Path, wheels: Path, lock: Path, installer: Wanted
) -> None:
    said: list[str] = []
    store = EnvStore(tmp_path / "home", on_progress=said.append, installer=installer)
    env = store.create("tiny", lock, smoke=["tinything"])
    assert imports(env.python, "tinything")
    assert said[0] == f"building {env.path.name} with {installer}; all jobs of tiny will share it"
    said.clear()
    assert store.create("tiny", lock, smoke=["tinything"]) == env
    assert said == []


def test_what_is_listed_is_what_is_there(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    assert list(store.list()) == []
    made = store.create("tiny", lock)
    [env] = store.list()
    assert env == made
    assert (env.name, env.healthy, env.path.name) == ("tiny", True, f"tiny-{env.hash}")
    assert env.size_bytes > 0
    assert env.created is not None


def test_another_lock_is_another_environment(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    first = store.create("tiny", lock)
    lock.write_text("# changed\ntinything==1.0\n")
    assert store.create("tiny", lock).path != first.path
    assert len(store.list()) == 2


def test_a_removed_environment_is_gone_and_an_unknown_one_is_an_error(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    env = store.create("tiny", lock)
    assert list(store.remove("tiny")) == [env]
    assert not env.path.exists()
    with pytest.raises(EnvError, match="no environment 'tiny'; there are: none"):
        store.remove("tiny")


def test_an_environment_in_use_is_not_removed(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    env = store.create("tiny", lock)
    with subprocess.Popen([env.python, "-c", "input()"], stdin=subprocess.PIPE) as user:
        with pytest.raises(EnvError, match=f"used by process {user.pid}"):
            store.remove(env.path.name)
        user.communicate(b"\n")
    assert store.list()


def test_a_lock_that_cannot_be_installed_names_package_and_command(tmp_path: Path, wheels: Path) -> None:
    lock = write_lock(tmp_path / "provider", "nosuchthing==1.0")
    with pytest.raises(EnvError, match=r"(?s)\[tiny\].*nosuchthing.*The command was: .*install") as caught:
        EnvStore(tmp_path / "home", installer="uv").create("tiny", lock)
    assert str(lock) in str(caught.value)


def test_an_environment_that_does_not_import_is_refused_and_built_again(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "broken", code="import somethingmissing")
    lock = write_lock(tmp_path / "provider", "broken==1.0")
    store = EnvStore(tmp_path / "home", installer="uv")
    with pytest.raises(EnvError, match=r"No module named 'somethingmissing'\nSee for yourself: .*import broken"):
        store.create("tiny", lock, smoke=["broken"])
    assert [env.healthy for env in store.list()] == [False]
    make_wheel(wheels, "broken", code="")
    assert store.create("tiny", lock, smoke=["broken"]).healthy


def test_an_unmarked_environment_is_deleted_and_built_again(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    env = store.create("tiny", lock)
    (env.path / MARK).unlink()
    (env.path / "left over").touch()
    assert store.create("tiny", lock).healthy
    assert not (env.path / "left over").exists()


def test_an_environment_whose_interpreter_is_gone_is_built_again(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    env = store.create("tiny", lock, smoke=["tinything"])
    env.python.unlink()
    assert [env.healthy for env in store.list()] == [False]
    assert imports(store.create("tiny", lock, smoke=["tinything"]).python, "tinything")


def create_in_another_process(home: Path, lock: Path, *, smoke: str = "tinything") -> subprocess.Popen[str]:
    code = (
        "import sys, pathlib; from finetune_sdk.worker.envs import EnvStore\n"
        "def say(line): print(line, flush=True)\n"
        "store = EnvStore(pathlib.Path(sys.argv[1]), on_progress=say, installer='uv')\n"
        "print('made', store.create('tiny', pathlib.Path(sys.argv[2]), smoke=[sys.argv[3]]).healthy)\n"
    )
    command = [sys.executable, "-c", code, str(home), str(lock), smoke]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_of_several_creators_one_builds_and_the_others_wait(tmp_path: Path, wheels: Path, lock: Path) -> None:
    creators = [create_in_another_process(tmp_path / "home", lock) for _ in range(4)]
    said = [creator.communicate()[0].splitlines() for creator in creators]
    assert [lines[-1] for lines in said] == ["made True"] * 4
    assert sum(any(line.startswith("building") for line in lines) for lines in said) == 1


def test_a_build_killed_before_its_mark_is_not_called_fine(tmp_path: Path, wheels: Path) -> None:
    flag = tmp_path / "importing"
    make_wheel(wheels, "heldup", code=HELD_UP.format(flag=str(flag)))
    lock = write_lock(tmp_path / "provider", "heldup==1.0")
    store = EnvStore(tmp_path / "home", installer="uv")
    with create_in_another_process(tmp_path / "home", lock, smoke="heldup") as builder:
        jobs.until(flag.exists)  # everything is installed, only the check is still running
        os.kill(builder.pid, signal.SIGKILL)
        builder.communicate()
    assert [env.healthy for env in store.list()] == [False]
    make_wheel(wheels, "heldup")
    said: list[str] = []
    again = EnvStore(tmp_path / "home", installer="uv", on_progress=said.append)
    assert again.create("tiny", lock, smoke=["heldup"]).healthy
    assert "is unfinished or broken: deleting it" in said[0]


def test_an_installer_that_outlives_its_killed_creator_keeps_others_out(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "wheels", "tinything")
    only_from(tmp_path / "wheels", monkeypatch)
    slow_uv = tmp_path / "bin" / "uv"
    slow_uv.parent.mkdir()
    slow_uv.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    slow_uv.chmod(0o755)
    code = (
        "import sys, pathlib; from finetune_sdk.worker import installers, envs\n"
        "installers.find_uv = lambda: sys.argv[3]\n"
        "envs.EnvStore(pathlib.Path(sys.argv[1])).create('tiny', pathlib.Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home"), str(lock), str(slow_uv)]
    with subprocess.Popen(command) as builder:
        jobs.until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        os.kill(builder.pid, signal.SIGKILL)
        builder.communicate()
    with create_in_another_process(tmp_path / "home", lock) as second:
        assert second.stdout is not None
        assert second.stdout.readline().startswith("waiting for another process that is building tiny-")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert second.communicate()[0].splitlines()[-1] == "made True"


def test_an_interpreter_that_satisfies_the_ranges_is_used_as_it_is(tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "provider", "pydantic>=2", "nothere; python_version < '3'")
    store = EnvStore(tmp_path / "home")
    for wanted in ("auto", "current", sys.executable):
        assert store.python("tiny", lock, wanted=wanted) == Path(sys.executable)
    assert not (tmp_path / "home").exists()


def test_an_interpreter_that_lacks_something_names_it_and_the_command(tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "provider", "pydantic>=2", "nosuchthing>=3", "pytest<1")
    with pytest.raises(EnvError, match=r"lacks nosuchthing>=3 \(not installed\), pytest<1 \(has .*\)\.") as caught:
        EnvStore(tmp_path / "home").python("tiny", lock, wanted="current")
    assert f"Install it: {sys.executable} -m pip install" in str(caught.value)


def test_auto_builds_an_environment_when_this_interpreter_does_not_do(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    assert store.python("tiny", lock, smoke=["tinything"]) == store.list()[0].python


def test_a_given_environment_is_found_by_folder_or_interpreter(tmp_path: Path, wheels: Path, lock: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    env = store.create("tiny", lock)
    assert store.python("tiny", lock, wanted=str(env.path)) == env.python
    assert store.python("tiny", lock, wanted=str(env.python)) == env.python


@pytest.mark.parametrize("given", ["no/such/python", "/etc/hostname"])
def test_a_given_interpreter_that_is_none_is_an_error(tmp_path: Path, lock: Path, given: str) -> None:
    with pytest.raises(EnvError, match=given):
        EnvStore(tmp_path / "home").python("tiny", lock, wanted=given)


def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path, lock: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(EnvError, match="cannot write"):
        EnvStore(tmp_path / "home").create("tiny", lock)


def test_a_missing_lock_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="no lock file"):
        EnvStore(tmp_path / "home").create("tiny", tmp_path / "worker.lock")


def test_a_lock_is_complete_unless_it_says_otherwise(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "outer", requires="tinything")
    store = EnvStore(tmp_path / "home", installer="uv")
    exact = store.create("tiny", write_lock(tmp_path / "a", "outer==1.0"))
    assert not imports(exact.python, "tinything")
    whole = store.create("tiny", write_lock(tmp_path / "b", WITH_DEPENDENCIES, "outer==1.0"))
    assert imports(whole.python, "tinything")
