"""The tabs that we keep in a project's Data Manager: for looking. Labelling from a tab takes no locks, so every text of
ours points to Label All Tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgewise.services.store import Project
from edgewise.verbs.system import System

Json = dict[str, Any]

TITLES = {
    "view": "Hardest first",
    "disagreement_view": "Model and language model disagree",
    "label_errors_view": "Likely label errors",
}
"""Where project.connection keeps the id of a tab -> the tab's title."""
LISTED_MOST = 500
SHOWN_ANYWAY = {"tasks:predictions_score", "tasks:data"}
COLUMNS = (
    "inner_id", "completed_at", "total_annotations", "cancelled_annotations", "total_predictions", "annotators",
    "annotations_results", "annotations_ids", "predictions_score", "predictions_model_versions", "predictions_results",
    "file_upload", "storage_filename", "created_at", "updated_at", "updated_by", "avg_lead_time", "draft_exists",
)  # fmt: skip
UNLABELLED = {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}


def keep_hardest(system: System, project: Project) -> Project:
    """Open tasks by the active release's score, lowest first."""
    return keep(system, project, "view", [UNLABELLED])


def keep_listed(system: System, project: Project, name: str, ids: Sequence[int]) -> Project:
    """Those of these tasks that nobody has labelled yet, by the same score. No tab is made only to be empty."""
    return _keep_listed(system, project, name, [listed(ids), UNLABELLED])


def keep_labelled(system: System, project: Project, name: str, ids: Sequence[int]) -> Project:
    """These tasks, labelled as they are. No tab is made only to be empty."""
    return _keep_listed(system, project, name, [listed(ids)])


def listed(ids: Sequence[int]) -> Json:
    """A filter: these tasks, as far as a tab may list them."""
    return {"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": list(ids[:LISTED_MOST])}


def _keep_listed(system: System, project: Project, name: str, filters: Sequence[Json]) -> Project:
    if not filters[0]["value"] and project.connection.get(name) is None:
        return project
    return keep(system, project, name, filters)


def keep(system: System, project: Project, name: str, filters: Sequence[Mapping[str, Any]]) -> Project:
    """A tab with these filters, made once and brought up to date afterwards; its id is remembered."""
    titles = {view["id"]: (view.get("data") or {}).get("title") for view in system.studio.views(project.ls_id)}
    known = project.connection.get(name)
    # One of our name that we do not know is from a life that we have forgotten.
    mine = known if known in titles else next((view for view, title in titles.items() if title == TITLES[name]), None)
    if mine is None:
        mine = system.studio.create_view(project.ls_id, view_data(TITLES[name], filters))["id"]
    else:
        system.studio.update_view(mine, view_data(TITLES[name], filters))
    return system.store.remember_connection(project.key, {name: mine})


def view_data(title: str, filters: Sequence[Mapping[str, Any]]) -> Json:
    """A tab as the Data Manager writes it: text and score, lowest score first."""
    hidden = [f"tasks:{column}" for column in COLUMNS if f"tasks:{column}" not in SHOWN_ANYWAY]
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": ["tasks:predictions_score"],
        "filters": {"conjunction": "and", "items": [dict(one) for one in filters]},
        "hiddenColumns": {"explore": hidden, "labeling": hidden},
    }


def drop(system: System, project: Project) -> None:
    """Remove our tabs."""
    there = {view["id"] for view in system.studio.views(project.ls_id)}
    for name in TITLES:
        if project.connection.get(name) in there:
            system.studio.delete_view(project.connection[name])
