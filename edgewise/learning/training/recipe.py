"""How to train: what a caller may ask for, and the definite plan that it becomes for so many documents.

Numbers only: knows nothing of models, texts or labels. What `auto` chooses is measured, see docs/decisions.md.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgewise.errors import SettingsError
from edgewise.labels.schema import Kind

AUTO: Final = "auto"
FULL, FEATURES = "full", "features"
BATCH = 8  # windows; for as many words, twice the steps of 16 taught as much with half the labels
SMALL = 60_000_000  # parameters; encoders below want a far larger learning rate
MIN_STEPS = 200  # with fewer a small encoder has hardly learnt that there are entities
FEW = 1_000  # windows; with fewer the lower third of a small encoder may rest, at no loss of F1 and 30 % less time
NEW_HEAD = 5  # the head is new, the encoder is not: it learns so many times faster
PATIENCE = 3  # looks at the validation documents without progress before training stops
MIN_DOCUMENTS = 500  # with fewer, a tenth of the labels teaches more than it tells by being kept back
GOOD = 0.8  # accuracy from features alone; from there on fine-tuning added nothing, see docs/decisions.md
TOO_LONG = 4  # times as long as there is time for: then a fine-tuned model would have seen too little

_STRATEGY = re.compile(r"auto|full|features|freeze:\d{1,3}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `auto` is chosen by the size of the encoder, the number of labels and documents, and the time.

    learning_rate: of the encoder; epochs: > 0, may be a fraction; max_length: tokens of a window; seed: fixes the
    outcome on one machine, unless the time runs out. strategy: `full` trains everything, `freeze:<k>` leaves the
    embeddings and the lowest k layers as they are (0: the words' embeddings only), `features` the whole encoder: only
    the head is taught. minutes: training ends in that time. patience: training stops after so many looks at validation
    documents, kept back from the training documents, that show no progress, and goes back to the best; None never.
    Raises SettingsError for a strategy that is none of these.
    """

    learning_rate: float | Literal["auto"] = AUTO
    epochs: float | Literal["auto"] = AUTO
    weight_decay: float = 0.01
    max_length: int = 128
    seed: int = 0
    strategy: str = AUTO
    minutes: float | None = None
    patience: int | Literal["auto"] | None = AUTO

    def __post_init__(self) -> None:
        if not _STRATEGY.fullmatch(self.strategy):
            raise SettingsError(
                f"{self.strategy!r} is no way to train a model.", "Use full, freeze:<layers>, features or auto."
            )


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it. `learning_rate`, `epochs`, `strategy`: as used; `label_counts`: training labels of each kind.

    why: the reason for the strategy and for the end of the training, for people. steps, epochs and learning_rate are 0
    where only the head was taught, from the encoder's features.
    """

    folder: Path
    seconds: float
    steps: int
    learning_rate: float
    epochs: float
    label_counts: dict[str, int]
    strategy: str
    why: str


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to train with. size: parameters of the model; layers: of its encoder; documents: the labelled ones,
    cut into so many windows. seconds_a_step: of fine-tuning on this machine, None if nobody asked for the time.
    told_apart: how good a head from the encoder's features is on texts that it was not taught on, in [0, 1]; None if
    that was not looked at."""

    kind: Kind
    size: int
    layers: int
    documents: int
    windows: int
    labels: int
    seconds_a_step: float | None = None
    told_apart: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe made definite. `resting`: how many layers, from below, are not trained; None if nothing rests at all,
    not even the embeddings; `features`: the encoder is not trained. head_factor: times that the head learns faster."""

    strategy: str
    learning_rate: float
    steps: int
    resting: int | None
    patience: int | None
    why: str
    head_factor: int = 1


def plan(recipe: Recipe, material: Material) -> Plan:
    """What `recipe` means for this material."""
    steps = steps_of(recipe, material.windows)
    strategy, why = recipe.strategy, "as asked for"
    if strategy == AUTO:
        strategy, why = choose(recipe, material, steps)
    if strategy == FEATURES:
        return Plan(strategy, 0.0, 0, material.layers, None, why)
    rate = recipe.learning_rate
    if rate == AUTO:
        rate = 3e-4 if material.size < SMALL else 5e-5
    resting = None if strategy == FULL else int(strategy.removeprefix("freeze:"))
    factor = NEW_HEAD if material.kind == "spans" else 1  # that of choices begins with what features have taught it
    return Plan(strategy, float(rate), steps, resting, _patience(recipe, material), why, factor)


def steps_of(recipe: Recipe, windows: int) -> int:
    """`auto` makes 8 epochs, yet at least 200 steps, and from 800 steps on 3 epochs at least."""
    per_epoch = windows / BATCH
    auto_steps = max(MIN_STEPS, min(8 * per_epoch, 800), 3 * per_epoch)
    return max(1, math.ceil(auto_steps if recipe.epochs == AUTO else recipe.epochs * per_epoch))


def choose(recipe: Recipe, material: Material, steps: int) -> tuple[str, str]:
    """The strategy that `auto` stands for, and why."""
    texts, windows = f"{material.documents} texts", f"{material.windows} windows"
    if material.kind != "spans" and not undecided(recipe, material.kind, material.documents):
        return FEATURES, f"{texts}: too few to teach an encoder more than its features tell"
    if (material.told_apart or 0) >= GOOD:
        return (
            FEATURES,
            f"{texts}: the encoder's features tell {material.labels} labels apart ({material.told_apart:.2f})",
        )
    if recipe.minutes and material.seconds_a_step and steps * material.seconds_a_step > TOO_LONG * 60 * recipe.minutes:
        return FEATURES, f"{recipe.minutes:g} minutes are not enough to fine-tune on {texts}"
    if recipe.learning_rate == AUTO and material.size < SMALL and material.windows < FEW:
        return f"freeze:{material.layers // 3}", f"{windows}: the lower third of a small encoder may rest"
    return "freeze:0", f"{windows}: all layers learn, the word embeddings rest"


def undecided(recipe: Recipe, kind: Kind, documents: int) -> bool:
    """Whether it takes a look at the features of texts to choose a strategy."""
    return recipe.strategy == AUTO and kind != "spans" and documents >= MIN_DOCUMENTS


def _patience(recipe: Recipe, material: Material) -> int | None:
    if recipe.patience != AUTO:
        return recipe.patience
    return PATIENCE if material.kind != "spans" and material.documents >= MIN_DOCUMENTS else None
