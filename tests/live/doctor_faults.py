"""The faults that a connection can have, each made for real: in Label Studio, in our server, in what we work with."""

import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
from pydantic import SecretStr

from examples.label_studio import free_port
from tests.http_stand_in import as_json, serving
from tests.live.doctor_bench import Asked, Bench, Fault, personal_access
from tests.live.helpers import TEXTS, new_project
from tests.studio_fixture import CONFIG, region

Made = Iterator[Asked]
IMAGES = '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="A"/></RectangleLabels></View>'  # noqa: E501
FOREIGN_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6NDA3MDkwODgwMH0.c2lnbmVkIGVsc2V3aGVyZQ"


def with_settings(**changed: Any) -> Callable[[Bench], AbstractContextManager[Asked]]:
    """Ask an Edgewise that has other settings."""

    @contextmanager
    def make(place: Bench) -> Made:
        with place.system(
            **{name: value(place) if callable(value) else value for name, value in changed.items()}
        ) as system:
            yield Asked(system, place.project.id)

    return make


def in_studio(change: Callable[[Bench], object], undo: Callable[[Bench], object] | None = None) -> Any:
    """Change something in Label Studio; what --fix leaves is undone by `undo`."""

    @contextmanager
    def make(place: Bench) -> Made:
        change(place)
        try:
            with place.system() as system:
                yield Asked(system, place.project.id)
        finally:
            if undo:
                undo(place)

    return make


# Label Studio and the token


@contextmanager
def legacy_tokens_off(place: Bench) -> Made:
    url = f"{place.label_studio.url}/api/jwt/settings"
    personal = personal_access(place.label_studio, place.personal_token)
    off, on = ({"api_tokens_enabled": True, "legacy_api_tokens_enabled": wanted} for wanted in (False, True))
    httpx.post(url, json=off, headers=personal, timeout=30).raise_for_status()
    try:
        with place.system() as system:
            yield Asked(system, place.project.id)
    finally:
        httpx.post(url, json=on, headers=personal, timeout=30).raise_for_status()


@contextmanager
def unknown_project(place: Bench) -> Made:
    with place.system() as system:
        yield Asked(system, 999_999)


@contextmanager
def unknown_to_us(place: Bench) -> Made:
    with (
        new_project(place.label_studio, place.project.studio) as other,
        place.system() as system,
    ):
        other.add_tasks(TEXTS[:3])
        yield Asked(system, other.id, place.url)


def address(url: str) -> Any:
    """Ask of a project that was never connected, and say by which address Label Studio is to call us."""

    @contextmanager
    def make(place: Bench) -> Made:
        with new_project(place.label_studio, place.project.studio) as other, place.system() as system:
            yield Asked(system, other.id, url)

    return make


# Backend and server


def our_backend(place: Bench) -> Any:
    """Our entry in the project."""
    return next(one for one in place.project.studio.backends(place.project.id) if one["url"] == place.url)


def remove_backend(place: Bench) -> None:
    place.project.studio.delete_backend(our_backend(place)["id"])


@contextmanager
def foreign_backend_first(place: Bench) -> Made:
    remove_backend(place)
    with serving(lambda *_: as_json({"status": "UP", "model_version": "theirs"})) as url:
        theirs = place.project.studio.add_backend(place.project.id, url, "Somebody else's")
        place.add_backend()
        try:
            with place.system() as system:
                yield Asked(system, place.project.id)
        finally:
            place.project.studio.delete_backend(theirs["id"])
            for hook in place.project.studio.webhooks(place.project.id):
                if hook["url"].startswith(url):
                    place.project.studio.delete_webhook(hook["id"])


@contextmanager
def old_address_first(place: Bench) -> Made:
    login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "label-studio", "basic_auth_pass": place.password}
    remove_backend(place)
    old = place.url.replace("127.0.0.1", "localhost")
    place.project.studio.add_backend(place.project.id, old, "Edgewise", **login)
    place.rest()
    place.add_backend()
    place.rest()
    with place.system() as system:
        key = system.project(place.project.id).key
        system.store.remember_connection(key, {"backend_url": place.url})
        yield Asked(system, place.project.id)
    for hook in place.project.studio.webhooks(place.project.id):
        if hook["url"].startswith(old):
            place.project.studio.delete_webhook(hook["id"])


@contextmanager
def server_away(place: Bench) -> Made:
    place.stop()
    try:
        with place.system() as system:
            yield Asked(system, place.project.id)
    finally:
        place.start()


@contextmanager
def server_stuck(place: Bench) -> Made:
    """Somebody holds our database, so that /setup does not answer in time: whose id it is must be written."""
    with closing(sqlite3.connect(place.data / "edgewise.db", isolation_level=None)) as file:
        file.execute("UPDATE projects SET created_at = created_at || '0'").close()
        file.execute("BEGIN IMMEDIATE").close()
        try:
            with place.system() as system:
                yield Asked(system, place.project.id)
        finally:
            file.execute("ROLLBACK").close()
            file.execute("UPDATE projects SET created_at = substr(created_at, 1, length(created_at) - 1)").close()


@contextmanager
def another_password(place: Bench) -> Made:
    place.stop()
    place.password = f"{place.password}, changed"
    place.start()
    with place.system() as system:
        yield Asked(system, place.project.id)


# The webhook


def our_hook(place: Bench) -> Any:
    """Our webhook in the project."""
    hooks = place.project.studio.webhooks(place.project.id)
    return next(hook for hook in hooks if hook["url"] == f"{place.url}/webhook")


def hook(**changed: object) -> Any:
    """Change our webhook."""

    def change(place: Bench) -> None:
        ours = our_hook(place)
        place.project.studio.update_webhook(ours["id"], url=ours["url"], **changed)

    return in_studio(change)


def remove_hook(place: Bench) -> None:
    place.project.studio.delete_webhook(our_hook(place)["id"])


def double_hook(place: Bench) -> None:
    place.project.studio.create_webhook(place.project.id, our_hook(place)["url"], headers=our_hook(place)["headers"])


# The order


def project_field(undo: dict[str, object] | None = None, **changed: object) -> Any:
    """Change a field of the project."""

    def change(fields: dict[str, object]) -> Callable[[Bench], object]:
        return lambda place: place.project.studio.update_project(place.project.id, **fields)

    return in_studio(change(changed), change(undo) if undo else None)


def select_another(place: Bench) -> None:
    studio, project = place.project.studio, place.project.id
    task = min(studio.task_ids(project))
    studio.push_release(project, "somebody-elses", [{"task": task, "result": [], "score": 0.5}])
    studio.activate(project, "somebody-elses")


def drop_theirs(place: Bench) -> None:
    place.project.studio.delete_model_version(place.project.id, "somebody-elses")


def delete_our_predictions(place: Bench) -> None:
    name = place.project.studio.project(place.project.id)["model_version"]
    place.project.call("DELETE", f"api/projects/{place.project.id}/model-versions/", {"model_version": name})


# The material


def another_project(config: str, data: list[dict[str, object]], *, config_first: bool = True) -> Any:
    """Ask of a project with this config and these tasks, that was never connected."""

    @contextmanager
    def make(place: Bench) -> Made:
        empty = "<View></View>"
        with new_project(place.label_studio, place.project.studio, config if config_first else empty) as other:
            if data:
                other.studio.import_tasks(other.id, [{"data": one} for one in data])
            if not config_first:
                other.studio.update_project(other.id, label_config=config)
            with place.system() as system:
                yield Asked(system, other.id, place.url)

    return make


@contextmanager
def strange_label(place: Bench) -> Made:
    task = max(place.project.studio.task_ids(place.project.id))
    made = place.project.annotate(task, [region(0, 4, TEXTS[-1], "PLANET", id="r1")])
    try:
        with place.system() as system:
            key = system.project(place.project.id).key
            until(lambda: any(annotations for _, annotations in system.store.annotated(key)))
            yield Asked(system, place.project.id)
    finally:
        place.project.call("DELETE", f"api/annotations/{made}/")


@contextmanager
def address_for_a_text(place: Bench) -> Made:
    made = place.project.add_tasks(["https://example.com/a.txt"])
    try:
        with place.system() as system:
            key = system.project(place.project.id).key
            until(lambda: system.store.counts(key)["problems"])
            yield Asked(system, place.project.id)
            place.project.studio.delete_tasks(place.project.id, made)
            until(lambda: not system.store.counts(key)["problems"])
    finally:
        place.project.studio.delete_tasks(place.project.id, made)


def until(condition: Callable[[], object], within_s: float = 60) -> None:
    """Until it is so."""
    deadline = monotonic() + within_s
    while not condition():
        assert monotonic() < deadline
        sleep(0.2)


# Our own house


