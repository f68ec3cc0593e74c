"""Teach an encoder our labels: documents in, a model folder out, written whole or not at all.

The recipe for small encoders is measured, see `plan` and docs/decisions.md. Knows nothing of tasks,
versions or gates; who calls decides what is a training document and what becomes of the folder.
"""

import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from edgewise.errors import DataError
from edgewise.labels.spans import Document, Span
from edgewise.labels.windows import IGNORED, encode, tag_names, tags_of
from edgewise.learning.baseline import load_pretrained, load_tokenizer
from edgewise.learning.inference import load_tagger

Report = Callable[[float], None]

CLASSIFIER = "AutoModelForTokenClassification"
BATCH = 8  # windows; for as many words, twice the steps of 16 taught as much with half the labels
WARM_UP = 0.1  # of all steps
HEAD_FACTOR = 5  # the head is new, the encoder is not: it learns so many times faster
SMALL = 60_000_000  # parameters; encoders below want a far larger learning rate
MIN_STEPS = 200  # with fewer a small encoder has hardly learnt that there are entities
FEW = 1_000  # windows; with fewer the lower third of a small encoder may rest, at no loss of F1 and 30 % less time


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `auto` is chosen by the size of the encoder and the number of windows.

    learning_rate: of the encoder; epochs: > 0, may be a fraction; max_length: tokens of a window; seed: fixes the
    outcome on one machine.
    """

    learning_rate: float | Literal["auto"] = "auto"
    epochs: float | Literal["auto"] = "auto"
    weight_decay: float = 0.01
    max_length: int = 128
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it. `learning_rate`, `epochs`: as used; `label_counts`: training spans of each label."""

    folder: Path
    seconds: float
    steps: int
    learning_rate: float
    epochs: float
    label_counts: dict[str, int]


