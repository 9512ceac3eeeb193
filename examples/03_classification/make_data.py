"""Writes tickets.csv: support messages and the queue they belong to.

python make_data.py            # the shipped file, byte for byte
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

QUEUES = {
    "billing": ["the invoice is wrong", "I was charged twice", "my card was declined", "please send a receipt"],
    "delivery": ["the parcel is late", "the courier left it outside", "tracking shows nothing", "wrong address"],
    "returns": ["I want to send it back", "the size does not fit", "how do I return it", "it is not what I ordered"],
    "technical": ["the app crashes", "I cannot log in", "the page stays white", "the update failed"],
}
STARTS = ["Hello,", "Hi team,", "Good morning,", "Urgent:", "Question:", "Dear support,"]
ENDS = ["Thanks.", "Please help.", "What now?", "Kind regards, Kim", "I am waiting.", ""]
PRODUCTS = ["order 118", "the blue lamp", "my account", "order 204", "the gift card", "the headphones", "order 77"]


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """`count` messages, the queues equally often, in random order."""
    draw = random.Random(seed)
    names = sorted(QUEUES)
    made = [
        {
            "message": " ".join(
                part
                for part in (
                    draw.choice(STARTS),
                    f"{draw.choice(QUEUES[names[i % len(names)]])}, it is about {draw.choice(PRODUCTS)}.",
                    draw.choice(ENDS),
                )
                if part
            ),
            "queue": names[i % len(names)],
        }
        for i in range(count)
    ]
    draw.shuffle(made)
    return made


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tickets.csv"))
    wanted = parser.parse_args()
    with wanted.out.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, ["message", "queue"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(wanted.rows, wanted.seed))
    print(f"{wanted.rows} rows written to {wanted.out}")


if __name__ == "__main__":
    main()
