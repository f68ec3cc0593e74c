"""What every verb works with: settings, memory, queue, Label Studio and the way to score. Made once per process.

Knows how the parts are opened; knows nothing of what the verbs do with them.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewise.errors import Conflict, EdgewiseError, NotFound, SchemaError
from edgewise.labels.schema import Head, Schema, parse_schema
from edgewise.services.jobs import Queue, open_queue
from edgewise.services.registry import Registry
from edgewise.services.store import Project, Store
from edgewise.services.studio import Studio
from edgewise.settings import Settings
from edgewise.verbs.remembered import Remembered

Floats = NDArray[np.floating]
Score = Callable[[NDArray[np.float32], NDArray[np.int64]], Floats]


@dataclass(frozen=True)
class Uncertainty:
    """How unsure the model is: the functions of uncertainty.py, handed down by model.py.

    scores: strategy name -> function of (n_words, n_tags) probabilities and (n_documents + 1,) offsets, one number per
    document in [0, 1), higher is less sure. contributions: the same arguments -> (n_words,), what each word added.
    choice_scores: the same for choices, whose rows are `Classified.probabilities`.
    """

    scores: Mapping[str, Score]
    default: str
    contributions: Score
    choice_scores: Mapping[str, Score]
    choice_default: str

    def of(self, head: Head) -> Score:
        """What measures a head."""
        return self.scores[self.default] if head.kind == "spans" else self.choice_scores[self.choice_default]

    def names(self, schema: Schema) -> set[str]:
        """The strategies that orders of such a project are made by."""
        return {self.default if head.kind == "spans" else self.choice_default for head in schema.heads}


class System:
    """One Edgewise: the same object in the server, in the worker, in a job's own process and in a terminal."""

    def __init__(self, settings: Settings, uncertainty: Uncertainty, prelabel: Callable[..., list[Any]]) -> None:
        """prelabel: llm_prelabel.prelabel, handed down by model.py like uncertainty.py's functions."""
        self.settings = settings
        self.uncertainty = uncertainty
        self.prelabel = prelabel
        self.remembered = Remembered()

    @cached_property
    def store(self) -> Store:
        """Our memory; its folder is made on first use."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return Store(self.settings.database_url.get_secret_value())

    @cached_property
    def queue(self) -> Queue:
        """Where jobs wait."""
        return open_queue(self.settings, self.store)

    @cached_property
    def registry(self) -> Registry:
        """The weights of all versions."""
        return Registry(self.settings.model_dir / self.settings.finetuned_model_name)

    @cached_property
    def studio(self) -> Studio:
        """Label Studio, by the credentials from settings: those of a call are never used."""
        return Studio(self.address, self.settings.label_studio_api_key.get_secret_value())

    @property
    def address(self) -> str:
        """Label Studio's address, as projects are recorded under it."""
        return self.settings.label_studio_host.rstrip("/")

    def project(self, ls_id: int) -> Project:
        """The live project of this id in Label Studio; one we have not met is looked up there.

        Raises StudioGone, StudioUnavailable or StudioRefused.
        """
        known = self.store.find_project(self.address, ls_id)
        return known if known is not None else self.meet(ls_id)

    def meet(self, ls_id: int) -> Project:
        """Record a project as Label Studio describes it now. Raises StudioGone, StudioUnavailable, StudioRefused."""
        return self.record(ls_id, self.studio.project(ls_id))

    def record(self, ls_id: int, raw: Mapping[str, Any]) -> Project:
        """Record a project as Label Studio has just described it; what had its id before is gone."""
        return self.store.record_project(
            self.address,
            ls_id,
            epoch_of(raw["created_at"]),
            title=raw.get("title") or "",
            label_config=raw.get("label_config") or "",
        )

    def by_key(self, key: int) -> Project:
        """The project of one of our own keys. Raises NotFound."""
        return self.store.project(key)

    def refuse_elsewhere(self, project: Project) -> None:
        """Raises Conflict for a project that is recorded under another address than the one that we talk to: whatever
        has its id here is another project, and an answer about that must not decide on this one."""
        if project.address != self.address:
            raise Conflict(
                f"Project {project.ls_id} is recorded under {project.address}, and this process talks to "
                f"{self.address}. Nothing was erased.",
                "Give all servers and workers the same LABEL_STUDIO_HOST. If Label Studio has moved, see "
                "docs/operations.md.",
            )

    def note_trouble(self, project: Project, kind: str, error: EdgewiseError) -> None:
        """Keep visible in status what stops a kind of job, until one of that kind goes through."""
        moment = datetime.now(UTC).isoformat()
        trouble = {"what": error.what, "mend": error.mend, "about": kind, "at": moment}
        self.store.update_project(project.key, trouble=trouble)

    def clear_trouble(self, project: Project, kind: str) -> None:
        """A job of this kind went through."""
        with suppress(NotFound):  # the job may have erased the project
            trouble = self.by_key(project.key).trouble
            if trouble and trouble.get("about") == kind:
                self.store.update_project(project.key, trouble=None)


def source_of(project: Project) -> str | None:
    """Whose answers the project's release is to show: the serving version, else the language model's last run, with
    how many tasks it has answered; None in the cold start. As releases keep it."""
    if project.serving is not None:
        return project.serving
    run = project.llm or {}
    calibrated = "/calibrated" if run.get("calibration") else ""
    return f"llm-{run['run']}/{run['shown']}{calibrated}" if run.get("shown") else None


def epoch_of(created_at: str) -> str:
    """Label Studio's `created_at` of a project as /setup sends it: whole seconds since 1970."""
    return str(int(datetime.fromisoformat(created_at.replace("Z", "+00:00")).timestamp()))


def schema_of(project: Project) -> Schema | None:
    """The project's heads, or None while its labelling config has none that we can learn."""
    try:
        return parse_schema(project.label_config)
    except SchemaError:
        return None


def schema_needed(project: Project) -> Schema:
    """The project's heads. Raises Conflict while its labelling config has none that we can learn."""
    schema = schema_of(project)
    if schema is None:
        raise Conflict(
            "The labelling config has no labels that we can learn.", "Add <Labels> or <Choices> that point at a <Text>."
        )
    return schema


def folder_name(project: Project) -> str:
    """The folder of a project's model versions: Label Studio's address hashed, its id and its creation time."""
    address = blake2b(project.address.encode(), digest_size=3).hexdigest()
    return f"{project.ls_id}-{project.created_at}-{address}"
