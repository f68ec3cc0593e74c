"""The dashboard's twin for a terminal: where a project stands, its curve, the advice, what became of pre-labels.

Takes the same status and numbers as the page. Knows nothing of how they come about.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgewise.web import page

Json = Mapping[str, Any]
BAR = 20  # characters of a score of 1
MOST_JOBS = 5
UNNAMED = "-"


def told(status: Json, numbers: Json) -> str:
    """Everything as text, as wide as the terminal; with colours only where somebody looks."""
    is_seen = sys.stdout.isatty()
    console = Console(
        file=StringIO(), force_terminal=is_seen, color_system="auto" if is_seen else None, highlight=False, emoji=False
    )
    for line in plain(status, numbers):
        console.print(line, markup=False, soft_wrap=True)
    for one in tables(status, numbers):
        console.print()
        console.print(one)
    written = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO from above
    return "\n".join(line.rstrip() for line in written.splitlines())


def plain(status: Json, numbers: Json) -> Iterator[str]:
    """A line for each thing that is one value."""
    shown = page.project(dict(status), dict(numbers), None)
    counts, until = status["tasks"], shown["until_training"]
    yield f"project: {status['project_id']} {status['title']}".rstrip()
    yield f"phase: {status['phase']}"
    yield f"why: {status['why']}"
    yield f"next step: {status['next_step']}"
    yield f"labelled: {shown['labelled']} of {counts['tasks']} tasks, {counts['audit_labelled']} of them held out"
    yield f"until the next training: {until['so_far']} of {until['needed']} labels"
    yield f"serves: {shown['serving'] or 'no version yet'}"
    yield from (f"arithmetic of {one['head']}: {arithmetic(one)}" for one in status.get("arithmetic", ()))
    if shown["pace"]:
        yield f"seconds per task: {pace(shown['pace'])}"
    if shown["language_model"]:
        yield f"language model: {spent(shown['language_model'])}"
    if shown["errors"]:
        yield f"likely label errors: {shown['errors']['total']}"
    if status.get("erased"):
        yield f"erased here, as deleted in Label Studio: {lost(status['erased'])}"
    if status.get("note"):
        yield f"note: {status['note']}"
    if status.get("ignored"):
        yield f"not learned: {', '.join(status['ignored'])}"
    yield from (f"check {one['check']}: {one['what']} {one['mend']}" for one in shown["failed_checks"])
    yield f"advice: {shown['advice']['sentence'] if shown['advice'] else 'nobody can tell before the first trainings'}"
    if shown["saving"]:
        yield f"against random order: {shown['saving']['sentence']}"


def arithmetic(one: Json) -> str:
    """What was chosen on a machine, and why."""
    return f"{one['choice']} ({one['reason']}) on {one['figures']['machine']}"


def pace(times: Json) -> str:
    """Medians with pre-labels and without."""
    with_, without = times["with"], times["without"]
    return (
        f"{with_['median_s']:.1f} with pre-labels ({with_['tasks']} tasks), "
        f"{without['median_s']:.1f} without ({without['tasks']})"
    )


def spent(run: Json) -> str:
    """What the last run of a language model took, and has left."""
    spend = run["spend"]
    return (
        f"run {run['run']} of {run['model']}, {page.dollars(spend['usd'])} spent on {page.count(spend['calls'])} "
        f"calls, {page.count(run['open_tasks_left'])} open tasks left"
    )


def lost(erased: Json) -> str:
    """How much was erased, and which versions had learned from it."""
    many = f"{erased['tasks']} tasks, {erased['annotations']} annotations"
    versions = [learner(one) for one in erased["learned_from_them"]]
    return f"{many}; {'no version had learned from them' if not versions else 'learned from by ' + ', '.join(versions)}"


def learner(one: Json) -> str:
    """A version that had learned from what was erased."""
    state = "serves" if one["serves"] else "kept" if one["kept"] else "its weights are gone"
    return f"{one['version']} ({state})"


def tables(status: Json, numbers: Json) -> Iterator[Table]:
    """What has several rows, and has any."""
    shown = page.project(dict(status), dict(numbers), None)
    for one in shown["heads"]:
        if one["points"]:
            yield curve(one, shown["serving"])
        if one["labels"]:
            yield labels(one)
    for group in shown["feedback"]:
        yield acceptance(group)
    if shown["versions"]:
        yield versions(shown["versions"])
    jobs = shown["jobs"][:MOST_JOBS]
    if jobs:
        yield job_table(jobs)


def curve(head: Json, serving: str | None) -> Table:
    """A version a row, oldest first."""
    table = made(
        f"{head['name']}: {head['measure']}", ["version", "labels#", "minutes#", "score#", "interval", "", "on"]
    )
    for point in head["points"]:
        state = "serves" if point["version"] == serving else "refused" if point["state"] == "refused" else ""
        on = f"{point['tasks']} held out" if point["on"] == "held_out" else "out of fold"
        row(
            table,
            point["version"],
            page.count(point["examples"]),
            page.count(point["minutes"]),
            page.score(point["score"]),
            between(point),
            bar(point["score"]),
            f"{on} {state}".rstrip(),
        )
    return table


def labels(head: Json) -> Table:
    """Scores per label of the version that serves."""
    table = made(f"{head['name']}: each label", ["label", "F1#", "", "occurs#"])
    for one in head["labels"]:
        row(table, one["name"], page.score(one["f1"]), bar(one["f1"]), page.count(one["support"]))
    return table


def acceptance(group: Json) -> Table:
    """What became of the pre-labels of one source."""
    names = ("accepted", "moved", "changed", "deleted", "missed")
    table = made(
        f"{group['head']}: pre-labels of {group['source']}", ["label", "kept#", *(f"{name}#" for name in names)]
    )
    for one in group["rows"]:
        row(table, one["label"], page.share(one["share"]), *(page.count(one[name]) for name in names))
    return table


def versions(cards: Sequence[Json]) -> Table:
    """Newest first: what `edgewise rollback` and `edgewise pin` take."""
    table = made("versions", ["version", "made", "state", "weights", "why"])
    for card in cards:
        state = "serves" if card["serves"] else card["state"]
        weights = "pinned" if card["pinned"] else "kept" if card["kept"] else "gone"
        row(table, card["id"], page.moment(card["at"]), state, weights, card["reason"])
    return table


def job_table(jobs: Sequence[Json]) -> Table:
    """The newest jobs."""
    table = made("jobs", ["job", "state", "done#", "says"])
    for job in jobs:
        says = f"{job['error']['what']} {job['error']['mend']}" if job["error"] else job["message"]
        row(table, job["kind"], job["state"], page.share(job["progress"]), says)
    return table


def made(title: str, columns: Sequence[str]) -> Table:
    """An empty table; columns whose name ends in # hold numbers."""
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in columns:
        is_number = name.endswith("#")
        table.add_column(Text(name.removesuffix("#")), justify="right" if is_number else "left", no_wrap=is_number)
    return table


def row(table: Table, *cells: str) -> None:
    """Cells as they are: what labels are called is no markup."""
    table.add_row(*(Text(cell) for cell in cells))


def between(point: Json) -> str:
    """The 95 % interval, where there is one."""
    if point.get("low") is None:
        return UNNAMED
    return f"{page.score(point['low'])} to {page.score(point['high'])}"


def bar(score: float | None) -> str:
    """A score as a bar, by eighths of a character."""
    eighths = round(8 * BAR * min(1.0, max(0.0, score or 0.0)))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
