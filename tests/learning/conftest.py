"""Tiny real models, built in this process in seconds: an encoder, and a token classifier that has learnt some names."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve whoever shares the cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document, Span, on_whole
from edgewise.labels.windows import IGNORED, IntArray, Windows, encode, tag_names, tags_of, words
from edgewise.learning.inference import Classifier, Tagger, load_trained

LABELS = ("PER", "LOC")
HEAD = Head("label", "text", "text", LABELS)
TOPIC = Head("topic", "text", "text", ("travel", "home", "meeting"), kind="choice")
MENTIONS = Head("mentions", "text", "text", ("travel", "capital", "mathematician"), kind="choices")
PEOPLE = ("Ada Young", "Marie Curie", "Alan Turing", "Grace Hopper", "Noether")
PLACES = ("Paris", "New York", "Washington", "Lisbon", "Cape Town")
FRAMES = (
    "{} went to {} .",
    "Yesterday {} came from {} by train .",
    "{} lives in {} , she said .",
    "We met {} near {} .",
)
TINY_LENGTH = 32


def chosen(documents: list[Document], head: Head) -> list[Document]:
    """The sentences with what TOPIC or MENTIONS says of them in the place of their spans."""
    return [Document(one.text, tuple(on_whole(one.text, label) for label in _labels(one, head))) for one in documents]


def _labels(document: Document, head: Head) -> list[str]:
    words = document.text.split()
    travels = "went" in words or "came" in words
    if head.kind == "choice":
        return ["travel" if travels else "home" if "lives" in words else "meeting"]
    told = (travels, bool({"Paris", "Washington", "Lisbon"} & set(words)), bool({"Young", "Noether"} & set(words)))
    return [label for label, true in zip(head.labels, told, strict=True) if true]


def tagger_of(folder: Path, head: Head = HEAD, *, max_length: int = TINY_LENGTH) -> Tagger:
    """The model of a folder, which is for spans."""
    model = load_trained(folder, head, max_length=max_length)
    assert isinstance(model, Tagger)
    return model


def classifier_of(folder: Path, head: Head, *, max_length: int = TINY_LENGTH) -> Classifier:
    """The model of a folder, which is for choices."""
    model = load_trained(folder, head, max_length=max_length)
    assert isinstance(model, Classifier)
    return model


def _document(frame: str, person: str, place: str) -> Document:
    text = frame.format(person, place)
    start, there = text.index(person), text.index(place)
    spans = (Span(start, start + len(person), "PER"), Span(there, there + len(place), "LOC"))
    return Document(text, tuple(sorted(spans)))


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """A hundred labelled sentences about people and places."""
    return [_document(frame, person, place) for frame in FRAMES for person in PEOPLE for place in PLACES]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    """Folder of an untrained BERT encoder (hidden 32, 2 layers) and its own WordPiece tokenizer. Read only."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("tiny-base")
    learner = BertWordPieceTokenizer(lowercase=False)
    learner.train_from_iterator([document.text for document in documents], vocab_size=300, show_progress=False)
    tokenizer = BertTokenizer(tokenizer_object=learner._tokenizer, do_lower_case=False, model_max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _fit(model: Any, windows: Windows, targets: IntArray) -> None:
    """Sixty steps on everything at once."""
    which = np.arange(len(windows.text))
    ids, mask, _ = windows.pad(which, 0)
    laid = np.full(ids.shape, IGNORED)
    laid[mask == 1] = targets
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model(torch.from_numpy(ids), torch.from_numpy(mask), labels=torch.from_numpy(laid)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@pytest.fixture(scope="session")
def tiny_tagger(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, documents: list[Document]) -> Path:
    """Folder of a token classifier on `tiny_base` that has learnt LABELS from `documents`. Read only."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    names = dict(enumerate(tag_names(LABELS)))
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(tiny_base, id2label=names, num_labels=len(names))
    windows = encode([document.text for document in documents], tokenizer, TINY_LENGTH, 8)
    tags = [tags_of(document.spans, words(document.text), LABELS) for document in documents]
    _fit(model, windows, windows.targets(np.concatenate(tags)))
    folder = tmp_path_factory.mktemp("tiny-tagger")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
