"""The environment store, with real installers and wheels made on the spot."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import worker_jobs as jobs
from tiny_wheels import make_wheel, only_from, write_lock

from finetune_sdk.errors import EnvError
from finetune_sdk.worker import locks, wire
from finetune_sdk.worker.build import MARK
from finetune_sdk.worker.envs import EnvStore
from finetune_sdk.worker.installers import Wanted

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
    assert "deleting it and building it again" in said[0]


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
    whole = store.create("tiny", write_lock(tmp_path / "b", "# finetune: install with dependencies", "outer==1.0"))
    assert imports(whole.python, "tinything")


def test_a_lock_that_names_packages_installs_the_dependencies_of_those_alone(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, "outer", requires="tinything")
    make_wheel(wheels, "other")
    make_wheel(wheels, "another", requires="other")
    named = write_lock(
        tmp_path / "a", "# finetune: install outer with dependencies", "outer==1.0", "another==1.0", "tinything==1.0"
    )
    for installer in ("uv", "pip"):
        env = EnvStore(tmp_path / installer, installer=installer).create("tiny", named)
        assert (imports(env.python, "tinything"), imports(env.python, "other")) == (True, False)


def test_a_damaged_environment_is_built_again_and_said_so(tmp_path: Path, wheels: Path, lock: Path) -> None:
    make_wheel(wheels, "tinything", code="whole = True\n", sizes=True)
    said: list[str] = []
    store = EnvStore(tmp_path / "home", installer="uv", on_progress=said.append)
    env = store.create("tiny", lock)
    [module] = env.path.glob("lib/*/site-packages/tinything.py")
    module.unlink()
    module.write_text("")
    said.clear()
    store.create("tiny", lock)
    assert "tinything.py has 0 bytes instead of 13): deleting it and building it again" in said[0]
    assert imports(env.python, "tinything; assert tinything.whole")


def test_what_a_failed_installer_left_is_deleted(tmp_path: Path, wheels: Path) -> None:
    store = EnvStore(tmp_path / "home", installer="uv")
    with pytest.raises(EnvError, match="does not have one of the packages"):
        store.create("tiny", write_lock(tmp_path / "provider", "nosuchthing==1.0"))
    assert store.list() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_disk_that_fills_up_while_building_is_named_and_nothing_is_kept(
    tmp_path: Path, wheels: Path, small_disk: Path, installer: Wanted
) -> None:
    make_wheel(wheels, "large", code="#" * 40_000_000)
    lock = write_lock(tmp_path / "provider", "large==1.0")
    store = EnvStore(small_disk, installer=installer)
    with pytest.raises(EnvError, match=r"The disk is full\. Free some space"):
        store.create("tiny", lock)
    assert list(store.list()) == []


def test_a_disk_that_has_no_room_for_the_mark_leaves_nothing_that_passes_for_finished(
    tmp_path: Path, wheels: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(wire, "write_json", full)
    store = EnvStore(tmp_path / "home", installer="uv")
    with pytest.raises(EnvError, match=r"cannot be marked as complete: No space left on device"):
        store.create("tiny", lock)
    assert list(store.list()) == []


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_index_that_cannot_be_reached_is_named_as_the_reason(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch, installer: Wanted
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")  # its warnings say why; with none it says nothing
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store = EnvStore(tmp_path / "home", installer=installer)
    with pytest.raises(EnvError, match="The package index cannot be reached"):
        store.create("tiny", lock)
    assert store.list() == []


def test_uv_does_without_its_cache_where_it_cannot_be_written(
    tmp_path: Path, wheels: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_CACHE")
    (tmp_path / "file").touch()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert EnvStore(tmp_path / "home", installer="uv").create("tiny", lock, smoke=["tinything"]).healthy


def test_the_cuda_lock_is_built_when_asked_for(
    tmp_path: Path, wheels: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, "forgpus")
    lock.with_name("worker-cuda.lock").write_text("forgpus==1.0\n")
    store = EnvStore(tmp_path / "home", installer="uv")
    plain = store.create("tiny", lock, variant="cpu")
    cuda = store.create("tiny", lock, variant="cuda")
    assert (plain.variant, cuda.variant) == ("cpu", "cuda")
    assert (imports(plain.python, "forgpus"), imports(cuda.python, "forgpus")) == (False, True)
    monkeypatch.setenv("FINETUNE_VARIANT", "cuda")
    assert store.create("tiny", lock).path == cuda.path


def test_a_variant_that_is_none_is_an_error(
    tmp_path: Path, wheels: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EnvStore(tmp_path / "home")
    with pytest.raises(EnvError, match="no CUDA variant"):
        store.create("tiny", lock, variant="cuda")
    monkeypatch.setenv("FINETUNE_VARIANT", "tpu")
    with pytest.raises(EnvError, match="'tpu' is no variant; there are: auto, cpu, cuda"):
        store.create("tiny", lock)


def test_a_gpu_is_seen_through_its_drivers_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_GPUS", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not locks.gpu_seen()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Something (UUID: GPU-0)'\n")
    program.chmod(0o755)
    assert locks.gpu_seen()
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert not locks.gpu_seen()


def test_a_python_that_the_lock_is_not_made_for_is_refused(tmp_path: Path, wheels: Path) -> None:
    lock = write_lock(tmp_path / "provider", "# finetune: python >=3.6,<3.7", "tinything==1.0")
    store = EnvStore(tmp_path / "home", installer="uv")
    with pytest.raises(EnvError, match=r"\[tiny\] needs Python <3.7,>=3.6; this is 3\.\d+.*no such Python on PATH"):
        store.create("tiny", lock)
    with pytest.raises(EnvError, match="that interpreter is 3"):
        store.create("tiny", lock, base=Path(sys.executable))
    with pytest.raises(EnvError, match=r"lacks Python <3.7,>=3.6 \(is 3"):
        store.python("tiny", lock, wanted=sys.executable)
