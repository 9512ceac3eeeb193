"""Targets that train on machines of one's own: PEFT/TRL, AutoTrain, Unsloth, Olive (ONNX)."""

from __future__ import annotations

from finetune_sdk.data.targets.base import Doc, Profile, Rule
from finetune_sdk.data.targets.rules import Images, LastTurn, PairBorder, Refuses, ReservedKeys, refuses

TRL = Doc("https://huggingface.co/docs/trl/v1.16.0/dataset_formats and trl/data_utils.py of 1.16.0", "2026-11-20")
AUTOTRAIN = Doc(
    "https://github.com/huggingface/autotrain-advanced/tree/v0.8.36 (trainers/*/params.py, clm/utils.py)", "2026-11-20"
)
UNSLOTH = Doc("unsloth 2026.10.9, unsloth/chat_templates.py and dataprep", "2026-11-20")
OLIVE = Doc("olive-ai 0.13.0, data/component/text_generation.py", "2026-11-20")

_TEMPLATE_DECIDES: tuple[Rule, ...] = (
    Refuses(doc=TRL, of="system-later", severity="warning", why="not every chat template takes one after the start"),
    Refuses(doc=TRL, of="developer", severity="warning", why="most chat templates do not know the role"),
    Refuses(doc=TRL, of="name", severity="warning", why="most chat templates leave it out"),
    Refuses(doc=TRL, of="refusal", severity="warning", why="chat templates leave it out"),
)
_TEXT_ONLY = tuple(
    Refuses(doc=TRL, of=of, why="the worker trains on text only", fix="Remove these parts, or the row.")
    for of in ("images", "other-parts")
)
_WHOLE_TURNS = Refuses(doc=TRL, of="spans", why="the loss is weighted per message, not inside one")
_NO_WEIGHTS = "every token of an answer counts alike"

PEFT = (
    Profile(
        target="peft",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=False,
        doc=TRL,
        rules=(*_TEXT_ONLY, _WHOLE_TURNS, *_TEMPLATE_DECIDES, PairBorder(doc=TRL)),
        notes=("Weights are honoured per message by the SDK's own loss.",),
    ),
    Profile(
        target="peft",
        methods=("dpo", "orpo", "reward"),
        kinds=("preference",),
        format="preference",
        hosted=False,
        doc=TRL,
        rules=(*_TEXT_ONLY, *_TEMPLATE_DECIDES, LastTurn(doc=TRL, roles=frozenset(("user", "tool", "assistant")))),
    ),
    Profile(
        target="peft",
        methods=("kto",),
        kinds=("unpaired", "preference"),
        format="unpaired",
        hosted=False,
        doc=TRL,
        rules=(*_TEXT_ONLY, *_TEMPLATE_DECIDES, LastTurn(doc=TRL, roles=frozenset(("user", "tool", "assistant")))),
        notes=("A preference pair becomes two rows, one good and one bad.",),
    ),
    Profile(
        target="peft",
        methods=("rft",),
        kinds=("prompt",),
        format="prompt",
        hosted=False,
        doc=TRL,
        rules=(*_TEXT_ONLY, *_TEMPLATE_DECIDES, LastTurn(doc=TRL, roles=frozenset(("user", "tool")))),
    ),
    Profile(target="peft", methods=("pretraining",), kinds=("text",), format="text", hosted=False, doc=TRL),
    Profile(target="peft", methods=("classification",), kinds=("labelled",), format="labelled", hosted=False, doc=TRL),
)

_RESERVED = ReservedKeys(
    doc=AUTOTRAIN,
    keys=frozenset(
        f"autotrain_{name}"
        for name in ("text", "label", "question", "answer", "prompt", "context", "rejected_text", "prompt_start")
    ),
    why="AutoTrain stops with a ValueError",
)
_AUTOTRAIN_CHAT: tuple[Rule, ...] = (
    *(Refuses(doc=AUTOTRAIN, of=of, why=_NO_WEIGHTS) for of in ("weights", "weights-elsewhere", "spans")),
    *refuses(AUTOTRAIN, "tools", "tool-calls", "images", "other-parts", "template-kwargs"),
    *_TEMPLATE_DECIDES,
    _RESERVED,
)

AUTOTRAIN_PROFILES = (
    Profile(
        target="autotrain",
        methods=("sft",),
        kinds=("chat",),
        format="chat",
        hosted=False,
        doc=AUTOTRAIN,
        rules=_AUTOTRAIN_CHAT,
        notes=("A validation file is read and then dropped for language models (seen).",),
    ),
    Profile(
        target="autotrain",
        methods=("dpo", "orpo", "reward"),
        kinds=("preference",),
        format="preference",
        hosted=False,
        doc=AUTOTRAIN,
        rules=(*_AUTOTRAIN_CHAT, Refuses(doc=AUTOTRAIN, of="answer-turns"), Refuses(doc=AUTOTRAIN, of="margin")),
    ),
    Profile(
        target="autotrain",
        methods=("pretraining",),
        kinds=("text",),
        format="text",
        hosted=False,
        doc=AUTOTRAIN,
        rules=(_RESERVED,),
    ),
    Profile(
        target="autotrain",
        methods=("classification",),
        kinds=("labelled",),
        format="labelled",
        hosted=False,
        doc=AUTOTRAIN,
        rules=(_RESERVED,),
    ),
)

UNSLOTH_PROFILES = (
    Profile(
        target="unsloth",
        methods=("sft",),
        kinds=("chat",),
        format="trl-chat",
        hosted=False,
        doc=UNSLOTH,
        rules=(
            Refuses(doc=UNSLOTH, of="weights", why="answers are found by their mark, all or none"),
            Refuses(doc=UNSLOTH, of="weights-elsewhere", why="answers are found by their mark, all or none"),
            *refuses(UNSLOTH, "spans", "other-parts"),
            Images(doc=UNSLOTH, schemes=frozenset(("file", "data")), formats=None, max_bytes=None),
            *_TEMPLATE_DECIDES,
        ),
    ),
    Profile(
        target="unsloth",
        methods=("dpo", "orpo"),
        kinds=("preference",),
        format="preference",
        hosted=False,
        doc=UNSLOTH,
        rules=(*refuses(UNSLOTH, "other-parts", "images"), *_TEMPLATE_DECIDES),
    ),
    Profile(target="unsloth", methods=("pretraining",), kinds=("text",), format="text", hosted=False, doc=UNSLOTH),
)

ONNX_PROFILES = (
    Profile(
        target="onnx",
        methods=("sft",),
        kinds=("chat",),
        format="trl-chat",
        hosted=False,
        doc=OLIVE,
        rules=(
            *(
                Refuses(doc=OLIVE, of=of, why="every token is learned")
                for of in ("weights", "weights-elsewhere", "spans")
            ),
            *refuses(OLIVE, "images", "other-parts", "template-kwargs"),
            Refuses(doc=OLIVE, of="tools", severity="warning", why="the template is rendered without tools"),
            *_TEMPLATE_DECIDES,
        ),
        notes=("The question is learned like the answer: Olive masks nothing.",),
    ),
    Profile(target="onnx", methods=("pretraining",), kinds=("text",), format="text", hosted=False, doc=OLIVE),
)

PROFILES = (*PEFT, *AUTOTRAIN_PROFILES, *UNSLOTH_PROFILES, *ONNX_PROFILES)
