"""Tagging with real, tiny models: windows, foreign heads, embeddings, the cache, and the sentence that says why."""

import json
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgewise.errors import Cancelled, Conflict, EdgewiseError, SettingsError, Unavailable
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import encode, words
from edgewise.learning import baseline
from edgewise.learning.baseline import PACKAGED, fold, load_tokenizer, resolve
from edgewise.learning.describe import describe
from edgewise.learning.inference import ModelCache, Tagger, embed, load_baseline, load_trained
from edgewise.learning.inference.encoder import ENOUGH, PADDING, alike
from examples import wikigold
from tests.learning.conftest import HEAD, LABELS, TINY_LENGTH, tagger_of
from uncertainty import word_contributions


@pytest.fixture(scope="module")
def tagger(tiny_tagger: Path) -> Tagger:
    return tagger_of(tiny_tagger)


@pytest.fixture
def relabelled(tiny_tagger: Path, tmp_path: Path) -> Path:
    """The tiny model as somebody else would publish it: the same weights, other names."""
    folder = tmp_path / "somebodys-ner"
    shutil.copytree(tiny_tagger, folder)
    rename(folder, ["O", "B-person", "I-person", "B-MISC", "I-MISC"])
    return folder


def rename(folder: Path, names: list[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))


ABROAD = replace(HEAD, labels=("LOC", "PER"), predicted_values=(("person", "PER"),))


def test_a_tagger_finds_what_it_has_learnt(tagger: Tagger, documents: list[Document]) -> None:
    tagged = tagger.tag([document.text for document in documents])
    assert tagged.spans == [document.spans for document in documents]
    assert all(0.5 < (span.score or 0) <= 1 for spans in tagged.spans for span in spans)
    assert tagged.probabilities.dtype == tagged.embeddings.dtype == np.float32
    np.testing.assert_allclose(tagged.probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(tagged.embeddings, axis=1), 1, atol=1e-5)


def test_a_text_gets_the_same_answer_in_whatever_company(tagger: Tagger, documents: list[Document]) -> None:
    texts = [document.text for document in documents[:40]] + [" ".join(document.text for document in documents[:9])]
    together = tagger.tag(texts, batch_size=16)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = tagger.tag([texts[i] for i in order], batch_size=5)
    for place, i in enumerate(order):
        ours = together.probabilities[together.offsets[i] : together.offsets[i + 1]]
        theirs = shuffled.probabilities[shuffled.offsets[place] : shuffled.offsets[place + 1]]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        np.testing.assert_allclose(together.embeddings[i], shuffled.embeddings[place], atol=1e-5)


def test_probabilities_are_those_of_a_plain_forward_pass(
    tagger: Tagger, tiny_tagger: Path, documents: list[Document]
) -> None:
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    text = documents[0].text
    told = AutoTokenizer.from_pretrained(tiny_tagger)([text], return_offsets_mapping=True, return_tensors="pt")
    spots = told.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        logits = AutoModelForTokenClassification.from_pretrained(tiny_tagger)(**told).logits[0]
    expected = logits.softmax(-1).numpy()[
        [spots.index(spot) for spot in spots if spot[0] in set(words(text)[:, 0]) and spot[1]]
    ]
    np.testing.assert_allclose(tagger.tag([text]).probabilities, expected, atol=1e-5)


def test_the_end_of_a_long_text_is_read_too(tagger: Tagger, documents: list[Document]) -> None:
    text = " ".join(document.text for document in documents)
    found = tagger.tag([text]).spans[0]
    gold = sum(len(document.spans) for document in documents)
    assert len(found) == pytest.approx(gold, rel=0.05)
    assert found[-1].end > len(text) - 40


def test_texts_of_nothing_have_no_words_and_no_direction(tagger: Tagger) -> None:
    tagged = tagger.tag(["", " \n", "Ada Young"])
    assert tagged.offsets.tolist() == [0, 0, 0, 2]
    assert tagged.spans[:2] == [(), ()]
    assert not tagged.embeddings[:2].any()
    assert tagged.embeddings[2].any()


