"""prelabel on a file: the same rows with a label, how sure it is, and a flag on those that a person should look at.

By a language model, by a model folder, or by both; then whether they agree decides the flag. Resumable: an answer of a
language model is paid for once, see paid.py. The output appears whole or not at all.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from edgewise.errors import InputError
from edgewise.files.csv_tables import writer
from edgewise.files.tables import Table, table
from edgewise.files.texts import text_of_row
from edgewise.files.whole import whole
from edgewise.labels.answers import Demonstration
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.settings import Settings
from edgewise.verbs.files.folder import FileModel, read_description
from edgewise.verbs.files.labelled import cell_of
from edgewise.verbs.files.material import DEFAULT_TEXT, Source, read_material
from edgewise.verbs.files.paid import PaidAnswers
from edgewise.verbs.files.predict import Answer, answer, chunks, columns_for, free_names, load
from edgewise.verbs.prelabel import open_model
from edgewise.verbs.spending import in_words

WORKERS = 8
LOW, UNKNOWN, DISAGREE, NO_ANSWER, NOT_ASKED = (
    "low confidence",
    "no confidence",
    "they disagree",
    "no answer",
    "not asked",
)
Report = Callable[[float, str], None]
Ask = Callable[..., list[Any]]  # llm_prelabel.prelabel, handed down


@dataclass(frozen=True, slots=True)
class Order:
    """What to pre-label, and by whom.

    text, head, told: the columns of the text, what to ask for, and instructions of the language model; those of the
    model folder where they are empty. examples: a file of labelled rows to show it. threshold: below, a row is
    flagged. variants: as in llm_prelabel; what LLM_VARIANTS says where it is None.
    """

    file: Path
    text: tuple[str, ...]
    head: Head | None
    folder: Path | None
    by: Literal["llm", "model", "both"]
    threshold: float
    told: str = ""
    examples: Path | None = None
    variants: int | None = None


@dataclass(slots=True)
class Done:
    """What was done. flagged: rows by the reason of their flag. spent: by the language model, in all."""

    columns: tuple[str, ...]
    rows: int = 0
    blank: int = 0
    flagged: dict[str, int] = field(default_factory=dict)
    spent: dict[str, Any] | None = None

    def flag(self, reason: str) -> None:
        """Count a flag."""
        if reason:
            self.flagged[reason] = self.flagged.get(reason, 0) + 1


def prelabel_file(
    order: Order, out: Path, settings: Settings, ask: Ask, report: Report, *, overwrite: bool = False
) -> Done:
    """Write the rows of the file to the CSV `out` with labels, confidence and flags.

    Rows that the budget did not reach are flagged as not asked. Raises InputError and DataError, Conflict if `out` is
    there or no language model is set, ModelUnavailable and ModelRefused; what was answered until then stays paid for.
    """
    order, head, described = _resolved(order)
    source = table(order.file, columns=order.text)
    second = ("second_opinion",) if order.by == "both" else ()
    added = free_names(source.columns, (*columns_for(head), "review", *second))
    inputs = [one for one in (order.file, order.examples) if one]
    with ExitStack() as opened:
        staged = opened.enter_context(whole(out, overwrite=overwrite, inputs=inputs))
        total = sum(1 for _ in source)  # a broken row is found before anything is paid for
        model = load(described, order.folder) if described and order.folder and order.by != "llm" else None
        llm = opened.enter_context(_Asking(order, head, settings, ask)) if order.by != "model" else None
        to = opened.enter_context(staged.open("w", encoding="utf-8", newline=""))
        done = Done(added)

        def tell(rows: float, spent: dict[str, Any] | None) -> None:
            spending = "" if spent is None else f", {in_words(spent)}"
            report(min(1.0, rows / max(total, 1)), f"{int(rows):,} of {total:,} rows{spending}")

        _write(source, to, (order, head, model, llm), done, tell)
        done.spent = llm.spent if llm else None
    return done


def _resolved(order: Order) -> tuple[Order, Head, FileModel | None]:
    """The order with what the model folder says where it says nothing itself. Raises InputError for what is missing."""
    described = read_description(order.folder) if order.folder else None
    if described is None:
        if order.by != "llm":
            raise InputError("There is no model that could label.", "Say --model-dir FOLDER, or --by llm.")
        if order.head is None:
            raise InputError("Nobody says what the labels are.", "Name them with --labels, or say --model-dir FOLDER.")
        return replace(order, text=order.text or DEFAULT_TEXT), order.head, None
    if order.head is not None and order.head.labels != described.head.labels:
        raise InputError("The model has learnt other labels than --labels names.", "Leave --labels out.")
    text, told = order.text or described.text_columns, order.told or described.told
    return replace(order, text=text, told=told), described.head, described


def _write(
    source: Table,
    to: TextIO,
    by: tuple[Order, Head, Any, "_Asking | None"],
    done: Done,
    tell: Callable[[float, dict[str, Any] | None], None],
) -> None:
    order, head, model, llm = by
    lines = writer(to, [*source.columns, *done.columns])
    for rows in chunks(source):
        texts = [text_of_row(row.values, order.text) for row in rows]
        theirs = answer(model, texts) if model is not None else [None] * len(rows)
        said = llm.said(texts, done.rows, tell) if llm else [None] * len(rows)
        for row, text, mine, one in zip(rows, texts, theirs, said, strict=True):
            cells, reason = _judged(mine, one, head, order) if text.strip() else ([""] * len(done.columns), "")
            done.blank += not text.strip()
            done.flag(reason)
            lines.write(row.values | dict(zip(done.columns, cells, strict=True)))
        done.rows += len(rows)
        tell(done.rows, llm.spent if llm else None)


@dataclass(frozen=True, slots=True)
class Said:
    """What a language model says of a text: its answer, or the reason why there is none."""

    spans: tuple[Span, ...] = ()
    confidence: float | None = None
    missing: str = ""


def _judged(mine: Answer | None, said: Said | None, head: Head, order: Order) -> tuple[list[str], str]:
    """The new cells of a row, and the reason of its flag, "" for none."""
    if mine is not None and said is not None:
        agree = _names(mine.spans) == _names(said.spans)
        reason = said.missing or ("" if agree else DISAGREE)
        opinion = "" if said.missing else cell_of(said.spans, head.kind)
        return [cell_of(mine.spans, head.kind), _share(mine.confidence), reason, opinion], reason
    if said is not None:
        reason = said.missing or _flag(said.confidence, order.threshold)
        cell = "" if said.missing else cell_of(said.spans, head.kind)
        return [cell, _share(said.confidence), reason], reason
    assert mine is not None
    reason = _flag(mine.confidence, order.threshold)
    return [cell_of(mine.spans, head.kind), _share(mine.confidence), reason], reason


def _names(spans: Sequence[Span]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label) for span in spans}


def _share(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.4f}"


def _flag(confidence: float | None, threshold: float) -> str:
    if confidence is None:
        return UNKNOWN
    return LOW if confidence < threshold else ""


class _Asking:
    """A language model that is asked about the rows of one file, within the budget that the run has left."""

    def __init__(self, order: Order, head: Head, settings: Settings, ask: Ask) -> None:
        self._order, self._head, self._ask = order, head, ask
        self._chat = open_model(settings)
        self._shown = _demonstrations(order, head, settings.llm_demonstrations)
        self._codec, self._variants = settings.llm_codec, order.variants or settings.llm_variants
        numbers = f"{self._variants} {settings.llm_demonstrations}"
        how = [head.digest, order.told, numbers, *order.text]
        self._paid = PaidAnswers(settings, self._chat, how, [order.file, order.examples])

    def __enter__(self) -> "_Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._paid.close()
        self._chat.close()

    @property
    def spent(self) -> dict[str, Any]:
        """What the run has spent, in all the processes that it took."""
        return self._paid.budget.total()

    def said(
        self, texts: Sequence[str], before: int, tell: Callable[[float, dict[str, Any] | None], None]
    ) -> list[Said]:
        """What it says of each text. before: rows of earlier chunks."""
        answers = self._ask(
            texts,
            [self._head],
            self._chat,
            self._paid,
            budget=self._paid.budget,
            instructions=self._order.told,
            demonstrations=lambda number: self._shown(texts[number]),
            codec=self._codec,
            variants=self._variants,
            workers=WORKERS,
            report=lambda share, _: tell(before + share * len(texts), self.spent),
        )
        return [self._read(one) for one in answers]

    def _read(self, one: Any) -> Said:
        if one is None:
            return Said(missing=NOT_ASKED)
        if one.error is not None:
            return Said(missing=NO_ANSWER)
        return Said(one.spans[self._head.from_name], one.confidence)


def _demonstrations(order: Order, head: Head, count: int) -> Callable[[str], list[Demonstration]]:
    """For a text, the examples to show with it: the most similar in the file, every label covered if that fits."""
    if order.examples is None or not count:
        return lambda _: []
    from edgewise.learning.demonstrations import Pool

    given = read_material(order.examples, Source(order.text, kind=head.kind), labels=head.labels).documents
    labels_of = [{span.label for span in one.spans} for one in given]
    pool = Pool([one.text for one in given], labels_of, [False] * len(given))
    shown = [Demonstration(one.text, {head.from_name: one.spans}) for one in given]
    return lambda text: [shown[number] for number in pool.choose(text, count)]
