"""The command line `finetune`: data to stdout, talk to stderr, one sentence per error, nothing imported early."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the `finetune` script; ends the process."""
    from finetune_sdk.cli._main import answer  # noqa: PLC0415 - keeps `import finetune_sdk.cli` free

    sys.exit(answer(sys.argv[1:]))
