"""What a model's last layer is given for labelled documents, and that layer taught from it, the encoder as it is.

Knows models and exercises. How the layer's weights are found is the business of regression.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.labels.schema import Head
from edgewise.labels.windows import IGNORED, Windows
from edgewise.learning.training.exercises import Exercises, folds
from edgewise.learning.training.heads import last_layer
from edgewise.learning.training.regression import Floats, teach_each, teach_one, unseen
from edgewise.learning.training.thresholds import tune

Report = Callable[[float], None]
Batch = tuple[NDArray[np.int64], NDArray[np.bool_], Floats]  # which windows, (b, length) content, what is given

READ = 32  # windows at a time
FOLDS = 4  # of texts, to see what a head says of those that it was not taught on


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """What the last layer is given for texts, (n, dim), and which labels each has, (n, k).

    rows: (n,) the exercises' documents that these are: all that the tokenizer can read. texts: theirs.
    """

    given: Floats
    answers: NDArray[np.bool_]
    rows: NDArray[np.int64]
    texts: tuple[str, ...]

    def only(self, documents: Sequence[int]) -> "TextFeatures":
        """Those of these documents."""
        kept = np.flatnonzero(np.isin(self.rows, documents))
        texts = tuple(self.texts[i] for i in kept)
        return TextFeatures(self.given[kept], self.answers[kept], self.rows[kept], texts)


def features_of(model: Any, exercises: Exercises, how: tuple[int, Report]) -> TextFeatures:
    """Over the windows of a text, the mean weighted by tokens. how: the tokenizer's padding id, and who is told."""
    windows, n_texts = exercises.windows, len(exercises.documents)
    sums, counts = np.zeros((n_texts, last_layer(model).in_features)), np.zeros(n_texts)
    for which, content, given in _given(model, windows, how):
        weights = content.sum(axis=1)
        np.add.at(sums, windows.text[which], given * weights[:, None])
        np.add.at(counts, windows.text[which], weights)
    rows = np.flatnonzero(counts)
    texts = tuple(exercises.documents[row].text for row in rows)
    return TextFeatures(sums[rows] / counts[rows, None], exercises.answers[rows], rows, texts)


def teach_texts(model: Any, found: TextFeatures, head: Head) -> None:
    """Teach the last layer what texts are chosen for."""
    if head.kind == "choice":
        _write(model, teach_one(found.given, found.answers.argmax(axis=1), len(head.labels)))
    else:
        _write(model, teach_each(found.given, found.answers))


def thresholds_of(found: TextFeatures, head: Head, seed: int) -> tuple[float, ...]:
    """Where any number of labels may be chosen: tuned on what heads say of texts that they were not taught on."""
    if head.kind != "choices":
        return ()
    return tune(1 / (1 + np.exp(-_said(found, head, seed))), found.answers)


def told_apart(found: TextFeatures, head: Head, seed: int) -> float:
    """How good a head from these features is on texts that it was not taught on: accuracy, of several choices F1."""
    said = _said(found, head, seed)
    if head.kind == "choice":
        return float((said.argmax(axis=1) == found.answers.argmax(axis=1)).mean())
    yes = said >= 0
    return float(2 * (yes & found.answers).sum() / max(1, yes.sum() + found.answers.sum()))


def _said(found: TextFeatures, head: Head, seed: int) -> Floats:
    parts = folds(found.texts, FOLDS, seed)
    if head.kind == "choices":
        return unseen(found.given, found.answers, parts, teach_each)
    labels = len(head.labels)
    answers = found.answers.argmax(axis=1)
    return unseen(found.given, answers, parts, lambda given, right: teach_one(given, right, labels))


def teach_words(model: Any, exercises: Exercises, how: tuple[int, Report]) -> None:
    """Teach the last layer the tags of words, each from its first sub-word."""
    windows = exercises.windows
    rows, answers = [], []
    for which, content, given in _given(model, windows, how):
        place = np.arange(content.shape[1])
        inside = place < windows.lengths[which][:, None]
        source = np.where(inside, windows.bounds[which][:, None] + place, 0)
        laid = np.where(inside, exercises.targets[source], IGNORED)
        rows.append(given[laid != IGNORED])
        answers.append(laid[laid != IGNORED])
    _write(model, teach_one(np.concatenate(rows), np.concatenate(answers), model.config.num_labels))


def _given(model: Any, windows: Windows, how: tuple[int, Report]) -> Iterator[Batch]:
    import torch

    pad_id, report = how
    held: list[Any] = []
    hook = last_layer(model).register_forward_pre_hook(lambda module, given: held.append(given[0]))
    model.eval()
    order = np.argsort(windows.lengths, kind="stable")
    try:
        for start in range(0, len(order), READ):
            which = order[start : start + READ]
            ids, mask, content = windows.pad(which, pad_id)
            with torch.inference_mode():
                model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
            yield which, content, held.pop().numpy().astype(np.float64)
            report((start + len(which)) / len(order))
    finally:
        hook.remove()


def _write(model: Any, weights: tuple[Floats, Floats]) -> None:
    import torch

    layer = last_layer(model)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights[0]))
        layer.bias.copy_(torch.from_numpy(weights[1]))
