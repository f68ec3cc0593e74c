"""Tasks ranked per second in each arithmetic, against transformers' own pipeline one text at a time.

    python -m benchmarks.rank [TEXTS.jsonl] [--texts 500] [--rounds 7]

TEXTS.jsonl has a field `text` in each line; without it they are wikigold's test sentences, then those of dev, and by
default as many as a rank job scores at a time. The model is the packaged MiniLM, taught 200 sentences of wikigold
first; all ways have its weights. "Ranked" is all that a rank job does for a task but for Label Studio: tags, spans,
embedding, uncertainty, reason, and the rows of the release in a SQLite of its own. The peer only
tags, and whether it tags as we do is counted. Rounds alternate, so that a busy machine slows all; what is compared is
the median, of wall and of CPU time. How far an arithmetic ranks as float32 does is told on wikigold sentences that the
model was not taught, and `chosen` is what Edgewise takes on this machine by these figures. The result goes to
benchmarks/results/rank.json under "compute".
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve whoever shares the cores
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import transformers

from edgewise.labels.regions import regions
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.describe import describe
from edgewise.learning.inference import Tagger, export_trained
from edgewise.learning.inference.arithmetic import FLOAT32, OTHERS, Figures, agreement, decide, machine
from edgewise.learning.training import Recipe, train
from edgewise.services.store import Rank, Store, Task
from edgewise.verbs.models import load_in
from edgewise.verbs.rank import SCORED
from examples import wikigold
from uncertainty import DEFAULT, SCORES, word_contributions

HEAD = Head("label", "text", "text", wikigold.LABELS)
TAUGHT = 200
LENGTH = 128
EXPORTED = "exported.onnx"
OUT = Path(__file__).resolve().parent / "results" / "rank.json"

Seconds = dict[str, list[tuple[float, float]]]  # way -> wall and CPU of each round


def read_texts(path: Path | None, how_many: int) -> list[str]:
    """The first texts of a file, or of wikigold's test and dev sets."""
    if path is None:
        return [row["text"] for split in ("test", "dev") for row in wikigold.rows(split)][:how_many]
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:how_many]


def teach(folder: Path) -> None:
    """Write the packaged encoder, taught TAUGHT sentences."""
    rows = wikigold.rows("train")[:TAUGHT]
    spans = [tuple(Span(s["start"], s["end"], s["label"]) for s in row["spans"]) for row in rows]
    documents = [Document(row["text"], some) for row, some in zip(rows, spans, strict=True)]
    recipe = Recipe(learning_rate="auto", epochs="auto", max_length=LENGTH)
    train(documents, HEAD, PACKAGED, folder, recipe, report=lambda done: None)


def load(folder: Path, arithmetic: str) -> Tagger:
    """The taught model, to compute in an arithmetic."""
    model = load_in(arithmetic, folder, folder / EXPORTED, HEAD, LENGTH)
    assert isinstance(model, Tagger)
    return model


def export(folder: Path) -> dict[str, float]:
    """Write the taught model for ONNX Runtime; the wall and CPU seconds that it took."""
    began = now()
    export_trained(folder, HEAD, folder / EXPORTED)
    return dict(zip(("wall", "cpu"), np.round(now() - began, 1).tolist(), strict=True))


class Release:
    """Where ranks are kept: a project with these texts as tasks, in a SQLite of its own."""

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self.store = Store(f"sqlite:///{folder / 'edgewise.db'}")
        self.key = self.store.record_project("http://nowhere", 1, "2026-11-22").key
        tasks = [Task(number, {"text": text}, f"key {number}") for number, text in enumerate(texts, start=1)]
        self.store.upsert_tasks(self.key, tasks, {})

    def keep(self, ranks: Sequence[Rank]) -> None:
        """As a new release, as every ranking is one."""
        self.store.save_ranks(self.key, self.store.new_release(self.key, None, "schema").n, ranks)


def rank(tagger: Tagger, texts: Sequence[str], release: Release) -> None:
    """What a rank job does with tasks, until Label Studio is told."""
    tagged = tagger.tag(texts)
    unsure = SCORES[DEFAULT](tagged.probabilities, tagged.offsets)
    contributions = word_contributions(tagged.probabilities, tagged.offsets)
    release.keep(
        [
            Rank(
                index + 1,
                float(unsure[index]),
                float(1 - unsure[index]),
                describe(tagged, index, text, contributions, HEAD.labels),
                tuple(regions(tagged.spans[index], HEAD, text)),
            )
            for index, text in enumerate(texts)
        ]
    )


def one_by_one(pipe: Callable[[str], Any], texts: Sequence[str]) -> list[Any]:
    """What most backends do."""
    return [pipe(text) for text in texts]


def same_tags(tagger: Tagger, pipe: Callable[[str], Any], texts: Sequence[str]) -> float:
    """Share of the words that the pipeline tags as we do, at a word's first sub-word."""
    tagged, names, same = tagger.tag(texts), tag_names(HEAD.labels), 0
    tags = tagged.probabilities.argmax(axis=1)
    for number, found in enumerate(one_by_one(pipe, texts)):
        said = {token["start"]: token["entity"] for token in found}
        for word in range(tagged.offsets[number], tagged.offsets[number + 1]):
            same += said.get(int(tagged.words[word, 0]), "O") == names[tags[word]]
    return same / len(tags)


