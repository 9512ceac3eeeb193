"""Memory and energy: told where the system tells them, and nothing where it does not."""

from __future__ import annotations

import os
from pathlib import Path

from finetune_sdk.compare.machine import Energy, peak_memory


def package(root: Path, number: int, used: int, most: int = 1_000_000) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{used}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def test_the_memory_of_a_process_is_told() -> None:
    found = peak_memory(os.getpid())
    assert found is not None
    assert found > 1_000_000


def test_the_memory_of_a_process_that_is_gone_is_unknown() -> None:
    assert peak_memory(2**22 + 1) is None


def test_the_energy_of_all_packages_is_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    for number in (0, 1):
        package(tmp_path, number, 100)
    (tmp_path / "intel-rapl:0:0").mkdir()
    meter = Energy(tmp_path)
    for number in (0, 1):
        package(tmp_path, number, 400_100)
    assert meter.joules() == 0.8


def test_a_counter_that_started_again_is_no_loss(tmp_path: Path) -> None:
    package(tmp_path, 0, 900_000)
    meter = Energy(tmp_path)
    package(tmp_path, 0, 100_000)
    assert meter.joules() == 0.2


def test_energy_is_not_measured_where_there_is_no_counter(tmp_path: Path) -> None:
    assert Energy(tmp_path / "nothing").joules() is None


def test_energy_is_not_measured_where_the_counter_says_nonsense(tmp_path: Path) -> None:
    folder = package(tmp_path, 0, 1)
    meter = Energy(tmp_path)
    (folder / "energy_uj").write_text("")
    assert meter.joules() is None
