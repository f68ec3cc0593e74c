"""Choices are taught: from features of the packaged encoder in seconds, and by fine-tuning a tiny one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgewise.errors import Cancelled, DataError
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, on_whole
from edgewise.learning.baseline import PACKAGED
from edgewise.learning.evaluation import evaluate
from edgewise.learning.training import Recipe, Trained, out_of_fold, train
from edgewise.learning.training.regression import UNSEEN, teach_each, teach_one
from examples import banking77
from tests.learning.conftest import MENTIONS, TINY_LENGTH, TOPIC, chosen, classifier_of

INTENT = Head("intent", "text", "text", banking77.INTENTS, kind="choice")
SHORT = Recipe(max_length=TINY_LENGTH)
FINE = Recipe(learning_rate=1e-3, epochs=6, max_length=TINY_LENGTH, strategy="freeze:0")


def _silent(done: float) -> None:
    assert 0 <= done <= 1


def teach(documents: Sequence[Document], base: str | Path, out: Path, head: Head, recipe: Recipe = SHORT) -> Trained:
    return train(documents, head, str(base), out, recipe, report=_silent)


def banking(split: str, every: int) -> list[Document]:
    """Each so-many-th text of the dozen intents."""
    rows = banking77.dozen(split)[::every]
    return [Document(row["text"], (on_whole(row["text"], row["label"]),)) for row in rows]


def accuracy(folder: Path, documents: Sequence[Document], head: Head) -> float:
    texts = [document.text for document in documents]
    found = classifier_of(folder, head).classify(texts).spans
    scores = evaluate(texts, [document.spans for document in documents], found, head)
    assert scores.accuracy is not None
    return scores.accuracy


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_hundred_labelled_texts_teach_a_dozen_intents_in_seconds(tmp_path: Path) -> None:
    documents = banking("train", 12)
    assert 100 <= len(documents) <= 160
    trained = teach(documents, PACKAGED, tmp_path / "m", INTENT, Recipe())
    assert accuracy(trained.folder, banking("test", 3), INTENT) > 0.75
    assert trained.seconds < 120  # two, on a machine that has nothing else to do
    assert (trained.strategy, trained.steps, trained.learning_rate, trained.epochs) == ("features", 0, 0.0, 0.0)
    assert f"{len(documents)} texts" in trained.why
    assert sum(trained.label_counts.values()) == len(documents)


@pytest.mark.parametrize("recipe", [SHORT, FINE], ids=["features", "freeze:0"])
def test_the_same_documents_recipe_and_seed_give_the_same_weights(
    tiny_base: Path, documents: list[Document], tmp_path: Path, recipe: Recipe
) -> None:
    taught = chosen(documents, TOPIC)
    first, second = (teach(taught, tiny_base, tmp_path / name, TOPIC, recipe) for name in "ab")
    other = teach(taught, tiny_base, tmp_path / "c", TOPIC, replace(recipe, seed=1))
    assert weights(first.folder) == weights(second.folder)
    assert (weights(first.folder) != weights(other.folder)) == (recipe is FINE)  # features leave nothing to chance


@pytest.mark.parametrize("head", [TOPIC, MENTIONS], ids=["choice", "choices"])
def test_a_fine_tuned_model_has_learnt_and_is_whole_on_disk(
    tiny_base: Path, documents: list[Document], tmp_path: Path, head: Head
) -> None:
    taught = chosen(documents, head)
    trained = teach(taught, tiny_base, tmp_path / "m", head, FINE)
    assert accuracy(trained.folder, taught, head) > 0.9
    assert (trained.strategy, trained.steps, trained.epochs) == ("freeze:0", 75, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    names = {path.name for path in trained.folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    config = json.loads((trained.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert list(config["id2label"].values()) == list(head.labels)
    kinds = {"choice": "single_label_classification", "choices": "multi_label_classification"}
    assert config["problem_type"] == kinds[head.kind]


def test_progress_is_looked_at_on_texts_that_are_kept_back_and_thresholds_are_tuned_there(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    """The head that is taught from features first is as good as it gets; fine-tuning so fast only shakes it."""
    varied = [Document(f"{one.text} {i}", one.spans) for i in range(6) for one in documents]
    taught = chosen(varied, MENTIONS)
    trained = teach(taught, tiny_base, tmp_path / "m", MENTIONS, replace(FINE, epochs=5))
    assert trained.steps < 5 * 540 // 8
    assert "no more progress on validation texts" in trained.why
    thresholds = json.loads((trained.folder / "config.json").read_text())["thresholds"]
    assert all(0.1 <= one <= 0.9 for one in thresholds)
    assert accuracy(trained.folder, taught, MENTIONS) > 0.95


def test_thresholds_of_a_head_taught_from_features_come_from_texts_that_it_did_not_see(tmp_path: Path) -> None:
    """A label that is rare and hard has its share lifted over a lower threshold than a half."""
    texts = [Document(one.text, one.spans) for one in banking("train", 8)]
    rare = Head("rare", "text", "text", (banking77.INTENTS[0], banking77.INTENTS[1]), kind="choices")
    taught = [replace(one, spans=tuple(s for s in one.spans if s.label in rare.labels)) for one in texts]
    trained = teach(taught, PACKAGED, tmp_path / "m", rare, Recipe())
    thresholds = json.loads((trained.folder / "config.json").read_text())["thresholds"]
    assert all(0.1 <= one <= 0.9 for one in thresholds)
    assert thresholds != [0.5, 0.5]
    test = [replace(one, spans=tuple(s for s in one.spans if s.label in rare.labels)) for one in banking("test", 2)]
    assert accuracy(trained.folder, test, rare) > 0.9


def test_with_little_data_every_threshold_is_a_half(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    for name, recipe in (("a", SHORT), ("b", replace(FINE, epochs=1))):
        teach(chosen(documents[:9], MENTIONS), tiny_base, tmp_path / name, MENTIONS, recipe)
        assert json.loads((tmp_path / name / "config.json").read_text())["thresholds"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("recipe", [SHORT, replace(FINE, epochs=1)], ids=["features", "freeze:0"])
def test_a_label_that_nobody_chose_is_never_answered(
    tiny_base: Path, documents: list[Document], tmp_path: Path, recipe: Recipe
) -> None:
    taught = [one for one in chosen(documents, TOPIC) if one.spans[0].label != "home"]
    trained = teach(taught, tiny_base, tmp_path / "m", TOPIC, recipe)
    shares = classifier_of(trained.folder, TOPIC).classify([document.text for document in documents]).shares
    assert shares[:, 1].max() < 0.01
    assert trained.label_counts["home"] == 0


def test_one_label_alone_is_always_the_answer(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    taught = [one for one in chosen(documents, TOPIC) if one.spans[0].label == "travel"]
    trained = teach(taught, tiny_base, tmp_path / "m", TOPIC)
    assert accuracy(trained.folder, taught, TOPIC) == 1.0


def test_texts_without_a_choice_teach_a_single_choice_nothing_and_several_choices_no(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    empty = [Document(f"Nothing {i} .", ()) for i in range(30)]
    single, alone = (
        teach(taught, tiny_base, tmp_path / name, TOPIC)
        for name, taught in (("a", [*chosen(documents, TOPIC), *empty]), ("b", chosen(documents, TOPIC)))
    )
    assert weights(single.folder) == weights(alone.folder)
    teach([*chosen(documents, MENTIONS), *empty], tiny_base, tmp_path / "c", MENTIONS)
    said = classifier_of(tmp_path / "c", MENTIONS).classify([one.text for one in empty])
    assert said.spans == [()] * 30


def test_texts_that_cannot_be_read_are_left_out_and_only_such_texts_are_said_so(
    tiny_base: Path, documents: list[Document], tmp_path: Path
) -> None:
    blank = Document(" ", (on_whole(" ", "home"),))
    taught = chosen(documents, TOPIC)
    teach([*taught, blank], tiny_base, tmp_path / "a", TOPIC)
    teach(taught, tiny_base, tmp_path / "b", TOPIC)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    with pytest.raises(DataError, match="tokenizer"):
        teach([blank], tiny_base, tmp_path / "c", TOPIC)


def test_long_texts_are_taught_whole(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    """What tells the labels apart stands at the end only."""
    filler = " ".join(document.text for document in documents[:20])
    taught = [
        Document(text := f"{filler} {'We met near Paris . ' * (40 * meets)}", (on_whole(text, label),))
        for meets, label in ((0, "home"), (1, "meeting")) * 5
    ]
    trained = teach(taught, tiny_base, tmp_path / "m", TOPIC)
    assert accuracy(trained.folder, taught, TOPIC) == 1.0


def test_a_cancelled_training_leaves_nothing(tiny_base: Path, documents: list[Document], tmp_path: Path) -> None:
    def cancel(done: float) -> None:
        raise Cancelled("Somebody cancelled this job.", "Start it again.")

    for recipe in (SHORT, FINE):
        with pytest.raises(Cancelled):
            train(chosen(documents, TOPIC), TOPIC, str(tiny_base), tmp_path / "m", recipe, report=cancel)
    assert list(tmp_path.iterdir()) == []


def test_out_of_fold_choices_come_from_models_that_did_not_see_the_text(
    tiny_base: Path, documents: list[Document]
) -> None:
    told: list[float] = []
    taught = chosen(documents, TOPIC)
    found = out_of_fold(taught, TOPIC, str(tiny_base), SHORT, folds=2, report=told.append)
    texts = [document.text for document in documents]
    scores = evaluate(texts, [document.spans for document in taught], found, TOPIC)
    assert scores.accuracy is not None
    assert scores.accuracy > 0.9
    assert told == sorted(told)


@pytest.mark.parametrize("labels", [2, 3])
def test_a_taught_head_gives_the_shares_of_the_regression_that_it_was_taken_from(labels: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    answers = rng.integers(0, labels, 90)
    features = rng.normal(size=(90, 5)) * 3 + 7 + answers[:, None]
    weight, bias = teach_one(features, answers, labels + 1)
    assert (bias[labels], weight[labels].any()) == (UNSEEN, False)
    scaled = (features - features.mean(axis=0)) / (features - features.mean(axis=0)).std()
    theirs = LogisticRegression(C=0.3, max_iter=500).fit(scaled, answers).predict_proba(scaled)
    logits = (features @ weight.T + bias)[:, :labels]
    ours = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_labels_that_all_texts_have_or_none_are_always_and_never_the_answer() -> None:
    answers = np.array([[True, False, i % 2 == 0] for i in range(20)])
    features = np.random.default_rng(0).normal(size=(20, 4)) + answers[:, 2:]
    weight, bias = teach_each(features, answers)
    assert bias[:2].tolist() == [-UNSEEN, UNSEEN]
    assert not weight[:2].any()
    assert weight[2].any()