def test_no_texts_have_no_answer(tagger: Tagger) -> None:
    tagged = tagger.tag([])
    assert tagged.words.shape == (0, 2)
    assert tagged.offsets.tolist() == [0]
    assert tagged.probabilities.shape == (0, 5)
    assert tagged.embeddings.shape == (0, 32)


def test_a_word_that_the_tokenizer_drops_is_o(tagger: Tagger) -> None:
    assert tagger.tag(["Ada \ue000 Young"]).probabilities[1].tolist() == [1, 0, 0, 0, 0]


@given(st.lists(st.integers(1, 128), max_size=200), st.integers(1, 40))
def test_batches_are_alike_in_length_and_leave_nobody_out(lengths: list[int], most: int) -> None:
    held = np.array(lengths, dtype=np.int64)
    batches = [held[which] for which in alike(held, most)]
    assert np.concatenate([np.zeros(0, np.int64), *batches]).tolist() == sorted(lengths)
    for batch in batches:
        assert 1 <= len(batch) <= most
        padding = 1 - batch.sum() / (len(batch) * batch.max())
        assert padding <= PADDING + 1e-9 or batch[:-1].sum() < ENOUGH


def test_padding_of_real_sentences_stays_under_a_twentieth() -> None:
    texts = [row["text"] for row in wikigold.rows("test")]
    lengths = encode(texts, load_tokenizer(PACKAGED), 128, 32).lengths
    tokens = [(len(which) * lengths[which].max(), lengths[which].sum()) for which in alike(lengths, 32)]
    whole, real = np.sum(tokens, axis=0)
    assert 1 - real / whole < 0.05


def test_progress_rises_to_one_and_what_it_raises_ends_the_tagging(tagger: Tagger, documents: list[Document]) -> None:
    texts = [document.text for document in documents] * 12
    shares: list[float] = []
    tagger.tag(texts, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1

    def cancel(share: float) -> None:
        raise Cancelled("The job was cancelled.", "Start it again.")

    with pytest.raises(Cancelled):
        tagger.tag(texts, progress=cancel)


def test_a_window_is_never_longer_than_the_model_allows(tiny_tagger: Path, documents: list[Document]) -> None:
    eager = tagger_of(tiny_tagger, max_length=512)  # its table has 64 places
    assert len(eager.tag([" ".join(document.text for document in documents)]).words) > 700


def test_threads_may_share_a_tagger(tagger: Tagger, documents: list[Document]) -> None:
    texts = [document.text for document in documents]
    expected, found = tagger.tag(texts).spans, []
    threads = [threading.Thread(target=lambda: found.append(tagger.tag(texts).spans)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_model_of_other_labels_is_refused(tiny_tagger: Path) -> None:
    with pytest.raises(Conflict):
        load_trained(tiny_tagger, replace(HEAD, labels=("LOC", "PER")), max_length=TINY_LENGTH)


def test_a_model_file_that_is_damaged_says_so_without_its_path(tiny_tagger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_tagger, folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(SettingsError) as caught:
        load_trained(folder, HEAD, max_length=TINY_LENGTH)
    assert str(tmp_path) not in str(caught.value)


def test_a_baselines_labels_are_mapped_and_the_rest_is_o(relabelled: Path, documents: list[Document]) -> None:
    found = load_baseline(str(relabelled), ABROAD, max_length=TINY_LENGTH)
    assert found.unmatched == ("MISC",)
    assert isinstance(found.model, Tagger)
    tagged = found.model.tag([document.text for document in documents])
    assert tagged.spans == [tuple(span for span in document.spans if span.label == "PER") for document in documents]
    assert tagged.probabilities.shape[1] == 5
    np.testing.assert_allclose(tagged.probabilities.sum(axis=1), 1, atol=1e-5)
    assert found.nbytes == found.model.nbytes > 10_000


def test_a_baseline_whose_labels_all_mean_nothing_here_predicts_nothing(relabelled: Path) -> None:
    found = load_baseline(str(relabelled), replace(HEAD, labels=("DATE",)), max_length=TINY_LENGTH)
    assert found.model is None
    assert found.unmatched == ("MISC", "person")
    assert found.nbytes == 0


def test_labels_without_names_mean_nothing(relabelled: Path) -> None:
    rename(relabelled, [f"LABEL_{i}" for i in range(5)])
    assert load_baseline(str(relabelled), HEAD, max_length=TINY_LENGTH).model is None


@pytest.mark.parametrize("name", [PACKAGED, "tiny"])
def test_an_encoder_without_a_trained_head_predicts_nothing(name: str, tiny_base: Path) -> None:
    source = str(tiny_base) if name == "tiny" else name
    assert load_baseline(source, HEAD, max_length=TINY_LENGTH).model is None


def test_a_head_whose_weights_are_missing_predicts_nothing(relabelled: Path, tiny_base: Path) -> None:
    shutil.copy(tiny_base / "model.safetensors", relabelled / "model.safetensors")
    assert load_baseline(str(relabelled), ABROAD, max_length=TINY_LENGTH).model is None


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["O", "B-PER", "I-PER"], [0, 1, 2]),
        (["I-PER", "O", "B-PER"], [2, 0, 1]),
        (["O", "B_PER", "I_PER"], [0, 1, 2]),
        (["O", "PER", "LOC"], [0, 2, 4]),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], [0, 1, 2, 2, 1]),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], [0, 1, 2, 2, 1]),
        (["O", "E-PER", "PER"], [0, 0, 2]),  # not prefixes: the label E-PER is another
        (["O", "B-X", "I-X", "B-LOC"], [0, 0, 0, 3]),
    ],
)
def test_foreign_schemes_become_ours(names: list[str], columns: list[int]) -> None:
    matrix, _ = fold(dict(enumerate(names)), {"PER": "PER", "LOC": "LOC"}.get, LABELS)
    assert matrix.argmax(axis=1).tolist() == columns
    assert (matrix.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("name", "error"),
    [("nobody/has-this", Unavailable), ("no name!", SettingsError), ("/nowhere/at-all", SettingsError)],
)
def test_a_model_that_cannot_be_had_says_what_to_do(name: str, error: type[EdgewiseError]) -> None:
    with pytest.raises(error) as caught:
        load_baseline(name, HEAD, max_length=TINY_LENGTH)
    assert caught.value.mend
    assert "/nowhere" not in str(caught.value)


