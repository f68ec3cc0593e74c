"""The project in Label Studio: our backend and webhook, sampling, the selected version, scores, labels and texts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from edgewise.errors import DataError, NotFound, SchemaError
from edgewise.labels.schema import Schema, parse_schema
from edgewise.labels.texts import address_of, text_of
from edgewise.verbs.doctor.finding import Check, Finding, fault, fine, skipped
from edgewise.verbs.doctor.scene import Scene
from edgewise.verbs.places import SAMPLING, same_place, webhook_of
from edgewise.verbs.placing import release_name
from edgewise.verbs.system import schema_of
from edgewise.web.wire import EVENTS, SECRET_HEADER

PAGE = 100  # tasks that are read where we know of none yet
ANNOTATED_MOST = 5000  # tasks whose labels are compared with the config
LEADING_TO_ORDER = {"connect", "sync", "sweep", "train", "rank"}
SHOWN = 5  # names in a message

Read = tuple[int, int, Mapping[int, str]]  # tasks looked at, those without a text, and what is wrong with some


def known_here(scene: Scene) -> Finding:
    """Whether `connect` has been through. A paused project is followed, by somebody's wish not now."""
    try:
        project = scene.project
    except NotFound as error:
        return fault(error.what, error.mend)
    if project.state == "connecting" and not project.connection.get("secret"):
        return fault(
            "Edgewise has met the project, and connecting has not come to its end.",
            f"`edgewise status -p {scene.ls_id}` says what it waits for.",
        )
    return fine("paused" if project.state == "paused" else "")


def backend(scene: Scene) -> Finding:
    """An entry under the project's Settings > Model."""
    if scene.ours:
        return fine()
    return fault(
        f"None of the project's {len(scene.backends)} ML backends points at us: Label Studio does not call us.",
        f"Run `edgewise connect -p {scene.ls_id} --url http://…` with our address; or Settings > Model, Connect Model.",
    )


def backend_first(scene: Scene) -> Finding:
    """Several backends may be added; Label Studio asks only the first for predictions."""
    if not scene.ours:
        return skipped("no ML backend of the project points at us")
    if scene.backends[0] == scene.ours[0]:
        return fine()
    return fault(
        f"Ours is not the first of the project's {len(scene.backends)} ML backends: Label Studio asks only the first.",
        "Remove those before it under Settings > Model; `--fix` removes what is an old address of ours and no other.",
    )


def hooks_here(scene: Scene) -> list[Mapping[str, Any]]:
    """The webhooks to the address that Label Studio calls us by."""
    address = str(scene.ours[0]["url"]) if scene.ours else scene.address_or_none
    if address is None:
        return []
    return [hook for hook in scene.hooks if same_place(str(hook["url"]), webhook_of(address))]


def webhook(scene: Scene) -> Finding:
    """Label Studio makes one with the backend, unless something forbids it, and never again."""
    active = [hook for hook in hooks_here(scene) if hook.get("is_active", True)]
    if len(active) == 1:
        return fine()
    if active:
        what = f"Label Studio has {len(active)} webhooks to us: every label is reported {len(active)} times."
    elif hooks_here(scene):
        what = "Our webhook is switched off: labels are noticed only by the timed sync."
    else:
        what = "Label Studio has no webhook to us: labels are noticed only by the timed sync."
    return fault(what, mend_by_connect(scene))


def webhook_secret(scene: Scene) -> Finding:
    """Without it our server refuses what the webhook brings."""
    hooks = hooks_here(scene)
    if not hooks:
        return skipped("there is no webhook to us")
    secret = scene.project.connection.get("secret")
    sent = [{name.lower(): value for name, value in (hook.get("headers") or {}).items()} for hook in hooks]
    if secret and all(headers.get(SECRET_HEADER.lower()) == secret for headers in sent):
        return fine()
    return fault("The webhook does not carry our secret: our server refuses what it brings.", mend_by_connect(scene))


def webhook_events(scene: Scene) -> Finding:
    """Those that we learn something from, with their content."""
    hooks = hooks_here(scene)
    if not hooks:
        return skipped("there is no webhook to us")
    absent = [event for event in EVENTS if not all(brings(hook, event) for hook in hooks)]
    if not absent:
        return fine()
    return fault(f"The webhook does not bring {', '.join(absent)}: we learn of them late.", mend_by_connect(scene))


