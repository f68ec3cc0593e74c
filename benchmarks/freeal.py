"""FreeAL with a language model of stated quality: labels and test score by round, two ablations, 25 labels of people.

    python -m benchmarks.freeal [--seeds 3] [--pool 600] [--knows 0.5]

The annotator is one of benchmarks/reading_model.py, over HTTP, asked as the product asks. It knows the right answer to
half the texts. Of the others it says what the demonstrations in its prompt suggest: the label of the most similar one;
of spans, it marks the strings that are marked in them. Without demonstrations it guesses. What this does not show is
the gain with a real language model, which is right more often without any, reads more from an example than likeness,
and is not led astray by an example that does not fit.
Data: a dozen intents of banking77, the intents of snips, the slots of three intents of snips (those in which most
strings occur more than once: else there is nothing to read), and wikigold, where few do. Seeds draw what the annotator
knows, the folds, and whom people label. The result goes to benchmarks/results/freeal.json and .md. A cell that is in
freeal.json is not played again: remove the file to begin anew.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import llm_prelabel
from benchmarks.freeal_page import AT_RANDOM, IN_DOUBT, MORE, OURS, RANDOM_SHOWN, UNFILTERED, page
from benchmarks.reading_model import Reading, ReadingModel, ReadingTagger, mention, served
from edgewise.labels.answers import Demonstration
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, longest_first, on_whole
from edgewise.learning.evaluation import evaluate
from edgewise.learning.freeal import Answer, State, begin, equal, rounds
from edgewise.learning.freeal.learners import rules_for
from edgewise.learning.freeal.reading import load_reader
from edgewise.learning.freeal.span_student import SpanStudent
from edgewise.learning.freeal.student import Student
from edgewise.learning.inference import load_encoder
from edgewise.services.llm import open_chat
from edgewise.settings import Settings
from edgewise.verbs.files.paid import PaidAnswers
from examples import banking77, snips, wikigold
from uncertainty import CHOICE_SCORES, SCORES

OUT = Path(__file__).resolve().parent / "results"
BASE = "packaged:minilm"
ABOUT = (__doc__ or "").split("\n\n")[2].replace("\n", " ").strip()
PEOPLE = 25
SHOWN = 10
SLOTS_OF = ("RateBook", "SearchScreeningEvent", "BookRestaurant")
ITERATIONS = 3
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    OURS: {},
    UNFILTERED: {"filtered": False},
    RANDOM_SHOWN: {"at_random": True},
    AT_RANDOM: {},
}
Json = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """Texts, what is right, and what the encoder makes of them: features, or words."""

    texts: list[str]
    gold: list[Answer]
    read: Any


@dataclass(frozen=True)
class Data:
    """A pool whose labels only the measure and people know, and texts for the test."""

    name: str
    head: Head
    pool: Part
    test: Part

    def student(self, seed: int) -> Any:
        """What learns from the pool."""
        if self.head.kind == "spans":
            return SpanStudent(self.pool.texts, self.pool.read, self.head.labels, seed=seed)
        return Student(self.pool.texts, self.pool.read, self.head, seed=seed)

    def taught(self, lesson: Mapping[int, Answer], part: Part) -> Any:
        """What a head that was taught on these labels of the pool says of a part."""
        student = self.student(0)
        if self.head.kind == "spans":
            return student.finished(lesson, part.read)
        return student.finished(lesson, part.read, part.texts)

    def score(self, part: Part, answers: Sequence[Answer]) -> float:
        """Accuracy; of spans strict F1."""
        scores = evaluate(part.texts, part.gold, answers, self.head)
        return scores.overall.f1 if scores.accuracy is None else scores.accuracy

    def annotator(self, knows: float, seed: int) -> Reading:
        """A language model for the pool."""
        pairs = list(zip(self.pool.texts, self.pool.gold, strict=True))
        if self.head.kind == "spans":
            marked = {text: [mention(text, one.start, one.end, one.label) for one in spans] for text, spans in pairs}
            return ReadingTagger(marked, knows=knows, seed=seed)
        return ReadingModel({text: spans[0].label for text, spans in pairs}, knows=knows, seed=seed)


def sources() -> dict[str, tuple[Rows, Rows, bool]]:
    """Rows to teach, rows to test, and whether their spans are asked for."""

    def intents(split: str) -> Rows:
        return [{"text": row["text"], "label": row["intent"]} for row in snips.rows(split)]

    def slots(split: str) -> Rows:
        return [row for row in snips.rows(split) if row["intent"] in SLOTS_OF]

    return {
        "banking77, a dozen": (banking77.dozen("train"), banking77.dozen("test"), False),
        "snips, intents": (intents("train"), intents("test"), False),
        "snips, slots of three intents": (slots("train"), slots("test"), True),
        "wikigold": (wikigold.rows("train"), wikigold.rows("test"), True),
    }


def load(name: str, pool: int) -> Data:
    """The data set of this name, a pool drawn from its training split."""
    taught, asked, spans = sources()[name]
    drawn = [taught[i] for i in np.random.default_rng(0).permutation(len(taught))[:pool]]
    sets = [{one["label"] for one in row["spans"]} if spans else {row["label"]} for row in (*taught, *asked)]
    head = Head("answer", "text", "text", tuple(sorted(set[str]().union(*sets))), kind="spans" if spans else "choice")
    reads = load_reader(BASE, max_length=128).read if spans else load_encoder(BASE, max_length=128).embed
    return Data(name, head, *(part_of(rows, head, reads) for rows in (drawn, asked)))


def part_of(rows: Rows, head: Head, reads: Any) -> Part:
    """Rows as texts and answers."""
    texts = [row["text"] for row in rows]
    if head.kind == "spans":
        gold = [longest_first(Span(one["start"], one["end"], one["label"]) for one in row["spans"])[0] for row in rows]
    else:
        gold = [(on_whole(row["text"], row["label"]),) for row in rows]
    return Part(texts, gold, reads(texts))


@dataclass
class OverHttp:
    """A language model at an address as FreeAL's annotator, asked as the product asks."""

    data: Data
    chat: Any
    paid: PaidAnswers

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        """Its answers."""
        head, known = self.data.head, self.data.pool.texts
        answers = llm_prelabel.prelabel(
            [known[position] for position in texts],
            [head],
            self.chat,
            self.paid,
            budget=self.paid.budget,
            demonstrations=lambda number: [Demonstration(known[i], {head.from_name: one}) for i, one in shown[number]],
        )
        return [None if one is None or one.error is not None else one.spans[head.from_name] for one in answers]


