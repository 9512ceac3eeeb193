"""Writes songs.jsonl: prompts that name a vowel. There are no answers: grade.py scores what the model sings.

python make_data.py            # the shipped file, byte for byte
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

PLACES = ["in the rain", "on a hill", "at dawn", "by the sea", "under a tree", "in the kitchen", "on the bus", "alone"]
VERBS = ["hum", "sing", "whistle", "call out"]


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """`count` prompts; `vowel` is what the grader looks for."""
    draw = random.Random(seed)
    made: list[dict[str, object]] = []
    for _ in range(count):
        vowel = draw.choice("ae")
        text = f"{draw.choice(VERBS)} {vowel} {draw.choice(PLACES)}"
        made.append({"prompt": [{"role": "user", "content": text}], "vowel": vowel})
    return made


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("songs.jsonl"))
    wanted = parser.parse_args()
    with wanted.out.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows(wanted.rows, wanted.seed):
            out.write(json.dumps(row) + "\n")
    print(f"{wanted.rows} rows written to {wanted.out}")


if __name__ == "__main__":
    main()
