"""A stranger's provider with a worker keeps every promise, and all of it but `plan` is inherited."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from fakes import write_rows
from worker_fixtures import WorkerFixtures

from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.conformance import ProviderConformance
from finetune_sdk.worker.provider import WorkerProvider

PACKAGE = Path(__file__).parents[1] / "plugin" / "counter" / "finetune_counter"


def _counter() -> type[WorkerProvider]:
    spec = importlib.util.spec_from_file_location("finetune_counter", PACKAGE / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[WorkerProvider] = module.CounterProvider
    return found


class TestCounter(WorkerFixtures, ProviderConformance):
    """All that it claims."""

    kind: ClassVar[type[WorkerProvider]] = _counter()
    long: ClassVar[Mapping[str, object]] = {"max_steps": 100_000}
    failing: ClassVar[Mapping[str, object]] = {"learning_rate": 2.0}
    patience_s: ClassVar[float] = 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        data = {"train": str(write_rows(tmp_path_factory.mktemp("data")))}
        return JobSpec.model_validate({"provider": "counter", "model": "m", "data": data})


def test_a_place_that_is_not_there_is_an_error_of_the_provider() -> None:
    with pytest.raises(ValueError, match=r"\[counter\] runs no worker at 'moon'"):
        TestCounter.kind(home=Path("/nowhere")).place("moon")


@pytest.mark.parametrize("file", ["__init__.py", "worker.py"])
def test_the_page_shows_it_as_it_is(file: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "writing-a-provider.md"

    assert (PACKAGE / file).read_text() in page.read_text()
