"""A tiny encoder is taught in this process: what it learns, what it leaves on disk, and what it does when stopped."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgewise.errors import Cancelled, DataError, SettingsError
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span
from edgewise.learning.evaluation import evaluate
from edgewise.learning.training import Recipe, Trained, out_of_fold, train
from edgewise.learning.training.exercises import folds, split
from edgewise.learning.training.heads import new_model
from tests.learning.conftest import HEAD, tagger_of

NORM = ("bert.embeddings.LayerNorm",)
QUICK = Recipe(learning_rate=5e-3, epochs=8, max_length=32)
ONE_STEP = Recipe(learning_rate=1e-3, epochs=0.01, max_length=32)


def _silent(fraction: float) -> None:
    assert 0 <= fraction <= 1


def _train(
    documents: Sequence[Document], base: Path, out: Path, *, head: Head = HEAD, recipe: Recipe = ONE_STEP
) -> Trained:
    return train(documents, head, str(base), out, recipe, report=_silent)


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_trained_model_finds_what_it_was_taught(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    trained = _train(documents, tiny_base, tmp_path / "m", recipe=QUICK)
    tagger = tagger_of(trained.folder)
    texts = [document.text for document in documents]
    gold = [document.spans for document in documents]
    assert evaluate(texts, gold, tagger.tag(texts).spans, HEAD).overall.f1 > 0.95
    assert trained.label_counts == {"PER": 100, "LOC": 100}
    assert (trained.steps, trained.learning_rate, trained.epochs) == (100, 5e-3, 8)


def test_the_same_documents_recipe_and_seed_give_the_same_weights(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    recipe = Recipe(learning_rate=1e-3, epochs=1, max_length=32, seed=3)
    first = _train(documents, tiny_base, tmp_path / "a", recipe=recipe)
    second = _train(documents, tiny_base, tmp_path / "b", recipe=recipe)
    other = Recipe(learning_rate=1e-3, epochs=1, max_length=32, seed=4)
    assert _weights(first.folder) == _weights(second.folder)
    assert _weights(_train(documents, tiny_base, tmp_path / "c", recipe=other).folder) != _weights(first.folder)


def test_the_folder_holds_weights_tags_and_tokenizer_and_nothing_else_is_left(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    _train(documents[:3], tiny_base, tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not any("checkpoint" in name or "optimizer" in name or name.endswith(".bin") for name in names)


def test_progress_rises_to_one(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    told: list[float] = []
    recipe = Recipe(learning_rate=1e-3, epochs=1, max_length=32)
    train(documents, HEAD, str(tiny_base), tmp_path / "m", recipe, report=told.append)
    assert told == sorted(told)
    assert len(told) == 13
    assert told[-1] == 1.0


def test_a_cancelled_training_ends_at_once_and_leaves_nothing(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    told: list[float] = []

    def cancel(fraction: float) -> None:
        told.append(fraction)
        if len(told) == 2:
            raise Cancelled("Somebody cancelled this job.", "Start it again.")

    with pytest.raises(Cancelled):
        train(documents, HEAD, str(tiny_base), tmp_path / "m", QUICK, report=cancel)
    assert len(told) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_written_over(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(FileExistsError):
        _train(documents, tiny_base, tmp_path / "m")


def test_without_any_span_there_is_nothing_to_learn(tiny_base: Path, tmp_path: Path) -> None:
    for nothing in ([], [Document("Nothing here.", ())]):
        with pytest.raises(ValueError, match="at least one document with a label"):
            _train(nothing, tiny_base, tmp_path / "m")


def test_documents_without_spans_without_words_and_of_any_length_are_trained_on(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    odd = [*documents[:2], Document("", ()), Document(" \n", ()), Document("nothing here . " * 200, ())]
    trained = _train(odd, tiny_base, tmp_path / "m", recipe=Recipe(learning_rate=1e-3, epochs=1, max_length=32))
    assert trained.steps > 1  # the long one is many windows


def test_texts_that_the_tokenizer_cannot_read_at_all_are_said_so(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tokenizer"):
        _train([Document(" ", (Span(0, 1, "PER"),))], tiny_base, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_ours_can_be_taught_other_labels_quietly(
    tiny_tagger: Path,
    documents: list[Document],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = replace(HEAD, labels=("ORG", "LOC", "PER"))
    trained = _train(documents[:3], tiny_tagger, tmp_path / "m", head=head)
    assert tagger_of(trained.folder, head).labels == head.labels
    assert "".join(capfd.readouterr()) == ""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("strategy", "moving"),
    [
        ("features", ("classifier.",)),
        ("freeze:2", ("classifier.",)),
        ("freeze:1", ("bert.encoder.layer.1.", "classifier.")),
        ("freeze:0", ("bert.embeddings.position", "bert.embeddings.token_type", "bert.encoder.", "classifier.", *NORM)),
        ("full", ("bert.", "classifier.")),
    ],
)
def test_what_a_strategy_leaves_alone_does_not_move_and_the_rest_does(
    tiny_base: Path, documents: list[Document], tmp_path: Path, strategy: str, moving: tuple[str, ...]
) -> None:
    trained = _train(documents, tiny_base, tmp_path / "m", recipe=replace(ONE_STEP, epochs=1, strategy=strategy))
    assert trained.strategy == strategy
    before, after = (new_model(str(folder), HEAD).state_dict() for folder in (tiny_base, tmp_path / "m"))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert all(name.startswith(moving) for name in moved)
    assert all(any(name.startswith(one) for name in moved) for one in moving)


def test_a_way_to_train_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(SettingsError, match="'freeze' is no way"):
        Recipe(strategy="freeze")


def test_training_ends_when_the_time_is_over_and_still_gives_a_whole_model(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    recipe = Recipe(learning_rate=1e-3, epochs=2_000, max_length=32, strategy="full", minutes=0.05)
    told: list[float] = []
    trained = train(documents, HEAD, str(tiny_base), tmp_path / "m", recipe, report=told.append)
    assert trained.seconds < 30  # 3 s, and saving on a busy machine
    assert 0 < trained.steps < 25_000
    assert "the time was over" in trained.why
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert tagger_of(tmp_path / "m").labels == HEAD.labels


def test_time_enough_changes_nothing(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    recipe = replace(ONE_STEP, epochs=1)
    without = _train(documents, tiny_base, tmp_path / "a", recipe=recipe)
    within = _train(documents, tiny_base, tmp_path / "b", recipe=replace(recipe, minutes=30))
    assert _weights(without.folder) == _weights(within.folder)
    assert within.why == without.why


def test_training_stops_early_and_goes_back_to_its_best(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    """The names of these hundred sentences are learnt long before forty epochs are over."""
    recipe = Recipe(learning_rate=5e-3, epochs=40, max_length=32, patience=2)
    trained = _train(documents, tiny_base, tmp_path / "m", recipe=recipe)
    assert trained.steps < 40 * 12
    assert "no more progress on validation texts" in trained.why
    texts = [document.text for document in documents]
    found = tagger_of(tmp_path / "m").tag(texts).spans
    assert evaluate(texts, [document.spans for document in documents], found, HEAD).overall.f1 > 0.95


def test_a_tenth_is_kept_back_and_no_text_is_on_both_sides(documents: list[Document]) -> None:
    texts = [document.text for document in [*documents, *documents]]
    learnt, kept = split(texts, seed=1)
    assert sorted([*learnt, *kept]) == list(range(200))
    assert len(kept) == 20
    assert not {texts[i] for i in learnt} & {texts[i] for i in kept}
    assert split(texts, seed=1) == split(texts, seed=1)
    assert split(texts, seed=1) != split(texts, seed=2)


def test_out_of_fold_answers_come_from_models_that_did_not_see_the_text(
    tiny_base: Path, documents: list[Document]
) -> None:
    told: list[float] = []
    some = documents[::2]
    found = out_of_fold(some, HEAD, str(tiny_base), QUICK, folds=2, report=told.append)
    texts = [document.text for document in some]
    assert evaluate(texts, [document.spans for document in some], found, HEAD).overall.f1 > 0.2
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_same_text_is_never_on_both_sides_of_a_fold() -> None:
    texts = [str(i % 7) for i in range(40)]
    parts = folds(texts, 3, seed=0)
    assert sorted(index for part in parts for index in part) == list(range(40))
    kinds = [{texts[index] for index in part} for part in parts]
    assert sum(map(len, kinds)) == 7
    assert [sorted(part) for part in folds(["a", "a"], 3, seed=0)] == [[0, 1]]


def test_where_no_other_document_has_a_span_nothing_is_found(tiny_base: Path, documents: list[Document]) -> None:
    only = [documents[0], Document("Nothing here .", ())]
    found = out_of_fold(only, HEAD, str(tiny_base), ONE_STEP, report=_silent)
    assert found[0] == ()
    assert out_of_fold([], HEAD, str(tiny_base), ONE_STEP, report=_silent) == []
