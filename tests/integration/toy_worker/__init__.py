"""A worker that needs nothing but the standard library; `request["deed"]` says what it does."""

from __future__ import annotations

from typing import Any

from . import deeds


def main(ctx: Any) -> dict[str, Any] | None:
    deed = getattr(deeds, ctx.request["deed"])
    answer: dict[str, Any] | None = deed(ctx)
    return answer
