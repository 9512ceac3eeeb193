"""The command line as a process: what it imports, signals, pipes, a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from fakes import write_rows

FAKE_CLI = Path(__file__).parents[1] / "fake_cli.py"
PATIENCE_S = 240.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """A job that never ends by itself."""
    body = {
        "provider": "fake",
        "model": "fake/base",
        "data": {"train": str(write_rows(tmp_path))},
        "options": {"fake": {"script": ["running"], "usd": 0}},
    }
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(body))
    return str(path)


@pytest.fixture
def start(home: Path) -> Generator[Start]:
    """Start `finetune` without a terminal."""
    running: list[subprocess.Popen[str]] = []

    def _start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(FAKE_CLI), *args, "--home", str(home)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
        return running[-1]

    yield _start
    for process in running:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], words: str) -> str:
    """What it said on stderr up to a line with these words."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def jobs(home: Path) -> list[dict[str, str]]:
    command = [sys.executable, str(FAKE_CLI), "jobs", "ls", "--refresh", "--format", "json", "--home", str(home)]
    found: list[dict[str, str]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


# --- what it costs to start -----------------------------------------------------------------------------------------


def test_help_imports_nothing_it_does_not_need() -> None:
    code = (
        "import sys; from finetune_sdk.cli._main import answer; answer(['--help']); "
        "print('loaded', *sorted({'torch', 'transformers', 'rich', 'pydantic', 'msgspec', 'yaml', 'sqlite3', 'anyio'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "loaded\n"
    assert "Commands:" in done.stdout


def test_the_help_of_a_command_is_as_cheap() -> None:
    code = (
        "import sys; from finetune_sdk.cli._app import COMMANDS; from finetune_sdk.cli._main import answer\n"
        "for name in COMMANDS: assert answer([name, '--help']) == 0, name\n"
        "print('loaded', *sorted({'torch', 'rich', 'pydantic', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "loaded\n"


# --- signals and pipes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_without_a_terminal_it_detaches(start: Start, spec: str, home: Path, number: int) -> None:
    process = start("run", spec)
    until(process, "submitted")
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    (job,) = jobs(home)
    assert (process.returncode, out.strip(), job["status"]) == (130, job["id"], "running")
    assert f"finetune jobs follow {job['id']} --home {home}" in err
    assert "Traceback" not in err


def test_interrupted_while_following_it_just_stops(start: Start, spec: str, home: Path) -> None:
    start("run", spec, "--detach").communicate(timeout=PATIENCE_S)
    process = start("jobs", "follow", "ft-")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert jobs(home)[0]["status"] == "running"


def test_a_reader_that_leaves_is_no_error(start: Start, spec: str) -> None:
    start("run", spec, "--detach").communicate(timeout=PATIENCE_S)
    process = start("jobs", "follow", "ft-", "--format", "json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=PATIENCE_S) == 141
    assert process.stderr is not None
    assert "rror" not in process.stderr.read()


# --- a terminal -----------------------------------------------------------------------------------------------------


class Terminal:
    """`finetune` with a person in front of it."""

    def __init__(self, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        command = ["setsid", "--ctty", "--wait", sys.executable, str(FAKE_CLI), *args]
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
        self._process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
        os.close(theirs)
        self.screen = ""

    def until(self, words: str) -> None:
        """Read until these words are on the screen."""
        end = time.monotonic() + PATIENCE_S
        while words not in self.screen:
            assert self._read(end - time.monotonic()), f"no {words!r} in: {self.screen}"

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, timeout_s))
        if not ready:
            return False
        try:
            self.screen += os.read(self._ours, 4096).decode("utf-8", "replace")
        except OSError:  # the other end is closed: it is over
            return False
        return True

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """The exit code, after everything it still says."""
        end = time.monotonic() + PATIENCE_S
        while self._read(end - time.monotonic()):
            pass
        return self._process.wait(timeout=PATIENCE_S)

    def press_until_it_ends(self, keys: str) -> int:
        """A key may fall into the moment between the question and the reading of the answer; people press again."""
        end = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < end:
            self.type(keys)
            again = time.monotonic() + 1.0  # an echo is not an answer: give it time to leave
            while self._process.poll() is None and time.monotonic() < again:
                self._read(0.05)
        return self.end()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(spec: str, home: Path) -> Generator[Terminal]:
    """A job being watched."""
    made = Terminal("run", spec, "--home", str(home))
    made.until("submitted")
    made.until("running")
    yield made
    made.close()


def test_a_terminal_shows_a_live_display(terminal: Terminal) -> None:
    terminal.until("━")
    terminal.until("loss 0.")


def test_ctrl_c_asks_and_d_detaches(terminal: Terminal, home: Path) -> None:
    terminal.type("\x03")
    terminal.until("d/c/g")
    terminal.type("d\n")
    assert terminal.end() == 130
    assert jobs(home)[0]["status"] == "running"


def test_ctrl_c_asks_and_c_cancels(terminal: Terminal, home: Path) -> None:
    terminal.type("\x03")
    terminal.until("d/c/g")
    terminal.type("c\n")
    assert terminal.end() == 1
    assert "was cancelled" in terminal.screen
    assert jobs(home)[0]["status"] == "cancelled"


def test_ctrl_c_asks_and_g_goes_on(terminal: Terminal) -> None:
    terminal.type("\x03")
    terminal.until("d/c/g")
    terminal.screen = ""
    terminal.type("g\n")
    terminal.until("━")
    terminal.type("\x03")
    terminal.until("d/c/g")


def test_a_second_ctrl_c_detaches(terminal: Terminal, home: Path) -> None:
    terminal.type("\x03")
    terminal.until("d/c/g")
    assert terminal.press_until_it_ends("\x03") == 130, terminal.screen
    assert jobs(home)[0]["status"] == "running"


def test_a_job_that_costs_money_is_asked_about_first(spec: str, home: Path) -> None:
    terminal = Terminal("run", spec, "--home", str(home), "--set", "options.fake.usd=3.5")
    terminal.until("This costs about 3.50 USD. Submit it?")
    terminal.type("n\n")
    assert terminal.end() == 130
    terminal.close()
    assert jobs(home) == []


# --- completion -----------------------------------------------------------------------------------------------------


def test_the_shell_completes_job_ids(start: Start, spec: str, home: Path) -> None:
    start("run", spec, "--detach").communicate(timeout=PATIENCE_S)
    (job,) = jobs(home)
    environ = {
        **os.environ,
        "FINETUNE_HOME": str(home),
        "_FINETUNE_COMPLETE": "bash_complete",
        "COMP_WORDS": "finetune jobs show ft-",
        "COMP_CWORD": "3",
    }
    done = subprocess.run([sys.executable, str(FAKE_CLI)], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == f"plain,{job['id']}\n"


def test_a_terminal_gets_no_colour_where_the_user_wants_none() -> None:
    said: dict[str, bytes] = {}
    for wanted in ("", "1"):
        controller, terminal = pty.openpty()
        command = [sys.executable, str(FAKE_CLI), "data", "repairs"]
        subprocess.run(command, stdout=terminal, env={**os.environ, "NO_COLOR": wanted}, check=True, timeout=PATIENCE_S)
        said[wanted] = os.read(controller, 65_536)
        os.close(terminal)
        os.close(controller)
    assert [b"\x1b[" in text for text in said.values()] == [True, False]
