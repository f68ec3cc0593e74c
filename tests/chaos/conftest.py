"""The two houses, each started once for a module, and a project in each that has been through its first ranking."""

from collections.abc import Iterator

import pytest

from tests.chaos.house import House, embedded, scaled
from tests.chaos.loop import Loop, connected


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Our server and its worker on SQLite, and Label Studio."""
    with embedded(tmp_path_factory.mktemp("home")) as house:
        yield house


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Server, workers, PostgreSQL, Redis, MLflow, and Label Studio."""
    with scaled(tmp_path_factory.mktemp("town")) as house:
        yield house


@pytest.fixture(scope="module")
def home_loop(home: House) -> Iterator[Loop]:
    """A project at home."""
    yield from _lived_in(home)


@pytest.fixture(scope="module")
def town_loop(town: House) -> Iterator[Loop]:
    """A project in town."""
    yield from _lived_in(town)


def _lived_in(house: House) -> Iterator[Loop]:
    loop = connected(house)
    try:
        loop.assert_all_is_well()
        yield loop
    finally:
        loop.close()
