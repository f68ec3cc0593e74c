"""A stand-in for a language model that really reads its demonstrations, served over HTTP in OpenAI's protocol.

It knows the right label of a stated share of the texts, chosen by a hash. Of the others it says what the most similar
demonstration in the prompt is labelled as (TF-IDF of words and pairs of words, fitted on nothing but that prompt and a
vocabulary's document frequencies), and without demonstrations it guesses. So better demonstrations make it better.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

EXAMPLE = re.compile(r"<example-(\w+)>\n(.*?)\n</example-\1>\s*(\{.*?\})\s*(?=<|The document)", re.DOTALL)
DOCUMENT = re.compile(r"<document-(\w+)>\n(.*?)\n</document-\1>", re.DOTALL)
PROBE_ANSWER = "zeta"  # what an endpoint that honours schemas says when it is tried (services/llm)


@dataclass
class ReadingModel:
    """gold: the right label of each text; knows: the share of them that it knows by itself, in [0, 1]."""

    gold: Mapping[str, str]
    knows: float
    seed: int = 0
    asked: int = 0
    _weigh: Any = field(init=False, repr=False)
    _labels: Sequence[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._labels = sorted(set(self.gold.values()))
        self._weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(list(self.gold))

    def says(self, prompt: str) -> str:
        """The label for the document of a prompt."""
        found = DOCUMENT.search(prompt)
        if found is None:
            return PROBE_ANSWER
        text = found[2]
        self.asked += 1
        if text in self.gold and self._chance(text, "knows") < self.knows:
            return self.gold[text]
        shown = [(example, label_in(answer)) for _, example, answer in EXAMPLE.findall(prompt)]
        if not shown:
            return self._labels[int(self._chance(text, "guess") * len(self._labels))]
        vectors = self._weigh.transform([text, *(example for example, _ in shown)])
        alike = (vectors[1:] @ vectors[0].T).toarray()[:, 0]
        return shown[int(np.flatnonzero(alike == alike.max())[-1])][1]

    def _chance(self, text: str, what: str) -> float:
        digest = blake2b(f"{self.seed}|{what}|{text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def label_in(answer: str) -> str:
    """The only value of an answer."""
    (label,) = json.loads(answer).values()
    return str(label)


@contextmanager
def served(model: ReadingModel) -> Iterator[str]:
    """The address of a server that answers for the model, on a free port of this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(completion(model, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nobody wants to read it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def completion(model: ReadingModel, body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer in OpenAI's protocol, in the form that the schema asks for."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    key = next(iter(schema.get("properties", {"label": {}})))
    said = json.dumps({key: model.says(body["messages"][-1]["content"])})
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "reading",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
