"""Choosing with real models: one label or several, foreign labels, long texts, and the sentence that says why."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.errors import Cancelled, Conflict
from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, on_whole
from edgewise.learning.baseline import PACKAGED, load_pretrained
from edgewise.learning.describe import describe_choice
from edgewise.learning.inference import Classified, Classifier, answers, load_baseline
from edgewise.learning.training import Recipe, train
from tests.learning.conftest import HEAD, MENTIONS, TINY_LENGTH, TOPIC, chosen, classifier_of, tagger_of
from uncertainty import CHOICE_SCORES


def taught(documents: list[Document], head: Head, base: Path, folder: Path) -> Path:
    recipe = Recipe(max_length=TINY_LENGTH)
    return train(chosen(documents, head), head, str(base), folder, recipe, report=lambda done: None).folder


@pytest.fixture(scope="module")
def topic_folder(tiny_base: Path, documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(documents, TOPIC, tiny_base, tmp_path_factory.mktemp("topic") / "m")


@pytest.fixture(scope="module")
def mentions_folder(tiny_base: Path, documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(documents, MENTIONS, tiny_base, tmp_path_factory.mktemp("mentions") / "m")


@pytest.fixture(scope="module")
def topic(topic_folder: Path) -> Classifier:
    return classifier_of(topic_folder, TOPIC)


@pytest.fixture(scope="module")
def mentions(mentions_folder: Path) -> Classifier:
    return classifier_of(mentions_folder, MENTIONS)


def rename(source: Path, folder: Path, names: list[str]) -> str:
    """The same weights as somebody else would publish them, with other names."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_single_choice_is_a_label_on_the_whole_text_with_its_share(
    topic: Classifier, documents: list[Document]
) -> None:
    texts = [document.text for document in documents]
    said = topic.classify(texts)
    assert said.spans == [document.spans for document in chosen(documents, TOPIC)]
    assert all(len(spans) == 1 and spans[0].end == len(text) for spans, text in zip(said.spans, texts, strict=True))
    np.testing.assert_allclose([spans[0].score or 0.0 for spans in said.spans], said.shares.max(axis=1))
    np.testing.assert_allclose(said.shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(said.embeddings, axis=1), 1, atol=1e-5)


def test_several_choices_are_each_decided_by_themselves(mentions: Classifier, documents: list[Document]) -> None:
    said = mentions.classify([document.text for document in documents])
    assert said.spans == [document.spans for document in chosen(documents, MENTIONS)]
    assert {len(spans) for spans in said.spans} == {0, 1, 2, 3}


@pytest.mark.parametrize(("fixture", "rows", "columns"), [("topic", 1, 3), ("mentions", 3, 2)])
def test_probabilities_have_the_shape_that_uncertainty_wants(
    fixture: str, rows: int, columns: int, documents: list[Document], request: pytest.FixtureRequest
) -> None:
    said: Classified = request.getfixturevalue(fixture).classify(["", *(one.text for one in documents[:4])])
    assert said.offsets.tolist() == [0, 0, *(rows * (1 + i) for i in range(4))]
    assert said.probabilities.shape == (4 * rows, columns)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1, atol=1e-5)
    for score in CHOICE_SCORES.values():
        uncertainty = score(said.probabilities, said.offsets)
        assert uncertainty[0] == 0
        assert ((uncertainty >= 0) & (uncertainty < 1)).all()


def test_of_several_choices_each_row_says_no_and_yes(mentions: Classifier, documents: list[Document]) -> None:
    said = mentions.classify([document.text for document in documents[:4]])
    np.testing.assert_allclose(said.probabilities[:, 1].reshape(4, 3), said.shares)


def test_shares_are_those_of_transformers_own_pipeline(
    topic: Classifier, topic_folder: Path, documents: list[Document]
) -> None:
    """The folder is an ordinary sequence classifier: the averaging layer needs no code of ours."""
    from transformers import pipeline

    texts = [document.text for document in documents[:5]]
    theirs = pipeline("text-classification", model=str(topic_folder), device="cpu", top_k=None)(texts)
    for shares, row in zip(topic.classify(texts).shares, theirs, strict=True):
        named = {one["label"]: one["score"] for one in row}
        np.testing.assert_allclose(shares, [named[label] for label in TOPIC.labels], atol=1e-5)


def test_a_text_gets_the_same_answer_in_whatever_company(topic: Classifier, documents: list[Document]) -> None:
    texts = [*(document.text for document in documents[:40]), " ".join(document.text for document in documents[:9])]
    together = topic.classify(texts, batch_size=16)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = topic.classify([texts[i] for i in order], batch_size=5)
    np.testing.assert_allclose(together.shares[order], shuffled.shares, atol=1e-5)
    np.testing.assert_allclose(together.embeddings[order], shuffled.embeddings, atol=1e-5)


def test_the_end_of_a_long_text_counts_as_much_as_its_beginning(topic: Classifier, documents: list[Document]) -> None:
    travel, meeting = documents[0].text, documents[-1].text
    long = [" ".join([travel] * 20 + [meeting] * 60), " ".join([travel] * 60 + [meeting] * 20)]
    assert [spans[0].label for spans in topic.classify(long).spans] == ["meeting", "travel"]


