"""Commands run in this process, standard error being no terminal; small files; a model that has learnt them."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import model
from edgewise.cli.app import app
from examples.banking77 import FOLDER
from tests.http_stand_in import Answer
from tests.learning.conftest import documents, tiny_base
from tests.llm_peers import completion, stand_in

__all__ = ["documents", "tiny_base"]

Json = dict[str, Any]
SAMPLE, NEW = FOLDER / "sample.csv", FOLDER / "new.csv"


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote for machines."""
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command in an empty folder, with an empty DATA_DIR."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    model.open_system.cache_clear()

    def ended(*words: object) -> Ended:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="edgewise")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    yield ended
    if model.open_system.cache_info().currsize:
        opened = vars(model.open_system())
        for part in ("studio", "store"):
            if part in opened:
                opened[part].close()
    model.open_system.cache_clear()


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for the sample's intents."""
    folder = tmp_path_factory.mktemp("taught") / "banking.model"
    words = ["train", "-i", str(SAMPLE), "-o", str(folder), "--strategy", "features"]
    result = CliRunner().invoke(app, words, env={"DATA_DIR": str(folder.parent / "data")})
    assert result.exit_code == 0, result.output
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A CSV with these rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        made = csv.DictWriter(file, list(rows[0]))
        made.writeheader()
        made.writerows(rows)
    return path


@dataclass
class LanguageModel:
    """A stand-in for a language model that knows what each text is; `broken` makes it hang up."""

    answers: Mapping[str, str]
    bodies: list[Json]
    broken: bool = False
    calls_left: int | None = None

    def respond(self, body: Json) -> Answer | Json | None:
        """An answer in OpenAI's protocol."""
        if self.broken or self.calls_left == 0:
            return (401, {}, b'{"error": {"message": "no more"}}')
        if self.calls_left is not None:
            self.calls_left -= 1
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        (key, form), *_ = schema.get("properties", {"label": {}}).items()
        said = body["messages"][-1]["content"]
        asked = max(self.answers, key=said.rfind, default="")  # the text in question comes last, after examples
        found = self.answers[asked] if asked in said and asked else "zeta"
        return completion(json.dumps({key: [] if form.get("type") == "array" else found}))

    @property
    def texts_asked(self) -> int:
        """Calls about texts, without the probe."""
        return sum("Edgewise asks" not in body["messages"][-1]["content"] for body in self.bodies)


@pytest.fixture
def language_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageModel]:
    """A language model that settings name. Fill its `answers`."""
    known = LanguageModel({}, [])
    with stand_in(lambda body: known.respond(body)) as (base_url, bodies):
        known.bodies = bodies
        monkeypatch.setenv("LLM_PROVIDER", "openai")
        monkeypatch.setenv("LLM_MODEL", "stand-in")
        monkeypatch.setenv("LLM_BASE_URL", base_url)
        monkeypatch.setenv("LLM_API_KEY", "secret-key")
        yield known
