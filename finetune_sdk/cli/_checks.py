"""What `finetune doctor` looks at. Reads only: no network, nothing created, nothing heavy imported."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune_sdk.errors import FineTuneError
from finetune_sdk.home import VARIABLE, home_folder
from finetune_sdk.provider import Environment
from finetune_sdk.registry import names, provider_class
from finetune_sdk.worker.envs import EnvStore
from finetune_sdk.worker.interpreters import inspect, parse, requirement_lines

State = Literal["ok", "note", "missing", "broken"]

_LOW_DISK = 5 * 2**30
_SQLITE = (3, 37, 0)  # STRICT tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    state: State
    """ok; note = works, worth knowing; missing = not usable until `fix`; broken = nothing works until `fix`."""
    text: str
    fix: str = ""
    """The command that fixes it."""


def machine(home: str | None) -> Iterator[Check]:
    """This interpreter, this machine, the home folder."""
    yield _python()
    yield _sqlite()
    yield from _home(home_folder(home))
    yield _installer()
    yield _processor()
    yield _accelerator()


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if not Path("/proc/self/stat").exists():
        text = f"{version} on {sys.platform}: local workers need Linux (/proc); hosted providers work"
        return Check(name="python", state="note", text=text)
    return Check(name="python", state="ok", text=f"{version} ({sys.executable})")


def _sqlite() -> Check:
    if sqlite3.sqlite_version_info < _SQLITE:
        text = f"SQLite {sqlite3.sqlite_version} is too old for the job store; it needs 3.37"
        return Check(name="sqlite", state="broken", text=text, fix="use a newer Python: uv python install 3.12")
    return Check(name="sqlite", state="ok", text=sqlite3.sqlite_version)


def _home(home: Path) -> Iterator[Check]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not _writable(there):
        text = f"{home} cannot be written"
        yield Check(name="home", state="broken", text=text, fix=f"export {VARIABLE}=/a/folder/of/yours")
        return
    yield Check(name="home", state="ok", text=f"{home}" + ("" if home.exists() else " (made when first needed)"))
    free = shutil.disk_usage(there).free
    state: State = "ok" if free > _LOW_DISK else "note"
    fix = "" if state == "ok" else "finetune envs ls; finetune jobs ls   # then rm what is not needed"
    yield Check(name="disk", state=state, text=f"{free / 2**30:.0f} GiB free at {there}", fix=fix)


def _writable(folder: Path) -> bool:
    """By trying, with a file that has no name: root passes every permission check, /proc takes no file all the same."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _installer() -> Check:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        return Check(name="installer", state="ok", text=f"uv ({uv})")
    text = "pip; uv builds environments many times faster"
    return Check(name="installer", state="note", text=text, fix=f"{sys.executable} -m pip install uv")


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Check(name="processor", state="ok", text=f"{cores} cores, {memory:.0f} GiB memory")


def _accelerator() -> Check:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check(
            name="gpu", state="note", text="none found: local training runs on the processor, small models only"
        )
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="gpu", state="missing", text=f"nvidia-smi does not answer: {error}", fix=program)
    if done.returncode != 0 or not done.stdout.strip():
        return Check(
            name="gpu", state="missing", text=f"nvidia-smi: {(done.stderr or done.stdout).strip()}", fix=program
        )
    return Check(name="gpu", state="ok", text="; ".join(done.stdout.strip().splitlines()))


def providers(home: str | None, only: str | None) -> Iterator[Check]:
    """Whether each provider can be loaded, and whether what its worker runs in is there."""
    for name in [only] if only is not None else names():
        yield _provider(name, home_folder(home))


def _provider(name: str, home: Path) -> Check:
    try:
        found = provider_class(name)
    except FineTuneError as error:
        text, _, fix = str(error).partition(" Run: ")
        return Check(name=name, state="missing", text=text, fix=fix)
    if found.environment is None:
        return Check(name=name, state="ok", text="ready")
    return _worker(name, found.environment, home)


def _worker(name: str, needs: Environment, home: Path) -> Check:
    try:
        ranges = [parse(text) for text in requirement_lines(needs.lock.with_suffix(".in"))]
        lacks = inspect(Path(sys.executable), {one.name for one in ranges}).lacks(ranges)
        if not lacks:
            return Check(name=name, state="ok", text="ready: workers run in this environment")
        path = EnvStore(home).path(name, needs.lock)
        built = [env for env in EnvStore(home).list() if env.path == path and env.healthy]
    except FineTuneError as error:
        return Check(name=name, state="missing", text=str(error), fix=f"finetune envs create {name}")
    if built:
        return Check(name=name, state="ok", text=f"ready: workers run in {path.name}")
    text = f"this environment lacks {', '.join(lacks[:3])}{' ...' if len(lacks) > 3 else ''}"
    return Check(
        name=name,
        state="note",
        text=f"{text}; one of its own is built at the first job",
        fix=f"finetune envs create {name}",
    )
