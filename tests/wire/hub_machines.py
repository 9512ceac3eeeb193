# pyright: basic
"""The machines of the hub in `hub.py`: what a Job or a Space is told to run is run here, with this machine's uv."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from finetune_sdk.worker.installers import Installer, find_uv

_MARK = "FAKE_HUB_MACHINE"
_INSTRUCTION = re.compile(r"^(FROM|RUN|USER|ENV|WORKDIR|EXPOSE|CMD) (.+)$")
_ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED", "PAUSED", "RUNTIME_ERROR", "BUILD_ERROR")


@dataclass
class Machine:
    """One container. `command` is run as it came; the image is this machine."""

    id: str
    command: Sequence[str]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    home: Path
    stages: tuple[str, str, str, str]
    """Waiting, running, ended well, ended badly."""
    stand_in: Path | None = None
    """An environment of this machine's, instead of one that uv would fill."""
    timeout_s: float | None = None
    grace_s: float = 60.0
    stage: str = ""
    message: str | None = None
    cancel_reason: str | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.stage = self.stages[0]
        self.created = datetime.now(UTC)

    def start(self) -> None:
        with self._lock:
            if self.stage != self.stages[0]:
                return
            self.home.mkdir(parents=True, exist_ok=True)
            self.process = subprocess.Popen(
                list(self.command),
                cwd=self.home,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self.stage = self.stages[1]
        self.threads = [threading.Thread(target=deed, daemon=True) for deed in (self._watch, self._read)]
        for thread in self.threads:
            thread.start()

    def _env(self) -> dict[str, str]:
        uv = find_uv()
        assert uv is not None, "the fake hub's machines need uv"
        index = {name: value for name, value in Installer.choose().environment().items() if name.startswith("UV_")}
        ours = {name: os.environ[name] for name in ("SSL_CERT_FILE", "HTTPS_PROXY", "LANG") if name in os.environ}
        cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
        return {
            **ours,
            **index,
            "PATH": f"{self._with_stand_in(uv)}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "UV_CACHE_DIR": cache,
            "HF_HUB_DISABLE_XET": "1",  # files come and go by git-lfs: this hub has no Xet store
            "OMP_NUM_THREADS": "1",
            **self.environment,
            **self.secrets,
            _MARK: self.id,
        }

    def _with_stand_in(self, uv: str) -> Path:
        """The folder of uv, or of one that makes environments by a link."""
        if self.stand_in is None:
            return Path(uv).parent
        folder = self.home / "bin"
        folder.mkdir(exist_ok=True)
        for_venv = f'for last; do :; done; exec ln -s "{self.stand_in}" "$last"'
        script = f'#!/bin/sh\ncase "$1" in\nvenv) {for_venv};;\npip) exit 0;;\nesac\nexec "{uv}" "$@"\n'
        (folder / "uv").write_text(script)
        (folder / "uv").chmod(0o755)
        return folder

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                self.lines.append(line)

    def _watch(self) -> None:
        assert self.process is not None
        started = time.monotonic()
        while self.process.poll() is None:
            if self.timeout_s is not None and time.monotonic() - started > self.timeout_s:
                self.message = "Job timeout"
                self._kill()
            time.sleep(0.05)
        self._sweep()
        with self._lock:
            if self.stage not in _ENDED:
                self.stage = self.stages[2] if self.process.returncode == 0 else self.stages[3]

    def take_away(self, stage: str) -> None:
        """SIGTERM, and after the grace everything in the container is killed."""
        with self._lock:
            if self.stage in _ENDED:
                return
            self.stage = stage
        if self.process is not None:
            threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.grace_s)
        self._kill()

    def _kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._sweep()

    def _sweep(self) -> None:
        """A container ends with its first process, whatever sessions the others are in."""
        mark = f"{_MARK}={self.id}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)

    def end(self) -> None:
        """After a test: nothing stays."""
        if self.process is not None:
            self._kill()
            self.process.wait(120)
        for thread in self.threads:
            thread.join(120)


def command_of(readme: str, dockerfile: str) -> list[str]:
    """The CMD of a Dockerfile. Raises `ValueError` for what a Space could not build."""
    if "\nsdk: docker\n" not in readme.partition("\n---\n")[0] + "\n":
        raise ValueError("README.md says no sdk")
    found: dict[str, str] = {}
    for line in dockerfile.splitlines():
        said = _INSTRUCTION.match(line)
        if said is None:
            raise ValueError(f"no instruction: {line}")
        found[said[1]] = said[2]
    if not found.get("FROM") or found.get("USER") != "user":
        raise ValueError("a Space starts FROM an image and runs as a user of its own")
    command = json.loads(found["CMD"])
    if not (isinstance(command, list) and all(isinstance(word, str) for word in command)):
        raise ValueError("CMD must be a list of words")
    return command
