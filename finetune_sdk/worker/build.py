"""Building one environment at its final path: make, fill, import, mark. The caller holds its file lock."""

from __future__ import annotations

import collections
import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk.errors import EnvError
from finetune_sdk.redact import redact
from finetune_sdk.worker import wholeness, wire
from finetune_sdk.worker.installers import Installer
from finetune_sdk.worker.interpreters import run_quietly
from finetune_sdk.worker.locks import Lock

MARK = ".complete"
"""Written last. A folder without it is a ruin."""
_SMOKE_TIMEOUT_S = 900.0  # the first import of torch compiles thousands of files

Say = Callable[[str], None]

_LITTLE_BYTES = 50e6
_FULL = "The disk is full. Free some space, or name a home on another disk (FINETUNE_HOME)"
_HINTS: Sequence[tuple[re.Pattern[str], str]] = (  # words of uv 0.11 and pip 26 -> what it means and what helps
    (
        re.compile(r"No space left on device|os error 28"),
        _FULL,
    ),
    (
        re.compile(
            r"Failed to establish a new connection|NameResolutionError|dns error|error trying to connect|"
            r"Could not connect|ConnectionError|Network is unreachable|tunnel error|ReadTimeout|Connection refused"
        ),
        (
            "The package index cannot be reached. Check the network and proxy, point pip at an index that can be "
            "(PIP_INDEX_URL) or at a folder of wheels (PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR), or give an interpreter "
            "that has the packages with `compute: {environment: PATH}`"
        ),
    ),
    (
        re.compile(r"No matching distribution found|not found in the (?:package registry|provided package locations)"),
        "The index that was asked does not have one of the packages for this Python and platform",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is built, and where."""

    name: str
    path: Path
    lock: Lock
    base: Path
    """The interpreter it is made with."""
    smoke: Sequence[str]
    """Modules that must import."""
    claim: int
    """The open file lock. Installers inherit it: one that outlives us keeps others out until it has ended."""

    def run(self, installer: Installer, say: Say, *, damage: str) -> None:
        """Build it; `damage`: what is wrong with the one that is there, if one is.

        Raises `EnvError` with the installer's last words and its command; what it left is deleted.
        """
        if self.path.exists():
            say(f"{self.path.name} cannot be used ({damage}): deleting it and building it again")
            delete(self.path)
        say(f"building {self.path.name} with {installer.name}{self._size()}; all jobs of {self.name} will share it")
        environment = installer.environment()
        try:
            for command in installer.commands(self.base, self.path, self.lock):
                self._install(command, environment, say)
        except EnvError:
            self._clear()
            raise
        if self.smoke:
            say(f"importing {', '.join(self.smoke)} to see that it works")
            self._smoke()
        now = datetime.now(UTC).isoformat()
        mark = {
            "name": self.name,
            "created": now,
            "smoke": list(self.smoke),
            "installer": installer.name,
            "variant": self.lock.variant,
            "files": wholeness.count(self.path),
        }
        try:
            wire.write_json(self.path / MARK, mark)
        except OSError as exc:  # the disk took all but the last file
            self._clear()
            text = f"[{self.name}] {self.path} cannot be marked as complete: {exc.strerror}; nothing was kept"
            raise EnvError(text) from exc
        say(f"{self.path.name} is ready")

    def _size(self) -> str:
        """What it will take, and a warning when that is more than there is."""
        if self.lock.size is None:
            return ""
        free = shutil.disk_usage(self.path.parent).free / 1e9
        number, _, unit = self.lock.size.partition(" ")
        wanted = float(number) / (1 if unit == "GB" else 1000)
        doubt = f", but only {free:.1f} GB are free" if free < wanted else ""
        kind = "" if self.lock.variant == "any" else f", {self.lock.variant} variant"
        return f" (about {self.lock.size} on disk{doubt}{kind})"

    def _room(self) -> str:
        """For an installer that does not say why: `venv` swallows what its own child complains about."""
        free = shutil.disk_usage(self.path.parent).free
        return f"{_FULL}: {free / 1e6:.0f} MB are left.\n" if free < _LITTLE_BYTES else ""

    def _clear(self) -> None:
        """What a failed installer left is of no use to anybody; without its mark it would be deleted anyway."""
        with contextlib.suppress(OSError):
            delete(self.path)

    def _install(self, command: Sequence[str], environment: dict[str, str], say: Say) -> None:
        tail: collections.deque[str] = collections.deque(maxlen=25)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                pass_fds=(self.claim,),
            )
        except OSError as exc:
            raise EnvError(f"[{self.name}] cannot run {command[0]}: {exc.strerror or exc}") from exc
        with process:
            try:
                for line in process.stdout or ():
                    tail.append(redact(line.rstrip()))
                    say(tail[-1])
            except BaseException:  # Ctrl-C: no installer goes on behind our back
                process.kill()
                raise
        if process.returncode != 0:
            words = "\n".join(tail) or f"exit code {process.returncode}"
            hint = next((f"{hint}.\n" for pattern, hint in _HINTS if pattern.search(words)), self._room())
            raise EnvError(
                f"[{self.name}] building the environment failed:\n{words}\n{hint}The command was: {shlex.join(command)}"
            )

    def _smoke(self) -> None:
        python = self.path / "bin" / "python"
        code = f"import {', '.join(self.smoke)}"
        done = run_quietly(python, code, timeout_s=_SMOKE_TIMEOUT_S)
        if done.returncode == 0:
            return
        words = done.stderr.strip().splitlines() or ["it crashed"]
        raise EnvError(
            f"[{self.name}] the environment from {self.lock.path} does not work: {words[-1]}\n"
            f"See for yourself: {shlex.join([str(python), '-I', '-c', code])}"
        )


def delete(path: Path) -> None:
    """Delete an environment, its mark first: an interrupted deletion must not leave a marked ruin."""
    (path / MARK).unlink(missing_ok=True)
    shutil.rmtree(path)
