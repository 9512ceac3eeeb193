"""Coverage-guided fuzzing of the readers: `make fuzz`. Whatever the bytes, rows come out or our own error.

The first byte names the file's suffix, so that the fuzzer reaches every container. What it finds goes to
`.cache/fuzz/found-*`; a fault that was fixed becomes a seed in `tests/fuzz/corpus`, which the test suite reads as well.
"""

# pyright: basic
from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".xlsx", ".gz", ".zst", ".zip", "")
_FOLDER = Path(tempfile.mkdtemp(prefix="finetune-fuzz-"))


def read(data: bytes) -> None:
    """Detect the format and read all rows, straight to chat as well; only our own error may come out."""
    from finetune_sdk.data import Dataset  # noqa: PLC0415 - imported under instrumentation
    from finetune_sdk.data.report import Report  # noqa: PLC0415
    from finetune_sdk.errors import DataError  # noqa: PLC0415

    if not data:
        return
    path = _FOLDER / f"input{SUFFIXES[data[0] % len(SUFFIXES)]}"
    path.write_bytes(data[1:])
    for scan in (Dataset.scan, Dataset.scan_to_chat):
        report = Report()
        try:
            rows = sum(1 for _ in scan(Dataset.open(path), report))
        except DataError:
            continue
        assert rows or report.errors, "no row and nobody says why"


def main() -> None:
    """Run until the time given on the command line (`-max_total_time=SECONDS`) is over."""
    atheris: Any = importlib.import_module("atheris")  # the suite reads the corpus without it
    with atheris.instrument_imports(include=["finetune_sdk.data", "csv", "json"]):
        importlib.import_module("finetune_sdk.data")
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
