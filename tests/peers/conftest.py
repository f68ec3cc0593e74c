"""A real sampler: llama.cpp's server with a tiny model, both made by build.sh. Without it these tests fail."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewise.services.llm import ProviderChat, open_chat
from tests.llm_peers import wait_for
from tests.services.conftest import end, free_port

FOLDER = Path(__file__).parents[2] / ".run" / "peers"
MODEL = FOLDER / "tiny.gguf"


@dataclass(frozen=True)
class Llama:
    """A running llama-server, and its log."""

    base_url: str
    log: Path


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """The server, started once: two answers at a time, no network, one thread."""
    servers = sorted(FOLDER.glob("llama-server.*"))
    assert servers, "There is no sampler: say make test-peers, which builds it."
    assert MODEL.exists(), "There is no model for the sampler: say make test-peers, which writes it."
    port = free_port()
    log = tmp_path_factory.mktemp("llama") / "log"
    options = ["--host", "127.0.0.1", "--port", str(port), "-c", "32768", "-np", "2", "-t", "1", "--no-warmup"]
    with log.open("wb") as out:
        process = subprocess.Popen([servers[-1], "-m", MODEL, *options, "--jinja"], stdout=out, stderr=out)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield Llama(f"http://127.0.0.1:{port}/v1", log)
        finally:
            end(process)


@pytest.fixture
def chat(llama: Llama) -> Iterator[ProviderChat]:
    """A chat with it that has asked nothing yet."""
    with ExitStack() as stack:
        yield stack.enter_context(open_chat("openai", "tiny", base_url=llama.base_url, private=True))
