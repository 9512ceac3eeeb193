"""The command line with a provider that costs nothing: `python fake_cli.py ARGS...` is `finetune ARGS...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from finetune_sdk import _watching
from finetune_sdk.cli import _watch, main
from finetune_sdk.provider import YES, Capabilities
from finetune_sdk.registry import standing_in
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import Artifact


class EvaluatingFake(FakeProvider):
    """A fake whose finished jobs left predictions behind."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        claims={**FakeProvider.capabilities.claims, "feature.evaluate": YES}, limits=FakeProvider.capabilities.limits
    )

    def artifacts(self, ref: str) -> list[Artifact]:
        found = super().artifacts(ref)
        if not found:
            return found
        path = Path(found[0].uri).with_name("predictions.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in PREDICTIONS))
        return [*found, Artifact(kind="predictions", uri=str(path))]


PREDICTIONS: list[dict[str, Any]] = [
    {"row": n, "prompt": [{"role": "user", "content": f"q{n}"}], "expected": "yes", "base": "no", "tuned": "yes"}
    for n in range(40)
]


def hurry() -> None:
    """Look at the fake's jobs without waiting in between."""
    _watch.LOCAL_POLL_S = _watch.SHORTEST_POLL_S = _watch.LONGEST_POLL_S = 0.01
    _watching.SHORTEST_POLL_S = _watching.LONGEST_POLL_S = 0.01


if __name__ == "__main__":
    hurry()
    with standing_in("fake", lambda home: EvaluatingFake(home=home)):
        main()
