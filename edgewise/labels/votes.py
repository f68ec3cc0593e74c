"""Several answers about one text as one: of its windows, and of the variants of a prompt.

Knows no prompt and no model: spans, labels and how sure somebody was of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewise.labels.answers import NOTHING
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span, longest_first, on_whole

Answers = Mapping[str, tuple[Span, ...]]  # by from_name; a choice is a span of the whole text


@dataclass(frozen=True, slots=True)
class Choice:
    """What one window says that the whole text is, NOTHING included. weight: the characters that it speaks for.

    beliefs: the probability of what it names, and of other options if they are known; None if nothing tells.
    """

    labels: tuple[str, ...]
    beliefs: Mapping[str, float] | None
    weight: int


@dataclass(frozen=True, slots=True)
class Vote:
    """The answers of one variant of a prompt, and how sure each label in them is, a choice left empty included."""

    answers: Answers
    scores: tuple[float | None, ...]


def elected(head: Head, choices: Sequence[Choice]) -> dict[str, float | None]:
    """The labels that the windows of a text choose, with scores in [0, 1]: a window's vote is worth its characters.

    One choice: the label with the most votes. Any number: labels with more than half of all votes, as a label of a
    passage is not yet one of the text. Score: the mean belief, a window that does not speak of a label having none.
    """
    total = sum(choice.weight for choice in choices)
    votes: Counter[str] = Counter()
    for choice in choices:
        votes.update(dict.fromkeys(choice.labels, choice.weight))
    if head.kind == "choice":
        kept = [label for label, _ in votes.most_common(1)]
    else:
        kept = [label for label in head.labels if 2 * votes[label] > total]
    known = [(choice.beliefs, choice.weight) for choice in choices if choice.beliefs is not None]
    if len(known) < len(choices):
        return dict.fromkeys(kept)
    return {label: sum(belief.get(label, 0.0) * weight for belief, weight in known) / total for label in kept}


def chosen_spans(text: str, labels: Mapping[str, float | None]) -> tuple[Span, ...]:
    """Choices as spans of the whole text."""
    return tuple(sorted(on_whole(text, label, score) for label, score in labels.items() if label != NOTHING))


def trusted(heads: Sequence[Head], text: str, votes: Sequence[Vote]) -> tuple[Answers, float | None]:
    """The answers of all variants as one, and how sure what is least sure is. One answer agrees with nothing."""
    if len(votes) == 1:
        known = [score for score in votes[0].scores if score is not None]
        return votes[0].answers, min(known) if known and len(known) == len(votes[0].scores) else None
    agreed = {head.from_name: _agreed(head, text, [vote.answers[head.from_name] for vote in votes]) for head in heads}
    return {name: spans for name, (spans, _) in agreed.items()}, min(share for _, share in agreed.values())


def _agreed(head: Head, text: str, votes: Sequence[tuple[Span, ...]]) -> tuple[tuple[Span, ...], float]:
    """Spans of a majority, scored by its share; of a single choice that with most votes, the first of equals."""
    if head.kind == "choice":
        label, count = Counter(spans[0].label if spans else NOTHING for spans in votes).most_common(1)[0]
        share = count / len(votes)
        return chosen_spans(text, {label: share}), share
    places = Counter((span.start, span.end, span.label) for spans in votes for span in spans)
    shares = {place: count / len(votes) for place, count in places.items()}
    kept = [Span(*place, share) for place, share in shares.items() if share > 0.5]
    sure = min((max(share, 1 - share) for share in shares.values()), default=1.0)
    return (longest_first(kept)[0] if head.kind == "spans" else tuple(sorted(kept))), sure
