"""What Prometheus is told of all projects, and how little it costs."""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from edgewise.services.store import LlmRun, Task, Version
from edgewise.verbs.gauges import gauges
from edgewise.verbs.spending import NOTHING
from edgewise.verbs.system import System
from edgewise.web.metrics import Metrics
from tests.verbs.conftest import Make

MANY = 10_000
MOST_S = 0.05


def sample(system: System, name: str, **labels: str) -> float | None:
    """One gauge's value with these labels; None if there is none."""
    told = gauges(system)[name]
    if isinstance(told, int | float):
        return float(told)
    return next((value for given, value in told if labels.items() <= given.items()), None)


def test_projects_are_told_apart_with_what_serves_them(offline: Make) -> None:
    system = offline()
    store = system.store
    one, other = (store.record_project(system.address, ls_id, "c").key for ls_id in (7, 8))
    store.upsert_tasks(
        one, [Task(1, {}, "k"), Task(2, {}, "k", digest="d"), Task(3, {}, "k", audit=True, digest="d")], {}
    )
    scores = {"label": {"held_out_tasks": 60, "held_out": {"overall": {"f1": 0.5, "precision": 0.4, "recall": 0.7}}}}
    store.add_version(Version("v1", one, "s", "h", scores={**scores, "other": {"held_out_tasks": 0}}))
    release = store.new_release(one, "v1", "s").n
    store.update_project(one, serving="v1", active_release=release, state="live")
    store.update_project(other, trouble={"what": "w", "mend": "m"})
    info = {"state": "live", "version": "v1", "release": f"ew-{release}"}
    assert sample(system, "project_info", project="7", **info) == 1
    assert sample(system, "project_info", project="8", version="", release="") == 1
    assert [sample(system, "project_in_trouble", project=name) for name in ("7", "8")] == [0, 1]
    counted = ("tasks", "open_tasks", "labelled_tasks", "audit_labelled_tasks")
    assert [sample(system, name, project="7") for name in counted] == [3, 3, 1, 1]
    assert sample(system, "held_out_score", project="7", head="label", measure="recall") == 0.7
    assert sample(system, "held_out_score", project="7", head="other") is None
    store.record_project(system.address, 7, "another")  # the older is gone
    assert sample(system, "projects") == 2


def test_jobs_are_told_by_kind_and_state_and_how_long_the_oldest_has_waited(offline: Make) -> None:
    system = offline()
    key = system.store.record_project(system.address, 1, "c").key
    assert sample(system, "queue_age_seconds") == 0
    system.queue.enqueue("rank", key, run_after=datetime.now(UTC) + timedelta(hours=1))  # its time has not come
    assert sample(system, "queue_age_seconds") == 0
    system.queue.enqueue("sync", key)
    with system.store._write() as connection:
        long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5)
        connection.execute(text("UPDATE jobs SET created_at = :at WHERE kind = 'sync'"), {"at": str(long_ago)})
    assert 299 < (sample(system, "queue_age_seconds") or 0) < 330
    assert sample(system, "jobs", kind="sync", state="queued") == 1
    assert sample(system, "unfinished_jobs") == 2
    job = system.store.start_job(system.store.due_jobs("light")[0].id, 60)
    assert job is not None
    system.store.end_job(job, "failed", error={"what": "w", "mend": "m"})
    assert sample(system, "jobs", kind="sync", state="failed") == 1
    assert sample(system, "queue_age_seconds") == 0


def test_what_language_models_cost_is_summed_and_an_unknown_price_is_no_zero(offline: Make) -> None:
    system = offline()
    store = system.store
    keys = [store.record_project(system.address, ls_id, "c").key for ls_id in (1, 2)]
    for key, usd in zip(keys, ("0.25", None), strict=True):
        spend = NOTHING | {"usd": usd, "calls": 3, "input_tokens": 10, "output_tokens": 4}
        store.add_llm_run(key, LlmRun(1, "d", "s", "j", {}, spend, {}), [])
        store.begin_report(key, f"report {key}", "plan")
        store.update_report(key, f"report {key}", spend=spend)
    assert [sample(system, "llm_spend_dollars", project=name) for name in ("1", "2")] == [0.5, None]
    assert [sample(system, "llm_calls", project=name) for name in ("1", "2")] == [6, 6]
    assert sample(system, "llm_tokens", project="1", way="input") == 20


def test_a_look_at_ten_thousand_tasks_takes_no_time(offline: Make) -> None:
    system = offline()
    key = system.store.record_project(system.address, 1, "c").key
    words = "word " * 400
    tasks = [Task(i, {"text": words}, str(i), digest="d" if i % 3 else None, audit=i % 10 == 0) for i in range(MANY)]
    for start in range(0, MANY, 500):
        system.store.upsert_tasks(key, tasks[start : start + 500], {})
    with system.store._write() as connection:
        row = "'j' || i, 1, 'sync', 'light', 'done', '{}', 1, 0, 1, '', '2026-11-21 00:00:00'"
        columns = "id, project_key, kind, lane, state, args, attempts, faults, progress, message, created_at"
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {2 * MANY})"
        connection.execute(text(f"{numbers} INSERT INTO jobs ({columns}) SELECT {row} FROM n"))
    page = Metrics(lambda: gauges(system))
    seconds = []
    for _ in range(15):
        began = time.perf_counter()
        assert b'edgewise_jobs{kind="sync",state="done"} 20000.0' in page.page()
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < MOST_S, seconds  # what else the machine does is not its cost
