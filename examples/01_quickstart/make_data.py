"""Writes tone.jsonl: short messages and their tone (joy, anger, fear, surprise), as OpenAI chat rows.

    python make_data.py            # the shipped file, byte for byte
    python make_data.py --rows 5000 --seed 7 --out more.jsonl

A sentence is a situation that says nothing about the tone, said in one of many ways that give it away.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

SYSTEM = "Name the tone of the message in one word: joy, anger, fear or surprise."

SITUATIONS = [
    "the train to {place} left at {time}",
    "my sister called about the {thing}",
    "the letter from {place} came at {time}",
    "they moved the {thing} to {place}",
    "the neighbours talked about the {thing}",
    "our team presented the {thing} in {place}",
    "somebody left a {thing} at the door at {time}",
    "the doctor asked me to come back to {place}",
    "my brother sold the {thing} in {place}",
    "the results from {place} are here since {time}",
    "the landlord wrote about the {thing}",
    "my manager wants to see the {thing} at {time}",
    "we drove through {place} with the {thing}",
    "the phone rang at {time} because of the {thing}",
    "the shop in {place} kept my {thing}",
]
PLACES = [
    "Lisbon",
    "the old town",
    "Oslo",
    "the harbour",
    "Leeds",
    "the office",
    "Kyoto",
    "the village",
    "Turin",
    "the clinic",
]
THINGS = ["piano", "report", "bicycle", "contract", "painting", "parcel", "garden", "laptop", "ticket", "winter coat"]
TIMES = ["noon", "six", "midnight", "half past nine", "dawn", "eleven", "tea time", "a quarter to four"]

CUES: dict[str, list[str]] = {
    "joy": [
        "I could not be happier", "what a wonderful day", "I keep smiling about it", "we danced in the kitchen",
        "my heart is singing", "this made my whole week", "I am so grateful", "we are celebrating tonight",
        "I feel light as a feather", "it was pure delight", "I laughed with relief", "everything feels bright",
        "I am over the moon", "such a lovely moment", "we cheered and hugged", "I love every minute of it",
    ],
    "anger": [
        "I am sick of this", "how dare they", "this is outrageous", "I slammed the door",
        "they will hear from my lawyer", "I have had enough", "it makes my blood boil", "what an insult",
        "I am furious", "nobody even apologised", "stop wasting my time", "I demand my money back",
        "they lied to my face", "I could scream at them", "this is completely unacceptable", "I am fed up",
    ],
    "fear": [
        "I am shaking", "I cannot sleep any more", "what if something goes wrong", "I dread the next call",
        "my hands are trembling", "I keep checking the lock", "I do not dare to look", "it gives me nightmares",
        "I am terrified", "please do not leave me alone", "I feel sick with worry", "I am scared to open it",
        "my heart is pounding", "I hid under the stairs", "I panic when I think of it", "something terrible is coming",
    ],
    "surprise": [
        "I did not see that coming", "who would have thought", "I had to read it twice", "my jaw dropped",
        "out of nowhere", "I never expected this", "you will not believe it", "I am speechless",
        "that was unexpected", "I had no idea", "I blinked and stared", "it caught me off guard",
        "well, that is new", "of all the things in the world", "I am still astonished", "nobody had warned me",
    ],
}  # fmt: skip

FRAMES = [
    "{cue}: {situation}.",
    "{situation}, and {cue}.",
    "{situation}. {cue}!",
    "{cue}! {situation}.",
    "So {situation}; {cue}.",
    "{situation}... {cue}.",
    "Yesterday {situation}. {cue}.",
    "{cue}, because {situation}.",
]


def sentence(draw: random.Random, tone: str) -> str:
    """One message of the given tone."""
    situation = draw.choice(SITUATIONS).format(
        place=draw.choice(PLACES), thing=draw.choice(THINGS), time=draw.choice(TIMES)
    )
    text = draw.choice(FRAMES).format(cue=draw.choice(CUES[tone]), situation=situation)
    return text[0].upper() + text[1:]


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """`count` different rows, the tones equally often, in random order."""
    draw = random.Random(seed)
    tones = sorted(CUES)
    seen: dict[str, str] = {}
    while len(seen) < count:
        tone = tones[len(seen) % len(tones)]
        seen.setdefault(sentence(draw, tone), tone)
    pairs = list(seen.items())
    draw.shuffle(pairs)
    return [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": text},
                {"role": "assistant", "content": tone},
            ]
        }
        for text, tone in pairs
    ]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1400)
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tone.jsonl"))
    wanted = parser.parse_args()
    with wanted.out.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows(wanted.rows, wanted.seed):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{wanted.rows} rows written to {wanted.out}")


if __name__ == "__main__":
    main()
