"""FreeAL with a language model of stated quality: labels and test score by round, two ablations, 25 labels of people.

    python -m benchmarks.freeal [--seeds 3] [--pool 1000] [--knows 0.5]

The annotator is benchmarks/reading_model.py, over HTTP: it knows the right label of half the texts and takes the other
answers from the most similar demonstration that it is shown. What this does not show is the gain with a real language
model, which is right more often and reads more from an example than likeness.
Data: a dozen intents of banking77, and the intents of snips. The result goes to benchmarks/results/freeal.json and .md.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

import llm_prelabel
from benchmarks.reading_model import ReadingModel, served
from edgewise.labels.answers import Demonstration
from edgewise.labels.schema import Head
from edgewise.labels.spans import on_whole
from edgewise.learning.freeal import Answer, Rules, State, begin, rounds
from edgewise.learning.freeal.student import Student
from edgewise.learning.inference import load_encoder
from edgewise.services.llm import open_chat
from edgewise.settings import Settings
from edgewise.verbs.files.paid import PaidAnswers
from examples import banking77, snips
from uncertainty import CHOICE_SCORES

OUT = Path(__file__).resolve().parent / "results"
BASE = "packaged:minilm"
PEOPLE = 25
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "no filtering": {"filtered": False},
    "random demonstrations": {"at_random": True},
    "ours, 25 labels of people": {},
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """A pool whose labels only the measure knows, and test texts. features: of the encoder."""

    name: str
    head: Head
    texts: list[str]
    gold: list[str]
    features: NDArray[np.float32]
    test: list[str]
    test_gold: list[str]
    test_features: NDArray[np.float32]

    def answer(self, position: int, label: str) -> Answer:
        """A label on a whole text."""
        return (on_whole(self.texts[position], label),)


def load(name: str, pool: int) -> Data:
    """The data set of this name, a pool drawn from its training split."""
    if name == "banking77, a dozen":
        taught, asked = banking77.dozen("train"), banking77.dozen("test")
    else:
        taught, asked = intents("train"), intents("test")
    drawn = np.random.default_rng(0).permutation(len(taught))[:pool]
    rows = [taught[i] for i in drawn]
    labels = tuple(sorted({row["label"] for row in taught}))
    encoder = load_encoder(BASE, max_length=128)
    texts, test = [row["text"] for row in rows], [row["text"] for row in asked]
    return Data(
        name=name,
        head=Head("intent", "text", "text", labels, kind="choice"),
        texts=texts,
        gold=[row["label"] for row in rows],
        features=encoder.embed(texts),
        test=test,
        test_gold=[row["label"] for row in asked],
        test_features=encoder.embed(test),
    )


def intents(split: str) -> list[Json]:
    """The texts of snips with their intents."""
    return [{"text": row["text"], "label": row["intent"]} for row in snips.rows(split)]


@dataclass
class OverHttp:
    """A language model at an address as FreeAL's annotator, asked as the product asks."""

    data: Data
    chat: Any
    paid: PaidAnswers

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        """Its answers."""
        name = self.data.head.from_name
        answers = llm_prelabel.prelabel(
            [self.data.texts[position] for position in texts],
            [self.data.head],
            self.chat,
            self.paid,
            budget=self.paid.budget,
            demonstrations=lambda number: [
                Demonstration(self.data.texts[i], {name: label}) for i, label in shown[number]
            ],
        )
        return [None if one is None or one.error is not None else one.spans[name] for one in answers]


def play(data: Data, variant: str, seed: int, knows: float) -> Iterator[Json]:
    """One line a round."""
    model = ReadingModel(dict(zip(data.texts, data.gold, strict=True)), knows=knows, seed=seed)
    human = people(data, seed) if "people" in variant else {}
    student = Student(data.texts, data.features, data.head, seed=seed)
    rules = Rules(class_of=lambda answer: answer[0].label if answer else "", seed=seed, **VARIANTS[variant])
    with tempfile.TemporaryDirectory() as folder, served(model) as address:
        chat = open_chat("openai", "reading", base_url=address, api_key="none", price=None, private=True)
        settings = Settings(data_dir=Path(folder))
        annotator = OverHttp(data, chat, PaidAnswers(settings, "run", endpoint=address, model="reading"))
        first = begin(annotator, len(data.texts), human)
        for state in (first, *rounds(first, annotator, student, human, rules)):
            yield {"variant": variant, "seed": seed} | measured(data, state, student, rules)
        annotator.paid.close()
        chat.close()


def people(data: Data, seed: int) -> dict[int, Answer]:
    """What people say of 25 texts, chosen at random."""
    drawn = np.random.default_rng([seed, 1]).permutation(len(data.texts))[:PEOPLE]
    return {int(position): data.answer(int(position), data.gold[position]) for position in drawn}


