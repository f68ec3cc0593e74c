"""One training from documents to saved weights: a plan is made, the head or more is taught, thresholds are set.

Knows all the parts of this chapter, and in what order they are needed. Knows nothing of where folders end up.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.labels.schema import Head
from edgewise.labels.spans import Document
from edgewise.learning.baseline import load_tokenizer
from edgewise.learning.evaluation import evaluate
from edgewise.learning.inference import Classifier, TorchNetwork, answers, model_for
from edgewise.learning.training.exercises import Exercises, answers_of, exercises_of, split
from edgewise.learning.training.features import (
    TextFeatures,
    features_of,
    teach_texts,
    teach_words,
    thresholds_of,
    told_apart,
)
from edgewise.learning.training.heads import new_model
from edgewise.learning.training.loop import Pace, fine_tune, layers_of, seconds_a_step
from edgewise.learning.training.recipe import AUTO, BATCH, FEATURES, Material, Plan, Recipe, plan, undecided
from edgewise.learning.training.thresholds import tune

Report = Callable[[float], None]
SAVING = 0.95  # of the time is for learning


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was done, as `Trained` tells it."""

    strategy: str
    learning_rate: float
    steps: int
    epochs: float
    why: str


@dataclass(frozen=True, slots=True)
class Start:
    """What a training begins with. features: of texts; None where words are labelled."""

    model: Any
    tokenizer: Any
    whole: Exercises
    features: TextFeatures | None


def fit(documents: Sequence[Document], head: Head, base: str, staged: Path, how: tuple[Recipe, Report]) -> Fitted:
    """Teach and write into `staged`."""
    from transformers import set_seed

    recipe, report = how
    ends_at = math.inf if recipe.minutes is None else time.monotonic() + 60 * SAVING * recipe.minutes
    set_seed(recipe.seed)
    tokenizer = load_tokenizer(base)
    model = new_model(base, head)
    whole = exercises_of(documents, head, tokenizer, window_length(model, recipe))
    more = recipe.strategy not in {AUTO, FEATURES} or undecided(recipe, head.kind, len(whole.documents))
    read = 0.2 if more else 0.9  # of the progress: how far reading the texts once brings it
    features = None
    if head.kind != "spans":
        features = features_of(model, whole, (tokenizer.pad_token_id or 0, lambda done: report(read * done)))
    start = Start(model, tokenizer, whole, features)
    chosen = plan(recipe, _material(start, head, recipe))
    if chosen.strategy == FEATURES:
        fitted, thresholds = _teach_head(start, head, (chosen, recipe, report))
    else:
        first = read if features else 0.0
        run = (staged, Pace(chosen.steps, ends_at), lambda done: report(first + (1 - first) * done))
        fitted, thresholds = _fine_tune(start, head, (chosen, recipe), run)
    if head.kind == "choices":
        model.config.thresholds = list(thresholds)
    model.save_pretrained(staged)
    tokenizer.save_pretrained(staged)
    return fitted


def window_length(model: Any, recipe: Recipe) -> int:
    """Tokens of a window: as asked for, or what the model's position table allows."""
    positions = getattr(model.config, "max_position_embeddings", None) or recipe.max_length
    return min(recipe.max_length, int(positions) - 2)  # RoBERTa counts its positions from 2


def _material(start: Start, head: Head, recipe: Recipe) -> Material:
    documents = len(start.whole.documents)
    asked = undecided(recipe, head.kind, documents)
    return Material(
        kind=head.kind,
        size=sum(parameter.numel() for parameter in start.model.parameters()),
        layers=len(layers_of(start.model)),
        documents=documents,
        windows=len(start.whole.examples),
        labels=len(head.labels),
        seconds_a_step=seconds_a_step(start.model, start.whole.examples, start.tokenizer) if recipe.minutes else None,
        told_apart=told_apart(start.features, head, recipe.seed) if start.features and asked else None,
    )


def _teach_head(start: Start, head: Head, how: tuple[Plan, Recipe, Report]) -> tuple[Fitted, tuple[float, ...]]:
    chosen, recipe, report = how
    thresholds: tuple[float, ...] = ()
    if start.features is None:
        teach_words(start.model, start.whole, (start.tokenizer.pad_token_id or 0, report))
    else:
        teach_texts(start.model, start.features, head)
        thresholds = thresholds_of(start.features, head, recipe.seed)
    report(1.0)
    return Fitted(FEATURES, 0.0, 0, 0.0, chosen.why), thresholds


def _fine_tune(
    start: Start, head: Head, how: tuple[Plan, Recipe], run: tuple[Path, Pace, Report]
) -> tuple[Fitted, tuple[float, ...]]:
    """Train encoder and head. Where progress is looked at, a tenth of the documents is kept back for that."""
    chosen, recipe = how
    model, tokenizer, taught, kept = start.model, start.tokenizer, start.whole, list[Document]()
    length = window_length(model, recipe)
    documents = taught.documents
    learnt: Sequence[int] = range(len(documents))
    if chosen.patience is not None:
        learnt, looked_at = split([document.text for document in documents], recipe.seed)
        kept = [documents[index] for index in looked_at]
        taught = exercises_of([documents[index] for index in learnt], head, tokenizer, length)
    if start.features is not None:
        teach_texts(model, start.features.only(learnt), head)
    answering = model_for(head, TorchNetwork(model), tokenizer, max_length=length)
    texts, gold = [document.text for document in kept], [document.spans for document in kept]

    def watch() -> float:
        return evaluate(texts, gold, answers(answering, texts), head).overall.f1

    fine_tune(model, taught.examples, (chosen, recipe, tokenizer), watch if kept else None, run)
    pace = run[1]
    epochs = pace.steps * BATCH / len(taught.examples)
    why = f"{chosen.why}; {pace.steps} of {chosen.steps} steps: {pace.note}" if pace.note else chosen.why
    fitted = Fitted(chosen.strategy, chosen.learning_rate, pace.steps, epochs, why)
    return fitted, _thresholds(answering, kept, head)


def _thresholds(answering: Any, kept: Sequence[Document], head: Head) -> tuple[float, ...]:
    """Tuned on documents that were kept back; without any, halves."""
    if not isinstance(answering, Classifier) or head.kind != "choices":
        return ()
    shares = answering.classify([document.text for document in kept]).shares
    return tune(shares, answers_of(kept, head.labels))