class Clock:
    """Seconds spent inside the forward pass, wall and CPU, and how much of the batches is padding."""

    def __init__(self, tagger: Tagger) -> None:
        self.seconds = np.zeros(2)
        self.padding = self.tokens = 0
        self._run = tagger._network.run
        tagger._network.run = self.timed  # type: ignore[method-assign]  # so that ranking itself carries no clock

    def timed(self, batch: Any) -> Any:
        began = now()
        answer = self._run(batch)
        self.seconds += now() - began
        self.tokens += batch[1].size
        self.padding += int((batch[1] == 0).sum())
        return answer


def now() -> Any:
    """Wall and CPU seconds, (2,)."""
    return np.array([time.perf_counter(), time.process_time()])


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> Seconds:
    """Wall and CPU seconds of each way in each round."""
    seconds: Seconds = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            began = now()
            work()
            wall, cpu = now() - began
            seconds[way].append((float(wall), float(cpu)))
    return seconds


def summary(seconds: Sequence[tuple[float, float]], how_many: int) -> dict[str, dict[str, float]]:
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


def ratio(seconds: Seconds, of: str, by: str) -> dict[str, dict[str, float]]:
    """How many times as fast one way is as the other: median over the rounds, lowest and highest."""
    found = {}
    for i, kind in enumerate(("wall", "cpu")):
        all_ = [slow[i] / fast[i] for slow, fast in zip(seconds[by], seconds[of], strict=True)]
        shown = {"median": statistics.median(all_), "lowest": min(all_), "highest": max(all_)}
        found[kind] = {name: round(value, 2) for name, value in shown.items()}
    return found


def outside(seconds: Sequence[tuple[float, float]], clock: Clock) -> dict[str, float]:
    """Share of ranking that is not the model's forward pass, by wall and by CPU time."""
    whole = np.sum(seconds, axis=0)
    return dict(zip(("wall", "cpu"), np.round(1 - clock.seconds / whole, 3).tolist(), strict=True))


def compare(texts: list[str], rounds: int) -> dict[str, Any]:
    """All ways in turn, after one warm-up each."""
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as name:
        folder = Path(name) / "model"
        teach(folder)
        exported_s = export(folder)
        models = {arithmetic: load(folder, arithmetic) for arithmetic in (FLOAT32, *OTHERS)}
        pipe = transformers.pipeline("token-classification", model=str(folder), device="cpu", dtype=torch.float32)
        agreed, same = agreements(models), same_tags(models[FLOAT32], pipe, texts)
        release = Release(Path(name), texts)
        ways: dict[str, Callable[[], object]] = {"pipeline": lambda: one_by_one(pipe, texts)}
        ways |= {name: partial(rank, model, texts, release) for name, model in models.items()}
        in_turn(ways, 1)
        clocks = {name: Clock(model) for name, model in models.items()}
        seconds = in_turn(ways, rounds)
        release.store.close()
    faster = {name: ratio(seconds, name, FLOAT32) for name in OTHERS}
    chosen = decide({name: Figures(one["cpu"]["median"], agreed[name]) for name, one in faster.items()})
    ours = clocks[FLOAT32]
    return {
        "tasks_per_s": {"edgewise" if way == FLOAT32 else way: summary(s, len(texts)) for way, s in seconds.items()},
        "times_faster": {kind: one["median"] for kind, one in ratio(seconds, FLOAT32, "pipeline").items()},
        "times_faster_than_pipeline": {name: ratio(seconds, name, "pipeline") for name in clocks},
        "times_faster_than_float32": faster,
        "share_outside_forward_pass": {name: outside(seconds[name], clock) for name, clock in clocks.items()},
        "padding": round(ours.padding / ours.tokens, 4),
        "same_tags_as_pipeline": round(same, 5),
        "export_s": exported_s,
        "agreement_with_float32": {name: asdict(one) for name, one in agreed.items()},
        "chosen": asdict(chosen),
    }


def agreements(models: dict[str, Tagger]) -> dict[str, Any]:
    """How far each arithmetic ranks as float32 does, on sentences that the model was not taught."""
    rows = [*wikigold.rows("train")[TAUGHT:], *wikigold.rows("dev"), *wikigold.rows("test")]
    texts, told = [row["text"] for row in rows], {}
    for name, model in models.items():
        tagged = model.tag(texts)
        told[name] = SCORES[DEFAULT](tagged.probabilities, tagged.offsets), tagged.probabilities.argmax(axis=1)
    return {name: agreement(told[FLOAT32], theirs) for name, theirs in told.items() if name != FLOAT32}


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
    parser.add_argument("--texts", type=int, default=SCORED)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    texts = read_texts(given.path, given.texts)
    result = {
        "texts": len(texts),
        "source": "/".join(given.path.parts[-2:]) if given.path else "wikigold, test and dev",
        "mean_words": round(float(np.mean([len(text.split()) for text in texts])), 1),
        "rounds": given.rounds,
        "threads": torch.get_num_threads(),
        "machine": machine().words,
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **compare(texts, given.rounds),
    }
    write(result)
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
