"""The suite bites: each provider that is broken on purpose fails the very test that is there for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mutants import CAUGHT_BY

from finetune_sdk.testing.fake import FakeProvider


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """`TestClass::test` of everything that failed; one pytest of its own runs the test that is there for each."""
    report = tmp_path_factory.mktemp("report") / "report.xml"
    suite = Path(__file__).with_name("mutant_suite.py")
    cases = [f"{suite}::Test{mutant.__name__}::{test}" for mutant, test in CAUGHT_BY.items()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *cases]
    command.append(f"{suite}::TestShortened")
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1, done.stdout[-3000:]  # 1 = ran, some failed
    results = ElementTree.parse(report).getroot().iter("testcase")
    return {
        f"{(case.get('classname') or '').rpartition('.')[2]}::{case.get('name')}"
        for case in results
        if case.find("failure") is not None  # an error in a fixture catches nothing
    }


@pytest.mark.parametrize("mutant", CAUGHT_BY, ids=lambda mutant: str(mutant.__name__))
def test_the_suite_catches(failed: set[str], mutant: type[FakeProvider]) -> None:
    assert f"Test{mutant.__name__}::{CAUGHT_BY[mutant]}" in failed


def test_the_suite_notices_when_a_standard_test_is_replaced(failed: set[str]) -> None:
    mine = {name for name in failed if name.startswith("TestShortened::")}
    assert mine == {"TestShortened::test_no_standard_test_is_removed_or_replaced"}
