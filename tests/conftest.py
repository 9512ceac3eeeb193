"""The order of the files, and patience: a slow machine is no fault.

Those that take long come first, so that no process is left with one of them at the end.

Files are handed out whole (`--dist loadfile`), because their tests share trained models and servers. pytest-xdist would
begin with those that have the most tests, which are the quick ones.
"""

from __future__ import annotations

import gc
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", settings(), deadline=None)  # all else as it was: CI draws the same every time
settings.load_profile("patient")
gc.disable()  # until all tests are found: among what is imported for them there is no garbage
ThreadingHTTPServer.request_queue_size = 128  # of five a server that comes late to accept them would lose some

LONG = (
    "integration/test_compare_runs.py",
    "integration/test_compare_search.py",
    "integration/test_onnx_olive.py",
    "integration/test_onnx_exports.py",
    "integration/test_compare_harness.py",
    "integration/test_peft_training.py",
    "conformance/test_autotrain.py",
    "rented/test_machines.py",
    "integration/test_deploy_local.py",
    "integration/test_peft_processes.py",
    "integration/test_unsloth.py",
    "conformance/test_peft.py",
    "conformance/test_onnx.py",
    "integration/test_unsloth_media.py",
    "integration/test_unsloth_embeddings.py",
    "integration/test_gateway_conformance.py",
    "test_examples.py",
    "integration/test_compare_trackers.py",
    "integration/test_peft_interruptions.py",
    "conformance/test_unsloth.py",
    "integration/test_onnx_search.py",
    "integration/test_onnx_example.py",
    "integration/test_gateway_intermediaries.py",
    "integration/test_peft_methods.py",
    "integration/test_worker_envs.py",
    "integration/test_autotrain_training.py",
    "integration/test_autotrain_agreement.py",
    "integration/test_autotrain_faults.py",
    "integration/test_autotrain_cli.py",
    "integration/test_deploy_export.py",
    "integration/test_deploy_gguf.py",
    "integration/test_unsloth_doors.py",
    "integration/test_peft_preference_losses.py",
    "integration/test_peft_losses.py",
    "integration/test_peft_adapters.py",
    "integration/test_models_by_name.py",
    "integration/test_compare_hosted_search.py",
    "integration/test_compare_time.py",
    "integration/test_hub_push.py",
    "integration/test_gateway_hub_models.py",
    "integration/test_gateway_schemathesis.py",
    "integration/test_gateway_faults.py",
    "conformance/test_rented.py",
    "integration/test_gateway_page.py",
    "integration/test_openai_exactly_once.py",
    "conformance/test_mutants.py",
    "integration/test_worker_stops.py",
    "integration/test_worker_ends.py",
    "property/test_data_formats.py",
    "property/test_data_straight.py",
    "unit/test_cli_process.py",
    "unit/test_store_processes.py",
    "unit/compare/test_statistics.py",
    "test_docs.py",
)
"""From half a minute on, roughly by time. Wrong places cost time and nothing else."""

_HERE = Path(__file__).parent
_PLACES = {_HERE / name: place for place, name in enumerate(LONG)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; inside a file, and among the others, nothing changes."""
    gone = [str(path) for path in _PLACES if not path.is_file()]
    if gone:
        raise pytest.UsageError(f"tests/conftest.py orders files that are no longer there: {', '.join(gone)}")
    items.sort(key=lambda item: _PLACES.get(item.path, len(LONG)))


def pytest_collection_finish() -> None:
    """What is there now stays: tests that make garbage need not have it all looked through."""
    gc.freeze()
    gc.enable()
