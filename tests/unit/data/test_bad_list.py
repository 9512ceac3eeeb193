"""Every case of the list of bad inputs: the rule, the place, and the words a person needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_sdk.data import Dataset
from finetune_sdk.data.tools.check import CheckReport, Group, check
from tests.unit.data.bad_inputs import CASES, Case

NUMBERS = {int("".join(sign for sign in name.split("-")[0] if sign.isdigit())) for name in CASES}


def checked(folder: Path, case: Case) -> CheckReport:
    path = folder / case.name
    path.write_bytes(case.data)
    return check(Dataset.open(path), (case.target,) if case.target else ())


def groups(report: CheckReport, case: Case) -> list[Group]:
    if not case.target:
        return list(report.findings)
    return [reason for verdict in report.targets for reason in verdict.reasons]


def expected_place(folder: Path, case: Case) -> str:
    line = f":{case.line}" if case.line is not None else ""
    return f"{folder / case.name}{line}" + (f": {case.path}" if case.path else "")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_input_is_told_with_rule_place_and_remedy(tmp_path: Path, case: Case) -> None:
    report = checked(tmp_path, case)
    if case.outcome == "read":
        assert (report.rows, [group for group in report.findings if group.severity == "error"]) == (case.rows, [])
        return
    found = next((group for group in groups(report, case) if group.rule == case.rule), None)
    assert found is not None, [group.rule for group in groups(report, case)]
    text = f"{found.message}. {found.fix}"
    place = next(iter(found.places), str(tmp_path / case.name))
    assert (found.severity, case.says in text, report.rows) == (case.outcome, True, case.rows), text
    assert place.startswith(expected_place(tmp_path, case) if case.line is not None else str(tmp_path))


def test_every_number_of_the_list_has_a_case() -> None:
    assert set(range(1, 83)) - NUMBERS == {20}
