"""Files that change, pipes that stop, disks that fill up, Ctrl-C: nothing half-written, nothing left running."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.convert import convert
from finetune_sdk.data.tools import files as operations
from finetune_sdk.data.tools.check import check
from finetune_sdk.data.tools.repairs import chosen
from finetune_sdk.errors import DataError


def chat(question: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return json.dumps({"messages": turns}) + "\n"


ROWS = "".join(chat(f"question {number}") for number in range(12))


def rules(found: Iterator[object] | tuple[object, ...]) -> list[str]:
    return [str(getattr(one, "rule", "")) for one in found]


class Growing(Dataset):
    """A dataset whose file somebody appends to while it is read."""

    def _detect(self, path: Path) -> object:  # type: ignore[override]
        found = super()._detect(path)
        if path.stat().st_size == len(ROWS):
            with path.open("a") as file:
                file.write(chat("late"))
        return found


@pytest.fixture
def growing(tmp_path: Path) -> Dataset:
    path = tmp_path / "t.jsonl"
    path.write_text(ROWS)
    return Growing([path], None, {})


def test_a_file_that_grows_while_it_is_converted_is_not_converted(tmp_path: Path, growing: Dataset) -> None:
    outcome = convert(growing, tmp_path / "out.jsonl", to="sharegpt")
    assert (rules(outcome.errors), outcome.written) == (["file-changed"], {})
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_grows_is_not_taken_for_whole_when_bad_rows_are_dropped(tmp_path: Path, growing: Dataset) -> None:
    outcome = operations.fix(growing, tmp_path / "out.jsonl", chosen(), to="chat", drop=True)
    assert (rules(outcome.errors), outcome.written) == (["file-changed"], {})


def test_a_check_says_that_the_file_grew_meanwhile(growing: Dataset) -> None:
    assert rules(check(growing, ()).findings) == ["file-changed"]


SHARED = """
import sys
from pathlib import Path
from finetune_sdk.data import Dataset, convert, ranges
ranges.LARGE_BYTES, ranges.RANGE_BYTES = 1000, 10_000
source, out = map(Path, sys.argv[1:])
"""
"""What makes two processes share a small file."""

MEANWHILE = (
    SHARED
    + """
real = convert.convert_range
def convert_range(job, stream, report):
    source.touch()
    return real(job, stream, report)
convert.convert_range = convert_range
outcome = convert.convert(Dataset.open(source), out, to="chat", workers=2)
print([finding.rule for finding in outcome.errors], dict(outcome.written))
"""
)


def many_rows(path: Path, rows: int = 2000) -> Path:
    path.write_text("".join(chat(f"{number} " + os.urandom(100).hex()) for number in range(rows)))
    return path


def python(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_several_processes_notice_a_change_as_well(tmp_path: Path) -> None:
    source = many_rows(tmp_path / "t.jsonl")
    os.utime(source, ns=(1, 1))
    done = python(MEANWHILE, source, tmp_path / "o" / "out.jsonl")
    assert (done.stdout.strip(), list((tmp_path / "o").iterdir())) == ("['file-changed'] {}", []), done.stderr


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard", "symbolic"])
def test_output_onto_a_link_to_its_own_input_is_refused(tmp_path: Path, link: object) -> None:
    path, other = tmp_path / "t.jsonl", tmp_path / "other.jsonl"
    path.write_text(ROWS)
    assert callable(link)
    link(path, other)
    with pytest.raises(DataError, match="would overwrite its own input"):
        convert(Dataset.open(path), other, to="chat")
    assert (path.read_text(), other.read_text()) == (ROWS, ROWS)


def through_pipe(folder: Path, content: bytes) -> Path:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    return pipe


def test_gzip_cut_short_in_a_pipe_is_said_to_end_early(tmp_path: Path) -> None:
    pipe = through_pipe(tmp_path, gzip.compress(ROWS.encode())[:-9])
    with pytest.raises(DataError, match="the gzip stream ends early"):
        list(Dataset.open(pipe))


def test_gzip_cut_short_on_standard_input_is_said_to_end_early() -> None:
    command = [Path(sys.executable).with_name("finetune"), "data", "check", "-"]
    cut = gzip.compress(ROWS.encode())[:-9]
    done = subprocess.run(command, input=cut, capture_output=True, check=False, timeout=300)
    assert (done.returncode, b"the gzip stream ends early" in done.stdout, done.stderr) == (3, True, b"")


def test_standard_input_may_hold_more_rows_than_detection_looks_at() -> None:
    command = [Path(sys.executable).with_name("finetune"), "data", "check", "-", "--format", "json"]
    done = subprocess.run(command, input=ROWS.encode() * 30, capture_output=True, check=False, timeout=300)
    assert json.loads(done.stdout)["rows"] == 12 * 30


def test_a_bomb_in_a_pipe_is_stopped_too(tmp_path: Path) -> None:
    blank = (b" " * ((1 << 20) - 1) + b"\n") * 70
    pipe = through_pipe(tmp_path, gzip.compress(blank, 6))
    with pytest.raises(DataError, match="more than 200 times its size"):
        list(Dataset.open(pipe))


ENDLESS = """
import resource, sys
from finetune_sdk.data import Dataset
from finetune_sdk.errors import DataError
before = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + (400 << 20), before + (400 << 20)))
try:
    list(Dataset.open("/dev/zero"))
except DataError as error:
    print(error)
"""


def test_a_device_without_end_is_refused_in_bounded_memory() -> None:
    done = python(ENDLESS)
    assert "/dev/zero" in done.stdout, done.stderr[-500:]


FULL = (
    SHARED
    + """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    convert.convert(Dataset.open(source), out, to="chat", workers=2)
except OSError as error:
    print(error.strerror, error.filename)
"""
)


def test_a_disk_that_several_processes_fill_up_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "o" / "out.jsonl"
    done = python(FULL, many_rows(tmp_path / "t.jsonl"), out)
    assert done.stdout.startswith("File too large"), done.stderr
    assert list(out.parent.iterdir()) == []


INTERRUPTED = (
    SHARED
    + """
import os, time
from finetune_sdk.cli import main
def convert_range(job, stream, report):
    (out.parent / f"busy-{os.getpid()}").touch()
    time.sleep(300)
convert.convert_range = convert_range
os.sched_getaffinity = lambda _pid: {0, 1}
sys.argv = ["finetune", "data", "convert", str(source), "--to", "chat", "--out", str(out)]
sys.exit(main())
"""
)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_all_processes_and_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "o" / "out.jsonl"
    out.parent.mkdir()
    source = many_rows(tmp_path / "t.jsonl")
    command = [sys.executable, "-c", INTERRUPTED, source, out]
    busy: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(busy) < 2:
            busy = [int(mark.name.removeprefix("busy-")) for mark in out.parent.glob("busy-*")]
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=300)
    left = [path.name for path in out.parent.iterdir() if not path.name.startswith("busy-")]
    assert (process.returncode, left, [pid for pid in busy if alive(pid)]) == (130, [], []), error
    assert error.strip().endswith("interrupted")
