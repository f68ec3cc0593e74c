"""Tasks ranked per second, against transformers' own pipeline one text at a time: same weights, texts and run.

    python benchmarks/rank.py [TEXTS.jsonl] [--texts 256] [--rounds 7]

TEXTS.jsonl has a field `text` in each line; without it sentences are made up. "Ranked" is all that a rank job computes
for a task: tags, spans, embedding, uncertainty and reason. The peer only tags. Rounds alternate, so that a busy machine
slows both; what is compared is the median, of wall and of CPU time. The encoder is the packaged MiniLM; its head is
drawn at random and leans to O, which speed does not feel. The result goes to benchmarks/results/rank.json under
"compute".
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import transformers

from edgewise.labels.schema import Head
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED, load_pretrained
from edgewise.learning.describe import describe
from edgewise.learning.inference import Tagger, load_trained
from uncertainty import DEFAULT, SCORES, word_contributions

LABELS = ("PER", "LOC", "ORG", "MISC")
OUT = Path(__file__).resolve().parent / "results" / "rank.json"
MADE_UP = ("the", "reporter", "met", "Ada", "Young", "of", "Cape", "Town", "near", "a", "river", ",", "she", "said")


def read_texts(path: Path | None, how_many: int) -> list[str]:
    """The first texts of a file, or made-up ones of 5 to 44 words."""
    if path is None:
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(MADE_UP, rng.integers(5, 45))) for _ in range(how_many)]
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:how_many]


def write_model(folder: Path) -> None:
    """The packaged encoder with a head for LABELS."""
    torch.manual_seed(0)
    names = dict(enumerate(tag_names(LABELS)))
    model = load_pretrained("AutoModelForTokenClassification", PACKAGED, id2label=names, num_labels=len(names))
    with torch.no_grad():
        model.classifier.bias[0] = 1.0
    model.save_pretrained(folder)
    load_pretrained("AutoTokenizer", PACKAGED).save_pretrained(folder)


def rank(tagger: Tagger, texts: Sequence[str]) -> None:
    """What a rank job computes."""
    tagged = tagger.tag(texts)
    SCORES[DEFAULT](tagged.probabilities, tagged.offsets)
    contributions = word_contributions(tagged.probabilities, tagged.offsets)
    for index, text in enumerate(texts):
        describe(tagged, index, text, contributions, LABELS)


def one_by_one(pipe: Callable[[str], Any], texts: Sequence[str]) -> None:
    """What most backends do."""
    for text in texts:
        pipe(text)


class Clock:
    """Seconds spent inside the forward pass."""

    def __init__(self, tagger: Tagger) -> None:
        self.seconds = 0.0
        self._run = tagger._run
        tagger._run = self.timed  # type: ignore[method-assign, assignment]  # so that ranking itself carries no clock

    def timed(self, *args: Any) -> Any:
        began = time.process_time()
        answer = self._run(*args)
        self.seconds += time.process_time() - began
        return answer


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def summary(seconds: list[tuple[float, float]], how_many: int) -> dict[str, dict[str, float]]:
    """Texts per second: median, slowest and fastest round."""
    rates = {kind: [how_many / one[i] for one in seconds] for i, kind in enumerate(("wall", "cpu"))}
    return {
        kind: {
            "median": round(statistics.median(all_), 1),
            "lowest": round(min(all_), 1),
            "highest": round(max(all_), 1),
        }
        for kind, all_ in rates.items()
    }


def compare(texts: list[str], rounds: int) -> dict[str, Any]:
    """Both ways in turn, after one warm-up each."""
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as name:
        folder = Path(name) / "model"
        write_model(folder)
        tagger = load_trained(folder, Head("label", "text", "text", LABELS), max_length=128)
        assert isinstance(tagger, Tagger)
        pipe = transformers.pipeline("token-classification", model=str(folder), device="cpu", dtype=torch.float32)
        ways: dict[str, Callable[[], None]] = {
            "edgewise": lambda: rank(tagger, texts),
            "pipeline": lambda: one_by_one(pipe, texts),
        }
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for work in ways.values():
            work()
        clock = Clock(tagger)
        for _ in range(rounds):
            for way, work in ways.items():
                seconds[way].append(timed(work))
    ours = sum(cpu for _, cpu in seconds["edgewise"])
    return {
        "tasks_per_s": {way: summary(all_, len(texts)) for way, all_ in seconds.items()},
        "times_faster": {kind: round(ratio(seconds, i), 2) for i, kind in enumerate(("wall", "cpu"))},
        "share_outside_forward_pass": round(1 - clock.seconds / ours, 3),
    }


def ratio(seconds: dict[str, list[tuple[float, float]]], kind: int) -> float:
    """Median over rounds of the peer's time by ours."""
    pairs = zip(seconds["pipeline"], seconds["edgewise"], strict=True)
    return statistics.median(theirs[kind] / ours[kind] for theirs, ours in pairs)


def write(result: dict[str, Any]) -> None:
    """Under "compute", beside what other parts of this benchmark have written."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    held = json.loads(OUT.read_text()) if OUT.exists() else {}
    staged = OUT.with_suffix(".tmp")
    staged.write_text(json.dumps(held | {"compute": result}, indent=2, ensure_ascii=False) + "\n")
    staged.replace(OUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    texts = read_texts(given.path, given.texts)
    result = {
        "texts": len(texts),
        "source": "/".join(given.path.parts[-2:]) if given.path else "made up",
        "mean_words": round(float(np.mean([len(text.split()) for text in texts])), 1),
        "rounds": given.rounds,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **compare(texts, given.rounds),
    }
    write(result)
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
