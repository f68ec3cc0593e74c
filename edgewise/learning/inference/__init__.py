"""Models that answer, by where they come from: a folder that training wrote, a baseline of others, a bare encoder.

Knows which kind of model answers for which kind of head. Knows nothing of tasks, versions or uncertainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import Conflict
from edgewise.labels.schema import Head
from edgewise.labels.spans import Span
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import (
    SEQUENCES,
    TOKENS,
    fold,
    fold_choices,
    load_classifier,
    load_pretrained,
    load_tokenizer,
    resolve,
)
from edgewise.learning.describe import describe, describe_choice
from edgewise.learning.inference.arithmetic import FLOAT32
from edgewise.learning.inference.cache import ModelCache
from edgewise.learning.inference.classification import MULTIPLE, Classified, Classifier, Meaning
from edgewise.learning.inference.encoder import Encoder, Report
from edgewise.learning.inference.networks import Float32, Network, OnnxNetwork, TorchNetwork, export
from edgewise.learning.inference.tagging import Tagged, Tagger

__all__ = [
    "Baseline",
    "Classified",
    "Classifier",
    "Encoder",
    "ModelCache",
    "Tagged",
    "Tagger",
    "TorchNetwork",
    "answers",
    "describe",
    "describe_choice",
    "embed",
    "export_trained",
    "load_baseline",
    "load_encoder",
    "load_exported",
    "load_trained",
    "model_for",
    "resolve",
]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model that others trained. model: None if it has no trained head, or none that fits our labels.

    unmatched: its labels that fit none of ours: never answered.
    """

    model: Tagger | Classifier | None
    unmatched: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self.model.nbytes if self.model else 0


def load_trained(folder: Path, head: Head, *, max_length: int, arithmetic: str = FLOAT32) -> Tagger | Classifier:
    """The model that training wrote into `folder` for this head. arithmetic: float32 or bfloat16; whatever is to be
    judged or compared with another model is computed in float32.

    Raises SettingsError if it cannot be read, Conflict if it has learnt other labels or its weights are not whole.
    """
    network = TorchNetwork(_trained(folder, head), arithmetic)
    return model_for(head, network, load_tokenizer(str(folder)), max_length=max_length)


def export_trained(folder: Path, head: Head, path: Path) -> None:
    """Write the model of `load_trained` as a file that ONNX Runtime reads. Raises as that does, and whatever torch's
    exporter raises for a model that it does not understand."""
    export(_trained(folder, head), path)


def load_exported(folder: Path, head: Head, path: Path, *, max_length: int) -> Tagger | Classifier:
    """The model of `load_trained` from the file that `export_trained` wrote. Raises as `load_trained`."""
    config = load_pretrained("AutoConfig", str(folder))
    if not _has_learnt(config, head):
        raise _unfit()
    return model_for(head, OnnxNetwork(path, config), load_tokenizer(str(folder)), max_length=max_length)


def _trained(folder: Path, head: Head) -> Any:
    model, missing = load_classifier(str(folder), TOKENS if head.kind == "spans" else SEQUENCES)
    if missing or not _has_learnt(model.config, head):
        raise _unfit()
    return model


def _has_learnt(config: Any, head: Head) -> bool:
    """Whether a model of this config answers with exactly the head's labels."""
    learnt = tuple(config.id2label[i] for i in range(config.num_labels))
    ours = tag_names(head.labels) if head.kind == "spans" else head.labels
    several = getattr(config, "problem_type", None) == MULTIPLE
    return learnt == ours and several == (head.kind == "choices")


def _unfit() -> Conflict:
    return Conflict("The model on disk has learnt other labels, or is not whole.", "Train the project again.")


def model_for(head: Head, network: Network, tokenizer: Any, *, max_length: int) -> Tagger | Classifier:
    """A network that has learnt exactly the head's labels, as a model that answers for it."""
    if head.kind == "spans":
        return Tagger(network, tokenizer, head.labels, max_length=max_length)
    thresholds = tuple(getattr(network.config, "thresholds", None) or ())
    meaning = Meaning(head.labels, head.kind == "choices", thresholds)
    return Classifier(network, tokenizer, meaning, max_length=max_length)


def answers(
    model: Tagger | Classifier, texts: Sequence[str], *, batch_size: int = 32, progress: Report | None = None
) -> list[tuple[Span, ...]]:
    """What a model of either kind answers for each text."""
    if isinstance(model, Tagger):
        return model.tag(texts, batch_size=batch_size, progress=progress).spans
    return model.classify(texts, batch_size=batch_size, progress=progress).spans


def load_baseline(name: str, head: Head, *, max_length: int) -> Baseline:
    """The model `name` (hub name, folder or packaged:minilm) as far as it can answer for this head.

    Raises SettingsError if there is no such model or it cannot be read, Unavailable if the hub cannot be reached.
    """
    config = load_pretrained("AutoConfig", name)
    kind, fit = (TOKENS, fold) if head.kind == "spans" else (SEQUENCES, fold_choices)
    if not any(architecture.endswith(kind.removeprefix("AutoModel")) for architecture in config.architectures or ()):
        return Baseline(None, ())
    matrix, unmatched = fit(config.id2label, head.label_for, head.labels)
    fits = matrix[:, 1:].any() if head.kind == "spans" else matrix.any()
    if not fits:
        return Baseline(None, unmatched)
    model, missing = load_classifier(name, kind)
    if missing:
        return Baseline(None, unmatched)
    network, tokenizer = TorchNetwork(model), load_tokenizer(name)
    if head.kind == "spans":
        return Baseline(Tagger(network, tokenizer, head.labels, max_length=max_length, matrix=matrix), unmatched)
    meaning = Meaning(head.labels, head.kind == "choices", matrix=matrix)
    return Baseline(Classifier(network, tokenizer, meaning, max_length=max_length), unmatched)


def load_encoder(name: str, *, max_length: int) -> Encoder:
    """The encoder of the model `name`, without any head. Raises as `load_baseline` does."""
    model = load_pretrained("AutoModel", name, use_safetensors=True)
    return Encoder(TorchNetwork(model), load_tokenizer(name), max_length=max_length)


def embed(texts: Sequence[str], name: str, *, max_length: int, progress: Report | None = None) -> Float32:
    """(n, dim): texts in the space of the model `name`, as `Tagged.embeddings`. Raises as `load_baseline` does."""
    return load_encoder(name, max_length=max_length).embed(texts, progress=progress)
