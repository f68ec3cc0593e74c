"""Quotes of a text to spans of it: where in the text is what somebody says they read there.

Knows nothing of language models or of Label Studio: a text and quotes in, spans out. A quote is looked for as it is,
then with both sides folded (NFKC, case, blanks, dashes and quotation marks, invisible characters). Offsets are always
those of the original: the folded text carries a map back to it, as folding changes lengths ('İ', 'ß', 'ﬁ', line ends).
"""

import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import regex

from edgewise.labels.spans import Span
from edgewise.labels.windows import words

_GRAPHEME = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"[\p{DI}\p{Cc}\p{Cf}]")
_LOOK_ALIKES = str.maketrans(
    dict.fromkeys("‘’‚‛′`´", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‒–—―−", "-")
) | {code: 0xFFFD for code in range(0xD800, 0xE000)}  # half of a surrogate pair: no encoder can send it

_CLEAN, _INSIDE, _CUT = 2, 1, 0  # how good a place is to begin or end a span at

WINDOW, OVERLAP = 6000, 400  # characters

Hit = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Quote:
    """What somebody read in a text, verbatim as far as they can.

    occurrence: which one of its occurrences, from 1; None if they do not say. score: goes to the span as it is.
    """

    text: str
    label: str
    occurrence: int | None = None
    score: float | None = None


def place(text: str, quotes: Sequence[Quote]) -> tuple[tuple[Span, ...], int]:
    """The spans of quotes that are given in text order, and how many quotes had no place.

    Each quote is the next free occurrence after the one before, else the first free one: no two spans share a
    character. The occurrence that a quote names is believed only where the numbers of equal quotes rise and exist, as
    wrong numbers do more harm than none. No span cuts a word; only in scripts without case, where particles are
    written to the word, may it if the quote stands nowhere by itself. What is not in the text is never guessed.
    """
    finder = Finder(text)
    believed = _believed(finder, quotes)
    spans: list[Span] = []
    taken: list[Hit] = []
    at = 0
    for number, quote in enumerate(quotes):
        wanted = believed.get(number)
        candidates = finder.candidates(quote.text, at)
        hit = wanted if wanted and _free(wanted, taken) else next((c for c in candidates if _free(c, taken)), None)
        if hit is None:
            continue
        at = hit[1]
        taken.insert(bisect_left(taken, hit), hit)
        spans.append(Span(*hit, quote.label, quote.score))
    return tuple(sorted(spans)), len(quotes) - len(spans)


def fold(text: str) -> str:
    """The text as `place` compares it: equal for two texts that a reader would call the same."""
    return _fold(text).text.strip()


class Finder:
    """Where quotes occur in one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._exact: dict[str, list[Hit]] = {}
        self._folded: dict[str, list[Hit]] = {}

    def hits(self, quote: str) -> list[Hit]:
        """All occurrences, in order: verbatim ones if there are any, else those that are equal when folded."""
        return self._verbatim(quote) or self._equal(quote)

    def candidates(self, quote: str, at: int) -> Iterator[Hit]:
        """All occurrences, best first: verbatim before folded; those from `at` on before the ones left of it."""
        for find in (self._verbatim, self._equal):
            hits = find(quote)
            next_one = bisect_left(hits, (at, 0))
            yield from hits[next_one:]
            yield from hits[:next_one]

    def _verbatim(self, quote: str) -> list[Hit]:
        quote = quote.strip()
        if quote not in self._exact:
            self._exact[quote] = self._uncut([(i, i + len(quote)) for i in _finds(self._text, quote)])
        return self._exact[quote]

    def _equal(self, quote: str) -> list[Hit]:
        needle = fold(quote)
        if needle not in self._folded:
            found = (self._map.original(i, i + len(needle)) for i in _finds(self._map.text, needle))
            self._folded[needle] = self._uncut([hit for hit in found if hit])
        return self._folded[needle]

    def _uncut(self, hits: list[Hit]) -> list[Hit]:
        """Those that stand by themselves; if there are none, those that cut only words of scripts without case."""
        grades = [min(self._borders[start], self._borders[end]) for start, end in hits]
        best = _CLEAN if _CLEAN in grades else _INSIDE
        return [hit for hit, grade in zip(hits, grades, strict=True) if grade == best]

    @cached_property
    def _map(self) -> "_Folded":
        return _fold(self._text)

    @cached_property
    def _borders(self) -> bytearray:
        """For each place between two characters: _CLEAN between words, _CUT or _INSIDE within one."""
        grades = bytearray([_CLEAN]) * (len(self._text) + 1)
        for start, end in words(self._text).tolist():
            grades[start + 1 : end] = bytes(end - start - 1)
            whole = [match.start() for match in _GRAPHEME.finditer(self._text, start, end)][1:]
            for i in whole:
                if unicodedata.category(self._text[i]) == "Lo" and unicodedata.category(self._text[i - 1]) != "Cf":
                    grades[i] = _INSIDE
        return grades


@dataclass(frozen=True, slots=True)
class _Folded:
    """A folded text; character i comes from the grapheme starts[i]:ends[i] of the original."""

    text: str
    starts: list[int]
    ends: list[int]

    def original(self, first: int, stop: int) -> Hit | None:
        """Offsets in the original; None if a grapheme would have to be split, as the 's' of 'ß'."""
        splits_first = first > 0 and self.starts[first - 1] == self.starts[first]
        splits_last = stop < len(self.text) and self.starts[stop] == self.starts[stop - 1]
        return None if splits_first or splits_last else (self.starts[first], self.ends[stop - 1])


def _fold(text: str) -> _Folded:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _GRAPHEME.finditer(text):
        piece = _fold_grapheme(match.group())
        if piece == " " and pieces and pieces[-1] == " ":
            ends[-1] = match.end()
        elif piece:
            pieces.append(piece)
            starts += [match.start()] * len(piece)
            ends += [match.end()] * len(piece)
    return _Folded("".join(pieces), starts, ends)


def _fold_grapheme(grapheme: str) -> str:
    if grapheme.isspace():
        return " "
    folded = unicodedata.normalize("NFKC", grapheme).translate(_LOOK_ALIKES).casefold()
    folded = unicodedata.normalize("NFKC", folded).replace("i\u0307", "i")  # 'İ' in lower case
    return _INVISIBLE.sub("", folded)


def _finds(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle) if needle else -1
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def _free(hit: Hit, taken: Sequence[Hit]) -> bool:
    """`taken` is sorted and without overlaps."""
    after = bisect_left(taken, hit)
    clear_left = after == 0 or taken[after - 1][1] <= hit[0]
    return clear_left and (after == len(taken) or hit[1] <= taken[after][0])


def _believed(finder: Finder, quotes: Sequence[Quote]) -> dict[int, Hit]:
    """By a quote's number the place that its occurrence names, where the numbers of equal quotes make sense."""
    equal: dict[str, list[int]] = defaultdict(list)
    for number, quote in enumerate(quotes):
        equal[quote.text.strip()].append(number)
    places: dict[int, Hit] = {}
    for text, numbers in equal.items():
        named = [quotes[number].occurrence or 0 for number in numbers]
        hits = finder.hits(text)
        if named[0] >= 1 and all(a < b for a, b in pairwise(named)) and named[-1] <= len(hits):
            places |= {number: hits[k - 1] for number, k in zip(numbers, named, strict=True)}
    return places


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text. It speaks for spans that start in [first, stop); what is around them is context."""

    start: int
    end: int
    first: int
    stop: int

    @property
    def characters(self) -> int:
        """How many it speaks for."""
        return min(self.stop, self.end) - self.first

    def own(self, spans: Sequence[Span]) -> list[Span]:
        """Spans of this window that it speaks for, with the text's offsets."""
        moved = [replace(span, start=span.start + self.start, end=span.end + self.start) for span in spans]
        return [span for span in moved if self.first <= span.start < self.stop]


def windows(text: str) -> list[Window]:
    """A text as overlapping windows that a model can take, cut after a line or a word where there is one."""
    found: list[Window] = []
    start = first = 0
    while len(text) - start > WINDOW:
        end = _cut(text, start + WINDOW)
        found.append(Window(start, end, first, end - OVERLAP // 2))
        start, first = end - OVERLAP, end - OVERLAP // 2
    return [*found, Window(start, len(text), first, len(text) + 1)]


def _cut(text: str, end: int) -> int:
    at = max(text.rfind("\n", end - OVERLAP, end), text.rfind(" ", end - OVERLAP, end))
    return at + 1 if at >= 0 else end
