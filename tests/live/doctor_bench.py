"""A project that follows us, and what one breaks on it for the doctor: a fault, how it is made, what recognises it.

Also the table in docs/doctor.md: a row for each fault, in the words that the doctor said.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import model
from edgewise.services.store import Project, Store
from edgewise.settings import Settings
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio, free_port
from tests.live.conftest import PATIENCE_S, ROOT
from tests.live.helpers import TEXTS, server_environment
from tests.studio_fixture import StudioProject

USER = "label-studio"
DOCUMENT = ROOT / "docs" / "doctor.md"


@dataclass
class Bench:
    """One server with one connected project. The server wants a login, and may be stopped and started again."""

    label_studio: RunningStudio
    project: StudioProject
    data: Path
    port: int = field(default_factory=free_port)
    password: str = "the first password"
    personal_token: str = ""  # of Label Studio's owner; there can be one at a time
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Our address, as Label Studio calls it."""
        return f"http://127.0.0.1:{self.port}"

    def variables(self) -> dict[str, str]:
        """The server's environment."""
        login = {"BASIC_AUTH_USER": USER, "BASIC_AUTH_PASS": self.password, "PORT": str(self.port)}
        return server_environment(self.label_studio, self.data) | login

    def start(self) -> None:
        """Start the server on its data and its port."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "_wsgi.py", "--port", str(self.port)],
                cwd=ROOT, env=self.variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, (self.data / "server.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self.data / "server.log").read_text()[-3000:]
            time.sleep(0.2)

    def answers(self) -> bool:
        """Whether the server does."""
        try:
            return httpx.get(f"{self.url}/health", timeout=1).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """End the server and its worker."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def add_backend(self) -> None:
        """As people do, with the login."""
        login = {"auth_method": "BASIC_AUTH", "basic_auth_user": USER, "basic_auth_pass": self.password}
        self.project.studio.add_backend(self.project.id, self.url, "Edgewise", **login)

    def known(self) -> Project | None:
        """What the server knows of the project."""
        with closing(Store(f"sqlite:///{self.data / 'edgewise.db'}")) as store:
            return store.find_project(self.label_studio.url, self.project.id)

    def wait(self, condition: Callable[[Project], object], within_s: float = PATIENCE_S) -> None:
        """Until the server knows the project so."""
        deadline = time.monotonic() + within_s
        while (known := self.known()) is None or not condition(known):
            assert time.monotonic() < deadline, (known, (self.data / "server.log").read_text()[-3000:])
            time.sleep(0.2)

    def rest(self) -> None:
        """Until no job runs or waits."""
        with closing(Store(f"sqlite:///{self.data / 'edgewise.db'}")) as store:
            deadline = time.monotonic() + PATIENCE_S
            while any(job.state in ("queued", "running") for job in store.jobs(50)):
                assert time.monotonic() < deadline, [
                    job for job in store.jobs(50) if job.state in ("queued", "running")
                ]
                time.sleep(0.2)

    @contextmanager
    def system(self, **changed: object) -> Iterator[System]:
        """An Edgewise as the server's own, with other settings where these are given."""
        variables = self.variables()
        settings = settings_of(variables).model_copy(update=changed)
        with opened(settings) as system:
            yield system


def settings_of(variables: Mapping[str, str]) -> Settings:
    """Settings by these variables alone."""
    aliases = {"MODEL_DIR", "DATABASE_URL", "ALLOWED_HOSTS"}
    given = {name if name in aliases else name.lower(): value for name, value in variables.items()}
    return Settings(**given)  # type: ignore[arg-type]  # as from an environment


@contextmanager
def opened(settings: Settings) -> Iterator[System]:
    """An Edgewise with these settings, closed afterwards."""
    system = model.system_for(settings)
    try:
        yield system
    finally:
        for part in ("studio", "store"):
            if part in vars(system):
                vars(system)[part].close()


@contextmanager
def bench(label_studio: RunningStudio, project: StudioProject, data: Path, personal_token: str) -> Iterator[Bench]:
    """A server that the project follows, its tasks in order."""
    project.add_tasks(TEXTS)
    made = Bench(label_studio, project, data, personal_token=personal_token)
    try:
        made.start()
        made.add_backend()
        made.wait(lambda known: known.state == "live" and known.active_release is not None)
        yield made
    finally:
        made.stop()


@dataclass(frozen=True)
class Asked:
    """Whom to ask after the fault: which Edgewise, of which project, told which address of ours."""

    system: System
    ls_id: int
    url: str | None = None


@dataclass(frozen=True)
class Fault:
    """how: for people. check: which recognises it. mended: whether --fix mends it. state: what it becomes.

    make: produces it; what is not mended is undone in the end.
    """

    how: str
    check: str
    make: Callable[[Bench], AbstractContextManager[Asked]]
    mended: bool = False
    state: str = "failed"


def row(how: str, found: Mapping[str, Any], mended: bool = False) -> str:
    """A line of the table: the fault, the check that recognises it, what it says, what mends it, and whether --fix."""
    cells = (how, found["check"], found["what"], found["mend"], "yes" if mended else "")
    return "| " + " | ".join(masked(str(cell)) for cell in cells) + " |"


def masked(text: str) -> str:
    """Without what differs every time."""
    changing = ((r"-p \d+", "-p 1"), (r"ew-\d+", "ew-7"), (r"project \d+", "project 1"), (r"task \d+", "task 1"))
    for pattern, same in (*changing, (r"/tmp/\S+", "…"), (r"\|", "/"), (r"<", "&lt;")):
        text = re.sub(pattern, same, text)
    return text


HEADER = "| what is wrong | check that fails | what it means | what mends it | `--fix` |\n|---|---|---|---|---|"


def table_in_document(name: str, document: str) -> list[str]:
    """The rows of a table of docs/doctor.md."""
    between = document.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
    return [line for line in between.strip().splitlines() if line.startswith("|")][2:]


def check_table(name: str, rows: Mapping[str, str], all_of_them: int) -> None:
    """Each row that was seen stands in the document, in this order; with EDGEWISE_DOCUMENTS it is written into it."""
    document = DOCUMENT.read_text(encoding="utf-8")
    if os.environ.get("EDGEWISE_DOCUMENTS"):
        assert len(rows) == all_of_them, "run the whole module to write its table"
        head, rest = document.split(f"<!-- {name} -->")
        tail = rest.split(f"<!-- end of {name} -->")[1]
        table = "\n".join([HEADER, *rows.values()])
        DOCUMENT.write_text(f"{head}<!-- {name} -->\n{table}\n<!-- end of {name} -->{tail}", encoding="utf-8")
        return
    documented = {whatever_was_first(line) for line in table_in_document(name, document)}
    assert len(documented) == all_of_them, "EDGEWISE_DOCUMENTS=1 writes the table"
    others = [line for line in rows.values() if whatever_was_first(line) not in documented]
    assert not others, "\n".join(others)


def whatever_was_first(line: str) -> str:
    """A Label Studio that cannot write answers 500, or not in time: it depends on which of its processes waited."""
    late = r"did not answer (\S+ \S+) \(ReadTimeout\)\. \| See whether it is overloaded or was restarted;"
    return re.sub(late, r"answers \1 with 500. | See its log;", line)


def personal_access(label_studio: RunningStudio, personal_token: str) -> dict[str, str]:
    """The header for a personal access token."""
    answer = httpx.post(f"{label_studio.url}/api/token/refresh/", json={"refresh": personal_token}, timeout=30)
    return {"Authorization": f"Bearer {answer.json()['access']}"}