@contextmanager
def redis_wants_a_password(place: Bench) -> Made:
    binary, port = shutil.which("redis-server"), free_port()
    assert binary, "Redis is missing: apt-get install redis-server"
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "not said"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([binary, *words, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            until(lambda: listens(port))
            with place.system(redis_url=SecretStr(f"redis://127.0.0.1:{port}")) as system:
                yield Asked(system, place.project.id)
        finally:
            process.terminate()
            process.wait(10)


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def no_worker(place: Bench) -> Made:
    with tempfile.TemporaryDirectory() as folder, place.system(data_dir=Path(folder)) as system:
        long_ago = datetime.now(UTC) - timedelta(minutes=5)
        system.queue.enqueue("mirror", None, run_after=long_ago)
        yield Asked(system, place.project.id)


def closed(place: Bench) -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def a_file(place: Bench) -> Path:
    """A file, where a folder is wanted."""
    path = place.data / "a-file"
    path.write_text("This is no folder, and no database either: it is long enough to be mistaken for neither.")
    return path


def half_a_model(place: Bench) -> str:
    folder = place.data / "half-a-model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    return str(folder)


@contextmanager
def studio_database_locked(place: Bench) -> Made:
    """Label Studio reads, and cannot write."""
    folder = studio_folder(place)
    with closing(sqlite3.connect(folder / "label_studio.sqlite3", isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE").close()
        try:
            with place.system() as system:
                yield Asked(system, place.project.id)
        finally:
            file.execute("ROLLBACK").close()


def studio_folder(place: Bench) -> Path:
    """Where the Label Studio of the tests keeps its data: beside ours."""
    return next(place.data.parent.glob("label-studio*/data"))


UNCERTAIN = "Uncertainty sampling"
FAULTS = (
    Fault("Label Studio is not there", "answers", with_settings(label_studio_host=closed)),
    Fault("`LABEL_STUDIO_HOST` is something else", "answers", with_settings(label_studio_host=lambda place: place.url)),
    Fault("no token", "token", with_settings(label_studio_api_key=SecretStr(""))),
    Fault("a token that Label Studio does not know", "token", with_settings(label_studio_api_key=SecretStr("0" * 40))),
    Fault("a personal access token of another Label Studio", "token", with_settings(label_studio_api_key=SecretStr(FOREIGN_JWT))),  # noqa: E501
    Fault("legacy tokens are switched off", "token", legacy_tokens_off),
    Fault("there is no such project", "project", unknown_project),
    Fault("the project was never connected", "known", unknown_to_us, mended=True),
    Fault("our address is on a network that is refused", "network", address("http://169.254.10.10:9090")),
    Fault("our host's name has no dot", "network", address("http://backend:9090")),
    Fault("our host's name is unknown to Label Studio", "network", address("http://edgewise.invalid:9090")),
    Fault("the backend was removed", "backend", in_studio(remove_backend), mended=True),
    Fault("somebody else's backend comes first", "first", foreign_backend_first),
    Fault("an old address of ours comes first", "first", old_address_first, mended=True),
    Fault("our server is not running, or not where Label Studio looks", "reached", server_away),
    Fault("our server does not answer in time", "reached", server_stuck),
    Fault("Label Studio has another password than our server", "login", another_password, mended=True),
    Fault("the webhook was deleted", "webhook", in_studio(remove_hook), mended=True),
    Fault("the webhook is switched off", "webhook", hook(is_active=False), mended=True),
    Fault("the webhook is there twice", "webhook", in_studio(double_hook), mended=True),
    Fault("the webhook has no secret", "secret", hook(headers={}), mended=True),
    Fault("the webhook has another secret", "secret", hook(headers={"X-Edgewise-Secret": "x" * 43}), mended=True),
    Fault("the webhook brings too few events", "events", hook(send_for_all_actions=False, actions=["ANNOTATION_CREATED"]), mended=True),  # noqa: E501
    Fault("the webhook brings no content", "events", hook(send_payload=False), mended=True),
    Fault("task sampling is not set", "sampling", project_field(sampling="Sequential sampling"), mended=True),
    Fault("pre-labels are switched off", "shown", project_field(show_collab_predictions=False), mended=True),
    Fault("the backend's title is selected", "selected", project_field(model_version="Edgewise"), mended=True),
    Fault("no version is selected", "selected", project_field(model_version=""), mended=True),
    Fault("another version is selected", "selected", in_studio(select_another, drop_theirs), mended=True),
    Fault("our predictions were deleted", "scores", in_studio(delete_our_predictions), mended=True),
    Fault("each task wants several annotations", "overlap", project_field({"maximum_annotations": 1}, maximum_annotations=2)),  # noqa: E501
    Fault("the labelling config has nothing on a text", "config", another_project(IMAGES, [])),
    Fault("labels in use fit no head", "labels", strange_label),
    Fault("the field of the text is missing", "texts", another_project(CONFIG, [{"title": "A title"}], config_first=False)),  # noqa: E501
    Fault("the text is an address", "texts", address_for_a_text),
    Fault("our database is away", "database", with_settings(database_url_setting=SecretStr("postgresql://127.0.0.1:1/edgewise"))),
    Fault("Redis is away", "redis", with_settings(redis_url=SecretStr("redis://127.0.0.1:1"))),
    Fault("Redis wants a password", "redis", redis_wants_a_password),
    Fault("no worker runs", "worker", no_worker),
    Fault("the model folder cannot be written to", "models", with_settings(model_dir_setting=a_file)),
    Fault("the model folder is not the server's", "shared", with_settings(model_dir_setting=lambda place: place.data / "other")),  # noqa: E501
    Fault("the hub is away, and the base model not here", "base", with_settings(baseline_model_name="edgewise-tests/none")),  # noqa: E501
    Fault("the base model's folder is not there", "base", with_settings(baseline_model_name="/nowhere/model")),
    Fault("the base model's folder is not whole", "base", with_settings(baseline_model_name=half_a_model)),
    Fault("MLflow is away", "mlflow", with_settings(mlflow_tracking_uri=closed)),
    Fault("MLflow's file is none of its own", "mlflow", with_settings(mlflow_tracking_uri=lambda place: f"sqlite:///{a_file(place)}")),
    Fault("Label Studio cannot write", "round-trip", studio_database_locked, state="unchecked"),
)  # fmt: skip
