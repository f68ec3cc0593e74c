"""plan, then the run: what was forecast is what is spent, and nothing is paid for twice. Against aimock."""

from decimal import Decimal
from typing import Any

import pytest

from edgewise.errors import Conflict
from edgewise.services.jobs import Progress
from edgewise.services.store import Project, Report
from edgewise.verbs import plan as verb
from edgewise.verbs import prelabel
from edgewise.verbs.plan import plan, table
from edgewise.verbs.system import System, schema_of
from examples import wikigold
from tests.llm_peers import Aimock, aimock_fixture, aimock_server_fixture
from tests.verbs.conftest import Make, started
from tests.verbs.measured import Bench, bench, distinct, fixtures, gold_of, settings

__all__ = ["aimock_fixture", "aimock_server_fixture"]

ROWS = distinct(wikigold.rows("train"), 200)


def planned(world: Bench, **options: Any) -> Report:
    """The report of a plan, run as a job."""
    with started(world.system, world.key, "plan") as progress:
        plan(world.system, world.system.by_key(world.key), options, progress)
        return world.system.store.report(world.key, progress.job_id)


def run_all(world: Bench) -> dict[str, Any]:
    """Ask about all that the run has left, as prelabel does; what the run has spent in all."""
    with started(world.system, world.key, "prelabel") as progress:
        ask_all(world.system, world.project, progress)
    row = world.system.store.last_llm_run(world.key)
    assert row is not None
    return row.spend


def ask_all(system: System, project: Project, progress: Progress) -> None:
    schema = schema_of(project)
    assert schema is not None
    with prelabel.open_model(system.settings) as chat:
        run = prelabel.open_run(system, project, schema, chat, progress)
        while ids := system.store.not_prelabelled(project.key, run.number, limit=50):
            prelabel.ask(run, ids)


def test_the_forecast_of_tokens_is_within_10_percent_of_what_the_run_then_uses(offline: Make, aimock: Aimock) -> None:
    aimock.script(*fixtures(gold_of(ROWS)))
    price = {"llm_price_input_usd": Decimal(1), "llm_price_output_usd": Decimal(4)}
    world = bench(offline(**settings(aimock, **price)), ROWS)
    report = planned(world)
    asked = len(aimock.asked())
    spent = run_all(world)
    whole, left, pilot = (report.content[name] for name in ("whole", "left", "pilot"))
    assert (asked, pilot["tasks"], left["tasks"], whole["tasks"]) == (20, 20, 180, 200)
    assert len(aimock.asked()) == 200, "the run does not ask again what the pilot asked"
    used = spent["input_tokens"] + spent["output_tokens"]
    assert whole["tokens"]["value"] == pytest.approx(used, rel=0.1)
    assert whole["input_tokens"]["value"] == pytest.approx(spent["input_tokens"], rel=0.1)
    rest = used - report.spend["input_tokens"] - report.spend["output_tokens"]
    assert left["tokens"]["value"] == pytest.approx(rest, rel=0.1)
    assert left["tokens"]["low"] <= rest <= left["tokens"]["high"]
    assert whole["usd"]["low"] <= float(spent["usd"]) <= whole["usd"]["high"]
    assert left["calls"]["value"] == pytest.approx(180)
    assert 0 < left["hours"]["low"] <= left["hours"]["value"]


def test_a_plan_says_no_word_of_a_text(offline: Make, aimock: Aimock) -> None:
    rows = ROWS[:30]
    aimock.script(*fixtures(gold_of(rows)))
    world = bench(offline(**settings(aimock)), rows)
    content = planned(world, tasks=5).content
    said = str(content)
    assert not [row["text"] for row in rows if row["text"][:20] in said]
    assert content["prompt"]["document"] > 0
    assert content["prompt"]["user"] > content["prompt"]["document"]


def test_an_unknown_price_or_usage_is_unknown_and_never_nothing(offline: Make, aimock: Aimock) -> None:
    rows = ROWS[:30]
    aimock.script(*fixtures(gold_of(rows)))
    content = planned(bench(offline(**settings(aimock)), rows)).content
    assert content["left"]["usd"] is None
    assert content["whole"]["usd"] is None
    assert "Calls: 10; " in content["advice"][0]
    assert "dollars: unknown; " in content["advice"][0]
    assert "LLM_PRICE_INPUT_USD" in content["advice"][1]
    header, lines = table(content)
    assert all(len(line) == len(header) for line in lines)
    assert "unknown" in lines[0]


def test_the_pilot_counts_to_the_budget_of_the_run_and_tells_how_far_it_reaches(offline: Make, aimock: Aimock) -> None:
    rows = ROWS[:60]
    aimock.script(*fixtures(gold_of(rows)))
    world = bench(offline(**settings(aimock, llm_budget_calls=40)), rows)
    report = planned(world, tasks=10)
    assert report.spend["calls"] == 11, "the first call asks what the endpoint honours"
    assert report.content["budget"] == {"usd_left": None, "calls_left": 29, "tasks": 29}
    assert any("reaches for about 29" in sentence for sentence in report.content["advice"])
    with started(world.system, world.key, "prelabel") as progress:
        schema = schema_of(world.project)
        assert schema is not None
        with prelabel.open_model(world.system.settings) as chat:
            run = prelabel.open_run(world.system, world.project, schema, chat, progress)
            prelabel.ask(run, list(world.ids.values()))
    assert len(aimock.journal()) <= 40


def test_planning_again_costs_nothing(offline: Make, aimock: Aimock) -> None:
    rows = ROWS[:40]
    aimock.script(*fixtures(gold_of(rows)))
    world = bench(offline(**settings(aimock)), rows)
    first = planned(world, tasks=8)
    asked = len(aimock.asked())
    second = planned(world, tasks=8)
    assert len(aimock.asked()) == asked
    assert second.content["left"]["tokens"] == first.content["left"]["tokens"]
    assert second.content["concurrency"]["measured"] is False, "kept answers tell nothing about how many were in flight"
    assert [one.id for one in world.system.store.reports(world.key, 10)] == [second.id, first.id]


def test_without_anything_to_ask_or_to_spend_it_says_so(offline: Make, aimock: Aimock) -> None:
    aimock.script(*fixtures(gold_of(ROWS[:3])))
    world = bench(offline(**settings(aimock)), ROWS[:3])
    run_all(world)
    with pytest.raises(Conflict, match="Nothing is left"):
        planned(world)


def test_a_budget_that_reaches_for_nothing_is_told(offline: Make, aimock: Aimock) -> None:
    world = bench(offline(**settings(aimock, llm_budget_calls=0)), ROWS[:3])
    with pytest.raises(Conflict, match="budget does not reach"):
        planned(world)


def test_the_pilot_has_short_and_long_texts() -> None:
    import numpy as np

    lengths = {task: task for task in range(1, 101)}
    for seed in range(20):
        drawn = verb.drawn(lengths, 10, np.random.default_rng(seed))
        assert [(task - 1) // 10 for task in drawn] == list(range(10))
    assert verb.drawn({7: 1}, 20, np.random.default_rng(0)) == [7]