def train(
    documents: Sequence[Document], labels: Sequence[str], base: str, out: Path, recipe: Recipe, *, report: Report
) -> Trained:
    """Fine-tune `base` on the documents and write model, config and tokenizer into the new folder `out`.

    base: hub name, folder or `packaged:minilm`; a head that it has is kept only for tags of the same name.
    report: called with the share done, in [0, 1], after each step; what it raises reaches the caller and leaves no
    folder behind, which is how a training is cancelled. Raises ValueError without any span, FileExistsError if `out`
    is there, DataError if the tokenizer can read none of the texts.
    """
    if not any(document.spans for document in documents):
        raise ValueError("training needs at least one document with a span")
    if out.exists():
        raise FileExistsError(out)
    began = time.monotonic()
    staged = out.parent / f".{out.name}-{uuid4().hex[:8]}"
    staged.mkdir(parents=True)
    try:
        chosen, epochs = _fit(documents, labels, base, staged, (recipe, report))
        staged.replace(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    counts = Counter(span.label for document in documents for span in document.spans)
    label_counts = {label: counts[label] for label in labels}
    return Trained(out, time.monotonic() - began, chosen.steps, chosen.learning_rate, epochs, label_counts)


def out_of_fold(
    documents: Sequence[Document],
    labels: Sequence[str],
    base: str,
    recipe: Recipe,
    *,
    folds: int = 3,
    report: Report,
) -> list[tuple[Span, ...]]:
    """Spans for each document from a model that was trained on others: an honest score without a held-out set.

    Documents with the same text fall into the same fold. Where the others have no span at all, nothing is found.
    """
    found: list[tuple[Span, ...]] = [()] * len(documents)
    parts = _folds([document.text for document in documents], folds, recipe.seed)
    for number, part in enumerate(parts):
        inside = set(part)
        others = [document for index, document in enumerate(documents) if index not in inside]
        if any(document.spans for document in others):

            def share(fraction: float, number: int = number) -> None:
                report((number + fraction) / len(parts))

            texts = [documents[index].text for index in part]
            spans = _learn_and_tag(others, texts, (labels, base, recipe), share)
            for index, answer in zip(part, spans, strict=True):
                found[index] = answer
    report(1.0)
    return found


def _folds(texts: Sequence[str], folds: int, seed: int) -> list[list[int]]:
    """Positions of the texts in at most `folds` parts of about one size, the same texts together."""
    places: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        places.setdefault(text, []).append(index)
    groups = list(places.values())
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    parts = [shuffled[first::folds] for first in range(folds)]
    return [[index for group in part for index in groups[group]] for part in parts if len(part)]


def _learn_and_tag(
    documents: Sequence[Document], texts: Sequence[str], how: tuple[Sequence[str], str, Recipe], report: Report
) -> list[tuple[Span, ...]]:
    labels, base, recipe = how
    with tempfile.TemporaryDirectory(prefix="edgewise-fold-") as folder:
        trained = train(documents, labels, base, Path(folder) / "model", recipe, report=report)
        tagger = load_tagger(trained.folder, tuple(labels), max_length=recipe.max_length)
        return tagger.tag(texts).spans


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe made definite. `resting`: the share of the layers, from below, that are not trained."""

    learning_rate: float
    steps: int
    resting: float


def plan(recipe: Recipe, size: int, windows: int) -> Plan:
    """What `recipe` means for an encoder of so many parameters and so many windows.

    `auto` makes 8 epochs, yet at least 200 steps, and from 800 steps on 3 epochs at least.
    """
    per_epoch = windows / BATCH
    auto_steps = max(MIN_STEPS, min(8 * per_epoch, 800), 3 * per_epoch)
    steps = max(1, math.ceil(auto_steps if recipe.epochs == "auto" else recipe.epochs * per_epoch))
    if recipe.learning_rate != "auto":
        return Plan(recipe.learning_rate, steps, 0.0)
    small = size < SMALL
    return Plan(3e-4 if small else 5e-5, steps, 1 / 3 if small and windows < FEW else 0.0)


def _fit(
    documents: Sequence[Document], labels: Sequence[str], base: str, staged: Path, how: tuple[Recipe, Report]
) -> tuple[Plan, float]:
    """Train and write into `staged`. Returns the plan and the epochs that it made."""
    from transformers import DataCollatorForTokenClassification, Trainer, set_seed
    from transformers.trainer_callback import PrinterCallback

    recipe, report = how
    set_seed(recipe.seed)
    tokenizer = load_tokenizer(base)
    model = _model(base, labels)
    examples = _examples(documents, labels, tokenizer, _window_length(model, recipe))
    size = sum(parameter.numel() for parameter in model.parameters())
    chosen = plan(recipe, size, len(examples))
    trainer = Trainer(
        model=model,
        args=_arguments(staged, chosen.steps, recipe.seed),
        train_dataset=examples,
        data_collator=DataCollatorForTokenClassification(tokenizer, label_pad_token_id=IGNORED),
        processing_class=tokenizer,
        optimizers=_optimizers(model, chosen, recipe.weight_decay),
        callbacks=[_reporting(report)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.cpu().save_pretrained(staged)
    tokenizer.save_pretrained(staged)
    return chosen, chosen.steps * BATCH / len(examples)


def _model(base: str, labels: Sequence[str]) -> Any:
    """The encoder of `base` with a head for our tags, whose rows are those of the base's own head where names agree.

    The head is always made anew: a head of the right size may have its tags in another order.
    """
    import torch

    tags = tag_names(labels)
    files: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    model = load_pretrained(
        CLASSIFIER,
        base,
        **files,
        num_labels=len(tags),
        id2label=dict(enumerate(tags)),
        label2id={tag: index for index, tag in enumerate(tags)},
        ignore_mismatched_sizes=True,
    )
    for module in _head(model, model.named_modules()).values():
        if getattr(module, "out_features", None) == len(tags):
            module.reset_parameters()
    config = load_pretrained("AutoConfig", base)
    if any(name.endswith("ForTokenClassification") for name in config.architectures or ()):
        _keep_rows(load_pretrained(CLASSIFIER, base, **files), model)
    return model


def _head(model: Any, named: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Those modules or parameters that are not the encoder's."""
    return {name: item for name, item in named if name and name.split(".")[0] != model.base_model_prefix}


def _keep_rows(taught: Any, model: Any) -> None:
    """Copy from one head to another what both call by the same name, upper or lower case."""
    import torch

    ours = {tag.casefold(): index for index, tag in model.config.id2label.items()}
    pairs = [(ours[tag.casefold()], i) for i, tag in taught.config.id2label.items() if tag.casefold() in ours]
    to, source = [list(column) for column in zip(*pairs, strict=True)] if pairs else [[], []]
    old = _head(taught, taught.named_parameters())
    with torch.no_grad():
        for name, parameter in _head(model, model.named_parameters()).items():
            if name in old and len(old[name]) == taught.config.num_labels:
                parameter[to] = old[name][source]


def _window_length(model: Any, recipe: Recipe) -> int:
    positions = getattr(model.config, "max_position_embeddings", None) or recipe.max_length
    return min(recipe.max_length, int(positions) - 2)  # RoBERTa counts its positions from 2


def _examples(
    documents: Sequence[Document], labels: Sequence[str], tokenizer: Any, length: int
) -> list[dict[str, Any]]:
    """Windows with something to learn in them, as the collator wants them."""
    windows = encode([document.text for document in documents], tokenizer, length, stride=length // 4)
    tags = [
        tags_of(document.spans, windows.words[first:stop], labels)
        for document, first, stop in zip(documents, windows.offsets[:-1], windows.offsets[1:], strict=True)
    ]
    targets = windows.targets(np.concatenate(tags))
    cuts = list(zip(windows.bounds[:-1], windows.bounds[1:], strict=True))
    examples = [
        {"input_ids": windows.ids[first:stop].tolist(), "labels": targets[first:stop].tolist()}
        for first, stop in cuts
        if (targets[first:stop] != IGNORED).any()
    ]
    if not examples:
        raise DataError(
            what="The base model's tokenizer can read no word of the training texts.",
            mend="Choose a base model for the language of your texts (BASELINE_MODEL_NAME).",
        )
    return examples


def _arguments(staged: Path, steps: int, seed: int) -> Any:
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(staged),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="group_by_length",
        max_grad_norm=1.0,
        bf16=torch.cuda.is_bf16_supported() if on_gpu else _halves_are_fast(),
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


@lru_cache(maxsize=1)
def _halves_are_fast() -> bool:
    """Whether this processor multiplies in bf16 clearly faster than in 32 bits; F1 is the same.

    Measured, because flags mislead: of two processors with avx512_bf16 one was 2.5 times as fast, one half as fast.
    """
    import torch

    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    left, right = torch.ones(512, 384), torch.ones(384, 1536)
    for _ in range(8):  # the best of several, in turns: neighbours on the machine only ever slow us down
        for kind in best:
            a, b = left.to(kind), right.to(kind)
            began = time.perf_counter()
            torch.mm(a, b)
            best[kind] = min(best[kind], time.perf_counter() - began)
    return best[torch.bfloat16] < 0.7 * best[torch.float32]


def _optimizers(model: Any, chosen: Plan, weight_decay: float) -> tuple[Any, Any]:
    """AdamW with a faster head and resting layers; linear warm-up and decay."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    _rest(model, chosen.resting)
    head = {id(parameter) for parameter in _head(model, model.named_parameters()).values()}
    groups: dict[tuple[float, float], list[Any]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = chosen.learning_rate * (HEAD_FACTOR if id(parameter) in head else 1)
            decay = weight_decay if parameter.ndim > 1 else 0.0  # not for biases and norms
            groups.setdefault((rate, decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()], fused=True
    )
    return optimizer, get_linear_schedule_with_warmup(optimizer, int(WARM_UP * chosen.steps), chosen.steps)


def _rest(model: Any, share: float) -> None:
    """Freeze the word embeddings, half of a small encoder of which few labels say little, and this share of the layers.

    Below the layers nothing may learn then, or the gradient would have to be carried through them.
    """
    from torch.nn import ModuleList

    model.get_input_embeddings().requires_grad_(False)
    stacks = [module for module in model.base_model.modules() if isinstance(module, ModuleList)]
    layers = max(stacks, key=len, default=ModuleList())
    resting = layers[: int(share * len(layers) + 1e-9)]
    resting.requires_grad_(False)
    below = getattr(model.base_model, "embeddings", None)
    if len(resting) and below is not None:
        below.requires_grad_(False)


def _reporting(report: Report) -> Any:
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            report(state.global_step / state.max_steps)

    return Reporting()
