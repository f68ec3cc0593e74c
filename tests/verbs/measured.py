"""A project in our memory alone, and what aimock is to say about its texts: gold, with usage that is counted."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgewise.labels.annotations import Annotation, parse_annotation
from edgewise.labels.answers import Demonstration
from edgewise.labels.prompts import CodecName, Questions
from edgewise.labels.regions import regions
from edgewise.labels.schema import parse_schema
from edgewise.labels.spans import Span
from edgewise.services.store import Project, Task
from edgewise.verbs.sync import example_digest, text_key
from edgewise.verbs.system import System
from examples import wikigold
from tests.llm_peers import Aimock, answer

Json = dict[str, Any]
Gold = Mapping[str, tuple[Span, ...]]  # by text

SCHEMA = parse_schema(wikigold.LABEL_CONFIG)
HEAD = SCHEMA.heads[0]


def settings(aimock: Aimock, **more: Any) -> Json:
    """Settings that name the scripted server's model."""
    plain = {
        "llm_provider": "openai",
        "llm_model": "good",
        "llm_base_url": aimock.base_url("openai"),
        "llm_api_key": "none",
        "llm_demonstrations": 0,
        "baseline_model_name": "packaged:minilm",
        "private": True,
    }
    return plain | more


def gold_of(rows: Sequence[Json]) -> Gold:
    """What people say of the texts."""
    return {row["text"]: tuple(Span(s["start"], s["end"], s["label"]) for s in row["spans"]) for row in rows}


def worse(gold: Gold, lost: float, seed: int = 0) -> Gold:
    """Gold with so many of the spans missing."""
    rng = random.Random(seed)
    return {text: tuple(span for span in spans if rng.random() >= lost) for text, spans in gold.items()}


def fixtures(gold: Gold, *, model: str = "good", codec: CodecName = "json", usage: bool = True) -> list[Json]:
    """What aimock is to say about each text: its gold. Tokens in and out are as many as fours of characters that are
    really asked and answered."""
    found = []
    for text, spans in gold.items():
        prompt = Questions((HEAD,), "", codec).about(text)
        said = prompt.codec.write(Demonstration(text, {HEAD.from_name: spans}))
        counted = (len(prompt.system + prompt.user) // 4, len(said) // 4 + 1) if usage else None
        one = answer(text, said, usage=counted)
        one["match"]["model"] = model
        found.append(one)
    return found


@dataclass
class Bench:
    """A project with tasks, some of them labelled."""

    system: System
    project: Project
    gold: Gold
    ids: dict[str, int]  # by text

    @property
    def key(self) -> int:
        return self.project.key

    def label(self, texts: Sequence[str], *, parent: int | None = None, at: datetime | None = None) -> list[int]:
        """People label these texts with gold, beginning from a prediction if there is a parent."""
        moment = (at or datetime.now(UTC)).isoformat()
        raw = {
            self.ids[text]: {
                "id": self.ids[text],
                "updated_at": moment,
                "completed_by": 1,
                "lead_time": 3.0,
                "parent_prediction": parent,
                "result": regions(self.gold[text], HEAD, text),
            }
            for text in texts
        }
        self.keep(texts, raw)
        return list(raw)

    def keep(self, texts: Sequence[str], raw: Mapping[int, Json], audit: Sequence[str] = ()) -> None:
        """Tasks with these annotations, as a sync would keep them."""
        theirs = {task: [parse_annotation(one, task)] for task, one in raw.items()}
        tasks = [
            Task(
                self.ids[text],
                {"text": text},
                text_key([text]),
                audit=text in audit,
                digest=self.digest(theirs.get(self.ids[text], []), text),
            )
            for text in texts
        ]
        self.system.store.upsert_tasks(self.key, tasks, theirs)

    def digest(self, annotations: Sequence[Annotation], text: str) -> str | None:
        schema = parse_schema(self.project.label_config)
        return example_digest(annotations, schema, {head.from_name: text for head in schema.heads})


def bench(system: System, rows: Sequence[Json], *, audit: int = 0, config: str = wikigold.LABEL_CONFIG) -> Bench:
    """A project of these rows, none of them labelled; so many of the first are held out."""
    project = system.store.record_project("http://studio", 1, "1", title="Bench", label_config=config)
    project = system.store.update_project(project.key, state="live")
    gold = gold_of(rows)
    texts = list(gold)
    made = Bench(system, project, gold, {text: number for number, text in enumerate(texts, 1)})
    made.keep(texts, {}, audit=texts[:audit])
    return made


def distinct(rows: Sequence[Json], count: int) -> list[Json]:
    """So many rows, none of whose texts is part of another: aimock goes by that."""
    found: list[Json] = []
    for row in rows:
        if not any(row["text"] in one["text"] or one["text"] in row["text"] for one in found):
            found.append(row)
        if len(found) == count:
            break
    assert len(found) == count
    return found
