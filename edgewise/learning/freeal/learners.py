"""Which learner a head wants, and when its answers agree. Loads the encoder that reads the texts, once a course."""

from collections.abc import Sequence

from edgewise.labels.schema import Head
from edgewise.learning.freeal import Learner, Rules, equal, half_equal, label_set
from edgewise.learning.freeal.reading import load_reader
from edgewise.learning.freeal.span_student import SpanStudent
from edgewise.learning.freeal.student import Student
from edgewise.learning.inference import load_encoder


def learner_for(head: Head, texts: Sequence[str], base: str, *, max_length: int, seed: int = 0) -> Learner:
    """A head of this kind on what the frozen encoder `base` makes of the texts. Raises ModelUnavailable."""
    if head.kind == "spans":
        return SpanStudent(texts, load_reader(base, max_length=max_length).read(texts), head.labels, seed=seed)
    return Student(texts, load_encoder(base, max_length=max_length).embed(texts), head, seed=seed)


def rules_for(head: Head, *, iterations: int, shown: int, seed: int = 0) -> Rules:
    """How a head's rounds are played."""
    alike = half_equal if head.kind == "spans" else equal
    return Rules(label_set, alike=alike, iterations=iterations, shown=shown, seed=seed)
