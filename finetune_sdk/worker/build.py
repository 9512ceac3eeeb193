"""Building one environment at its final path: make, fill, import, mark. The caller holds its file lock."""

from __future__ import annotations

import collections
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk.errors import EnvError
from finetune_sdk.redact import redact
from finetune_sdk.worker import wire
from finetune_sdk.worker.installers import Installer
from finetune_sdk.worker.interpreters import run_quietly

MARK = ".complete"
"""Written last. A folder without it is a ruin."""
_SMOKE_TIMEOUT_S = 900.0  # the first import of torch compiles thousands of files

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What is built, and where."""

    name: str
    path: Path
    lock: Path
    base: Path
    """The interpreter it is made with."""
    smoke: Sequence[str]
    """Modules that must import."""
    claim: int
    """The open file lock. Installers inherit it: one that outlives us keeps others out until it has ended."""

    def run(self, installer: Installer, say: Say) -> None:
        """Build it. Raises `EnvError` with the installer's last words and its command; what is left is unmarked."""
        if self.path.exists():
            say(f"{self.path.name} is unfinished or broken: deleting it and building it again")
            delete(self.path)
        say(f"building {self.path.name} with {installer.name}; all jobs of {self.name} will share it")
        environment = installer.environment()
        for command in installer.commands(self.base, self.path, self.lock):
            self._install(command, environment, say)
        if self.smoke:
            say(f"importing {', '.join(self.smoke)} to see that it works")
            self._smoke()
        now = datetime.now(UTC).isoformat()
        mark = {"name": self.name, "created": now, "smoke": list(self.smoke), "installer": installer.name}
        wire.write_json(self.path / MARK, mark)
        say(f"{self.path.name} is ready")

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
            text = f"[{self.name}] building the environment failed:\n{words}\nThe command was: {shlex.join(command)}"
            raise EnvError(text)

    def _smoke(self) -> None:
        python = self.path / "bin" / "python"
        code = f"import {', '.join(self.smoke)}"
        done = run_quietly(python, code, timeout_s=_SMOKE_TIMEOUT_S)
        if done.returncode == 0:
            return
        words = done.stderr.strip().splitlines()
        raise EnvError(
            f"[{self.name}] the environment from {self.lock} does not work: {words[-1] if words else 'it crashed'}\n"
            f"See for yourself: {shlex.join([str(python), '-I', '-c', code])}"
        )


def delete(path: Path) -> None:
    """Delete an environment, its mark first: an interrupted deletion must not leave a marked ruin."""
    (path / MARK).unlink(missing_ok=True)
    shutil.rmtree(path)
