"""The openai provider keeps the promises, through the vendor's own client over loopback."""

from __future__ import annotations

from typing import Any, ClassVar

from finetune_providers.openai.provider import OpenAIProvider
from wire.suite import HostedFixtures

from finetune_sdk.testing.conformance import ProviderConformance


class TestOpenAI(HostedFixtures, ProviderConformance):
    """All of it."""

    kind = OpenAIProvider
    dialect: ClassVar[str] = "openai"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"

    @classmethod
    def options(cls, port: int) -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{port}/v1"}
