"""What all tests share: a clean environment, and the real Label Studio of tests/studio_fixture.py."""

import os

# Before torch: spinning OpenMP threads starve whoever shares the cores. No test may reach for a hub.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.studio_fixture import label_studio, personal_token, studio, studio_project

# `make test` judges a change: its examples are the same each time. Those of `make fuzz` are new, and find what is left.
settings.register_profile("same", derandomize=True)
settings.load_profile("default" if os.environ.get("EDGEWISE_NEW_EXAMPLES") else "same")

__all__ = ["label_studio", "personal_token", "studio", "studio_project"]

MEASURED = "measured"
LONGEST = "test_loop.py"


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Figures that a test found, shown at the end of the run: what it prints itself is lost in a worker of xdist."""
    return lambda text: record_property(MEASURED, text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest module first, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """All figures, whether their test passed or not."""
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, [])]
    found = [text for one in reports for name, text in one.user_properties if name == MEASURED and one.when == "call"]
    if found:
        terminalreporter.section(MEASURED)
        terminalreporter.write_line("\n\n".join(map(str, found)))