def test_the_packaged_encoder_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Path(resolve(PACKAGED)) / "config.json").exists()
    baseline._packaged_minilm.cache_clear()
    monkeypatch.setattr(baseline, "MINILM_SHA256", "0" * 64)
    with pytest.raises(SettingsError):
        resolve(PACKAGED)
    baseline._packaged_minilm.cache_clear()


def test_embeddings_put_like_beside_like(capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["The cat sat on the mat.", "", "A cat is sitting on a rug.", "Shares fell in Tokyo on Monday. " * 50]
    vectors = embed(texts, PACKAGED, max_length=128)
    alike = vectors @ vectors.T
    assert vectors.shape == (4, 384)
    assert alike[0, 2] > 0.6 > alike[0, 3]
    assert not vectors[1].any()
    assert capfd.readouterr().out == ""


def test_a_tagger_and_an_encoder_embed_alike(tagger: Tagger, tiny_tagger: Path, documents: list[Document]) -> None:
    texts = [document.text for document in documents[:5]]
    np.testing.assert_allclose(
        tagger.tag(texts).embeddings, embed(texts, str(tiny_tagger), max_length=TINY_LENGTH), atol=1e-5
    )


@dataclass
class Block:
    nbytes: int


def test_a_cache_forgets_the_least_recently_used_first() -> None:
    cache, loads = ModelCache(3), []

    def get(key: str) -> Block:
        return cache.get(key, lambda: loads.append(key) or Block(1_000_000))  # type: ignore[func-returns-value]  # None, or

    for key in "abcadabc":
        get(key)
    assert "".join(loads) == "abcdbc"


def test_a_project_s_next_version_takes_the_place_of_the_last() -> None:
    cache, versions = ModelCache(1), {name: Block(1) for name in ("first", "second")}
    assert cache.get("project", lambda: versions["first"], state="first") is versions["first"]
    other = cache.get("other", lambda: Block(1))
    assert cache.get("project", lambda: versions["second"], state="second") is versions["second"]
    assert cache.get("project", lambda: Block(1), state="second") is versions["second"]
    assert cache.get("other", lambda: Block(1)) is other
    assert cache.get("project", lambda: Block(7), state="first").nbytes == 7, "the first version is gone"


def test_a_model_larger_than_the_cache_is_kept_while_it_is_the_newest() -> None:
    cache, big = ModelCache(1), Block(9_000_000)
    assert cache.get("big", lambda: big) is big
    assert cache.get("big", lambda: Block(1)) is big
    cache.get("small", lambda: Block(1))
    assert cache.get("big", lambda: Block(2)).nbytes == 2


def test_two_threads_wait_for_one_loading_and_a_failure_is_not_kept() -> None:
    cache, loads, found = ModelCache(1), [], []
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: Block(1 // 0))
    gate = threading.Event()

    def load() -> Block:
        loads.append(1)
        gate.wait(5)
        return Block(1)

    threads = [threading.Thread(target=lambda: found.append(cache.get("a", load))) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert found[0] is found[1] is found[2]


@dataclass
class Table:
    """Distributions given by hand, over O, B-ORG, I-ORG, B-LOC, I-LOC."""

    words: NDArray[np.int64]
    offsets: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def reason(text: str, *rows: list[float]) -> str:
    table = Table(words(text), np.array([0, 0, len(rows)]), np.array(rows, dtype=np.float32).reshape(-1, 5))
    return describe(table, 1, text, word_contributions(table.probabilities, table.offsets), ("ORG", "LOC"))


SURE: list[float] = [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("in Washington", [SURE, [0, 0.5, 0, 0.5, 0]], "ORG or LOC at 'Washington'"),
        ("in Washington", [SURE, [0.14, 0.46, 0, 0.4, 0]], "ORG or LOC at 'Washington', edge of the span unsure"),
        ("in Washington", [SURE, [0.1, 0.2, 0.15, 0.45, 0.1]], "LOC or ORG at 'Washington', edge of the span unsure"),
        ("the Young", [SURE, [0.45, 0.55, 0, 0, 0]], "ORG or nothing at 'Young'"),
        ("the Young", [SURE, [0.55, 0.45, 0, 0, 0]], "ORG or nothing at 'Young'"),
        ("Yale University", [[0, 1, 0, 0, 0], [0.02, 0.48, 0.5, 0, 0]], "edge of ORG at 'University'"),
        ("Yale University", [[0, 1, 0, 0, 0], [0.5, 0, 0.5, 0, 0]], "edge of ORG at 'University'"),
        ("Bank of", [[0, 1, 0, 0, 0], [0.4, 0, 0.6, 0, 0]], "edge of ORG at 'of'"),
        ("of nothing", [SURE, SURE], "sure of every word"),
        (" ", [], "no words to read"),
        ("w" * 60, [[0.5, 0.5, 0, 0, 0]], f"ORG or nothing at '{'w' * 39}…'"),
        ("{}", [[0.5, 0.5, 0, 0, 0], SURE], "ORG or nothing at '{'"),
    ],
)
def test_the_reason_is_a_sentence_about_the_hardest_word(text: str, rows: list[list[float]], expected: str) -> None:
    assert reason(text, *rows) == expected


def test_every_learnt_text_has_a_reason(tagger: Tagger, documents: list[Document]) -> None:
    texts = [document.text for document in documents]
    tagged = tagger.tag(texts)
    contributions = word_contributions(tagged.probabilities, tagged.offsets)
    assert all(describe(tagged, i, text, contributions, LABELS) for i, text in enumerate(texts))


def test_spans_are_the_text_of_their_words(tagger: Tagger) -> None:
    text = "👩‍👩‍👧 Ada Young\r\n went  to New York ."
    for span in tagger.tag([text]).spans[0]:
        assert isinstance(span, Span)
        assert text[span.start : span.end] == text[span.start : span.end].strip() != ""
