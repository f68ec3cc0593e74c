"""What the store hands out: frozen values. Field names are the columns' names; knows nothing of SQL."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Project:
    """A Label Studio project. `created_at` and `watermark` are Label Studio's own words; `trouble` is what/mend/at."""

    key: int
    address: str
    ls_id: int
    created_at: str
    title: str = ""
    label_config: str = ""
    maximum_annotations: int = 1
    state: str = "connecting"
    watermark: str | None = None
    serving: str | None = None
    active_release: int | None = None
    release_counter: int = 0
    note: str = ""
    connection: Json = field(default_factory=dict)
    trouble: Json | None = None
    last_training: Json | None = None
    swept_at: datetime | None = None
    llm: Json | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as last seen. `digest` is that of its training example, None when it has none; `problem` says why we
    cannot predict it. addresses: field -> address and at (when it was fetched, or tried), for fields whose text lies
    elsewhere: there `data` has the text; None where there are none."""

    task_id: int
    data: Json
    text_key: str
    audit: bool = False
    updated_at: str = ""
    overlap: int = 1
    digest: str | None = None
    problem: str | None = None
    addresses: Json | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What an annotation began from: a prediction that was shown. prediction: its id in Label Studio; sources:
    from_name -> who suggested, in words for people; a head that nobody suggested anything for is missing; result: Label
    Studio's regions."""

    task_id: int
    annotation_id: int
    prediction: int
    sources: Json
    result: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A training's examples by content hash; `size` counts them."""

    hash: str
    created_at: datetime
    size: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One example of a snapshot."""

    task_id: int
    digest: str
    annotation_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A model version. `created_at` is set by the store; `parent` is the version that it was compared with; `code` is
    the Edgewise that trained it."""

    id: str
    project_key: int
    schema_digest: str
    snapshot: str
    created_at: datetime | None = None
    parent: str | None = None
    state: str = "accepted"
    provisional: bool = False
    reason: str = ""
    scores: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    label_counts: Json = field(default_factory=dict)
    examples: int = 0
    pinned: bool = False
    weights_hash: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """In which arithmetic a head of a version is computed on a machine, and why. machine, architecture: digests;
    figures: what was measured, empty where nothing had to be; `created_at` is set by the store."""

    version: str
    head: str
    machine: str
    architecture: str
    choice: str
    reason: str
    figures: Json = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """What Label Studio sees as `ew-<n>`. state: ranking, pushing, active or retired; `whole` once all are pushed;
    schema_digest: of the labelling config that its predictions are made for. scales: from_name -> quantiles of a head's
    uncertainty in the pool, where several heads are combined. changed: [0, 1], the share of the open tasks that the
    model version before answered in another way; None where there is none to compare with."""

    n: int
    project_key: int
    version: str | None
    state: str
    whole: bool
    created_at: datetime
    schema_digest: str
    scales: Json = field(default_factory=dict)
    changed: float | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """A task's place in a release. uncertainty: [0, 1), higher is less sure, None in the cold start; score: the
    certainty that Label Studio sees, which is the order: lowest first; result: Label Studio's regions."""

    task_id: int
    uncertainty: float | None
    score: float
    reason: str = ""
    result: tuple[Json, ...] = ()
    audit: bool = False
    pushed: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tasks of a ranking that one worker scores: of a head `tasks`, ascending; of the rest, which has none, those
    without a rank from the id `first` to the id `last`."""

    first: int
    last: int
    tasks: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prelabelled:
    """What a run of a language model says about a task. result: Label Studio's regions of all heads; confidence:
    [0, 1], of the least sure span, None if nothing tells; error: why there is no answer; shown: the tasks that were
    shown with it as demonstrations; disagreement: [0, 1], with the model that served at the last ranking, None if none
    has been compared. Confidence and the regions' scores are as the language model said, not calibrated; after a round
    of `improve` they are the small model's, and believed says whether the two agree: False is in doubt, None was in no
    round."""

    task_id: int
    run: int
    result: tuple[Json, ...] = ()
    confidence: float | None = None
    unplaced: int = 0
    error: str | None = None
    shown: tuple[int, ...] = ()
    disagreement: float | None = None
    believed: bool | None = None


@dataclass(frozen=True, slots=True)
class LlmRun:
    """A run of a language model over a project: how it asks, what it has sent to whom, and what that cost.

    digest: of all that makes its questions, demonstrations excepted; job: which worked on it last. how: provider, host,
    model, instructions (their version), codec, variants, demonstrations (most in a question), known (demonstrations to
    choose from). spend: usd (None: unknown), held_usd (for calls without an answer yet), calls, input_tokens,
    output_tokens. sent: tasks, texts, demonstrations (different ones), failed. calibration: the curve of its
    confidences, None as long as people have labelled too few held-out tasks."""

    run: int
    digest: str
    schema_digest: str
    job: str
    how: Json
    spend: Json
    sent: Json
    calibration: Json | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Improvement:
    """A project's last `improve`: the language model and a small one teach each other, round after round.

    id: of the job that began it; spend: of the run that it began from and of all rounds, see LlmRun; rounds: a line
    each, round 0 being that run; ended: why there is no further round, None while there may be one."""

    id: str
    spend: Json
    rounds: tuple[Json, ...] = ()
    ended: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """A labelled task that a run may show as a demonstration. answers: from_name -> [start, end, label] of each span;
    wrong: a language model had said something else about it."""

    task_id: int
    answers: Json
    wrong: bool


@dataclass(frozen=True, slots=True)
class Instructions:
    """What the language model is told of a project, beside its labels."""

    version: int
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """What a job measured, under the job's id. spend: what that cost so far, empty before anything did; content: empty
    until it is finished."""

    id: str
    project_key: int
    kind: str
    created_at: datetime
    finished_at: datetime | None = None
    spend: Json = field(default_factory=dict)
    content: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that waits for its receiver."""

    id: int
    topic: str
    payload: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A verb to run. attempts: times started; faults: times it ended unexpectedly; progress: [0, 1];
    error: what/mend of the last attempt that failed; instants are UTC, aware."""

    id: str
    project_key: int | None
    kind: str
    lane: str
    state: str
    args: Json
    attempts: int
    faults: int
    progress: float
    message: str
    error: Json | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_after: datetime | None
    lease_until: datetime | None
    cancel_at: datetime | None
    sent_at: datetime | None
