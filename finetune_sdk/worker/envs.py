"""The environment store: interpreters for workers, one folder per lock, Python version and platform.

An environment is built at its final path under a file lock, imported once, and marked last. It is never edited: a
changed lock is another folder, and one without its mark is deleted and built again, never repaired (an interrupted
installer leaves a broken environment that the same installer then calls complete).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk.errors import EnvError
from finetune_sdk.worker import locks, wholeness, wire
from finetune_sdk.worker.build import MARK, Build, delete
from finetune_sdk.worker.installers import Installer, Wanted
from finetune_sdk.worker.interpreters import (
    Interpreter,
    another,
    inspect,
    parse,
    requirement_lines,
    run_quietly,
)
from finetune_sdk.worker.locks import Lock, Variant

_log = logging.getLogger("finetune_sdk.worker")

_PRESENT = "import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """One environment of the store."""

    name: str
    hash: str
    path: Path
    size_bytes: int
    created: datetime | None
    """UTC; None = never finished."""
    healthy: bool
    """Marked complete, its interpreter runs and finds the modules it was checked with."""
    variant: str = "any"
    """"cpu", "cuda", or "any": one for both kinds of machine."""

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


class EnvStore:
    """Worker environments under `home`/envs. Safe for many processes at once; creates nothing before it is needed."""

    def __init__(
        self, home: Path, *, on_progress: Callable[[str], None] | None = None, installer: Wanted = "auto"
    ) -> None:
        """`on_progress` gets a line at a time while something is built; so does the logger `finetune_sdk.worker`."""
        self.root = Path(os.path.realpath(home / "envs"))  # scripts in it name their place, which must last
        self._on_progress = on_progress
        self._wanted: Wanted = installer

    def python(
        self,
        name: str,
        lock: Path,
        *,
        wanted: str = "auto",
        smoke: Sequence[str] = (),
        requirements: Sequence[str] | None = None,
    ) -> Path:
        """The interpreter to run worker `name` with; a managed one is built if need be, which takes its time.

        `wanted`: "current" = this interpreter, "managed" = from `lock`, "auto" = current when it satisfies
        `requirements` (None = the `.in` file beside the lock), else managed; anything else is the path of an
        interpreter or of its environment. `lock` is the one for CPUs; where a GPU is seen, its sibling
        `<name>-cuda.lock` is built, if there is one. Raises `EnvError` with what is missing and what installs it.
        """
        if wanted == "managed":
            return self._built(name, lock, smoke=smoke) / "bin" / "python"
        needed = requirement_lines(lock.with_suffix(".in")) if requirements is None else list(requirements)
        ranges = [parse(text) for text in needed]
        python = Path(sys.executable if wanted in ("auto", "current") else wanted)
        interpreter = inspect(python, {requirement.name for requirement in ranges})
        missing = [*_wrong_python(interpreter, locks.read(lock)), *interpreter.lacks(ranges)]
        if not missing:
            return interpreter.path
        if wanted == "auto":
            self._say(f"this interpreter does not have what {name} needs: {', '.join(missing)}; using an environment")
            return self._built(name, lock, smoke=smoke) / "bin" / "python"
        raise EnvError(_unsatisfied(name, interpreter, missing, needed))

    def path(self, name: str, lock: Path, *, base: Path | None = None) -> Path:
        """Where the environment for this lock lies or will lie. Reads the lock, creates nothing."""
        chosen = locks.read(locks.choose(lock))
        return self.root / f"{name}-{_hash(lock=chosen, interpreter=_base(name, chosen, base))}"

    def create(
        self,
        name: str,
        lock: Path,
        *,
        smoke: Sequence[str] = (),
        base: Path | None = None,
        variant: Variant = "auto",
    ) -> Env:
        """The environment for `lock`, built unless it is there and healthy. Others that want the same one wait for it.

        `smoke`: modules imported once it is built. `base`: the interpreter it is made with; None = this one, or
        another one on `PATH` when the lock is not made for this one. `variant`: see `finetune_sdk.worker.locks`.
        """
        return _read(self._built(name, lock, smoke=smoke, base=base, variant=variant), healthy=True)

    def _built(
        self,
        name: str,
        lock: Path,
        *,
        smoke: Sequence[str],
        base: Path | None = None,
        variant: Variant = "auto",
    ) -> Path:
        """Its folder. Every job asks for it, so nothing is added up here that nobody reads."""
        chosen = locks.read(locks.choose(lock, variant))
        interpreter = _base(name, chosen, base)
        path = self.root / f"{name}-{_hash(lock=chosen, interpreter=interpreter)}"
        with self._claimed(path) as claim:
            damage = _damage(path)
            if damage is not None:
                build = Build(name=name, path=path, lock=chosen, base=interpreter.path, smoke=tuple(smoke), claim=claim)
                build.run(Installer.choose(self._wanted), self._say, damage=damage)
        return path

    def list(self) -> Sequence[Env]:
        """Every environment, also the unfinished ones; ordered by name and age."""
        folders = [path for path in self.root.glob("*-*") if path.is_dir() and not path.name.startswith(".")]
        return sorted(
            (_read(path, healthy=_healthy(path)) for path in folders),
            key=lambda env: (env.name, env.created or datetime.max.replace(tzinfo=UTC)),
        )

    def remove(self, name: str, *, force: bool = False) -> Sequence[Env]:
        """Delete an environment (`<name>-<hash>`), or all of one name. Returns what was deleted.

        Raises `EnvError` when there is none, and, unless `force`, when a process is running from it.
        """
        found = [env for env in self.list() if name in (env.name, env.path.name)]
        if not found:
            known = ", ".join(env.path.name for env in self.list()) or "none"
            raise EnvError(f"there is no environment {name!r}; there are: {known}")
        for env in found:
            users = [] if force else _running_from(env.path)
            if users:
                raise EnvError(f"environment {env.path.name} is used by process {users[0]}; wait for it, or use force")
            with self._claimed(env.path):
                delete(env.path)
        return found

    @contextlib.contextmanager
    def _claimed(self, path: Path) -> Generator[int]:
        """Hold the lock of one environment; whoever comes second waits."""
        lock = path.with_name(f".{path.name}.lock")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            claim = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise EnvError(f"cannot write {self.root}: {exc.strerror}; set another home (FINETUNE_HOME)") from exc
        try:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"waiting for another process that is building {path.name}")
                fcntl.flock(claim, fcntl.LOCK_EX)
            yield claim
        finally:
            os.close(claim)

    def _say(self, line: str) -> None:
        _log.info("%s", line)
        if self._on_progress is not None:
            self._on_progress(line)


def _hash(*, lock: Lock, interpreter: Interpreter) -> str:
    """What makes an environment another one: the lock's text, the Python version, the platform."""
    text = f"{interpreter.version}\n{interpreter.platform}\n".encode() + lock.path.read_bytes()
    return hashlib.sha256(text).hexdigest()[:12]


