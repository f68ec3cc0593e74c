"""An encoder with a head for our labels, made from any base: new, or keeping what the base's own head knows of them.

Knows the shapes of transformers' models. Knows nothing of texts or of how a head is taught.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from edgewise.labels.schema import Head
from edgewise.labels.windows import tag_names
from edgewise.learning.baseline import SEQUENCES, TOKENS, load_pretrained
from edgewise.learning.training.averaging import AVERAGING, average

PROBLEMS = {"choice": "single_label_classification", "choices": "multi_label_classification"}


def new_model(base: str, head: Head) -> Any:
    """The encoder of `base` with a head for our labels, whose rows are those of the base's own head where names agree.

    The head is always made anew: a head of the right size may have its labels in another order. For choices an encoder
    without a head of its own for whole texts gets one that averages over the text, if it is of a kind that can.
    """
    kind, names = (TOKENS, tag_names(head.labels)) if head.kind == "spans" else (SEQUENCES, head.labels)
    known = load_pretrained("AutoConfig", base)
    taught = any(name.endswith(kind.removeprefix("AutoModel")) for name in known.architectures or ())
    averaged = head.kind != "spans" and _averages(known, taught)
    config = _config(base, head, names, averaged)
    model = _load(kind, base, config=config, ignore_mismatched_sizes=True)
    for module in head_of(model, model.named_modules()).values():
        if getattr(module, "out_features", None) == len(names):
            module.reset_parameters()
    if averaged and not getattr(known, "averages", False):
        average(model)
    if taught:
        _keep_rows(_load(kind, base), model)
    return model


def _load(kind: str, base: str, **options: Any) -> Any:
    import torch

    return load_pretrained(kind, base, use_safetensors=True, dtype=torch.float32, **options)


def _averages(known: Any, taught: bool) -> bool:
    """Whether the averaging layer is on top: not on a base that has learnt to sum up texts in its own way."""
    return bool(getattr(known, "averages", False)) or (known.model_type in AVERAGING and not taught)


def _config(base: str, head: Head, names: Sequence[str], averaged: bool) -> Any:
    """The base's, for our labels: with the layers of its encoder, and one more where that averages."""
    numbered = dict(enumerate(names))
    config = load_pretrained("AutoConfig", base, id2label=numbered, label2id={name: i for i, name in numbered.items()})
    if averaged != getattr(config, "averages", False):
        config.num_hidden_layers += 1 if averaged else -1
        config.averages = averaged
    config.problem_type = PROBLEMS.get(head.kind)
    return config


def head_of(model: Any, named: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Those modules or parameters that are not the encoder's."""
    return {name: item for name, item in named if name and name.split(".")[0] != model.base_model_prefix}


def last_layer(model: Any) -> Any:
    """The linear layer that ends in our labels."""
    modules = head_of(model, model.named_modules()).values()
    return [module for module in modules if getattr(module, "out_features", None) == model.config.num_labels][-1]


def _keep_rows(taught: Any, model: Any) -> None:
    """Copy from one head to another what both call by the same name, upper or lower case."""
    import torch

    ours = {tag.casefold(): index for index, tag in model.config.id2label.items()}
    pairs = [(ours[tag.casefold()], i) for i, tag in taught.config.id2label.items() if tag.casefold() in ours]
    to, source = [list(column) for column in zip(*pairs, strict=True)] if pairs else [[], []]
    old = head_of(taught, taught.named_parameters())
    with torch.no_grad():
        for name, parameter in head_of(model, model.named_parameters()).items():
            if name in old and len(old[name]) == taught.config.num_labels:
                parameter[to] = old[name][source]