def test_texts_of_nothing_and_no_texts_have_no_answer(topic: Classifier, mentions: Classifier) -> None:
    for model in (topic, mentions):
        said = model.classify(["", " \n"])
        assert said.spans == [(), ()]
        assert not said.shares.any()
        assert not said.embeddings.any()
        none = model.classify([])
        assert (none.offsets.tolist(), none.spans, none.embeddings.shape) == ([0], [], (0, 32))


def test_progress_rises_to_one_and_what_it_raises_ends_the_work(topic: Classifier, documents: list[Document]) -> None:
    shares: list[float] = []
    topic.classify([document.text for document in documents] * 12, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1

    def cancel(share: float) -> None:
        raise Cancelled("The job was cancelled.", "Start it again.")

    with pytest.raises(Cancelled):
        topic.classify([documents[0].text], progress=cancel)


def test_a_model_of_other_labels_another_order_or_another_kind_is_refused(topic_folder: Path) -> None:
    for other in (replace(TOPIC, labels=("home", "travel", "meeting")), replace(TOPIC, kind="choices")):
        with pytest.raises(Conflict):
            classifier_of(topic_folder, other)
    with pytest.raises(Conflict):
        tagger_of(topic_folder, HEAD)


def test_thresholds_decide_what_is_chosen_of_several(mentions_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(mentions_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    assert len(config["thresholds"]) == 3
    (folder / "config.json").write_text(json.dumps(config | {"thresholds": [0.0, 1.1, 1.1]}))
    assert [span.label for span in classifier_of(folder, MENTIONS).classify(["Ada ."]).spans[0]] == ["travel"]


def test_a_classifier_of_others_serves_where_its_labels_fit(
    topic: Classifier, topic_folder: Path, documents: list[Document], tmp_path: Path
) -> None:
    name = rename(topic_folder, tmp_path / "theirs", ["Trip", "HOME", "other"])
    head = replace(TOPIC, labels=("home", "travel"), predicted_values=(("Trip", "travel"),))
    found = load_baseline(name, head, max_length=TINY_LENGTH)
    assert found.unmatched == ("other",)
    assert isinstance(found.model, Classifier)
    texts = [document.text for document in documents]
    said, ours = found.model.classify(texts), topic.classify(texts)
    expected = [() if spans[0].label == "meeting" else spans for spans in ours.spans]
    assert said.spans == expected
    np.testing.assert_allclose(said.shares, ours.shares[:, [1, 0]], atol=1e-6)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_classifier_of_others_serves_several_choices_too(
    topic_folder: Path, documents: list[Document], tmp_path: Path
) -> None:
    name = rename(topic_folder, tmp_path / "theirs", ["travel", "home", "meeting"])
    found = load_baseline(name, replace(MENTIONS, labels=("travel", "capital")), max_length=TINY_LENGTH)
    assert isinstance(found.model, Classifier)
    assert {span.label for span in found.model.classify([documents[0].text]).spans[0]} == {"travel"}


def test_a_classifier_whose_labels_mean_nothing_here_and_a_bare_encoder_predict_nothing(
    topic_folder: Path, tiny_base: Path, tiny_tagger: Path
) -> None:
    head = replace(TOPIC, labels=("spam", "ham"))
    found = load_baseline(str(topic_folder), head, max_length=TINY_LENGTH)
    assert (found.model, found.unmatched, found.nbytes) == (None, ("home", "meeting", "travel"), 0)
    for name in (str(tiny_base), str(tiny_tagger), PACKAGED):
        assert load_baseline(name, TOPIC, max_length=TINY_LENGTH).model is None


def test_a_model_of_one_number_is_no_classifier(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind = "AutoModelForSequenceClassification"
    load_pretrained(kind, str(tiny_base), num_labels=1, id2label={0: "travel"}).save_pretrained(tmp_path)
    assert load_baseline(str(tmp_path), TOPIC, max_length=TINY_LENGTH).model is None


def test_models_of_both_kinds_answer_alike(topic: Classifier, tiny_tagger: Path, documents: list[Document]) -> None:
    text = documents[0].text
    assert answers(topic, [text]) == [(on_whole(text, "travel"),)]
    assert answers(tagger_of(tiny_tagger), [text]) == [documents[0].spans]


@pytest.mark.parametrize(
    ("head", "shares", "expected"),
    [
        (TOPIC, [0.48, 0.11, 0.41], "travel (48 %) or meeting (41 %)"),
        (TOPIC, [0.97, 0.02, 0.01], "sure of travel (97 %)"),
        (TOPIC, [0, 0, 0], "no words to read"),
        (MENTIONS, [0.97, 0.46, 0.1], "unsure of capital (46 %)"),
        (MENTIONS, [0.99, 0.01, 0.0], "sure of every label"),
    ],
)
def test_the_reason_names_what_the_model_wavers_between(head: Head, shares: list[float], expected: str) -> None:
    assert describe_choice(np.array(shares), head) == expected
