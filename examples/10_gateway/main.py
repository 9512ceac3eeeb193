"""The OpenAI cookbook's fine-tuning flow, unchanged but for `base_url`: it trains on this machine."""

import json
import subprocess
import sys
import time
from pathlib import Path

from openai import OpenAI

DATA = Path(__file__).parents[1] / "01_quickstart" / "tone.jsonl"
CONFIG = Path(__file__).with_name("gateway.yaml")


def flow(base_url: str) -> str:
    """Upload, train, look, chat; the tuned model's answer."""
    client = OpenAI(base_url=base_url, api_key="not needed on this machine")
    file = client.files.create(file=DATA.open("rb"), purpose="fine-tune")
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4.1-mini", suffix="tone", method=method)
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=50).data):
        print(event.message)
    messages = [{"role": "user", "content": "I got the job!"}]
    answer = client.chat.completions.create(model=job.fine_tuned_model, messages=messages, max_tokens=16)
    print(f"{answer.model}: {answer.choices[0].message.content}")
    return str(answer.model)


def main() -> None:
    """Serve, run the flow, leave."""
    finetune = Path(sys.executable).with_name("finetune")
    command = [finetune, "serve", "--config", CONFIG, "--port", "0", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        told = "".join(iter(server.stdout.readline, "}\n")) + "}"
        try:
            model = flow(json.loads(told)["base_url"])
            assert model.startswith("ft:gpt-4.1-mini:"), model
        finally:
            server.terminate()
            subprocess.run([finetune, "deployments", "ls"], check=True)


if __name__ == "__main__":
    main()
