"""Stand-ins for a language model that really read their demonstrations, served over HTTP in OpenAI's protocol.

Each knows the right answer to a stated share of the texts, chosen by a hash; the others it answers from what it is
shown and from nothing else. So better demonstrations make it better.
"""

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

EXAMPLE = re.compile(r"<example-(\w+)>\n(.*?)\n</example-\1>\s*(\{.*?\})\s*(?=<|The document)", re.DOTALL)
DOCUMENT = re.compile(r"<document-(\w+)>\n(.*?)\n</document-\1>", re.DOTALL)
WORD = re.compile(r"\w+|[^\w\s]")
PROBE_ANSWER = "zeta"  # what an endpoint that honours schemas says when it is tried (services/llm)

Mention = Mapping[str, Any]  # {"text", "label", "occurrence"}, as the prompt asks for it


@dataclass
class Reading(ABC):
    """What both have in common. knows: the share of the texts that it knows by itself, in [0, 1]. asked: questions."""

    gold: Mapping[str, Any]
    knows: float
    seed: int = 0
    asked: int = 0

    def says(self, prompt: str) -> Any:
        """The answer about the document of a prompt."""
        found = DOCUMENT.search(prompt)
        if found is None:
            return PROBE_ANSWER
        text = found[2]
        self.asked += 1
        if text in self.gold and self.chance(text, "knows") < self.knows:
            return self.gold[text]
        shown = [(example, next(iter(json.loads(answer).values()))) for _, example, answer in EXAMPLE.findall(prompt)]
        return self.read(text, shown) if shown else self.guess(text)

    @abstractmethod
    def read(self, text: str, shown: Sequence[tuple[str, Any]]) -> Any:
        """The answer that the demonstrations suggest."""

    @abstractmethod
    def guess(self, text: str) -> Any:
        """The answer where there are none."""

    def chance(self, text: str, what: str) -> float:
        """A number in [0, 1) that is always the same for the same text."""
        digest = blake2b(f"{self.seed}|{what}|{text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


@dataclass
class ReadingModel(Reading):
    """Chooses: what the most similar demonstration is labelled as (TF-IDF of words and pairs of words, with document
    frequencies of the texts in `gold`); without any it guesses. gold: the right label of each text."""

    _weigh: Any = field(init=False, repr=False)
    _vectors: dict[str, dict[int, float]] = field(init=False, repr=False)
    _labels: Sequence[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._labels = sorted(set(self.gold.values()))
        self._weigh = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(list(self.gold))
        self._vectors = {}

    def read(self, text: str, shown: Sequence[tuple[str, Any]]) -> str:
        """The label of the most similar one, of as similar ones the last."""
        mine = self._vector(text)
        alike = [sum(weight * mine.get(word, 0.0) for word, weight in self._vector(one).items()) for one, _ in shown]
        return str(shown[max(range(len(shown)), key=lambda number: (alike[number], number))][1])

    def _vector(self, text: str) -> dict[int, float]:
        """Its words' weights."""
        if text not in self._vectors:
            row = self._weigh.transform([text])
            self._vectors[text] = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        return self._vectors[text]

    def guess(self, text: str) -> str:
        """Any label."""
        return self._labels[int(self.chance(text, "guess") * len(self._labels))]


@dataclass
class ReadingTagger(Reading):
    """Marks: the strings that are marked in the demonstrations, wherever they stand in the text, a longer one before a
    shorter; without any demonstration one word, at random and under any label. gold: the right mentions of each text.
    """

    def read(self, text: str, shown: Sequence[tuple[str, Any]]) -> list[Mention]:
        """Of a string that is marked in several, the label that the last of them gives, which is the most similar."""
        labels = {one["text"].casefold(): one["label"] for _, mentions in shown for one in mentions}
        lower, taken, found = text.casefold(), np.zeros(len(text), dtype=bool), []
        if len(lower) != len(text):
            return []
        for string in sorted(labels, key=len, reverse=True):
            for match in re.finditer(rf"(?<!\w){re.escape(string)}(?!\w)", lower):
                if not taken[match.start() : match.end()].any():
                    taken[match.start() : match.end()] = True
                    found.append((match.start(), match.end(), labels[string]))
        return [mention(text, start, end, label) for start, end, label in sorted(found)]

    def guess(self, text: str) -> list[Mention]:
        """One word."""
        words = [match.span() for match in WORD.finditer(text)]
        labels = sorted({one["label"] for mentions in self.gold.values() for one in mentions})
        start, end = words[int(self.chance(text, "word") * len(words))]
        return [mention(text, start, end, labels[int(self.chance(text, "label") * len(labels))])]


def mention(text: str, start: int, end: int, label: str) -> Mention:
    """A stretch of a text as the prompt asks for it: quoted, and for which time it stands there."""
    quote = text[start:end]
    before = sum(text.startswith(quote, place) for place in range(start))
    return {"text": quote, "label": label, "occurrence": before + 1}


@contextmanager
def served(model: Reading) -> Iterator[str]:
    """The address of a server that answers for the model, on a free port of this machine, until the block ends."""

    one_at_a_time = threading.Lock()  # a model that counts what it is asked is no use if it counts wrong

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with one_at_a_time:
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


def completion(model: Reading, body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer in OpenAI's protocol, in the form that the schema asks for."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    key = next(iter(schema.get("properties", {"label": {}})))
    said = json.dumps({key: model.says(body["messages"][-1]["content"])}, ensure_ascii=False)
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "reading",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }
