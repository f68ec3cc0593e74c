"""What the page of a project shows, made of its status and its numbers: values in, values out, no HTML and no Flask.

Scores are in [0, 1], shares too, bars are 100 wide. What is not known is None, and is shown as a dash.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

# What became of a pre-label, in the order of the bar: kept, then ever more work. Missed spans were not suggested.
OUTCOMES = ("accepted", "moved", "changed", "deleted")
DASH = "–"
MOST_ERRORS = 20  # rows; the view in Label Studio has all of them
MOST_JOBS = 12
MOST_DIFFERENCES = 3  # of two annotators, the most frequent

# Kinds of job as people would say it; others are named as they are.
DOING = {
    "connect": "Connecting to the project in Label Studio",
    "sync": "Reading what changed in Label Studio",
    "sweep": "Looking for tasks that were deleted",
    "train": "Training a new version",
    "rank": "Putting the open tasks in order",
    "score": "Helping with the order",  # score-1 and so on
    "prelabel": "The language model is labelling",
    "improve": "The language model and a small model teach each other",
    "plan": "Trying the language model on a few tasks",
    "evaluate-llm": "Measuring language models",
    "saving": "Measuring what random order would have needed",
    "label-errors": "Looking for label errors",
    "arithmetic": "Finding the fastest arithmetic that ranks alike",
    "doctor": "Checking the connection",
    "forget": "Erasing the project",
}


def project(status: Json, numbers: Json, plan: Json | None) -> Json:
    """All that the template of a project needs."""
    serving = (status.get("model_version") or {}).get("id")
    heads = [head(name, curve, serving) for name, curve in (numbers.get("curves") or {}).items()]
    tasks = status.get("tasks") or {}
    labelled = tasks.get("labelled", 0) + tasks.get("audit_labelled", 0)
    return {
        "status": status,
        "serving": serving,
        "heads": heads,
        "held_out": numbers.get("held_out") or {"tasks": 0, "enough": False},
        "advice": numbers.get("advice"),
        "labelled": labelled,
        "labelled_width": width(labelled, tasks.get("tasks", 0)),
        "until_training": until_training(status),
        "pace": pace(numbers.get("pace")),
        "saving": content(numbers.get("saving")),
        "feedback": feedback(numbers.get("feedback") or []),
        "rounds": rounds(content(numbers.get("improve"))),
        "errors": label_errors(content(numbers.get("label_errors"))),
        "versions": versions(numbers.get("versions") or [], heads, serving),
        "jobs": worth_telling(status.get("jobs", []))[:MOST_JOBS],
        "running": [job for job in status.get("jobs", []) if job["state"] == "running"],
        "failed_checks": [check for check in status.get("checks", []) if not check["ok"]],
        "language_model": status.get("language_model"),
        "plan": forecast(plan),
    }


def head(name: str, curve: Json, serving: str | None) -> Json:
    """A head's curve, the point of the version that serves, and its scores per label."""
    points = curve.get("points") or []
    now = next((point for point in reversed(points) if point["version"] == serving), points[-1] if points else None)
    labels = [
        {"name": label, "f1": one["f1"], "support": one["support"], "width": width(one["f1"] or 0.0, 1.0)}
        for label, one in ((now or {}).get("per_label") or {}).items()
    ]
    return {
        "name": name,
        "measure": curve.get("measure", "F1"),
        "points": points,
        "now": now,
        "labels": labels,
        "has_minutes": any(point.get("minutes") for point in points),
        "on": sorted({point["on"] for point in points}),
    }


def until_training(status: Json) -> Json:
    """How far the next training is: updates so far, how many start it."""
    so_far, needed = status.get("labels_since_last_training", 0), status.get("training_starts_at", 0)
    return {"so_far": so_far, "needed": needed, "width": width(min(so_far, needed), needed)}


def pace(told: Json | None) -> Json | None:
    """Seconds a task with pre-labels and without; saved: the share of time saved."""
    if not told:
        return None
    helped, alone = told["with"]["median_s"], told["without"]["median_s"]
    return told | {"saved": 1 - helped / alone if alone else None}


def feedback(rows: Sequence[Json]) -> list[Json]:
    """The acceptance table: a group for each head and source, with a bar for each label."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for row in rows:
        groups.setdefault((row["head"], row["source"]), []).append(row)
    found = []
    for (name, source), members in groups.items():
        names = (*OUTCOMES, "missed")
        whole = {"label": "all"} | {outcome: sum(one[outcome] for one in members) for outcome in names}
        shown = members if len(members) == 1 else [*members, whole]
        found.append({"head": name, "source": source_name(source), "rows": [with_bar(one) for one in shown]})
    return found


def with_bar(row: Json) -> Json:
    """A row with the share of its suggestions that were accepted, and the pieces of its bar."""
    suggested = sum(row[outcome] for outcome in OUTCOMES)
    pieces, start = [], 0.0
    for outcome in OUTCOMES:
        size = width(row[outcome], suggested)
        pieces.append({"outcome": outcome, "start": round(start, 2), "width": size})
        start += size
    return row | {"suggested": suggested, "share": row["accepted"] / suggested if suggested else None, "pieces": pieces}


def source_name(source: str) -> str:
    """Where a pre-label came from; a version's id in short."""
    name, _, version = source.partition(" ")
    return f"{name} {short(version)}" if name == "model" and is_version(version) else source


def label_errors(report: Json | None) -> Json | None:
    """The list, worst first, cut to what a page holds, and how far annotators agree."""
    if report is None:
        return None
    errors = report.get("errors") or []
    agreement = [pair | {"differ": pair["differ"][:MOST_DIFFERENCES]} for pair in report.get("agreement") or []]
    found = report.get("found", len(errors))
    return report | {"shown": errors[:MOST_ERRORS], "total": found, "agreement": agreement}


def rounds(report: Json | None) -> Json | None:
    """What improve did, a row for each head and round."""
    if report is None:
        return None
    rows = [
        one | {"round": played["round"], "head": name, "usd": played["spend"]["usd"], "calls": played["spend"]["calls"]}
        for played in report["rounds"]
        for name, one in played["heads"].items()
    ]
    return report | {"rows": rows, "several": len({row["head"] for row in rows}) > 1}


def versions(cards: Sequence[Json], heads: Sequence[Json], serving: str | None) -> list[Json]:
    """The cards, newest first, with each head's score on today's held-out tasks."""
    scores: dict[str, list[Json]] = {}
    for one in heads:
        for point in one["points"]:
            scores.setdefault(point["version"], []).append(point | {"head": one["name"], "measure": one["measure"]})
    in_order = sorted(cards, key=lambda card: card.get("at") or "", reverse=True)
    return [
        card
        | {"points": scores.get(card["id"], []), "serves": card["id"] == serving}
        | {"taught": taught(card), "how": how(card.get("settings") or {})}
        for card in in_order
    ]


def how(settings: Json) -> list[tuple[str, str]]:
    """How a version was trained, a row for each setting; those of each head's training together."""
    rows: list[tuple[str, Any]] = list((settings.get("recipe") or {}).items())
    for name, details in (settings.get("training") or {}).items():
        rows.append((f"trained {name}", ", ".join(f"{key} {one}" for key, one in details.items() if is_plain(one))))
    rows += [(name, value) for name, value in settings.items() if is_plain(value)]
    return [(name.replace("_", " "), DASH if value is None else str(value)) for name, value in rows]


def is_plain(value: object) -> bool:
    """Whether it is one value, and known."""
    return isinstance(value, str | int | float)


def taught(card: Json) -> list[tuple[str, int]]:
    """How often each label occurred in what a version learned from, heads one after another."""
    counts = card.get("label_counts") or {}
    nested = [inner for inner in counts.values() if isinstance(inner, dict)] or [counts]
    return [(label, number) for inner in nested for label, number in inner.items()]


def content(report: Json | None) -> Json | None:
    """What a report found, with its id and date if it comes with them."""
    return report | report["report"] if report and "report" in report else report


def worth_telling(jobs: Sequence[Json]) -> list[Json]:
    """Without the syncs that found nothing, save the newest: there is one every half a minute."""
    idle = [job["id"] for job in jobs if job["kind"] == "sync" and job["state"] == "done" and not job["message"]]
    return [job for job in jobs if job["id"] not in idle[1:]]


def forecast(report: Json | None) -> Json | None:
    """What the language model has left to do, and when that was reckoned."""
    return report["report"] | {"at": report["at"]} if report and "left" in report["report"] else None


def doing(kind: str) -> str:
    """What a job of this kind does, in words."""
    return DOING.get(re.sub(r"-[0-9]+$", "", kind), f"{kind} is running")


def is_version(text: str) -> bool:
    """Whether it has the form of a version's id."""
    return re.fullmatch(r"[0-9a-f]{12}", text) is not None


# How values are written


def width(part: float, whole: float) -> float:
    """A share as the length of a bar, in [0, 100]."""
    return round(100 * min(1.0, max(0.0, part / whole)), 2) if whole else 0.0


def count(number: float | None) -> str:
    """12345 -> 12,345."""
    return DASH if number is None else f"{number:,.0f}"


def score(value: float | None) -> str:
    """Three decimals: one more than the interval can bear."""
    return DASH if value is None else f"{value:.3f}"


def share(value: float | None) -> str:
    """0.62 -> 62 %."""
    return DASH if value is None else f"{100 * value:.0f} %"


def dollars(value: str | float | None) -> str:
    """Cents, and more places where a run costs less than one."""
    if value is None:
        return "unknown"
    amount = float(value)
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.4f}"


def ranged(amount: Json | None, unit: str = "") -> str:
    """An amount with its interval, in as few digits as tell something."""
    if amount is None:
        return "unknown"
    low, value, high = (f"{unit}{figure(amount[name])}" for name in ("low", "value", "high"))
    return value if low == high else f"{value} ({low} to {high})"


def figure(value: float) -> str:
    """Three digits that matter, and none behind the point of what is large."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def moment(stamp: str | None) -> str:
    """2026-11-21T13:05:00+00:00 -> 21 Nov, 13:05 UTC."""
    if not stamp:
        return DASH
    try:
        then = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    return f"{then.astimezone(UTC) if then.tzinfo else then:%d %b, %H:%M} UTC".lstrip("0")


def short(version: str | None) -> str:
    """A version's first characters: enough to tell it from the others."""
    return version[:6] if version else DASH