def measured(data: Data, state: State, student: Student, rules: Rules) -> Json:
    """How good the labels of a round are, how clean the believed ones, and the small model that they make."""
    right = np.array([rules.class_of(label or ()) == true for label, true in zip(state.labels, data.gold, strict=True)])
    believed = state.clean if state.number else np.array([label is not None for label in state.labels])
    lesson = {i: label for i, label in enumerate(state.labels) if label is not None and believed[i]}
    said = student.finished(lesson, data.test_features, data.test).answers
    tested = np.mean([answer[0].label == true for answer, true in zip(said, data.test_gold, strict=True)])
    clean = state.clean
    return {
        "data": data.name,
        "round": state.number,
        "labels": float(right.mean()),
        "test": float(tested),
        "clean": float(clean.mean()),
        "clean_precision": float(right[clean].mean()) if clean.any() else None,
        "clean_recall": float(clean[right].mean()) if clean.any() else None,
        "errors_doubted": float((~clean)[~right].mean()) if (~right).any() else None,
        "asked": state.asked,
        "ended": state.ended,
    }


def active_learning(data: Data, seed: int) -> float:
    """The test accuracy of a model that 25 labels of people teach, the hardest five first in each of four rounds."""
    rng = np.random.default_rng([seed, 2])
    labelled = rng.permutation(len(data.texts))[:5].tolist()
    student = Student(data.texts, data.features, data.head, seed=seed)
    while len(labelled) < PEOPLE:
        lesson = {i: data.answer(i, data.gold[i]) for i in labelled}
        shares = student.finished(lesson, data.features, data.texts).shares.astype(np.float32)
        unsure = CHOICE_SCORES["margin"](shares, np.arange(len(data.texts) + 1))
        hardest = [int(i) for i in np.argsort(-unsure, kind="stable") if int(i) not in labelled]
        labelled += hardest[:5]
    lesson = {i: data.answer(i, data.gold[i]) for i in labelled}
    said = student.finished(lesson, data.test_features, data.test).answers
    return float(np.mean([a[0].label == true for a, true in zip(said, data.test_gold, strict=True)]))


def spread(values: Sequence[float]) -> str:
    """The mean over seeds with its 95 % interval (t, as many seeds as there are)."""
    from scipy.stats import t

    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{np.mean(values):.3f} ± {half:.3f}"


def page(lines: Sequence[Json], alone: Mapping[str, Sequence[float]]) -> list[str]:
    """The tables in Markdown."""
    out = ["# FreeAL, by rounds", "", (__doc__ or "").split("\n\n")[2].replace("\n", " "), ""]
    for name in dict.fromkeys(line["data"] for line in lines):
        rows = [["variant", "round", "labels right", "test accuracy", "believed", "of these right", "errors doubted"]]
        for variant in VARIANTS:
            for number in sorted({line["round"] for line in lines}):
                some = [one for one in lines if (one["data"], one["variant"]) == (name, variant)]
                some = [last_until(some, seed, number) for seed in sorted({one["seed"] for one in some})]
                cells = [
                    [one[key] for one in some if one[key] is not None]
                    for key in ("labels", "test", "clean", "clean_precision", "errors_doubted")
                ]
                rows.append([variant, str(number), *(spread(values) if values else "-" for values in cells)])
        people = f"Active learning alone with {PEOPLE} labels: test accuracy {spread(alone[name])}."
        out += [f"## {name}", "", *markdown(rows), "", people, ""]
    return out


def last_until(lines: Sequence[Json], seed: int, number: int) -> Json:
    """A seed's line of a round; of one that ended before, its last."""
    mine = [line for line in lines if line["seed"] == seed and line["round"] <= number]
    return max(mine, key=lambda line: int(line["round"]))


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as a table, the first being its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *body]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pool", type=int, default=1000)
    parser.add_argument("--knows", type=float, default=0.5)
    given = parser.parse_args()
    lines: list[Json] = []
    alone: dict[str, list[float]] = {}
    for name in ("banking77, a dozen", "snips, intents"):
        data = load(name, given.pool)
        alone[name] = [active_learning(data, seed) for seed in range(given.seeds)]
        for variant in VARIANTS:
            for seed in range(given.seeds):
                lines += play(data, variant, seed, given.knows)
                last = lines[-1]
                print(
                    f"{name}, {variant}, seed {seed}: labels {last['labels']:.3f}, test {last['test']:.3f}", flush=True
                )
    OUT.mkdir(exist_ok=True)
    content = {"pool": given.pool, "knows": given.knows, "alone": alone, "rounds": lines}
    (OUT / "freeal.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    told = "\n".join(page(lines, alone)) + "\n"
    (OUT / "freeal.md").write_text(told, encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
