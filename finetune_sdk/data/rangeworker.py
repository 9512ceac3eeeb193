"""The other end of `ranges`, where it is a fresh interpreter: converts ranges as its standard input asks."""

from __future__ import annotations

from typing import BinaryIO, cast

from finetune_sdk.data.convert import convert_range
from finetune_sdk.data.ranges import serve


def main() -> None:
    """Serve one job."""
    with open(0, "rb", buffering=0) as given, open(1, "wb", buffering=0) as answers:
        serve(cast(BinaryIO, given), cast(BinaryIO, answers), convert_range)
