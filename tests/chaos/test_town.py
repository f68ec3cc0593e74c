"""kill -9 in the scaled house: Redis, MLflow, PostgreSQL, workers. tests/chaos/long has each service at each moment."""

import time
from collections.abc import Callable

import pytest

from tests.chaos.house import House
from tests.chaos.loop import ARRIVED, RANKING, SYNC, TRAINING, Loop

AWAY_S = 2.0


@pytest.mark.timeout(900)
def test_redis_killed_in_a_sync_mlflow_in_the_training_postgresql_in_the_ranking_and_the_workers_in_the_push(
    town: House, town_loop: Loop, measured: Callable[[str], None]
) -> None:
    town_loop.label(2)
    town_loop.caught(SYNC)
    town.kill("redis")  # it wrote nothing down: all that it carried is lost
    time.sleep(AWAY_S)
    town.heal()
    before = town_loop.round_until(TRAINING)
    town.kill("mlflow")
    town_loop.caught(RANKING, before)
    town.kill("postgres")
    time.sleep(AWAY_S)
    town.heal("mlflow")
    before = town_loop.caught_at_last(ARRIVED, before)
    town.kill("worker")
    assert town_loop.label(2), "people go on by the release before"
    began = time.monotonic()
    town.heal()
    town_loop.assert_all_is_well(above=before)
    measured(f"the workers killed in the push: all is well {time.monotonic() - began:.0f} s after the restart")
