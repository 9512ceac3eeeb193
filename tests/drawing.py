"""How many examples a property test draws. `DRAW=20 pytest tests/property` draws twenty times as many.

Where `CI` is set hypothesis draws the same ones every time; elsewhere each run explores, and remembers what it found.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("DRAW", "1"))


def examples(count: int) -> settings:
    """Settings for a test that touches files: no deadline, and slow drawing is no fault."""
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
