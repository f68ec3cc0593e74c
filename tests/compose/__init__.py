"""The whole compose stack, built and run: `tests/compose/run.sh`, which `make compose-test` calls."""