def _base(name: str, lock: Lock, given: Path | None) -> Interpreter:
    """The interpreter to make the environment with: the given one, this one, or another one that the lock is for."""
    interpreter = inspect(given or Path(sys.executable))
    if not _wrong_python(interpreter, lock):
        return interpreter
    found = another(lock.python) if given is None else None
    if found is None:
        what = "that interpreter is" if given is not None else "this is"
        raise EnvError(
            f"[{name}] needs Python {lock.python}; {what} {interpreter.version} ({interpreter.path})"
            f"{'' if given else ', and there is no such Python on PATH'}. Install one, or name one: "
            f"finetune envs create {name} --python PATH"
        )
    return found


def _wrong_python(interpreter: Interpreter, lock: Lock) -> list[str]:
    if lock.python.contains(interpreter.version, prereleases=True):
        return []
    return [f"Python {lock.python} (is {interpreter.version})"]


def _healthy(path: Path) -> bool:
    """The quick look: marked, and its interpreter (which may have been upgraded away) finds the modules."""
    mark = wire.read_json(path / MARK)
    if mark is None:
        return False
    modules = [str(module).partition(".")[0] for module in mark.get("smoke", ())]
    with contextlib.suppress(EnvError):
        return run_quietly(path / "bin" / "python", _PRESENT, *modules).returncode == 0
    return False


def _damage(path: Path) -> str | None:
    """The look at reuse: why it must be built again; None = it is as it was."""
    if not _healthy(path):
        return "it was never finished, or its interpreter or a package is gone"
    mark = wire.read_json(path / MARK) or {}
    return wholeness.damage(path, int(mark["files"])) if "files" in mark else None


def _unsatisfied(name: str, interpreter: Interpreter, missing: Sequence[str], needed: Sequence[str]) -> str:
    install = shlex.join([str(interpreter.path), "-m", "pip", "install", *needed])
    return (
        f"[{name}] {interpreter.path} lacks {', '.join(missing)}. Install it: {install}\n"
        "or set `compute: {environment: managed}`, which builds an environment of its own"
    )


def _read(path: Path, *, healthy: bool) -> Env:
    name, _, digest = path.name.rpartition("-")
    mark = wire.read_json(path / MARK)
    return Env(
        name=name,
        hash=digest,
        path=path,
        size_bytes=_size(path),
        created=None if mark is None else datetime.fromisoformat(mark["created"]),
        healthy=healthy,
        variant="any" if mark is None else str(mark.get("variant", "any")),
    )


def _size(path: Path) -> int:
    """Bytes in its files; files shared with uv's cache count in full."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{file}").st_size  # ten thousands of them
    return total


def _running_from(path: Path) -> list[int]:
    """Processes whose program lies in the environment, by the path they were started through."""
    prefix = f"{path}/".encode()
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().startswith(prefix):
                found.append(int(entry.name))
    return found
