"""What an evaluation is made from: tasks that people labelled, and who answered what about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgewise.labels.spans import Span
from edgewise.learning.llm_evaluation.forecast import Taken

Answers = Mapping[str, tuple[Span, ...]]  # by from_name


@dataclass(frozen=True, slots=True)
class Examined:
    """A task that people labelled. texts, gold: by from_name; a head that nobody answered has no gold.

    seen: whose pre-label its annotator had been shown: that of the language model, of a trained model, or nobody's.
    """

    task_id: int
    texts: Mapping[str, str]
    gold: Answers
    audit: bool = False
    seen: Literal["nobody", "language model", "model"] = "nobody"


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said about a task.

    spans: of each head that it spoke of; their scores are how sure it was, None if nothing tells. unplaced: quotes that
    are not in the text; invalid: parts of answers of another form than asked for; error: why there is no answer.
    taken: what asking took, None of a model of our own.
    """

    spans: Answers
    unplaced: int = 0
    invalid: int = 0
    error: str | None = None
    taken: Taken | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who answers: a candidate, or a model that candidates are compared with.

    answers: by task id; a task that the budget did not reach, or that a model was trained on, is missing. facts: what
    identifies it, for the report. flipped, planted: of so many texts with an order to us planted in them, how many got
    other labels than without it.
    """

    name: str
    answers: Mapping[int, Answer]
    is_candidate: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    flipped: int = 0
    planted: int = 0
    concurrency: float | None = None

    def answers_for(self, task_id: int, head: str) -> bool:
        """Whether it said anything about a head of a task, be it that nothing is there."""
        return task_id in self.answers and head in self.answers[task_id].spans
