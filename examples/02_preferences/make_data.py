"""Writes replies.jsonl: customer messages with a friendly reply (chosen) and a curt one (rejected), as preference rows.

python make_data.py            # the shipped file, byte for byte
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

THINGS = ["lamp", "kettle", "backpack", "keyboard", "raincoat", "coffee mill", "tent", "radio", "desk", "bicycle bell"]
PROBLEMS = [
    "arrived with a crack",
    "does not switch on",
    "is the wrong colour",
    "never arrived",
    "broke after a week",
    "smells of paint",
    "came without its manual",
    "is missing a screw",
]
REMEDIES = ["a replacement", "a refund", "a repair", "a spare part", "a voucher"]
OPENINGS = ["Hello, my {thing} {problem}.", "The {thing} I ordered {problem}.", "Help! My new {thing} {problem}."]
FRIENDLY = [
    "I am sorry about the {thing}. We will send you {remedy} today, with our thanks for your patience.",
    "Thank you for telling us about the {thing}. You will get {remedy} this week; please let us know if that helps.",
    "That should not happen to a {thing}, our apologies. {remedy_capital} is on its way to you.",
]
CURT = [
    "Read the terms. No {remedy_bare} for a {thing}.",
    "Not our problem. You should have looked after the {thing}.",
    "We are busy. Buy another {thing}.",
]


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """`count` rows; the same message may come with different replies."""
    draw = random.Random(seed)
    made: list[dict[str, object]] = []
    for _ in range(count):
        remedy = draw.choice(REMEDIES)
        words = {
            "thing": draw.choice(THINGS),
            "problem": draw.choice(PROBLEMS),
            "remedy": remedy,
            "remedy_bare": remedy.split(" ", 1)[1],
            "remedy_capital": remedy[0].upper() + remedy[1:],
        }
        made.append(
            {
                "prompt": [{"role": "user", "content": draw.choice(OPENINGS).format(**words)}],
                "chosen": [{"role": "assistant", "content": draw.choice(FRIENDLY).format(**words)}],
                "rejected": [{"role": "assistant", "content": draw.choice(CURT).format(**words)}],
            }
        )
    return made


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("replies.jsonl"))
    wanted = parser.parse_args()
    with wanted.out.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows(wanted.rows, wanted.seed):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{wanted.rows} rows written to {wanted.out}")


if __name__ == "__main__":
    main()
