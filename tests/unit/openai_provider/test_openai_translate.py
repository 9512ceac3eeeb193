"""The vendor's exceptions as ours: how long to wait, by whose clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import openai
import pytest
from finetune_providers.openai.translate import ours, retry_after_s

from finetune_sdk.errors import Throttled

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def throttled(**headers: str) -> openai.RateLimitError:
    request = httpx2.Request("GET", "http://127.0.0.1/v1/fine_tuning/jobs")
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return openai.RateLimitError("slow down", response=httpx2.Response(429, headers=given, request=request), body=None)


def date(**off: float) -> str:
    return format_datetime(NOW + timedelta(**off), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after": date(hours=1, seconds=30), "date": date(hours=1)}, 30.0),
        ({"retry_after": date(hours=-1), "date": date()}, 0.0),
        ({"retry_after": date(seconds=30)}, None),
        ({"retry_after": "soon", "date": date()}, None),
        ({}, None),
    ],
    ids=["seconds", "milliseconds", "a date by a clock an hour off", "a past date", "no clock", "nonsense", "nothing"],
)
def test_how_long_to_wait_is_the_servers_word_by_the_servers_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(throttled(**headers)) == seconds


def test_the_wait_travels_in_our_error() -> None:
    error = ours(throttled(retry_after="7"), "openai", "listing jobs")
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 7.0
