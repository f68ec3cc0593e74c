"""freeal on a file: rows without labels -> the same rows labelled, and a model folder, with a language model's help.

The language model labels, a small model finds out whom to believe, round after round: learning/freeal. Paid answers
are kept, see paid.py: a run that was ended goes on where it was when it is started again. Both outputs appear whole or
not at all.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgewise.errors import DataError, InputError
from edgewise.files.csv_tables import writer
from edgewise.files.rows import Row
from edgewise.files.tables import Table, table
from edgewise.files.texts import text_of_row
from edgewise.files.whole import whole, whole_folder
from edgewise.labels.answers import Demonstration
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document
from edgewise.learning.evaluation import evaluate
from edgewise.learning.freeal import Answer, State, begin, rounds
from edgewise.learning.freeal.learners import learner_for, rules_for
from edgewise.learning.training import Recipe, train
from edgewise.settings import Settings
from edgewise.verbs.code import code_version
from edgewise.verbs.files.datasets import keep_documents
from edgewise.verbs.files.exported import control_in, documents_in
from edgewise.verbs.files.folder import FileModel, write_description
from edgewise.verbs.files.labelled import Columns, cell_of, spans_in
from edgewise.verbs.files.material import Source, read_material
from edgewise.verbs.files.paid import PaidAnswers
from edgewise.verbs.files.predict import columns_for, free_names
from edgewise.verbs.files.prelabel import Ask
from edgewise.verbs.prelabel import open_model
from edgewise.verbs.spending import in_words

WORKERS = 8
REVIEW = "review"
DOUBTFUL, NO_ANSWER = "doubtful", "no answer"
FEWEST = 20  # texts; fewer teach nothing
SHOWN = 10  # examples with a question
ASKING = 0.9  # of a round's progress

Report = Callable[[float, str], None]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to label, and how.

    gold: a column, or in an export of Label Studio a tag, with the right labels, which nobody is shown: each round's
    accuracy is told by it. examples: a file of rows that people labelled: always believed, and shown where they are
    near. datasets: the folder with the dataset versions.
    """

    file: Path
    text: tuple[str, ...]
    head: Head
    base: str
    recipe: Recipe
    gold: str | None = None
    told: str = ""
    examples: Path | None = None
    iterations: int = 3
    datasets: Path = Path("data/datasets")


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it. measure: what is told as accuracy. rounds: a line each. columns: that the output has more."""

    measure: str
    rows: int
    blank: int
    doubtful: int
    rounds: list[Json]
    ended: str
    columns: tuple[str, ...]
    spent: Json


def freeal_file(
    wish: Wish, out_csv: Path, out_model: Path, settings: Settings, ask: Ask, report: Report, *, overwrite: bool = False
) -> Played:
    """Play the rounds and write the labelled rows and the model folder.

    Raises InputError and DataError for what cannot be read, Conflict if an output is there or no language model is set,
    ModelUnavailable and ModelRefused; what was answered until then stays paid for.
    """
    source = source_of(wish)
    inputs = [one for one in (wish.file, wish.examples) if one]
    with ExitStack() as opened:
        staged_csv = opened.enter_context(whole(out_csv, overwrite=overwrite, inputs=inputs))
        staged_model = opened.enter_context(whole_folder(out_model, overwrite=overwrite, inputs=inputs))
        work = read_work(source, wish)
        annotator = opened.enter_context(Asking(work, wish, settings, ask, report))
        states = play(work, wish, annotator, report)
        columns = free_names(source.columns, (*columns_for(wish.head), REVIEW))
        doubtful = write_rows(source, work, states[-1], staged_csv, columns)
        write_model(work, wish, states[-1], staged_model, report)
        lines = [told(state, work) for state in states]
        ended = annotator.why_ended or states[-1].ended or ""
        measure = "strict F1" if wish.head.kind == "spans" else "accuracy"
        return Played(measure, len(work.rows), work.blank, doubtful, lines, ended, columns, annotator.spent)


@dataclass(frozen=True, slots=True)
class Work:
    """The texts to label for a head, people's examples behind them.

    rows: for each row of the file its text's position, None for a row without one. gold: of the file's texts, None
    where the file does not say. human: by position.
    """

    head: Head
    texts: list[str]
    rows: list[int | None]
    gold: list[Answer | None]
    human: dict[int, Answer]

    @property
    def blank(self) -> int:
        """Rows without a text."""
        return sum(row is None for row in self.rows)


def source_of(wish: Wish) -> Table:
    """The file. Raises InputError: a column is missing, spans in several columns, a tag with something else."""
    if wish.head.kind == "spans" and len(wish.text) != 1:
        raise InputError(
            "Spans need one text column: offsets into several would mean nothing.", "Name one with --text-columns."
        )
    source = table(wish.file, columns=wish.text)
    if wish.gold is None:
        return source
    if source.format != "label-studio":
        return table(wish.file, columns=[*wish.text, wish.gold])
    if (control_in(source, wish.gold).kind == "spans") != (wish.head.kind == "spans"):
        raise InputError(
            f"The tag '{wish.gold}' does not hold what is to be labelled.",
            "Name a tag with spans by --spans-column, one with choices by --label-column.",
        )
    return source


def read_work(source: Table, wish: Wish) -> Work:
    """All rows and examples. Raises DataError: a broken row, a label that is not in the set, too few texts."""
    texts: list[str] = []
    places: list[int | None] = []
    gold: list[Answer | None] = []
    for row in source:
        text = text_of_row(row.values, wish.text)
        places.append(len(texts) if text.strip() else None)
        if text.strip():
            texts.append(text)
            gold.append(gold_of(row, wish, source.format))
    if len(texts) < FEWEST:
        raise DataError(f"The file has {len(texts)} texts: too few to learn from.", f"It takes {FEWEST}.")
    human: dict[int, Answer] = {}
    if wish.examples is not None:
        given = read_material(wish.examples, Source(wish.text, wish.gold, wish.head.kind), labels=wish.head.labels)
        for document in given.documents:
            human[len(texts)] = document.spans
            texts.append(document.text)
    return Work(wish.head, texts, places, gold, human)


def gold_of(row: Row, wish: Wish, form: str) -> Answer | None:
    """What the file says is right, None where it says nothing."""
    if wish.gold is None:
        return None
    if form == "label-studio":
        head = replace(wish.head, from_name=wish.gold, field=wish.text[0])
        found, _ = documents_in([row], head)
        return found[0].spans if found else None
    return spans_in(row, Columns(wish.text, wish.gold, wish.head.kind), wish.head.labels)


def play(work: Work, wish: Wish, annotator: "Asking", report: Report) -> list[State]:
    """Round 0 and all that follow."""
    report(0.0, "reading the texts")
    recipe = wish.recipe
    student = learner_for(wish.head, work.texts, wish.base, max_length=recipe.max_length, seed=recipe.seed)
    rules = rules_for(wish.head, iterations=wish.iterations, shown=SHOWN, seed=recipe.seed)
    states = [begin(annotator, student, work.human, rules)]
    for state in rounds(states[0], annotator, student, work.human, rules):
        states.append(state)
        if annotator.why_ended:
            break
    return states


class Asking:
    """A language model as FreeAL's annotator, within the budget that the run has left."""

    def __init__(self, work: Work, wish: Wish, settings: Settings, ask: Ask, report: Report) -> None:
        self._work, self._wish, self._ask, self._report = work, wish, ask, report
        self._chat = open_model(settings)
        self._codec, self._variants = settings.llm_codec, settings.llm_variants
        how = ["freeal", wish.head.digest, wish.told, str(self._variants), *wish.text]
        self._paid = PaidAnswers(settings, self._chat, how, [wish.file, wish.examples])
        self._round = 0
        self.why_ended: str | None = None

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._paid.close()
        self._chat.close()

    @property
    def spent(self) -> Json:
        """What the run has spent, in all the processes that it took."""
        return self._paid.budget.total()

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        """What it says of each; None for an error, and for what the budget did not reach."""
        name, work = self._wish.head.from_name, self._work
        answers = self._ask(
            [work.texts[position] for position in texts],
            [self._wish.head],
            self._chat,
            self._paid,
            budget=self._paid.budget,
            instructions=self._wish.told,
            demonstrations=lambda number: [Demonstration(work.texts[i], {name: label}) for i, label in shown[number]],
            codec=self._codec,
            variants=self._variants,
            workers=WORKERS,
            report=lambda share, _: self._tell(share),
        )
        self._round += 1
        if any(one is None for one in answers):
            self.why_ended = "The budget is spent."
        return [None if one is None or one.error is not None else one.spans[name] for one in answers]

    def _tell(self, share: float) -> None:
        done = (self._round + share) / (self._wish.iterations + 1)
        self._report(ASKING * min(1.0, done), f"round {self._round}, {in_words(self.spent)}")


