"""kill -9 on the embedded defaults: server, worker, Label Studio. tests/chaos/long has each service at each moment."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.house import House
from tests.chaos.loop import ACTIVATED, ARRIVED, SYNC, TRAINING, Loop, connected

AWAY_S = 2.0


@pytest.fixture
def newcomer(home: House) -> Iterator[Callable[[], Loop]]:
    """Connects another project."""
    loops: list[Loop] = []

    def connect() -> Loop:
        loops.append(connected(home))
        return loops[-1]

    yield connect
    for loop in loops:
        loop.close()


@pytest.mark.timeout(900)
def test_a_power_cut_in_a_training_a_push_and_a_sync_then_label_studio_killed_in_the_activation(
    home: House, home_loop: Loop, newcomer: Callable[[], Loop], measured: Callable[[str], None]
) -> None:
    before = home_loop.round_until(TRAINING)
    trainer = home.runners(home_loop.running("train").id)
    home.thaw(but=trainer)
    other = newcomer()
    other.caught(ARRIVED)
    pusher = home.runners(other.running("rank").id)
    home.thaw(but=pusher)
    home_loop.label(2)
    home_loop.caught(SYNC)
    assert len(trainer) == len(pusher) == 1, "both jobs were held in the middle until now"
    home.kill("server")
    assert home_loop.label(2), "Label Studio goes on without us, and nobody hears its webhooks"
    began = time.monotonic()
    home.heal()
    home_loop.caught_at_last(ACTIVATED, before)
    home.kill("studio")
    measured(f"after the power cut: trained, ranked and pushed again within {time.monotonic() - began:.0f} s")
    time.sleep(AWAY_S)
    began = time.monotonic()
    home.heal()
    for loop, above in ((home_loop, before), (other, 0)):
        loop.assert_all_is_well(above=above)
    measured(f"Label Studio killed in the activation: all is well {time.monotonic() - began:.0f} s after its restart")
