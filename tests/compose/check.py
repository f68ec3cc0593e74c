"""Build and run docker-compose.yml as a newcomer would, and see what matters hold, one line each.

Build, health, who may call; a project connected through Label Studio's API until a trained order is served; kill -9 of
each service; a clean stop; the same data in new containers. Needs a Docker engine: run.sh finds or starts one.
"""

import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from edgewise.errors import EdgewiseError
from edgewise.services.studio import Studio
from examples import wikigold
from tests.compose.stack import SERVICES, Failed, Stack, life, run, wait

TASKS, TAUGHT, MORE = 300, 60, 15  # 10 at least of 15 are no audit tasks
TRAINED_S = 1800.0  # 600 were too few at a load of 15 on two cores
CLEAN = {0, 143}  # 143: ended by the SIGTERM that asked for it, as Label Studio's development server does
WHOM_I_SEE = """
import socket
for name in ("backend", "postgres", "redis", "mlflow"):
    try:
        print(socket.gethostbyname(name) and name)
    except OSError:
        pass
"""

# What a container says of itself: who it is, its rights, its root file system, its limits, and tools that build.
WHO_AM_I = """
echo "uid $(id -u)"
grep -E '^(NoNewPrivs|CapEff|CapBnd)' /proc/1/status
echo "root $(awk '$2 == "/" {print $4}' /proc/mounts | cut -d, -f1)"
echo "memory $(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes)"
echo "pids $(cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max)"
for tool in cc gcc g++ make git curl; do command -v $tool && echo "tool $tool"; done
true
"""


def main() -> None:
    """All checks, in order; exit 1 at the first that does not hold, with the services' last words."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            check(stack)
        except (Failed, EdgewiseError, httpx.HTTPError) as failure:
            say(f"FAIL  {type(failure).__name__}: {failure}")
            say(stack.compose("ps", "-a"))
            say(stack.compose("logs", "--tail", "25", "--no-color"))
            raise SystemExit(1) from None
        finally:
            stack.compose("down", "-v", "--remove-orphans")
    say("all held")


def check(stack: Stack) -> None:
    """From nothing to a clean stop, and once more up."""
    image_is_lean(stack)
    began = time.monotonic()
    stack.compose("up", "-d", "--wait", "--quiet-pull")
    ok(f"`docker compose up --wait`: six services healthy after {time.monotonic() - began:.0f} s")
    containers_are_hardened(stack)
    strangers_stay_out(stack)
    with Loop(stack) as loop:
        loop.connect()
        loop.first_version()
        survives_kills(stack, loop)
        stops_and_starts(stack, loop)


def image_is_lean(stack: Stack) -> None:
    """The image builds and holds no tool that builds."""
    began = time.monotonic()
    stack.compose("build", "-q", timeout_s=1800)
    image = json.loads(stack.compose("config", "--format", "json"))["services"]["backend"]["image"]
    size = json.loads(run(["docker", "image", "inspect", image]))[0]["Size"]
    tools = "for tool in cc gcc g++ make pip git curl; do command -v $tool; done; id -u"
    found = run(["docker", "run", "--rm", "--network", "none", image, "sh", "-c", tools]).split()
    expect(found, ["10001"], "tools in the image, and its user")
    ok(f"built in {time.monotonic() - began:.0f} s: {size / 1e9:.2f} GB, user 10001, no compiler, no pip, no git")


def containers_are_hardened(stack: Stack) -> None:
    """No privileges to gain, limits set, root file systems read-only, ports on loopback only."""
    writable = []
    for service in SERVICES:
        host = stack.containers(service)[0]["HostConfig"]
        expect((host["CapDrop"], host["SecurityOpt"]), (["ALL"], ["no-new-privileges:true"]), f"{service}'s privileges")
        expect((host["Memory"] > 0, host["PidsLimit"] > 0), (True, True), f"{service}'s limits")
        bound = {binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings}
        expect(bound <= {"127.0.0.1"}, True, f"{service}'s ports on loopback only")
        writable += [] if host["ReadonlyRootfs"] else [service]
    expect(sorted(writable), ["label-studio", "postgres"], "services that may write outside their volumes")
    ok("hardened: no capabilities, no new privileges, memory and pids limits, ports on 127.0.0.1 only, read-only roots")
    for service in SERVICES:
        says_so_itself(stack, service)


def says_so_itself(stack: Stack, service: str) -> None:
    """The same from inside the running container, whatever its description says."""
    lines = stack.compose("exec", "-T", service, "sh", "-c", WHO_AM_I).splitlines()
    facts = dict(line.replace(":", "").split(None, 1) for line in lines if " " in line or "\t" in line)
    host = stack.containers(service)[0]["HostConfig"]
    expect(facts["uid"] != "0", True, f"{service} is not root")
    expect(
        (facts["NoNewPrivs"], int(facts["CapEff"], 16), int(facts["CapBnd"], 16)), ("1", 0, 0), f"{service}'s rights"
    )
    expect(facts["root"], "ro" if host["ReadonlyRootfs"] else "rw", f"{service}'s root file system")
    expect((facts["memory"], facts["pids"]), (str(host["Memory"]), str(host["PidsLimit"])), f"{service}'s limits")
    if service in ("backend", "worker", "mlflow"):
        expect("tool" in facts, False, f"{service} has no tool that builds")
    health = life(stack.containers(service)[0])[1]
    expect(health, "healthy", f"{service}'s health")
    limits = f"{int(facts['memory']) / 2**20:.0f} MB and {facts['pids']} processes at most"
    who = f"uid {facts['uid']}, no capabilities, no new privileges, root file system {facts['root']}"
    ok(f"  inside {service}: {who}, {limits}, {health}; tools that build: {'some' if 'tool' in facts else 'none'}")


def strangers_stay_out(stack: Stack) -> None:
    """Health for everybody; the rest with credentials; from Label Studio no way to Redis or MLflow."""
    url = stack.url("BACKEND_PORT")
    expect(httpx.get(f"{url}/health").status_code, 200, "/health")
    expect(httpx.get(f"{url}/jobs").status_code, 401, "/jobs without credentials")
    expect(httpx.get(f"{url}/jobs", auth=credentials(stack)).status_code, 200, "/jobs with credentials")
    ready = httpx.get(f"{url}/ready", timeout=10)
    expect(ready.status_code, 200, f"/ready ({ready.text})")
    ok("/health and /ready answer anybody, /jobs only who has the credentials; database and Label Studio are ready")
    reached = stack.compose("exec", "-T", "label-studio", "python3", "-c", WHOM_I_SEE).split()
    expect(reached, ["backend", "postgres"], "what Label Studio can reach")
    ok("Label Studio can reach the backend and PostgreSQL, neither Redis nor MLflow")


def survives_kills(stack: Stack, loop: "Loop") -> None:
    """kill -9 of each service's main process: first while nothing happens, then in the middle of a training."""
    stack.compose("exec", "-T", "redis", "redis-cli", "set", "kept", "yes")
    for service in SERVICES:
        before = loop.settled()  # Redis writes its log once a second
        took = stack.kill(service)
        expect(loop.facts(), before, f"data after {service} was killed")
        ok(f"killed {service}: healthy after {took:.0f} s, data kept")
    expect(stack.compose("exec", "-T", "redis", "redis-cli", "get", "kept").strip(), "yes", "what Redis kept")
    old, began = loop.status(), time.monotonic()
    loop.label(MORE)
    wait("the labels are heard of", lambda: loop.status()["labels_since_last_training"] >= 10, 60)
    loop.train()  # by itself it would come later: trainings keep a distance of twice the last one's time
    wait("a training starts", lambda: "train" in loop.running(), 120)
    for service in ("worker", "redis", "postgres"):
        stack.kill(service)
    ok(f"{MORE} more labels and a training; killed the workers, Redis and PostgreSQL in the middle of it")
    fresh: list[Any] = wait("the training runs again", lambda: loop.versions_since(old), TRAINED_S)
    when = f"{time.monotonic() - began:.0f} s after the labels"
    expect(len(fresh), 1, "versions of one training")
    serves = loop.followed(old["release"]["name"]) if fresh[0]["state"] == "accepted" else "the one before still serves"
    ok(f"it ran again by itself: one version more, {fresh[0]['state']}, {when}; {serves}")


def stops_and_starts(stack: Stack, loop: "Loop") -> None:
    """Every service ends when it is told to, without an error; new containers go on where the old ones were."""
    before, began = loop.settled(), time.monotonic()
    stack.compose("stop")
    codes = {service: {one["State"]["ExitCode"] for one in stack.containers(service)} for service in SERVICES}
    expect([service for service in SERVICES if codes[service] - CLEAN], [], f"services that stop badly ({codes})")
    ok(f"clean stop in {time.monotonic() - began:.0f} s: exit codes {codes}")
    stack.compose("down")
    began = time.monotonic()
    stack.compose("up", "-d", "--wait")
    expect(loop.facts(), before, "new containers on the old volumes")
    ok(f"`down` and `up --wait` again: the same data in new containers after {time.monotonic() - began:.0f} s")
    labelled = loop.labelled()
    loop.label(1)
    wait("a label is heard of", lambda: loop.labelled() == labelled + 1, 60)
    ok("the next label is heard of")


def credentials(stack: Stack) -> tuple[str, str]:
    """What the backend wants of its callers."""
    return stack.variables["BASIC_AUTH_USER"], stack.variables["BASIC_AUTH_PASS"]


class Loop:
    """One project on the stack, labelled with gold by the owner of the token."""

    def __init__(self, stack: Stack) -> None:
        fresh = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed while we ask again
        url, auth = stack.url("BACKEND_PORT"), credentials(stack)
        self._backend = httpx.Client(base_url=url, auth=auth, timeout=30, limits=fresh)
        self._mlflow = httpx.Client(base_url=f"{stack.url('MLFLOW_PORT')}/api/2.0/mlflow", timeout=30, limits=fresh)
        self._credentials = credentials(stack)
        token, address = stack.variables["LABEL_STUDIO_API_KEY"], stack.url("LABEL_STUDIO_PORT")
        self._studio = Studio(address, token)
        self._api = httpx.Client(
            base_url=address, headers={"Authorization": f"Token {token}"}, timeout=60, limits=fresh
        )
        self._project = 0

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self._backend, self._mlflow, self._api, self._studio):
            client.close()

    def connect(self) -> None:
        """A project with tasks, some of them labelled, and the backend with basic auth, as Label Studio calls it."""
        rows = wikigold.rows("train")[:TASKS]
        self._project = int(self._studio.create_project("Compose", wikigold.LABEL_CONFIG)["id"])
        tasks = [wikigold.labelled_task(row) for row in rows[:TAUGHT]] + [wikigold.task(row) for row in rows[TAUGHT:]]
        self._studio.import_tasks(self._project, tasks)
        user, password = self._credentials
        self._studio.add_backend(
            self._project,
            "http://backend.internal:9090",
            "Edgewise",
            auth_method="BASIC_AUTH",
            basic_auth_user=user,
            basic_auth_pass=password,
        )
        wait("the connection is made", lambda: self.status()["phase"] != "connecting", 120)
        ok(f"connected http://backend.internal:9090 with basic auth; {TASKS} tasks, {TAUGHT} of them labelled")
        bad = [check for check in self.status()["checks"] if not check["ok"]]
        expect(bad, [], "what the doctor finds")

    def first_version(self) -> None:
        """Trained on the labels that were imported; its order is active in Label Studio."""
        began, name, status = time.monotonic(), self.followed(""), self.status()
        order = f"{status['release']['tasks']} tasks in order"
        learned = f"learned from {status['model_version']['examples']}"
        ok(f"the first version: {name} is active after {time.monotonic() - began:.0f} s, {order}, {learned}")

    def followed(self, old: str) -> str:
        """The release that Label Studio follows, once it is a trained version's, whole, and not `old`."""

        def another() -> str | None:
            release = self.status()["release"]
            fresh = release and release["version"] and release["whole"] and release["name"] != old
            active = self._studio.project(self._project)["model_version"]
            return str(active) if fresh and active == release["name"] else None

        return str(wait("another version's order is active", another, TRAINED_S))

    def label(self, count: int) -> None:
        """Label what Label Studio gives out next, with gold."""
        gold = {row["text"]: wikigold.result(row) for row in wikigold.rows("train")}
        for _ in range(count):
            task = self._call("GET", f"/api/projects/{self._project}/next/")
            body = {"result": gold[task["data"]["text"]], "lead_time": 1.0}
            self._call("POST", f"/api/tasks/{task['id']}/annotations/", body)

    def train(self) -> None:
        """Start a training now."""
        self._backend.post(f"/projects/{self._project}/train").raise_for_status()

    def status(self) -> Any:
        """Edgewise's own word."""
        return self._backend.get(f"/projects/{self._project}/status").raise_for_status().json()

    def labelled(self) -> int:
        """How many labelled tasks Edgewise knows."""
        tasks = self.status()["tasks"]
        return int(tasks["labelled"] + tasks["audit_labelled"])

    def versions_since(self, old: Any) -> list[Any]:
        """The versions that an older status did not have."""
        known = {version["id"] for version in old["versions"]}
        return [version for version in self.status()["versions"] if version["id"] not in known]

    def running(self) -> set[str]:
        """The kinds of job that run now."""
        return {job["kind"] for job in self.status()["jobs"] if job["state"] == "running"}

    def mlflow(self) -> list[str]:
        """The model versions that MLflow shows, by our names."""
        asked = {"filter": f"name = 'edgewise-{self._project}'"}
        found = self._mlflow.get("/model-versions/search", params=asked).raise_for_status().json()
        return sorted(tag["value"] for one in found.get("model_versions", []) for tag in one["tags"])

    def settled(self) -> dict[str, Any]:
        """The facts, once MLflow has all and nothing has changed for some seconds: old releases are removed last."""

        def still() -> dict[str, Any] | None:
            first = self.facts()
            time.sleep(4)
            return first if first == self.facts() and first["versions"] == first["MLflow"] else None

        found: dict[str, Any] = wait("all is still", still, 120)
        return found

    def facts(self) -> dict[str, Any]:
        """What no kill may change."""
        project, status = self._studio.project(self._project), self.status()
        return {
            "annotations": project["total_annotations_number"],
            "predictions": project["total_predictions_number"],
            "active": project["model_version"],
            "release": status["release"],
            "versions": sorted(version["id"] for version in status["versions"]),
            "tasks": status["tasks"],
            "MLflow": self.mlflow(),
        }

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return self._api.request(method, path, json=body).raise_for_status().json()


def expect(found: Any, wanted: Any, what: str) -> None:
    """Raises Failed unless both are the same."""
    if found != wanted:
        raise Failed(f"{what}: {found}, and not {wanted}")


def ok(text: str) -> None:
    """One thing that holds."""
    say(f"ok    {text}")


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