def told(state: State, work: Work) -> Json:
    """A round as callers see it. accuracy: of the labels; right: of those believed; None where nobody says. Of spans
    both are strict F1."""
    known = [position for position, gold in enumerate(work.gold) if gold is not None]
    clean = [position for position in known if state.clean[position]]
    return {
        "round": state.number,
        "asked": state.asked,
        "failed": state.failed,
        "changed": state.changed,
        "believed": float(state.clean.mean()),
        "agreement": state.agreement,
        "demonstrations": len(state.demonstrations),
        "accuracy": accuracy(state, work, known),
        "right": accuracy(state, work, clean),
    }


def accuracy(state: State, work: Work, positions: Sequence[int]) -> float | None:
    """How good the labels of these texts are; None without any."""
    if not positions:
        return None
    gold = [work.gold[position] or () for position in positions]
    labels = [state.labels[position] or () for position in positions]
    scores = evaluate([work.texts[position] for position in positions], gold, labels, work.head)
    return scores.overall.f1 if scores.accuracy is None else scores.accuracy


def write_rows(source: Table, work: Work, state: State, out: Path, columns: Sequence[str]) -> int:
    """The rows with their labels; returns how many are doubtful or have no answer."""
    flagged = 0
    with out.open("w", encoding="utf-8", newline="") as to:
        lines = writer(to, [*source.columns, *columns])
        for row, position in zip(source, work.rows, strict=True):
            cells = ["", "", ""] if position is None else cells_of(state, position, work.head)
            flagged += bool(cells[2])
            lines.write(row.values | dict(zip(columns, cells, strict=True)))
    return flagged


