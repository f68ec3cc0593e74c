"""Characters to words to tokens and back, in overlapping windows, for texts of any length in any script.

Knows nothing of Label Studio or of models: texts, spans and a tokenizer in, index arrays out. Offsets are Unicode
code points, half open: text[start:end] is the span.

    words(text)                          (n, 2) starts and ends of our own words
    tag_names(labels)                    ("O", "B-PER", "I-PER", …): id 0 is O, 1 + 2i is B-, 2 + 2i is I- of labels[i]
    tags_of(spans, words, labels)        (n,) tag ids, each span snapped outward to whole words
    spans_of_tags(tags, words, labels)   the inverse, for one text; spans_of_texts for many at once
    encode(texts, tokenizer, max_length, stride)   Windows: word -> window and position of its first sub-word
    windows.pad(which, pad_id)           (ids, mask, content) of some windows, as wide as the longest of them
    windows.targets(tags)                tag ids laid out like windows.ids, IGNORED where nothing is to be learnt
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import regex
from numpy.typing import NDArray

from edgewise.labels.spans import Span

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.floating[Any]]

IGNORED = -100  # what torch's cross entropy passes over
UNREAD = -1  # the window of a word that the tokenizer gave no token

_NO_BLANKS = "".join(rf"\p{{scx={script}}}" for script in ("Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr"))
_LETTER = rf"[[\p{{L}}\p{{N}}_]--[{_NO_BLANKS}--\u02BC]]"  # not the apostrophe letter, which Thai only borrows
_JOINER = r"[\u00AD\u200C\u200D\u2060]"  # soft hyphen, (non-)joiners: invisible, and inside a word
_WORD = regex.compile(
    rf"{_LETTER}(?:{_LETTER}|\p{{M}}|{_JOINER}+(?={_LETTER}))*"  # a run, which marks and inner joiners do not break
    r"|(?=[^\s\p{Z}\p{Cc}\p{Cf}\p{M}])\X\p{M}*",  # else a grapheme: CJK, Thai, punctuation, an emoji with all its parts
    regex.V1,
)
_SURROGATE = regex.compile(r"[\uD800-\uDFFF]")  # JSON can carry half of a pair; no tokenizer can


class Tokenizer(Protocol):
    """A fast tokenizer of transformers, as far as we know it."""

    def __call__(self, text: list[str], **options: Any) -> Mapping[str, Any]: ...


def words(text: str) -> IntArray:
    """Starts and ends of the words of a text, (n, 2), in order and never overlapping.

    A word is a run of letters, digits, marks and underscores; or one grapheme of a script that writes no blanks
    between words; or any other visible grapheme: punctuation, a symbol, an emoji with its joiners. No word starts with
    a combining mark, and blanks, control and format characters between words belong to none.
    """
    found = [match.span() for match in _WORD.finditer(text)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def tag_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of the tag ids of a head with these labels: 1 + 2 * len(labels) of them."""
    return ("O", *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def tags_of(spans: Sequence[Span], words: IntArray, labels: Sequence[str]) -> IntArray:
    """The tag id of each word, (n_words,), with every span snapped outward to whole words.

    A span that touches no word is left out. Of two that want the same word the one with more words stays, of two as
    long the leftmost. Raises ValueError for a label that is not among `labels`.
    """
    tags = np.zeros(len(words), dtype=np.int64)
    number = {label: i for i, label in enumerate(labels)}
    for first, stop, label in sorted(_snapped(spans, words), key=lambda found: (found[0] - found[1], found[0])):
        if label not in number:
            raise ValueError(f"a span has the label {label!r}, the head has {list(labels)}")
        if first < stop and not tags[first:stop].any():
            tags[first:stop] = 2 + 2 * number[label]
            tags[first] -= 1
    return tags


def _snapped(spans: Sequence[Span], words: IntArray) -> list[tuple[int, int, str]]:
    """First word and the one after the last of each span, and its label."""
    first = np.searchsorted(words[:, 1], [span.start for span in spans], side="right")
    stop = np.searchsorted(words[:, 0], [span.end for span in spans], side="left")
    return [(int(a), int(b), span.label) for a, b, span in zip(first, stop, spans, strict=True)]


def spans_of_tags(
    tags: IntArray, words: IntArray, labels: Sequence[str], *, probabilities: FloatArray | None = None
) -> tuple[Span, ...]:
    """The spans that the tags of one text say, in order: inverse of `tags_of`.

    tags: (n_words,) ids. A B- always starts a new span; so does an I- that continues nothing (an orphan).
    probabilities: (n_words, n_tags). With it a span's score, in [0, 1], is the mean over its words of the probability
    of its label, B- and I- taken together; without it the score is None.
    """
    offsets = np.array([0, len(tags)], dtype=np.int64)
    return spans_of_texts(tags, words, labels, offsets=offsets, probabilities=probabilities)[0]


def spans_of_texts(
    tags: IntArray,
    words: IntArray,
    labels: Sequence[str],
    *,
    offsets: IntArray,
    probabilities: FloatArray | None = None,
) -> list[tuple[Span, ...]]:
    """`spans_of_tags` for many texts: text i has offsets[i]:offsets[i + 1] of tags, words and probabilities."""
    first, stop, kind = _entities(tags, offsets)
    scores = [None] * len(first) if probabilities is None else _scores(probabilities, (first, stop, kind)).tolist()
    starts, ends = words[first, 0].tolist(), words[stop - 1, 1].tolist()
    found = [Span(*fields) for fields in zip(starts, ends, [labels[k] for k in kind], scores, strict=True)]
    cuts = np.searchsorted(first, offsets).tolist()
    return [tuple(found[a:b]) for a, b in pairwise(cuts)]


def _entities(tags: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """First word, word after the last, and label index of each entity of all texts."""
    kind = (tags + 1) // 2
    before = np.concatenate(([0], kind[:-1])) if len(kind) else kind
    before[offsets[:-1][offsets[:-1] < len(tags)]] = 0
    starts = (kind > 0) & ((tags % 2 == 1) | (before != kind))
    inside = (kind > 0) & ~starts
    first = np.flatnonzero(starts)
    # an entity ends before the first word after its start that is not inside
    breaks = np.append(np.flatnonzero(~inside), len(tags))
    stop = breaks[np.searchsorted(breaks, first, side="right")]
    return first, stop, kind[first] - 1


def _scores(probabilities: FloatArray, entities: tuple[IntArray, IntArray, IntArray]) -> FloatArray:
    """Mean probability of each entity's own label over its words."""
    first, stop, kind = entities
    length = stop - first
    rows = np.repeat(stop - np.cumsum(length), length) + np.arange(length.sum())
    columns = np.repeat(kind, length)
    mass = probabilities[rows, 1 + 2 * columns].astype(np.float64) + probabilities[rows, 2 + 2 * columns]
    sums = np.bincount(np.repeat(np.arange(len(first)), length), weights=mass, minlength=len(first))
    scores: FloatArray = np.clip(sums / length, 0.0, 1.0)
    return scores


@dataclass(frozen=True, slots=True)
class Windows:
    """Several texts as overlapping windows of tokens. N words, W windows, T token places.

    words: (N, 2), those of all texts one after another; offsets: (n_texts + 1,), text i has offsets[i]:offsets[i + 1].
    window: (N,) the one window that speaks for each word, UNREAD if it has no token; position: (N,) place of the word's
    first sub-word in that window, special tokens counted (0 if unread). Words may share a token.
    ids: (T,) token ids of all windows, special ones included; bounds: (W + 1,); content: (T,) False for special tokens.
    text: (W,) which text a window is of. A text without tokens has no window.
    """

    words: IntArray
    offsets: IntArray
    window: IntArray
    position: IntArray
    ids: IntArray
    content: NDArray[np.bool_]
    bounds: IntArray
    text: IntArray

    @property
    def lengths(self) -> IntArray:
        """(W,) tokens of each window, special ones included."""
        return np.diff(self.bounds)

    def pad(self, which: IntArray, pad_id: int) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
        """These windows as (ids, attention mask, content), each (len(which), longest of them).

        content is False for special tokens and padding.
        """
        lengths = self.lengths[which]
        place = np.arange(lengths.max(initial=0))
        mask = place < lengths[:, None]
        source = np.where(mask, self.bounds[which][:, None] + place, 0)
        return np.where(mask, self.ids[source], pad_id), mask.astype(np.int64), self.content[source] & mask

    def targets(self, tags: IntArray) -> IntArray:
        """tags: (N,) tag ids of the words. Returns (T,), laid out as `ids`.

        Each word's tag stands at its first sub-word in the window that speaks for it, IGNORED everywhere else. Of words
        that share a token the first gives the tag.
        """
        laid = np.full(len(self.ids), IGNORED, dtype=np.int64)
        read = np.flatnonzero(self.window != UNREAD)[::-1]  # backwards, so that the first word writes last
        laid[self.bounds[self.window[read]] + self.position[read]] = tags[read]
        return laid


def encode(texts: Sequence[str], tokenizer: Tokenizer, max_length: int, stride: int) -> Windows:
    """All texts as windows of at most `max_length` tokens, special ones included, overlapping by `stride` or more.

    Nothing is cut off: a long text gets several windows, and each word is spoken for by the one that shows most of its
    surroundings. Words are found by character offsets, whatever the tokenizer takes for a word.
    Raises ValueError if `max_length` leaves no more than `stride` tokens of content.
    """
    prefix, suffix = _special_tokens(tokenizer)
    room = max_length - len(prefix) - len(suffix)
    if not 0 <= stride < room:
        raise ValueError(f"max_length {max_length} leaves {room} tokens for content, and stride is {stride}")
    found = [words(text) for text in texts]
    offsets = _bounds([len(one) for one in found])
    flat = np.concatenate(found) if found else words("")
    ids, spots, token_bounds = _tokens(texts, tokenizer)
    token = _first_tokens(flat, offsets, spots, token_bounds)
    text, start, length = _cut(np.diff(token_bounds), room, stride)
    window, position = _owners(token, np.repeat(np.arange(len(texts)), np.diff(offsets)), (text, start, length))
    position = np.where(window == UNREAD, 0, position + len(prefix))
    bounds = _bounds(length + len(prefix) + len(suffix))
    placed, content = _lay_out(ids, token_bounds[text] + start, length, (prefix, suffix))
    return Windows(flat, offsets, window, position, placed, content, bounds, text)


def _bounds(lengths: Sequence[int] | IntArray) -> IntArray:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _special_tokens(tokenizer: Tokenizer) -> tuple[IntArray, IntArray]:
    """What the tokenizer puts before and after a text."""
    probe = tokenizer(["a"], return_special_tokens_mask=True, truncation=False, padding=False, verbose=False)
    ids, special = np.array(probe["input_ids"][0], dtype=np.int64), np.array(probe["special_tokens_mask"][0])
    content = np.flatnonzero(special == 0)
    return ids[: content[0]], ids[content[-1] + 1 :]


def _tokens(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[IntArray, IntArray, IntArray]:
    """Token ids of all texts, the characters each stands for, (n, 2), and the bounds of the texts. Nothing is cut."""
    if not texts:
        return np.zeros(0, np.int64), np.zeros((0, 2), np.int64), _bounds([])
    encoded = tokenizer(
        [_SURROGATE.sub("\ufffd", text) for text in texts],
        add_special_tokens=False,
        split_special_tokens=True,  # a "[SEP]" that somebody wrote is text
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=False,
        padding=False,
        verbose=False,
    )
    ids = [np.array(one, dtype=np.int64) for one in encoded["input_ids"]]
    spots = [np.array(one, dtype=np.int64).reshape(-1, 2) for one in encoded["offset_mapping"]]
    return np.concatenate(ids), np.concatenate(spots), _bounds([len(one) for one in ids])


def _first_tokens(words: IntArray, offsets: IntArray, spots: IntArray, token_bounds: IntArray) -> IntArray:
    """Index, within its text, of the first token that shares a character with each word; -1 without one.

    Texts are laid end to end on one line of characters, so that one search answers for all of them.
    """
    n_texts = len(offsets) - 1
    reach = int(max(words.max(initial=0), spots.max(initial=0))) + 1
    word_text = np.repeat(np.arange(n_texts), np.diff(offsets))
    token_text = np.repeat(np.arange(n_texts), np.diff(token_bounds))
    ends = np.maximum.accumulate(spots[:, 1] + token_text * reach) if len(spots) else spots[:, 1]
    found = np.searchsorted(ends, words[:, 0] + word_text * reach, side="right")
    starts = np.append(spots[:, 0] + token_text * reach, np.iinfo(np.int64).max)
    return np.where(starts[found] < words[:, 1] + word_text * reach, found - token_bounds[word_text], -1)


def _cut(counts: IntArray, room: int, stride: int) -> tuple[IntArray, IntArray, IntArray]:
    """Text, first token and number of tokens of each window. The last one of a text is moved back to be full."""
    step = room - stride
    windows = np.where(counts <= room, np.minimum(counts, 1), 1 + -(-(counts - room) // step))
    text = np.repeat(np.arange(len(counts)), windows)
    nth = np.arange(len(text)) - np.repeat(_bounds(windows)[:-1], windows)
    start = np.minimum(nth * step, np.maximum(counts[text] - room, 0))
    return text, start, np.minimum(counts[text], room)


def _owners(
    token: IntArray, word_text: IntArray, windows: tuple[IntArray, IntArray, IntArray]
) -> tuple[IntArray, IntArray]:
    """The window that speaks for each word, and the word's place in its content.

    It is that whose middle is nearest: as the windows of a text are as long as each other, the one that shows most of
    the word's surroundings.
    """
    text, start, length = windows
    window = np.full(len(token), UNREAD, dtype=np.int64)
    if not len(text):
        return window, np.zeros_like(window)
    reach = 2 * int(max(token.max(initial=0), (start + length).max())) + 2  # middles may lie between two tokens
    middle = 2 * start + length - 1 + text * reach
    point = 2 * token + word_text * reach
    after = np.clip(np.searchsorted(middle, point), 0, len(text) - 1)
    before = np.maximum(after - 1, 0)
    nearer = (text[before] == word_text) & (
        (text[after] != word_text) | (point - middle[before] <= np.abs(middle[after] - point))
    )
    window[:] = np.where(token < 0, UNREAD, np.where(nearer, before, after))
    return window, token - start[window]


def _lay_out(
    ids: IntArray, first: IntArray, length: IntArray, special: tuple[IntArray, IntArray]
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Token ids of all windows one after another with the special tokens around each, and which places are content."""
    prefix, suffix = special
    bounds = _bounds(length + len(prefix) + len(suffix))
    content: NDArray[np.bool_] = np.ones(bounds[-1], dtype=bool)
    placed = np.empty(bounds[-1], dtype=np.int64)
    for k, token in enumerate(prefix):
        placed[bounds[:-1] + k], content[bounds[:-1] + k] = int(token), False
    for k, token in enumerate(suffix):
        placed[bounds[1:] - len(suffix) + k], content[bounds[1:] - len(suffix) + k] = token, False
    source: IntArray = np.repeat(first - _bounds(length)[:-1], length) + np.arange(length.sum())
    placed[content] = ids[source]
    return placed, content