@contextmanager
def over_http(data: Data, model: Reading) -> Iterator[OverHttp]:
    """The model as an annotator, until the block ends."""
    with tempfile.TemporaryDirectory() as folder, served(model) as address:
        chat = open_chat("openai", "reading", base_url=address, api_key="none", price=None, private=True)
        paid = PaidAnswers(Settings(data_dir=Path(folder)), chat, [], [])
        yield OverHttp(data, chat, paid)
        paid.close()
        chat.close()


def play(data: Data, seed: int, knows: float) -> Iterator[Json]:
    """One line for each round of each variant. The same question is asked once."""
    gold = data.pool.gold
    student, rules = data.student(seed), rules_for(data.head, iterations=ITERATIONS, shown=SHOWN, seed=seed)
    with over_http(data, data.annotator(knows, seed)) as annotator:
        for variant, how in VARIANTS.items():
            human = {position: gold[position] for position in chosen_at_random(data, seed) if variant == AT_RANDOM}
            changed = replace(rules, **how)
            states = [begin(annotator, student, human, changed)]
            states += rounds(states[0], annotator, student, human, changed)
            yield from ({"variant": variant} | measured(data, state) for state in states)
            if variant == OURS:
                doubtful = {position: gold[position] for position in most_doubtful(states[-1])}
                for name, human in ((MORE, {}), (IN_DOUBT, doubtful)):
                    again = replace(with_people(states[-1], human), number=ITERATIONS, ended=None)
                    more = rounds(again, annotator, student, human, replace(rules, iterations=2 * ITERATIONS))
                    yield from ({"variant": name} | measured(data, state) for state in (again, *more))


def chosen_at_random(data: Data, seed: int) -> list[int]:
    """Whom people label before anything is asked."""
    return [int(i) for i in np.random.default_rng([seed, 1]).permutation(len(data.pool.texts))[:PEOPLE]]