def cells_of(state: State, position: int, head: Head) -> list[str]:
    """Label, how sure the small model is of its own answer, and why a person should look."""
    sure, label = (f"{state.sure[position]:.4f}" if len(state.sure) else ""), state.labels[position]
    if label is None:
        return ["", "", NO_ANSWER]
    return [cell_of(label, head.kind), sure, "" if state.clean[position] else DOUBTFUL]


def write_model(work: Work, wish: Wish, state: State, out: Path, report: Report) -> None:
    """A model folder taught on the believed labels. Raises DataError if there are none."""
    kept = [position for position, label in enumerate(state.labels) if label is not None and state.clean[position]]
    documents = [Document(work.texts[i], tuple(replace(s, score=None) for s in state.labels[i] or ())) for i in kept]
    if not any(document.spans for document in documents):
        raise DataError("No label could be believed: there is nothing to teach a model.", state.ended or "Try another.")
    folder = wish.datasets / wish.file.stem
    model = FileModel(
        head=wish.head,
        text_columns=wish.text,
        dataset=keep_documents(folder, wish.head, documents, source=f"{wish.file.name}, labelled by freeal").id,
        base=wish.base,
        max_length=wish.recipe.max_length,
        recipe=asdict(wish.recipe),
        code=code_version(),
        told=wish.told,
    )

    def tell(share: float) -> None:
        report(ASKING + (1 - ASKING) * share, "training on the believed labels")

    train(documents, wish.head, wish.base, model.weights(out), wish.recipe, report=tell)
    write_description(out, model, {})
