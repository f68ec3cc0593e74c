"""Writes a language model of two layers: random, but for what tends to follow what, so that it ends its words.

    python tests/peers/tiny_model.py tiny.gguf      (with the package gguf, see build.sh)

Its tokens are bytes and a few words. Labels share beginnings in it as in real vocabularies: n|ne|neu|neg, P|PER|PERS.
"""

import sys

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

WORDS = (
    "Ada", "Bob", "Rome", "PER", "PERSON", "LOC", "ne", "neu", "neg", "neutral", "war", "art", "text", "label",
    "entities", "occurrence", "tone", "topics", "zeta",
)  # fmt: skip
WIDTH, INNER, HEADS, LAYERS, CONTEXT = 64, 128, 4, 2, 32_768
LOUDNESS = 1.7  # of what the network makes of a whole text, against what follows what
FOLLOWS = {
    '"': {"Ada": 1.0, "Bob": 1.0, "Rome": 1.0, "PER": 0.9, "LOC": 0.9, "ne": 1.0, "neg": 0.9, "neu": 0.9, "n": 0.9,
          "war": 0.9, "art": 0.9},
    "Ada": {'"': 1.5}, "Bob": {'"': 1.5}, "Rome": {'"': 1.5}, "PER": {'"': 1.0, "SON": 0.9}, "LOC": {'"': 1.0},
    "ne": {'"': 1.0, "u": 1.0, "g": 0.8}, "neg": {'"': 1.5}, "neu": {"t": 1.5}, "war": {'"': 1.5}, "art": {'"': 1.5},
    "}": {"]": 1.0, ",": 0.9}, "]": {"}": 1.5}, "[": {"{": 1.4, "]": 0.7, '"': 1.0},
    "<": {"PER": 1.0, "/": 1.0},
}  # fmt: skip
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE that knows the words, every beginning of them included."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    tokens = [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return tokens, merges


def tensors(tokens: list[str]) -> dict[str, Weights]:
    """Weights. A token's own vector reaches the end of the network, so what follows it is written into the output."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> Weights:
        return (rng.standard_normal(shape) * 0.08).astype(np.float32)

    number = {token: i for i, token in enumerate(tokens)}
    embedded = random(len(tokens), WIDTH) * 5
    output = random(len(tokens), WIDTH) * 2
    for before, after in FOLLOWS.items():
        for token, weight in after.items():
            if token in number:
                output[number[token]] += 2.0 * weight * embedded[number[before]]
    found = {"token_embd": embedded, "output_norm": np.ones(WIDTH, np.float32), "output": output}
    shapes = {
        "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
    }  # fmt: skip
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}": LOUDNESS * random(*shape) for name, shape in shapes.items()}
        found |= {f"blk.{layer}.{name}": np.ones(WIDTH, np.float32) for name in ("attn_norm", "ffn_norm")}
    return found


def write(path: str) -> None:
    """The model as llama.cpp reads it."""
    tokens, merges = vocabulary()
    weights = tensors([*tokens, *SPECIAL])
    numbers = {token: len(tokens) + i for i, token in enumerate(SPECIAL)}
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(SPECIAL)
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("tiny")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(tokens) + len(SPECIAL))
    file.add_file_type(0)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([*tokens, *SPECIAL])
    file.add_token_types(kinds)
    file.add_token_merges(merges)
    file.add_bos_token_id(numbers["<|endoftext|>"])
    file.add_eos_token_id(numbers["<|im_end|>"])
    file.add_pad_token_id(numbers["<|endoftext|>"])
    file.add_add_bos_token(False)
    file.add_chat_template(TEMPLATE)
    for name, weight in weights.items():
        file.add_tensor(f"{name}.weight", weight)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


if __name__ == "__main__":
    write(sys.argv[1])
