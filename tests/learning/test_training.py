"""A tiny encoder is taught in this process: what it learns, what it leaves on disk, and what it does when stopped."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewise.errors import Cancelled, DataError
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import tag_names
from edgewise.learning import training
from edgewise.learning.evaluation import evaluate
from edgewise.learning.inference import load_tagger
from edgewise.learning.training import Plan, Recipe, Trained, out_of_fold, plan, train

LABELS = ("PER", "LOC")
QUICK = Recipe(learning_rate=5e-3, epochs=8, max_length=32)
ONE_STEP = Recipe(learning_rate=1e-3, epochs=0.01, max_length=32)


def _silent(fraction: float) -> None:
    assert 0 <= fraction <= 1


def _train(
    documents: Sequence[Document], base: Path, out: Path, *, labels: Sequence[str] = LABELS, recipe: Recipe = ONE_STEP
) -> Trained:
    return train(documents, labels, str(base), out, recipe, report=_silent)


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_trained_model_finds_what_it_was_taught(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    trained = _train(documents, tiny_base, tmp_path / "m", recipe=QUICK)
    tagger = load_tagger(trained.folder, LABELS, max_length=32)
    texts = [document.text for document in documents]
    gold = [document.spans for document in documents]
    assert evaluate(texts, gold, tagger.tag(texts).spans, LABELS).overall.f1 > 0.95
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
    train(documents, LABELS, str(tiny_base), tmp_path / "m", recipe, report=told.append)
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
        train(documents, LABELS, str(tiny_base), tmp_path / "m", QUICK, report=cancel)
    assert len(told) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_written_over(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(FileExistsError):
        _train(documents, tiny_base, tmp_path / "m")


def test_without_any_span_there_is_nothing_to_learn(tiny_base: Path, tmp_path: Path) -> None:
    for nothing in ([], [Document("Nothing here.", ())]):
        with pytest.raises(ValueError, match="at least one document with a span"):
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
    labels = ("ORG", "LOC", "PER")
    trained = _train(documents[:3], tiny_tagger, tmp_path / "m", labels=labels)
    assert load_tagger(trained.folder, labels, max_length=32).labels == labels
    assert "".join(capfd.readouterr()) == ""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_a_head_knows_of_a_label_moves_to_its_new_place(tiny_tagger: Path) -> None:
    """The same number of tags in another order would otherwise keep rows that mean something else."""
    old = training._model(str(tiny_tagger), LABELS).state_dict()["classifier.weight"]
    new = training._model(str(tiny_tagger), ("LOC", "PER")).state_dict()["classifier.weight"]
    assert tag_names(("LOC", "PER"))[1] == "B-LOC"
    assert new[[0, 3, 4, 1, 2]].equal(old)
    other = training._model(str(tiny_tagger), ("X", "Y")).state_dict()["classifier.weight"]
    assert other[0].equal(old[0])
    assert not any(other[i].equal(old[i]) for i in range(1, 5))


def test_word_embeddings_stay_and_the_head_learns_five_times_as_fast(tiny_base: Path) -> None:
    model = training._model(str(tiny_base), LABELS)
    optimizer, _ = training._optimizers(model, Plan(1e-4, 10, 0.0), 0.01)
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    assert id(model.get_input_embeddings().weight) not in rates
    assert rates[id(model.classifier.weight)] == pytest.approx(5e-4)
    assert rates[id(model.bert.encoder.layer[0].output.dense.weight)] == pytest.approx(1e-4)


def test_layers_that_rest_do_not_move_and_those_above_do(
    tiny_base: Path, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "plan", lambda *_: Plan(1e-3, 3, 0.5))
    _train(documents, tiny_base, tmp_path / "m")
    before, after = (training._model(str(folder), LABELS).state_dict() for folder in (tiny_base, tmp_path / "m"))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert {name.split(".")[0] for name in moved} == {"bert", "classifier"}
    assert all(name.startswith(("bert.encoder.layer.1.", "classifier.")) for name in moved)


def test_explicit_numbers_are_obeyed() -> None:
    assert plan(Recipe(learning_rate=2e-5, epochs=3), 22_000_000, 80) == Plan(2e-5, 30, 0.0)
    assert plan(Recipe(learning_rate=2e-5, epochs=0.001), 22_000_000, 80).steps == 1


def test_auto_goes_by_the_size_of_the_encoder_and_the_number_of_windows() -> None:
    small, large = (plan(Recipe(), size, 200) for size in (22_000_000, 110_000_000))
    assert (small.learning_rate, small.resting) == (3e-4, 1 / 3)
    assert (large.learning_rate, large.resting) == (5e-5, 0.0)
    steps = [plan(Recipe(), 22_000_000, windows).steps for windows in (1, 100, 400, 1_000, 10_000)]
    assert steps == [200, 200, 400, 800, 3750]
    assert plan(Recipe(), 22_000_000, 10_000).resting == 0.0


def test_out_of_fold_answers_come_from_models_that_did_not_see_the_text(
    tiny_base: Path, documents: list[Document]
) -> None:
    told: list[float] = []
    some = documents[::2]
    found = out_of_fold(some, LABELS, str(tiny_base), QUICK, folds=2, report=told.append)
    texts = [document.text for document in some]
    assert evaluate(texts, [document.spans for document in some], found, LABELS).overall.f1 > 0.2
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_same_text_is_never_on_both_sides_of_a_fold() -> None:
    texts = [str(i % 7) for i in range(40)]
    parts = training._folds(texts, 3, seed=0)
    assert sorted(index for part in parts for index in part) == list(range(40))
    kinds = [{texts[index] for index in part} for part in parts]
    assert sum(map(len, kinds)) == 7
    assert [sorted(part) for part in training._folds(["a", "a"], 3, seed=0)] == [[0, 1]]


def test_where_no_other_document_has_a_span_nothing_is_found(tiny_base: Path, documents: list[Document]) -> None:
    only = [documents[0], Document("Nothing here .", ())]
    found = out_of_fold(only, LABELS, str(tiny_base), ONE_STEP, report=_silent)
    assert found[0] == ()
    assert out_of_fold([], LABELS, str(tiny_base), ONE_STEP, report=_silent) == []
