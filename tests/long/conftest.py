"""The long tests run the terminal as its own tests do."""

from tests.cli.conftest import run

__all__ = ["run"]
