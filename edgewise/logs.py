"""How this process logs: one line an event, to standard error. What is logged holds no task text, token or secret."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
LOUD = ("httpx", "httpcore", "alembic", "rq.worker")


def set_up_logging(level: str) -> None:
    """Log at this level; libraries that report every request only from WARNING."""
    logging.basicConfig(level=level, format=FORMAT)
    for name in LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
