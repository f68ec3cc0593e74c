"""More than anybody planned for: a storm of webhooks, a task of 5 MB, 100,000 tasks at once. Says what it measured."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from examples import wikigold
from tests.chaos.house import House, embedded
from tests.chaos.loop import Loop, connected
from tests.chaos.processes import until

STORM, SENDERS = 5_000, 16
MANY = 100_000
HUGE = 5_000_000
Say = Callable[[str], None]


@pytest.mark.timeout(900)
def test_a_storm_of_webhooks_is_answered_and_leads_to_few_syncs(home: House, home_loop: Loop, measured: Say) -> None:
    known = {job.id for job in home_loop.store.jobs(2000)}
    hook = next(one for one in home_loop.ask("GET", f"api/webhooks/?project={home_loop.id}") if home.url in one["url"])
    event = {"action": "ANNOTATION_UPDATED", "project": {"id": home_loop.id}}
    began = time.monotonic()
    with httpx.Client(timeout=30, limits=httpx.Limits(max_connections=SENDERS)) as http:

        def send(_: int) -> tuple[int, float]:
            sent = time.monotonic()
            answer = http.post(hook["url"], json=event, headers=hook["headers"])
            return answer.status_code, time.monotonic() - sent

        with ThreadPoolExecutor(SENDERS) as senders:
            answers = senders.map(send, range(STORM))
            home_loop.label(3)
            found = list(answers)
    lasted = time.monotonic() - began
    codes, times = Counter(code for code, _ in found), sorted(seconds for _, seconds in found)
    jobs = [job for job in home_loop.store.jobs(2000) if job.id not in known]
    spread = f"median {times[STORM // 2]:.3f} s, longest {times[-1]:.2f} s"
    measured(f"{STORM} webhooks in {lasted:.0f} s: answers {dict(codes)}, {spread}; {len(jobs)} jobs")
    assert set(codes) <= {200, 201, 429}, "429: told to come later, and the timed sync finds what it was about"
    assert len(jobs) <= 2 * lasted + 5, "a sync takes some hundred milliseconds, and one at most waits"
    home_loop.assert_all_is_well()


@pytest.mark.timeout(1800)
def test_a_task_of_five_megabytes_holds_nobody_up_for_ever(tmp_path: Path, measured: Say) -> None:
    with embedded(tmp_path / "house") as house:
        loop = connected(house)
        loop.assert_all_is_well()
        sentences = " ".join(row["text"] for row in wikigold.rows("train"))
        text = (sentences * (HUGE // len(sentences) + 1))[:HUGE]
        began = time.monotonic()
        loop.ask("POST", f"api/projects/{loop.id}/import", [{"data": {"text": text}}])
        until(lambda: loop.store.counts(loop.key)["tasks"] == 121, "it is read", 300, loop.told)
        read = time.monotonic() - began
        loop.assert_all_is_well(within_s=1500, tries=0)
        took = time.monotonic() - began
        measured(f"a task of {HUGE:,} characters: known after {read:.0f} s, ranked after {took:.0f} s")
        loop.close()


@pytest.mark.timeout(7200)
def test_a_hundred_thousand_tasks_at_once_are_read_and_people_label_by_the_head_meanwhile(
    tmp_path: Path, measured: Say
) -> None:
    with embedded(tmp_path / "house") as house:
        loop = connected(house)
        loop.assert_all_is_well()
        began = time.monotonic()
        tasks = [wikigold.task(row) for row, _ in zip(cycle(wikigold.rows("train")), range(MANY), strict=False)]
        loop.ask("POST", f"api/projects/{loop.id}/import", tasks, timeout_s=900)
        measured(f"Label Studio took {MANY:,} tasks in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        until(lambda: loop.store.counts(loop.key)["tasks"] == MANY + 120, "all are read", 3600, loop.told)
        measured(f"all are read after {time.monotonic() - began:.0f} s")
        loop.label(5)
        loop.await_heard(300)
        measured(f"labels made meanwhile are known after {time.monotonic() - began:.0f} s")
        loop.assert_all_is_well(within_s=6000)
        measured(f"all {MANY:,} are ranked after {time.monotonic() - began:.0f} s")
        loop.close()
