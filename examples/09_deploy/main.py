"""Fine-tune the built-in tiny model, serve the adapter beside its base, ask both, export, and take it down again.

Run it: `python examples/09_deploy/main.py`. Nothing is downloaded; a minute or two.
"""

from __future__ import annotations

from pathlib import Path

from finetune_sdk import FineTuneJob

QUICKSTART = Path(__file__).parent.parent / "01_quickstart"


def main() -> None:
    job = FineTuneJob.submit(
        {
            "provider": "peft",
            "model": "builtin/tiny",
            "data": {"train": str(QUICKSTART / "tone.jsonl")},
            "adapter": {"kind": "lora", "modules_to_save": ["embed_tokens", "lm_head"]},
            "hyperparameters": {"max_steps": 60, "batch_size": 8},
            "seed": 0,
        }
    )
    job.wait()
    deployment = job.deploy(name="tone", kind="adapter")  # outlives this script, unless it is deleted
    try:
        print(f"{deployment.model} answers at {deployment.base_url}")
        for model in ("base", "tone"):
            answer = deployment.chat("I can't stop smiling today.", model=model, max_tokens=8, temperature=0)
            print(f"{model}: {answer!r}")
    finally:
        deployment.delete()
    done = job.export(to="vllm", out=job.folder / "for-vllm")
    print(f"exported to {done.path}; {done.verdicts[0]['equal_prompts']} prompts read as in training")


if __name__ == "__main__":
    main()
