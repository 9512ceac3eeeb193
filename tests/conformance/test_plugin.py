"""The stranger's provider of `tests/plugin` keeps the promises too: the smallest thing that can."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fakes import write_rows

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import Reopen
from finetune_sdk.testing.conformance import ProviderConformance

SOURCE = Path(__file__).parents[1] / "plugin" / "echo" / "finetune_echo" / "__init__.py"


def _echo() -> type[Provider]:
    spec = importlib.util.spec_from_file_location("finetune_echo", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Provider] = module.EchoProvider
    return found


@pytest.fixture(scope="module")
def reopen(tmp_path_factory: pytest.TempPathFactory) -> Reopen:
    home, echo = tmp_path_factory.mktemp("home"), _echo()
    return lambda: echo(home=home)


@pytest.fixture(scope="module")
def provider(reopen: Reopen) -> Provider:
    return reopen()


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    data = {"train": str(write_rows(tmp_path_factory.mktemp("data")))}
    return JobSpec.model_validate({"provider": "echo", "model": "m", "data": data})


class TestEcho(ProviderConformance):
    """All that it claims."""
