"""What the checks look at, each asked for once and only when somebody looks: Label Studio's facts and our own.

Its own client of Label Studio gives up soon and repeats nothing: a doctor that waits for a minute is of no help.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from edgewise.errors import EdgewiseError, NotFound, Unavailable
from edgewise.services.store import Project, Store
from edgewise.services.studio import Studio
from edgewise.verbs.doctor.trial import Trial, trial
from edgewise.verbs.places import addresses, same_place
from edgewise.verbs.system import System

TIMEOUT_S = 15.0  # Label Studio itself waits some seconds for each backend before it lists them
EVERYWHERE = ("0.0.0.0", "::", "")

Value = TypeVar("Value")
Json = Mapping[str, Any]


class Scene:
    """A project as Label Studio and we see it now. Several threads may look. Each fact raises what kept us from it."""

    def __init__(self, system: System, ls_id: int, url: str | None = None) -> None:
        """url: the address by which Label Studio is to call us, where nobody has met the project yet."""
        self.system = system
        self.ls_id = ls_id
        token = system.settings.label_studio_api_key.get_secret_value()
        self.studio = Studio(system.address, token, TIMEOUT_S, settle_s=0.5, tries=1)
        self._url = url
        self._facts: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections to Label Studio."""
        self.studio.close()

    @property
    def release(self) -> str:
        """Label Studio's version."""
        return str(self._known("release", self.studio.greet))

    @property
    def owner(self) -> Json:
        """Whose token it is."""
        return self._known("owner", self.studio.whoami)

    @property
    def raw(self) -> Json:
        """The project as Label Studio has it."""
        return self._known("raw", lambda: self.studio.project(self.ls_id))

    @property
    def backends(self) -> Sequence[Json]:
        """The project's ML backends, each just called by Label Studio."""
        return self._known("backends", lambda: self.studio.backends(self.ls_id))

    @property
    def hooks(self) -> Sequence[Json]:
        """The project's webhooks."""
        return self._known("hooks", lambda: self.studio.webhooks(self.ls_id))

    @property
    def versions(self) -> Mapping[str, int]:
        """How many predictions there are of each version."""
        return self._known("versions", lambda: self.studio.model_versions(self.ls_id))

    @property
    def trial(self) -> Trial:
        """What happened in a project of our own."""
        return self._known("trial", lambda: trial(self.studio, self.address_or_none))

    @property
    def store(self) -> Store:
        """Our database."""
        return self._known("store", lambda: self.system.store)

    @property
    def project(self) -> Project:
        """The project as we know it. Raises NotFound when nobody has connected it."""
        found = self._known("project", lambda: self.store.find_project(self.system.address, self.ls_id))
        if found is None:
            self._say_where()
            raise NotFound("Edgewise does not know this project.", f"Run `edgewise connect -p {self.ls_id} --url …`.")
        return found

    def _say_where(self) -> None:
        """Raises NotFound where another address of Label Studio has a project of this id: it may have moved."""
        for other in self.store.projects():
            if other.ls_id == self.ls_id and other.state != "gone":
                raise NotFound(
                    f"Edgewise knows a project {self.ls_id} under {other.address}, and none under "
                    f"{self.system.address}.",
                    "If Label Studio has moved, see docs/operations.md before you connect anew; else set "
                    "LABEL_STUDIO_HOST back.",
                )

    @property
    def address_or_none(self) -> str | None:
        """By which address Label Studio calls us, or would: as it did, as we were told, as our settings have it."""
        try:
            known = self.project.connection.get("backend_url")
        except EdgewiseError:
            known = None
        settings = self.system.settings
        guess = None if settings.host in EVERYWHERE else f"http://{settings.host}:{settings.port}"
        return known or self._url or guess

    @property
    def ours(self) -> list[Json]:
        """The project's backends that point at us, the one that Label Studio called last first."""
        latest = self.address_or_none or ""
        try:
            known = addresses(self.project)
        except EdgewiseError:
            known = []
        places = [latest, *known]
        found = [one for one in self.backends if any(same_place(str(one["url"]), place) for place in places)]
        return sorted(found, key=lambda one: not same_place(str(one["url"]), latest))

    def _known(self, name: str, fetch: Callable[[], Value]) -> Value:
        """A fact, fetched once; what it raised, it raises again."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._facts:
                try:
                    self._facts[name] = fetch()
                except EdgewiseError as error:
                    self._facts[name] = error
        if isinstance(self._facts[name], EdgewiseError):
            raise self._facts[name]
        found: Value = self._facts[name]
        return found


def within(seconds: float, ask: Callable[[], Value]) -> Callable[[], Value]:
    """Ask in a thread of its own, from now on. Returns what waits for the answer: it raises what `ask` raised, and
    Unavailable when the time is over. What hangs then does not keep the process from ending."""
    answers: SimpleQueue[tuple[Value | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()

    def answer() -> Value:
        try:
            found, error = answers.get(timeout=seconds)
        except Empty:
            raise Unavailable(f"There was no answer within {seconds:.0f} s.", "See whether it is overloaded.") from None
        if error is not None:
            raise error
        return found  # type: ignore[return-value]  # without an error it is the answer

    return answer
