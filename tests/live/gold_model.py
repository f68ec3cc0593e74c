"""A language model of known quality: speaks OpenAI's protocol and answers from gold with stated errors.

It reads the document out of the question as a model would, so what it answers depends on what it was really sent. The
same document gets the same answer, whatever stands around it.
"""

import json
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.http_stand_in import Answer, serving

Json = dict[str, Any]

DOCUMENT = re.compile(r"<document-([^>\n]+)>\n(.*?)\n</document-\1>", re.DOTALL)
EXAMPLE = re.compile(r"<example-([^>\n]+)>\n(.*?)\n</example-\1>", re.DOTALL)
PROBE = '{"label": "zeta"}'  # what it says to whom asks what it honours


@dataclass
class GoldModel:
    """Its address, and the questions that it was asked.

    gold: text -> spans, or the choice about the text, or a mapping of both by their key in an answer. lost: the share
    of entities that it misses; wrong: the share of labels, of the others, that it takes for another one. sure: the
    probability that it states for each label; None for no log-probabilities. before: called with each document before
    it is answered.
    """

    gold: Mapping[str, Any]
    lost: float = 0.0
    wrong: float = 0.0
    labels: Sequence[str] = ()
    sure: float | None = None
    before: Callable[[str], None] = lambda text: None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  # by document: answers that went out whole
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def documents(self) -> list[str]:
        """The documents that it was asked about, in order."""
        return [found[-1][1] for question in self.asked if (found := DOCUMENT.findall(question))]

    def examples(self, text: str) -> list[str]:
        """The texts that were shown as examples when it was asked about this one, last time."""
        questions = [one for one in self.asked if (found := DOCUMENT.findall(one)) and found[-1][1] == text]
        return [example for _, example in EXAMPLE.findall(questions[-1])]

    def respond(self, asked: Json) -> Json:
        """An answer in OpenAI's protocol."""
        question = asked["messages"][-1]["content"]
        with self.lock:
            self.asked.append(question)
        found = DOCUMENT.findall(question)
        if found:
            self.before(found[-1][1])
        pieces = self.pieces(found[-1][1]) if found else [(PROBE, None)]
        content = "".join(piece for piece, _ in pieces)
        logprobs = None if self.sure is None else {"content": [self.token(*piece) for piece in pieces]}
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        return whole | {"choices": [choice], "usage": usage}

    def pieces(self, text: str) -> list[tuple[str, str | None]]:
        """The answer in tokens, each with the label that might have stood there instead, where one might."""
        answers = self.gold[text]
        known = answers if isinstance(answers, Mapping) else {"entities": answers}
        rng = random.Random(text)
        said: list[tuple[str, str | None]] = [("{", None)]
        for number, (key, value) in enumerate(known.items()):
            said.append((f"{', ' if number else ''}{json.dumps(key)}: ", None))
            said += self.chosen(value, rng) if isinstance(value, str) else self.entities(text, value, rng)
        return [*said, ("}", None)]

    def chosen(self, label: str, rng: random.Random) -> list[tuple[str, str | None]]:
        """A choice."""
        return [('"', None), *self.label(label, rng), ('"', None)]

    def entities(self, text: str, spans: Sequence[Json], rng: random.Random) -> list[tuple[str, str | None]]:
        """Entities, each with its occurrence."""
        said: list[tuple[str, str | None]] = [("[", None)]
        for span in sorted(spans, key=lambda one: int(one["start"])):
            quote = text[span["start"] : span["end"]]
            missed, label = rng.random() < self.lost, self.label(span["label"], rng)
            if missed:
                continue
            comma = ", " if len(said) > 1 else ""
            said += [(f'{comma}{{"text": {json.dumps(quote)}, "label": "', None), *label]
            said.append((f'", "occurrence": {text[: span["start"]].count(quote) + 1}}}', None))
        return [*said, ("]", None)]

    def label(self, right: str, rng: random.Random) -> list[tuple[str, str | None]]:
        """A label as it says it, and its second thought."""
        others = [label for label in self.labels if label != right]
        other = rng.choice(others) if others else None
        said, rival = (other, right) if other and rng.random() < self.wrong else (right, other)
        return [(str(said), rival)]

    def token(self, piece: str, rival: str | None) -> Json:
        """A token with its log-probability, as OpenAI writes it."""
        sure = self.sure if rival and self.sure else 0.999
        top = {piece: sure} | ({rival: 1 - sure} if rival else {})
        tokens = [
            {"token": one, "logprob": math.log(p), "bytes": list(one.encode())} for one, p in top.items() if p > 0
        ]
        return tokens[0] | {"top_logprobs": tokens}


@contextmanager
def gold_model(rows: Sequence[Mapping[str, Any]], **quality: Any) -> Iterator[GoldModel]:
    """The endpoint for these rows (text and spans), for as long as the block runs; quality: of GoldModel."""
    with serving_model(GoldModel({row["text"]: row["spans"] for row in rows}, **quality)) as model:
        yield model


@contextmanager
def serving_model(model: GoldModel) -> Iterator[GoldModel]:
    """The endpoint."""

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        asked = json.loads(body)
        content = json.dumps(model.respond(asked)).encode()
        found = DOCUMENT.findall(asked["messages"][-1]["content"])
        with model.lock:
            model.answered[found[-1][1] if found else ""] += 1
        return 200, {"Content-Type": "application/json"}, content

    with serving(respond) as url:
        model.url = f"{url}/v1"
        yield model
