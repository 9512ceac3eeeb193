"""Who may import whom. The order is drawn in CONTRIBUTING.md; here it is enforced, by reading the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDK = ROOT / "finetune_sdk"
PROVIDERS = ROOT / "providers" / "finetune_providers"

LAYERS = (
    ("errors",),
    ("types", "spec", "graders", "redact", "_words"),
    ("provider",),
    ("registry", "home", "store", "_records", "_transitions", "_event_log", "_database", "_migrations", "_submitter",
     "worker", "_steps", "data"),
    ("job", "_procedures", "_results", "_view", "_watching", "webhooks", "deploy", "evaluate", "config", "_document",
     "_explain", "imports"),
    ("cli", "gateway", "compare", "testing"),
)  # fmt: skip
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
FOR_PROVIDERS = {"errors", "types", "spec", "graders", "provider", "redact", "data", "worker", "deploy", "home"}
NEVER_IN_THE_SDK = {"finetune_providers", "openai", "torch", "transformers", "peft", "trl", "huggingface_hub"}
HEAVY = (*NEVER_IN_THE_SDK, "datasets", "numpy", "pandas", "pydantic", "anyio", "rich", "yaml", "click", "pytest")


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """The absolute dotted names that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_of_the_sdk(file: Path) -> set[str]:
    """The modules directly under `finetune_sdk` that a source imports."""
    names = (name.split(".") for name in imported(file))
    return {parts[1] for parts in names if parts[0] == "finetune_sdk" and len(parts) > 1}


def _in_environments(file: Path) -> bool:
    """True for code that runs where the SDK is not installed."""
    return "worker" in file.relative_to(PROVIDERS).parts[1:] or file.name == "worker.py"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("file", sources(SDK), ids=name_of)
def test_imports_point_down(file: Path) -> None:
    part = file.relative_to(SDK).parts[0].removesuffix(".py")
    if part == "__init__":
        return  # names the public things, on first use
    assert part in HEIGHT, "give the new module a place in LAYERS"
    above = {name for name in parts_of_the_sdk(file) if HEIGHT.get(name, -1) > HEIGHT[part]}
    assert above == set()


@pytest.mark.parametrize("file", sources(SDK), ids=name_of)
def test_the_sdk_imports_no_provider_and_no_vendor(file: Path) -> None:
    assert {name.split(".")[0] for name in imported(file)} & NEVER_IN_THE_SDK == set()


@pytest.mark.parametrize("file", [file for file in sources(SDK) if "testing" not in file.parts], ids=name_of)
def test_only_the_testing_package_imports_pytest(file: Path) -> None:
    assert "pytest" not in {name.split(".")[0] for name in imported(file)}


@pytest.mark.parametrize("file", [file for file in sources(PROVIDERS) if not _in_environments(file)], ids=name_of)
def test_a_provider_uses_only_what_is_meant_for_it(file: Path) -> None:
    assert parts_of_the_sdk(file) - FOR_PROVIDERS == set()


@pytest.mark.parametrize(
    "file",
    [SDK / "worker" / "runner.py", *(file for file in sources(PROVIDERS) if _in_environments(file))],
    ids=name_of,
)
def test_what_runs_in_an_environment_never_imports_the_sdk(file: Path) -> None:
    assert {name.split(".")[0] for name in imported(file)} & {"finetune_sdk", "finetune_providers"} == set()


def test_the_runner_needs_nothing_but_the_standard_library() -> None:
    names = {name.split(".")[0] for name in imported(SDK / "worker" / "runner.py")}

    assert names - sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import finetune_sdk", ()),
        ("from finetune_sdk import FineTuneJob, AsyncFineTuneJob", ("pydantic", "anyio")),
        ("import finetune_sdk.testing.fake", ("pydantic", "anyio", "yaml")),
    ],
)
def test_an_import_loads_nothing_heavy(code: str, allowed: tuple[str, ...]) -> None:
    ask = f"{code}; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) - set(allowed) == set()
