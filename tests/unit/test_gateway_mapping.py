"""What a client's grader becomes before a backend sees it."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.mapping import grader_of

PYTHON: dict[str, Any] = {"type": "python", "name": "g", "source": "def grade(sample, item): return 1"}


def test_python_graders_of_clients_are_confined_wherever_they_stand() -> None:
    multi = {"type": "multi", "name": "m", "graders": {"g": PYTHON}, "calculate_output": "g"}

    assert grader_of(PYTHON, confined=True)["confined"] is True
    assert grader_of(multi, confined=True)["graders"]["g"]["confined"] is True


def test_a_client_does_not_choose_whether_its_grader_is_confined() -> None:
    assert grader_of({**PYTHON, "confined": False}, confined=True)["confined"] is True
    assert "confined" not in grader_of({**PYTHON, "confined": True})


@pytest.mark.parametrize("grader", [{**PYTHON, "file": "/etc/passwd"}, {"type": "python", "file": "/etc/passwd"}])
def test_a_client_cannot_name_a_file_of_this_machine_as_its_grader(grader: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="no `file`"):
        grader_of(grader)
