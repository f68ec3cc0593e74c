"""A language model as FreeAL's annotator: asked as `prelabel` asks, shown what the round has found, within the budget.

Answers are kept by question, so that a round which is played again pays for nothing twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgewise.labels.answers import Demonstration
from edgewise.learning.evaluation import on_words
from edgewise.learning.freeal import Answer
from edgewise.services.llm import ProviderChat
from edgewise.services.store import LlmRun, Project
from edgewise.verbs.improving.pool import Part
from edgewise.verbs.prelabel import WORKERS
from edgewise.verbs.spending import WrittenBudget
from edgewise.verbs.system import System


class OutOfBudget(Exception):
    """The budget did not reach all questions of a round; the answers that it paid for are kept."""


@dataclass(frozen=True)
class Means:
    """How the questions of a project are asked, and paid for. row: the run that they go on from; told: the
    instructions."""

    system: System
    project: Project
    row: LlmRun
    told: str
    chat: ProviderChat
    budget: WrittenBudget


class Asking:
    """Asks about one head. asked: in the last round; shown: what each text was shown when it was last asked about, by
    position."""

    def __init__(self, means: Means, part: Part, report: Callable[[float], None]) -> None:
        self._means, self._part, self._report = means, part, report
        self.asked: tuple[int, ...] = ()
        self.shown: dict[int, tuple[int, ...]] = {}

    def annotate(self, texts: Sequence[int], shown: Sequence[Sequence[tuple[int, Answer]]]) -> list[Answer | None]:
        """See Annotator. Raises OutOfBudget."""
        part, means = self._part, self._means
        name = part.head.from_name
        answers = means.system.prelabel(
            [part.texts[position] for position in texts],
            [part.head],
            means.chat,
            means.system.store.answers(means.project.key),
            budget=means.budget,
            instructions=means.told,
            demonstrations=lambda n: [Demonstration(part.texts[i], {name: label}) for i, label in shown[n]],
            codec=means.row.how["codec"],
            variants=means.row.how["variants"],
            workers=WORKERS,
            report=lambda done, _: self._report(done),
        )
        if any(one is None for one in answers):
            raise OutOfBudget
        self.asked = tuple(texts)
        self.shown |= {text: tuple(i for i, _ in some) for text, some in zip(texts, shown, strict=True)}
        said = [() if one.error is not None else one.spans.get(name, ()) for one in answers]
        snapped = on_words([part.texts[position] for position in texts], said, part.head)
        return [None if one.error is not None else spans for one, spans in zip(answers, snapped, strict=True)]