def most_doubtful(state: State) -> list[int]:
    """Whom people label first after the rounds: what nobody trusts, the least sure first."""
    return [int(i) for i in np.lexsort((state.sure, state.clean)) if not state.clean[i]][:PEOPLE]


def with_people(state: State, human: Mapping[int, Answer]) -> State:
    """The state after people have labelled these."""
    labels = [human.get(position, label) for position, label in enumerate(state.labels)]
    clean = state.clean | np.isin(np.arange(len(labels)), list(human))
    return replace(state, labels=labels, clean=clean)


def measured(data: Data, state: State) -> Json:
    """How good the labels of a round are, how clean the believed ones, and the small model that they make."""
    given = [label or () for label in state.labels]
    right = np.array([equal(label, true) for label, true in zip(given, data.pool.gold, strict=True)])
    clean = state.clean
    lesson = {i: label for i, label in enumerate(state.labels) if label is not None and (clean[i] or not state.number)}
    return {
        "round": state.number,
        "labels": data.score(data.pool, given),
        "test": data.score(data.test, data.taught(lesson, data.test).answers),
        "clean": float(clean.mean()),
        "clean_precision": float(right[clean].mean()) if state.number else None,
        "clean_recall": float(clean[right].mean()) if state.number else None,
        "errors_doubted": float((~clean)[~right].mean()) if state.number and (~right).any() else None,
        "asked": state.asked,
        "ended": state.ended,
    }


def alone(data: Data, seed: int) -> Json:
    """The test score of the same student with labels of people alone: 25 at random, and 25 by active learning."""
    return {
        "at random": of_people(data, chosen_at_random(data, seed)),
        "active": of_people(data, actively(data, seed)),
    }


def of_people(data: Data, positions: Sequence[int]) -> float:
    """The test score after these."""
    return data.score(data.test, data.taught({i: data.pool.gold[i] for i in positions}, data.test).answers)


def actively(data: Data, seed: int) -> list[int]:
    """Five at random, then the five hardest in each of four rounds: by margin, of spans by the product's score."""
    labelled = chosen_at_random(data, seed)[:5]
    while len(labelled) < PEOPLE:
        said = data.taught({i: data.pool.gold[i] for i in labelled}, data.pool)
        shares = said.shares.astype(np.float32)
        if data.head.kind == "spans":
            unsure = SCORES["boundary"](shares, said.words.offsets)
        else:
            unsure = CHOICE_SCORES["margin"](shares, np.arange(len(shares) + 1))
        labelled += [int(i) for i in np.argsort(-unsure, kind="stable") if int(i) not in labelled][:5]
    return labelled


def cells(given: argparse.Namespace, done: Sequence[Json]) -> Iterator[Json]:
    """Every cell that is not done yet, as it is played: a data set and a seed."""
    known = {(one["data"], one["seed"]) for one in done}
    for name in sources():
        wanted = [seed for seed in range(given.seeds) if (name, seed) not in known]
        data = load(name, given.pool) if wanted else None
        for seed in wanted:
            assert data is not None
            began = time.process_time()
            lines = [{"data": name, "seed": seed} | line for line in play(data, seed, given.knows)]
            spent = round(time.process_time() - began, 1)
            yield {"data": name, "seed": seed, "rounds": lines, "alone": alone(data, seed), "cpu_seconds": spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pool", type=int, default=600)
    parser.add_argument("--knows", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=OUT, help="a folder")
    given = parser.parse_args()
    file = given.out / "freeal.json"
    settings = {"pool": given.pool, "knows": given.knows}
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else settings | {"cells": []}
    if {name: content.get(name) for name in settings} != settings:
        parser.error(f"{file} was made with other settings: remove it first")
    for cell in cells(given, content["cells"]):
        content["cells"].append(cell)
        keep(content, file)
        print(cell["data"], cell["seed"], cell["cpu_seconds"], flush=True)
    print("\n".join(page(content, ABOUT)))


def keep(content: Json, file: Path) -> None:
    """Write the results and the page, whole or not at all."""
    texts = {".json": json.dumps(content, indent=1), ".md": "\n".join(page(content, ABOUT))}
    for suffix, text in texts.items():
        part = file.with_suffix(f"{suffix}.part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(file.with_suffix(suffix))


if __name__ == "__main__":
    main()