def brings(hook: Mapping[str, Any], event: str) -> bool:
    """Whether a webhook sends an event, and of which project it is."""
    return bool(hook.get("send_payload", True)) and (
        bool(hook.get("send_for_all_actions")) or event in (hook.get("actions") or ())
    )


def mend_by_connect(scene: Scene) -> str:
    """The command that takes the webhook over."""
    return f"Run `edgewise doctor -p {scene.ls_id} --fix`, or `edgewise connect -p {scene.ls_id}`."


def sampling(scene: Scene) -> Finding:
    """Any other sampling ignores scores."""
    now = scene.raw.get("sampling")
    if now == SAMPLING:
        return fine()
    return fault(
        f"The project's task sampling is {now!r}: the order is ignored.",
        f"Run `edgewise doctor -p {scene.ls_id} --fix`, or: Settings > General > Task Sampling > Uncertainty sampling.",
    )


def shown(scene: Scene) -> Finding:
    """Switched off, nobody sees a pre-label."""
    if scene.raw.get("show_collab_predictions"):
        return fine()
    return fault(
        "The project does not show pre-labels.",
        f"Run `edgewise doctor -p {scene.ls_id} --fix`, or: Settings > Annotation > Use predictions to prelabel tasks.",
    )


def selected(scene: Scene) -> Finding:
    """Only predictions whose version is the project's selected one are ordered; a backend's title selects nothing."""
    active = scene.project.active_release
    if active is None:
        return skipped("nothing has been ranked yet")
    wanted, now = release_name(active), scene.raw.get("model_version") or ""
    if now == wanted:
        return fine()
    titles = {str(one.get("title")) for one in scene.backends}
    kind = "nothing" if not now else f"{now!r}, the title of a backend," if now in titles else f"the version {now!r}"
    return fault(
        f"Label Studio has {kind} selected, and not our release {wanted}: the order is random or somebody else's.",
        f"Run `edgewise doctor -p {scene.ls_id} --fix`, or choose {wanted} under Settings > Annotation.",
    )


def score_column(scene: Scene) -> Finding:
    """The Data Manager's "Prediction score", which the tab "Hardest first" is ordered by, has values."""
    if not scene.raw.get("task_number"):
        return skipped("the project has no tasks")
    still_open, is_scored = scene.studio.open_and_scored(scene.ls_id)
    if is_scored or not still_open:
        return fine() if is_scored else skipped("every task is annotated")
    if scene.project.active_release is None and order_is_coming(scene):
        return skipped("the first ranking is still to come")
    return fault(
        f"None of {still_open} open tasks has a score: no order, and the score column is empty.",
        f"Run `edgewise doctor -p {scene.ls_id} --fix`, or `edgewise rank -p {scene.ls_id}`.",
    )


def order_is_coming(scene: Scene) -> bool:
    """Whether a job waits or runs that a ranking follows; one that waits for something that is away does not count."""
    jobs = scene.store.jobs(20, scene.project.key)
    return any(
        job.kind in LEADING_TO_ORDER and job.state in ("queued", "running") and job.error is None for job in jobs
    )


def overlap(scene: Scene) -> Finding:
    """With an overlap above one, tasks that somebody began come first, at random."""
    wanted = scene.raw.get("maximum_annotations") or 1
    if wanted == 1:
        return fine()
    return fault(
        f"Each task wants {wanted} annotations: Label Studio serves tasks already begun first, in random order.",
        "Nothing is lost, and the order holds among tasks that nobody has begun. If one annotation is enough: "
        "Settings > Quality > Annotations per task.",
    )


def schema(scene: Scene) -> Finding:
    """Labels or Choices on a Text."""
    try:
        found = parse_schema(scene.raw.get("label_config") or "")
    except SchemaError as error:
        return fault(f"{error.what} Nothing is predicted, nothing learned.", error.mend)
    return fine(f"not learned: {', '.join(found.ignored)}" if found.ignored else "")


def labels_fit(scene: Scene) -> Finding:
    """Annotations may carry labels that the config has no longer, or never had: they came by import, say."""
    known = schema_of(scene.project)
    if known is None:
        return skipped("the labelling config has nothing that we can learn")
    controls = set(scene.raw.get("parsed_label_config") or {})
    annotated = list(islice(scene.store.annotated(scene.project.key), ANNOTATED_MOST))
    regions = (region for _, annotations in annotated for one in annotations for region in one.result)
    found = Counter(strange(regions, known, controls))
    if not found:
        return fine(f"of {ANNOTATED_MOST} annotated tasks" if len(annotated) == ANNOTATED_MOST else "")
    names = ", ".join(f"{label!r} of {control!r} ({n} times)" for (control, label), n in found.most_common(SHOWN))
    return fault(
        f"Annotations have labels that fit nothing in the labelling config, and are never learned: {names}.",
        "Add them to the labelling config (Settings > Labeling Interface), or label those tasks again.",
    )


def strange(regions: Iterable[Mapping[str, Any]], known: Schema, controls: set[str]) -> Iterable[tuple[str, str]]:
    """(control, label) of every label that no head has, and no other control of the config either."""
    labels = {head.from_name: set(head.labels) for head in known.heads}
    for region in regions:
        control, kind, value = str(region.get("from_name")), str(region.get("type")), region.get("value")
        if control in controls and control not in labels:
            continue  # a control that we leave alone
        for label in listed(value.get(kind) if isinstance(value, dict) else None):
            if label not in labels.get(control, ()):
                yield control, label


def listed(value: Any) -> Sequence[str]:
    """A region's labels, whatever somebody has put there."""
    return [label for label in value if isinstance(label, str)] if isinstance(value, list) else []


def texts(scene: Scene) -> Finding:
    """Tasks without a readable text are never predicted and come last."""
    if not scene.raw.get("task_number"):
        return skipped("the project has no tasks")
    total, bad, problems = read_by_sync(scene) or read_now(scene)
    if not bad:
        return fine(f"the first {total} looked at" if total < scene.raw["task_number"] else "")
    first, what = next(iter(problems.items()))
    return fault(
        f"No text that we can read in {bad} of {total} tasks, as in task {first}: {what}",
        "Import them with their text in the field that the labelling config names, or addresses where its Text has "
        'valueType="url": what cannot be fetched now is tried again within about an hour.',
    )


def read_by_sync(scene: Scene) -> Read | None:
    """Of all tasks, as the last sync saw them; None before the first."""
    try:
        project = scene.project
    except NotFound:
        return None
    if project.watermark is None:
        return None
    counts = scene.store.counts(project.key)
    return counts["tasks"], counts["problems"], scene.store.problems(project.key, limit=1)


def read_now(scene: Scene) -> Read:
    """Of the oldest tasks, asked of Label Studio."""
    heads = parse_schema(scene.raw.get("label_config") or "").heads
    tasks = scene.studio.first_tasks(scene.ls_id, PAGE)
    problems = {}
    for task in tasks:
        try:
            for head in heads:
                read = address_of if head.by_address else text_of
                read(task.get("data") or {}, head)
        except DataError as error:
            problems[int(task["id"])] = error.what
    return len(tasks), len(problems), problems


CONNECTION = (
    Check("known", "Edgewise follows the project", known_here, fixable=True),
    Check("backend", "an ML backend of the project points at us", backend, fixable=True),
    Check("first", "our backend is the project's first", backend_first, fixable=True),
)
EVENTS_COME = (
    Check("webhook", "there is one active webhook to us", webhook, fixable=True),
    Check("secret", "the webhook carries our secret", webhook_secret, fixable=True),
    Check("events", "the webhook brings every event", webhook_events, fixable=True),
)
ORDER = (
    Check("sampling", "task sampling follows the score", sampling, fixable=True),
    Check("shown", "the project shows pre-labels", shown, fixable=True),
    Check("selected", "our release is the selected version", selected, fixable=True),
    Check("scores", "open tasks have a score", score_column, fixable=True),
    Check("overlap", "one annotation per task", overlap),
)
MATERIAL = (
    Check("config", "the labelling config has labels that we can learn", schema),
    Check("labels", "every label in use fits the labelling config", labels_fit),
    Check("texts", "tasks have a text", texts),
)
