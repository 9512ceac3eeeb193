"""What the onnx provider can do: what the peft worker trains and the model builder can take, as data."""

from __future__ import annotations

from finetune_providers.peft.claims import CAPABILITIES as PEFT
from finetune_sdk.deploy import served_here
from finetune_sdk.provider import YES, Capabilities, Claim, Support
from finetune_sdk.worker import provider as worker

_CHANGED: dict[str, Claim] = {
    "method.reward": Claim(Support.NOT_IMPLEMENTED, "a reward model's score head is not exported yet"),
    "method.classification": Claim(
        Support.PARTIAL, "fp32 and int8 on a CPU, loaded with onnxruntime; one label per text"
    ),
    "adapter.prompt_tuning": Claim(Support.UNSUPPORTED, "a tuned prompt changes no weight, so it cannot be merged"),
    "compute.kind": Claim(Support.NOT_IMPLEMENTED, "exporting on a rented machine"),
    "compute.processes": Claim(Support.NOT_IMPLEMENTED, "training in several processes before an export"),
    **worker.CLAIMS,
    **served_here.CLAIMS,
    "feature.evaluate": YES,
    "seed": YES,
}
_SKIPPED = (
    *("feature.", "adapter.prompt_tuning.", "method.reward."),
    *("compute.kind=", "compute.flavor", "compute.namespace"),
)

CAPABILITIES = Capabilities(
    claims={
        **{name: claim for name, claim in PEFT.claims.items() if not name.startswith(_SKIPPED)},
        **_CHANGED,
    },
    notes=(
        "Runs on this machine; costs nothing. Trains as the peft provider does, then exports for onnxruntime-genai.",
        "Success means that the finished package was loaded and generated a token.",
        "With options.onnx.source a finished adapter or model is exported and nothing is trained.",
        "options.onnx.engine: olive trains (sft and pretraining, lora) and builds by Olive's passes.",
        "Text only: image and audio parts are refused.",
    ),
)
