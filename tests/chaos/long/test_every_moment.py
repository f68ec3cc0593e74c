"""kill -9 of every service, in the middle of everything that a round is made of: `make chaos`."""

import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.chaos.house import House
from tests.chaos.loop import (
    ACTIVATED,
    ACTIVATION,
    ARRIVED,
    MIRROR,
    PUBLISHED,
    PUSH,
    RANKING,
    SYNC,
    TRAINING,
    Loop,
    Moment,
)

Say = Callable[[str], None]
pytestmark = pytest.mark.timeout(2400)
LONGEST_AWAY_S = 3.0


@pytest.mark.parametrize("victim", ["redis", "mlflow", "postgres", "studio", "server", "worker"])
def test_in_town_a_service_is_killed_in_sync_training_ranking_push_and_activation(
    town: House, town_loop: Loop, victim: str, measured: Say
) -> None:
    strike_in_turn(town_loop, victim, (TRAINING, RANKING, ARRIVED, ACTIVATION), measured)


@pytest.mark.parametrize("victim", ["server", "worker", "studio"])
def test_at_home_a_service_is_killed_at_the_finest_points(
    home: House, home_loop: Loop, victim: str, measured: Say
) -> None:
    strike_in_turn(home_loop, victim, (PUBLISHED, PUSH, ACTIVATED), measured)


def test_mlflow_is_killed_while_it_is_told(town: House, town_loop: Loop, measured: Say) -> None:
    before = town_loop.round_until(MIRROR)
    strike(town_loop, "mlflow", MIRROR, measured)
    town_loop.assert_all_is_well(above=before)


def strike_in_turn(loop: Loop, victim: str, moments: Sequence[Moment], measured: Say) -> None:
    """Kill it in a sync, then at each of these moments of a round; afterwards all is well."""
    loop.label(2)
    loop.caught(SYNC)
    strike(loop, victim, SYNC, measured)
    before = loop.round_until(moments[0])
    strike(loop, victim, moments[0], measured)
    for moment in moments[1:]:
        before = loop.caught_at_last(moment, before)
        strike(loop, victim, moment, measured)
    began = time.monotonic()
    loop.assert_all_is_well(above=before)
    measured(f"{victim}: all is well {time.monotonic() - began:.0f} s after the last restart")


def strike(loop: Loop, victim: str, moment: Moment, measured: Say) -> None:
    """kill -9, label while it is away, and start it again."""
    away_s = random.random() * LONGEST_AWAY_S
    loop.house.kill(victim)
    time.sleep(away_s)
    if victim != "studio":
        loop.label(1)
    loop.house.heal()
    measured(f"{victim} killed {moment.name}, {away_s:.1f} s away")
