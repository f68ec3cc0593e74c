"""What an order costs: every strategy of uncertainty.py on 100,000 texts, against the forward pass over as many.

    python -m benchmarks.uncertainty [TEXTS.jsonl] [--texts 100000] [--sample 256] [--rounds 5]

Probabilities are made up: 9 tags, as many words in a text as one of TEXTS.jsonl drawn at random has, most words surely
outside. The forward pass is the packaged encoder's with a head of 9 tags, fp32, one thread, in batches of 32 sorted by
length, on a sample of the real texts; its time is multiplied up to so many words, not measured on them. Rounds
alternate; compared are medians of CPU time. Goal: the default stays under 5 %. The result goes to
benchmarks/results/uncertainty.json.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
import torch

import uncertainty
from benchmarks.coverage import write
from edgewise.labels.windows import words
from edgewise.learning.baseline import PACKAGED, TOKENS, load_pretrained

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "uncertainty.json"
N_TAGS = 9
BATCH = 32
GOAL = 0.05
SURE = 4.0  # how far the logit of O is above the others, as of a model that has learnt a little


def made_up(sizes: npt.NDArray[np.int64], how_many: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Probabilities and offsets of so many texts, their numbers of words drawn from `sizes`."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.choice(sizes, how_many))])
    powers = rng.standard_normal((offsets[-1], N_TAGS), dtype=np.float32) * 2
    powers[:, 0] += SURE
    np.exp(powers, out=powers)
    return powers / powers.sum(axis=1, keepdims=True), offsets


def forward(texts: list[str]) -> Callable[[], None]:
    """The model's own arithmetic on these texts: tokens are ready, nothing is done with the answer."""
    tokenizer = load_pretrained("AutoTokenizer", PACKAGED)
    model = load_pretrained(TOKENS, PACKAGED, num_labels=N_TAGS).float().eval()
    by_length = sorted(tokenizer(texts, truncation=True, max_length=128)["input_ids"], key=len)
    parts = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    batches = [tokenizer.pad({"input_ids": part}, return_tensors="pt") for part in parts]

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(**batch)

    return run


def cpu_s(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(texts: list[str], how_many: int, sample: int, rounds: int) -> dict[str, Any]:
    """All in turn, after a warm-up each."""
    sizes = np.array([len(words(text)) for text in texts])
    probabilities, offsets = made_up(sizes, how_many)
    some = [texts[i] for i in np.random.default_rng(1).permutation(len(texts))[:sample]]
    times_as_many = offsets[-1] / sum(len(words(text)) for text in some)
    ways: dict[str, Callable[[], Any]] = {"forward pass": forward(some)}
    for name, score in uncertainty.SCORES.items():
        ways[name] = lambda score=score: score(probabilities, offsets)  # type: ignore[misc]  # bound at once
    ways["word_contributions"] = lambda: uncertainty.word_contributions(probabilities, offsets)
    for work in ways.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(cpu_s(work))
    passes = [one * times_as_many for one in seconds.pop("forward pass")]
    shares = {name: [one / whole for one, whole in zip(each, passes, strict=True)] for name, each in seconds.items()}
    return {
        "texts": how_many,
        "words": int(offsets[-1]),
        "tags": N_TAGS,
        "forward_pass_measured_on_texts": len(some),
        "extrapolated_times": round(float(times_as_many), 1),
        "default": uncertainty.DEFAULT,
        "goal": GOAL,
        "share_of_forward_pass": {
            name: {
                "median": round(statistics.median(each), 5),
                "lowest": round(min(each), 5),
                "highest": round(max(each), 5),
            }
            for name, each in shares.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts_file", type=Path, nargs="?", default=ROOT / "examples" / "wikigold" / "test.jsonl")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = given.texts_file.read_text(encoding="utf-8").splitlines()
    result = compare([json.loads(line)["text"] for line in lines], given.texts, given.sample, given.rounds)
    write(OUT, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
