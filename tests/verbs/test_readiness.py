"""/ready answers soon, whatever Label Studio does, and keeps no more than one thread busy with it."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgewise.verbs.readiness import GOOD_FOR_S, PATIENCE_S, Readiness
from tests.verbs.conftest import Make, offline

__all__ = ["offline"]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        kept: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in kept:
            one.close()


def test_a_label_studio_that_never_answers_holds_one_caller_for_a_moment(offline: Make, silent: str) -> None:
    readiness = Readiness(offline(label_studio_host=silent, label_studio_api_key="0" * 40))

    def ask() -> float:
        began = time.monotonic()
        assert readiness.now()["ready"] is False
        return time.monotonic() - began

    with ThreadPoolExecutor(20) as callers:
        took = sorted(callers.map(lambda _: ask(), range(20)))
    assert took[-1] < PATIENCE_S + 2
    assert took[-2] < 1, "who asks while somebody asks has the answer before"
    parts = readiness.now()["parts"]
    assert parts["database"] == {"ready": True}
    assert parts["label_studio"]["mend"]


def test_an_answer_is_good_for_a_moment_and_not_for_longer(offline: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    system = offline()
    asked: list[int] = []
    monkeypatch.setattr(system.store, "ping", lambda: asked.append(1))
    readiness = Readiness(system)
    for _ in range(5):
        readiness.now()
    assert len(asked) == 1
    time.sleep(GOOD_FOR_S + 0.1)
    readiness.now()
    assert len(asked) == 2
