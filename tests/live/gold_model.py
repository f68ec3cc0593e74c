"""A language model of known quality: speaks OpenAI's protocol and answers from gold with stated errors.

It reads the document out of the question as a model would, so what it answers depends on what it was really sent.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.http_stand_in import Answer, serving


@dataclass
class GoldModel:
    """Its address, and the questions that it was asked. `lost`: the share of entities that it misses."""

    gold: Mapping[str, Sequence[Mapping[str, Any]]]  # text -> spans
    lost: float
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, question: str) -> str:
        """JSON for the last document that the question holds: the longest known text in it."""
        self.asked.append(question)
        known = [text for text in self.gold if text in question]
        if not known:
            return json.dumps({"label": "zeta"})  # the probe of what we honour
        text = max(known, key=len)
        rng = random.Random(text)
        seen: dict[str, int] = {}
        entities = []
        for span in sorted(self.gold[text], key=lambda one: int(one["start"])):
            quote = text[span["start"] : span["end"]]
            before = text[: span["start"]].count(quote)
            seen[quote] = before + 1
            if rng.random() >= self.lost:
                entities.append({"text": quote, "label": span["label"], "occurrence": before + 1})
        return json.dumps({"entities": entities})


@contextmanager
def gold_model(rows: Sequence[Mapping[str, Any]], lost: float) -> Iterator[GoldModel]:
    """The endpoint, for as long as the block runs."""
    model = GoldModel({row["text"]: row["spans"] for row in rows}, lost)

    def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        asked = json.loads(body)
        message = {"role": "assistant", "content": model.answer(asked["messages"][-1]["content"]), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        content = json.dumps(whole | {"choices": [choice], "usage": usage}).encode()
        return 200, {"Content-Type": "application/json"}, content

    with serving(respond) as url:
        model.url = f"{url}/v1"
        yield model
