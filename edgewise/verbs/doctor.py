"""doctor: what is wrong with the connection, and the fix. Looks only; connect mends what it can.

Each check is one way in which a connection fails without a word.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.errors import EdgewiseError
from edgewise.services.jobs import Progress
from edgewise.services.store import Project
from edgewise.verbs.system import System, schema_of

Check = dict[str, Any]


def doctor(system: System, project: Project, progress: Progress) -> None:
    """Examine the connection and keep the result for status."""
    checks = examine(system, project)
    system.store.remember_connection(project.key, {"checks": checks})
    progress(1.0, in_words(checks))


def in_words(checks: Sequence[Check]) -> str:
    """How an examination ended, in a sentence."""
    failed = [str(check["check"]) for check in checks if not check["ok"]]
    if not failed:
        return f"All {len(checks)} checks passed."
    return f"{len(failed)} of {len(checks)} checks failed: not so that {'; '.join(failed)}."


def examine(system: System, project: Project) -> list[Check]:
    """Every check, the failed ones with what it means and what to do. A check that cannot run is a failed one."""
    try:
        raw = system.studio.project(project.ls_id)
        backends = system.studio.backends(project.ls_id)
        hooks = system.studio.webhooks(project.ls_id)
        names = system.studio.model_versions(project.ls_id)
    except EdgewiseError as error:
        return [check("Label Studio answers", False, error.what, error.mend)]
    return [
        check("Label Studio answers", True),
        backend_check(project, backends),
        webhook_check(project, hooks),
        sampling_check(raw),
        version_check(project, raw, names, backends),
        overlap_check(raw),
        heads_check(project),
        text_check(system, project),
    ]


def check(name: str, ok: bool, what: str = "", mend: str = "") -> Check:
    """One line of the doctor's report."""
    return {"check": name, "ok": ok, "what": "" if ok else what, "mend": "" if ok else mend}


def backend_check(project: Project, backends: Sequence[Mapping[str, Any]]) -> Check:
    """Several backends may be added, but Label Studio asks only the first for predictions."""
    ours = project.connection.get("backend_url")
    first = bool(backends) and str(backends[0]["url"]).rstrip("/") == str(ours).rstrip("/")
    return check(
        "our backend is the project's first",
        first,
        f"The project has {len(backends)} ML backends and ours is not the first: Label Studio asks only the first.",
        "Remove the others under Settings > Model.",
    )


def webhook_check(project: Project, hooks: Sequence[Mapping[str, Any]]) -> Check:
    """Without the webhook we learn of a label only at the next timed sync."""
    ours = [hook for hook in hooks if hook["id"] == project.connection.get("webhook")]
    active = bool(ours) and ours[0].get("is_active", True) and bool(ours[0].get("headers"))
    return check(
        "the webhook is there, active and carries our secret",
        active,
        "Label Studio has no active webhook with our secret: labels are noticed only by the timed sync.",
        "Run `edgewise connect` again. If Label Studio refuses private addresses it never makes the webhook: "
        "set USE_DEFAULT_BANNED_SUBNETS=false and your own USER_ADDITIONAL_BANNED_SUBNETS there.",
    )


def sampling_check(raw: Mapping[str, Any]) -> Check:
    """Any other sampling ignores scores."""
    return check(
        "task sampling follows the score",
        raw.get("sampling") == "Uncertainty sampling",
        f"The project's task sampling is {raw.get('sampling')!r}: the order is ignored.",
        "Run `edgewise connect` again, or choose Settings > General > Task Sampling > Uncertainty sampling.",
    )


def version_check(
    project: Project, raw: Mapping[str, Any], names: Mapping[str, int], backends: Sequence[Mapping[str, Any]]
) -> Check:
    """Only predictions whose version is the project's selected one are ordered; a backend's title selects nothing."""
    selected = raw.get("model_version") or ""
    wanted = f"ew-{project.active_release}" if project.active_release is not None else None
    titles = {str(backend.get("title")) for backend in backends}
    fault = f"Label Studio has {selected!r} selected" + (", a backend's title" if selected in titles else "")
    return check(
        "our release is the selected version",
        wanted is None or selected == wanted,
        f"{fault}, and not our release {wanted}: the order is random and the score column empty.",
        "Choose our release under Settings > Annotation > live predictions, or run `edgewise rank`.",
    ) | {"selected": selected, "predictions": names.get(selected, 0)}


def overlap_check(raw: Mapping[str, Any]) -> Check:
    """With an overlap above one, tasks that somebody began come first, at random."""
    overlap = raw.get("maximum_annotations") or 1
    return check(
        "one annotation per task",
        overlap == 1,
        f"Each task wants {overlap} annotations: Label Studio serves tasks already begun first, in random order.",
        "Nothing is lost; the order holds among tasks that nobody has begun.",
    )


def heads_check(project: Project) -> Check:
    """Labels that fit no head are never learned."""
    schema = schema_of(project)
    return check(
        "the labelling config has labels that we can learn",
        schema is not None,
        "No <Labels> or <Choices> in the labelling config points at a <Text>.",
        "Add one, or connect another backend to this project.",
    ) | {"ignored": list(schema.ignored) if schema else []}


def text_check(system: System, project: Project) -> Check:
    """Tasks without a readable text are never predicted and come last."""
    unreadable = system.store.counts(project.key)["problems"]
    return check(
        "every task has a text",
        unreadable == 0,
        f"{unreadable} tasks have no text that we can read; status names them.",
        "Import them with their text in the field that the labelling config names, not as a URL.",
    )
