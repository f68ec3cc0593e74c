"""Whether a base model is here or can be fetched, without loading it or its weights. Knows no labels and no texts."""

from pathlib import Path

from edgewise.errors import EdgewiseError, SettingsError, Unavailable
from edgewise.learning.baseline import PACKAGED, pinned, resolve

TIMEOUT_S = 4.0
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")
PARTS = (("config.json",), WEIGHTS, TOKENIZERS)  # one of each is needed
NEEDED = "It needs config.json, model.safetensors and a tokenizer.json."


def find_base(name: str) -> str:
    """Where a base model is: "packaged", "a folder", "on this machine" or "on the hub".

    Raises SettingsError: there is no such model, or not one that we can read; Unavailable: it is not on this machine,
    and the hub cannot be reached.
    """
    if name == PACKAGED:
        resolve(name)
        return "packaged"
    if Path(name).is_dir():
        _complete(Path(name))
        return "a folder"
    if Path(name).is_absolute():
        raise SettingsError("BASELINE_MODEL_NAME names a folder that is not there.", "Correct BASELINE_MODEL_NAME.")
    if _in_cache(name):
        return "on this machine"
    _ask_hub(name)
    return "on the hub"


def _complete(folder: Path) -> None:
    """Raises SettingsError when a part of the model is missing."""
    if not all(any((folder / file).is_file() for file in part) for part in PARTS):
        raise SettingsError(f"The model folder {folder.name!r} is not whole.", NEEDED)


def _in_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        place, revision = pinned(name)
        kept = {file: try_to_load_from_cache(place, file, revision=revision) for part in PARTS for file in part}
        return all(any(isinstance(kept[file], str) for file in part) for part in PARTS)
    except HFValidationError:
        return False  # not even a name that the hub could know


def _ask_hub(name: str) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place, revision = pinned(name)
    away = f"The model {name!r} is not on this machine, and the hub cannot be reached."
    mend = f"Check the network and HF_HUB_OFFLINE, or use a folder or {PACKAGED}."
    if constants.HF_HUB_OFFLINE:
        raise Unavailable(away, mend)
    found: EdgewiseError
    try:
        siblings = {
            one.rfilename for one in HfApi().model_info(place, revision=revision, timeout=TIMEOUT_S).siblings or ()
        }
    except GatedRepoError:
        found = SettingsError(f"The model {name!r} is gated.", "Ask for access on its page and set HF_TOKEN.")
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        found = SettingsError(f"There is no model {name!r} on the hub.", f"Correct the name, or use {PACKAGED}.")
    except HfHubHTTPError as error:
        found = Unavailable(f"The hub refuses to say whether it has {name!r} ({type(error).__name__}).", mend)
    except Exception as error:  # its HTTP library changes between versions, and with it what it raises
        found = Unavailable(f"{away[:-1]} ({type(error).__name__}).", mend)
    else:
        if any(file in siblings for file in WEIGHTS):
            return
        found = SettingsError(
            f"The model {name!r} has no safetensors weights.", "We load no other kind: choose another."
        )
    raise found
