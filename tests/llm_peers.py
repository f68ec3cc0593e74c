"""Language models for tests, none of them one: aimock, which speaks both vendors' protocols as scripted, and others.

aimock (`@copilotkit/aimock`, npm) is installed once into .run/aimock, pinned. Its journal tells what was asked.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.services.llm import PROBE_USER
from tests.http_stand_in import Answer, as_json, serving
from tests.services.conftest import end, free_port

Json = dict[str, Any]

AIMOCK = "@copilotkit/aimock@1.43.0"
FOLDER = Path(__file__).parent.parent / ".run" / "aimock" / "1.43.0"
PATIENCE_S = 90.0  # transformers takes half of it where others compute as well


@dataclass(frozen=True)
class Aimock:
    """A running aimock. Fixtures come and go by its control API; the first that matches answers."""

    url: str

    def base_url(self, provider: str) -> str:
        """What the provider's SDK wants to be told."""
        return f"{self.url}/v1" if provider == "openai" else self.url

    def script(self, *fixtures: Json) -> None:
        """Forget everything, then answer like this; a probe for a JSON schema is told that it is honoured."""
        httpx.post(f"{self.url}/__aimock/reset").raise_for_status()
        probe = answer(PROBE_USER, '{"label": "zeta"}', usage=(40, 6))
        body = {"fixtures": [*fixtures, probe]}
        httpx.post(f"{self.url}/__aimock/fixtures", json=body).raise_for_status()

    def chaos(self, **rates: float) -> None:
        """dropRate, malformedRate, disconnectRate, rateLimitRate in [0, 1]; latencyMs."""
        httpx.post(f"{self.url}/__aimock/chaos", json=rates).raise_for_status()

    def fail_next(self, status: int, body: Json | None = None) -> None:
        """The next call fails like this, once."""
        fault = {"status": status, "body": body or {"message": "scripted"}}
        httpx.post(f"{self.url}/__aimock/error", json=fault).raise_for_status()

    def journal(self) -> list[Json]:
        """Every call so far, probes included."""
        entries: list[Json] = httpx.get(f"{self.url}/__aimock/journal").raise_for_status().json()
        return entries

    def asked(self) -> list[Json]:
        """Bodies of the calls so far, as OpenAI's, without probes."""
        bodies = [entry["body"] for entry in self.journal() if entry["body"] and "messages" in entry["body"]]
        return [body for body in bodies if body["messages"][-1]["content"] != PROBE_USER]


def answer(user: str, content: str, *, usage: tuple[int, int] | None = (100, 20), **more: Any) -> Json:
    """A fixture of aimock: what to say when the last message holds this. usage: tokens in and out."""
    counted: Json = {}
    if usage:
        counted = {
            "prompt_tokens": usage[0], "completion_tokens": usage[1],
            "input_tokens": usage[0], "output_tokens": usage[1],
        }  # fmt: skip
    return {"match": {"userMessage": user}, "response": {"content": content, "usage": counted, **more}}


@pytest.fixture(scope="session", name="aimock_server")
def aimock_server_fixture() -> Iterator[Aimock]:
    """aimock, started once."""
    with running_aimock() as aimock:
        yield aimock


@pytest.fixture(name="aimock")
def aimock_fixture(aimock_server: Aimock) -> Aimock:
    """aimock without fixtures, chaos or journal."""
    aimock_server.script()
    return aimock_server


@contextmanager
def running_aimock() -> Iterator[Aimock]:
    """aimock on a free port of this machine, ended with the block. A call that no fixture fits gets a 503."""
    program = _installed()
    port = free_port()
    quiet = ["--strict", "--log-level", "silent", "--journal-max", "0"]
    command = [str(program), "-p", str(port), "-h", "127.0.0.1", "-f", str(_first_fixtures()), *quiet]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/__aimock/health", process)
        yield Aimock(url)
    finally:
        end(process)


def _installed() -> Path:
    program = FOLDER / "node_modules" / ".bin" / "llmock"
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is missing: apt-get install nodejs npm")
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
        made = Path(scratch) / "aimock"
        made.mkdir()
        command = [npm, "install", "--prefix", str(made), "--no-audit", "--no-fund", "--ignore-scripts", AIMOCK]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"npm cannot install {AIMOCK}: {done.stderr[-400:]}")
        if not FOLDER.is_dir():  # another test run may have been faster
            made.rename(FOLDER)
    return program


def _first_fixtures() -> Path:
    path = FOLDER / "first.json"
    path.write_text(json.dumps({"fixtures": [answer("nothing asks this", "so nothing hears it")]}))
    return path


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Until a server that we started answers there."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(url).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    pytest.fail("the server does not start")


def completion(content: str, *, logprobs: Sequence[Json] | None = None, usage: Mapping[str, int] | None = None) -> Json:
    """An answer in OpenAI's protocol."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    counted = usage or {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": "stand-in", "usage": counted,
        "choices": [choice | {"logprobs": {"content": list(logprobs)} if logprobs else None}],
    }  # fmt: skip


@contextmanager
def stand_in(respond: Callable[[Json], Answer | Json | None]) -> Iterator[tuple[str, list[Json]]]:
    """A server of OpenAI's protocol that answers as told: its base URL, and the bodies it got. None hangs up."""
    bodies: list[Json] = []

    def handle(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
        bodies.append(json.loads(body))
        said = respond(bodies[-1])
        return as_json(said) if isinstance(said, dict) else said

    with serving(handle) as url:
        yield f"{url}/v1", bodies


@dataclass(frozen=True)
class IgnorantServer:
    """`transformers serve` with a tiny random model: ignores response_format and logprobs with a 200, says garbage."""

    base_url: str
    model: str


@pytest.fixture(scope="session", name="ignorant_server")
def ignorant_server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IgnorantServer]:
    """The real thing, started once."""
    folder = tmp_path_factory.mktemp("ignorant")
    _tiny_chat_model(folder / "tiny-chat")
    (folder / "hub").mkdir()
    port = free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "tiny-chat", "--host", "127.0.0.1"]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], cwd=folder, env=quiet, stdout=log, stderr=log
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield IgnorantServer(f"http://127.0.0.1:{port}/v1", "tiny-chat")
        finally:
            end(process)


def _tiny_chat_model(folder: Path) -> None:
    """Two random layers and a byte-level tokenizer that knows a few words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["The quick brown fox jumps over the lazy dog."], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>", pad_token="</s>", model_max_length=4096
    )
    turn = "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    fast.chat_template = "{% for m in messages %}" + turn + "{% endfor %}<|im_start|>assistant\n"
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
