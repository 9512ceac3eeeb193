"""Chat with an exported package; needs onnxruntime-genai and nothing else: python chat.py FOLDER "a question"."""

from __future__ import annotations

import json
import sys

import onnxruntime_genai as og


def answer(folder: str, question: str, *, most: int = 64) -> str:
    """The greedy answer, rendered with the chat template that lies in the package."""
    model = og.Model(folder)
    tokenizer = og.Tokenizer(model)
    text = tokenizer.apply_chat_template(
        json.dumps([{"role": "user", "content": question}]), add_generation_prompt=True
    )
    ids = tokenizer.encode(text)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + most, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
    return str(tokenizer.decode(generator.get_sequence(0)[len(ids) :])).strip()


if __name__ == "__main__":
    print(answer(sys.argv[1], sys.argv[2]))
