"""What takes many minutes: `make test-long`. It runs the terminal, and the whole system, as their own tests do."""

from tests.cli.conftest import run
from tests.live.conftest import annotators, gold_annotators, start_edgewise

__all__ = ["annotators", "gold_annotators", "run", "start_edgewise"]
