"""How this process logs: one line an event, to standard error, as text or as JSON, with the request and the job that it
belongs to. What is logged holds no task text, token or secret; an exception's words may, so that only its kind and its
place are told.
"""

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

TEXT = "%(asctime)s %(levelname)s %(name)s %(ids)s%(message)s"
LOUD = ("httpx", "httpcore", "alembic", "rq.worker")
OF_GUNICORN = ("gunicorn.error", "gunicorn.access")

_about: ContextVar[Mapping[str, str] | None] = ContextVar("edgewise_about", default=None)
Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def set_up_logging(level: str, form: str = "text") -> None:
    """Log at this level, as "text" or "json"; libraries that report every request only from WARNING."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_ids)
    handler.setFormatter(JsonLines() if form == "json" else Lines(TEXT))
    logging.basicConfig(level=level, handlers=[handler])
    for name in LOUD:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    if form == "json":
        for name in OF_GUNICORN:
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True


def begin(**ids: str) -> None:
    """From now on what this thread logs is about these: request="…"."""
    _about.set(ids)


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What is logged in the block is about these as well: job="…"."""
    token = _about.set({**current(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def current() -> Mapping[str, str]:
    """What this thread logs about just now."""
    return _about.get() or {}


class Lines(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback below it is ours, not one that another handler has left there."""
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: Raised) -> str:  # logging's own name
        """Kinds and places, without words."""
        return told(ei)


class JsonLines(Lines):
    """A line for machines: time, level, logger, message, ids, and the facts that the caller gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **current(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def told(raised: Raised) -> str:
    """Where an exception and those that led to it were raised, and their kinds. Their words may quote a task."""
    error, parts = raised[1], []
    while error is not None:
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"{frames}{type(error).__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nwhich came of:\n".join(parts)


def _add_ids(record: logging.LogRecord) -> bool:
    record.ids = "".join(f"{name}={value} " for name, value in current().items())
    return True
