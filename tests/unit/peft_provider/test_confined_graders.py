"""Graders of clients run behind a lock, also in training."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.peft.worker import graders

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"), reason="the lock is Linux's seccomp"
)
HIDDEN = pytest.mark.skipif(
    ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1, reason="this kernel has no Landlock"
)
Graded = Callable[[str], float]


def _grade(body: str) -> Graded:
    source = f"seen = []\ndef grade(sample, item):\n    {body}\n"
    grade = graders.build({"type": "python", "source": source, "confined": True})
    item: dict[str, Any] = {"answer": "joy"}
    return lambda text: grade(graders.sample_of(text), item)


def test_a_confined_grader_answers_as_any_other_and_remembers_nothing() -> None:
    grade = _grade("seen.append(1); return len(seen) * float(sample['output_text'] == item['answer'])")

    assert [grade("joy"), grade("anger"), grade("joy")] == [1.0, 0.0, 1.0]


def test_a_confined_grader_may_import_what_python_has() -> None:
    body = "import difflib, decimal, zoneinfo, numpy; return float(numpy.ones(2).sum())"

    assert _grade(body)("joy") == 2.0


def test_a_confined_grader_that_fails_says_where_and_the_next_sample_is_graded() -> None:
    grade = _grade("return 1 / (len(sample['output_text']) - 3)")

    with pytest.raises(graders.GraderError, match=r"grader\.py:3: grade\(\) raised ZeroDivisionError"):
        grade("joy")
    assert grade("anger") == 0.5


@pytest.mark.parametrize(
    "body",
    [
        "import socket; socket.socket(); return 1",
        "open('pwned', 'w'); return 1",
        "import os; os.fork(); return 1",
        "import subprocess; subprocess.run(['true']); return 1",
        "import os; os.kill(os.getppid(), 9); return 1",
        "import os; os.remove(__file__); return 1",
        "return len(bytearray(4 << 30))",
        "import os; os._exit(0)",
        "import os; return float(os.environ['HF_TOKEN'])",
        pytest.param("return len(open('/etc/passwd').read())", marks=HIDDEN),
        pytest.param("import os; return len(os.listdir('/'))", marks=HIDDEN),
        pytest.param("import os; return len(open(f'/proc/{os.getppid()}/environ').read())", marks=HIDDEN),
        "import os; os.chmod('/tmp', 0o777); return 1",
        "[open('/dev/null') for _ in range(500)]; return 1",
    ],
)
def test_a_confined_grader_gets_nothing_but_the_sample(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "1")

    with pytest.raises(graders.GraderError):
        _grade(body)("joy")
    assert list(tmp_path.iterdir()) == []
