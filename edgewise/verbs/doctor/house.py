"""Our own house: the database, the queue and who works on it, the model folder, the base model, MLflow."""

from datetime import UTC, datetime, timedelta

from edgewise.errors import EdgewiseError, NotFound
from edgewise.learning.presence import find_base
from edgewise.services.reach import reach_mlflow, reach_redis
from edgewise.services.store.queue import HELPERS_LANE
from edgewise.verbs.doctor.finding import Check, Finding, fault, fine, skipped
from edgewise.verbs.doctor.scene import Scene
from edgewise.verbs.system import folder_name

WAITED_LONG = timedelta(seconds=60)


def database(scene: Scene) -> Finding:
    """It opens, and answers."""
    try:
        scene.store.ping()
    except EdgewiseError as error:
        return fault(error.what, error.mend)
    return fine()


def redis(scene: Scene) -> Finding:
    """Only the transport of jobs: away, they wait."""
    url = scene.system.settings.redis_url
    if url is None:
        return skipped("REDIS_URL is not set: jobs wait in the database alone")
    try:
        reach_redis(url.get_secret_value())
    except EdgewiseError as error:
        return fault(error.what, error.mend)
    return fine()


def worker(scene: Scene) -> Finding:
    """Told by a job that could run, and has waited for a minute while none of its kind runs. Helpers are not missed."""
    due = [job for job in scene.store.due_jobs(limit=20) if job.error is None and job.lane != HELPERS_LANE]
    busy = {job.lane for job in scene.store.running_jobs()}
    since = datetime.now(UTC) - WAITED_LONG
    stuck = [job for job in due if job.lane not in busy and (job.run_after or job.created_at) < since]
    if not stuck:
        return skipped("no job has waited for a minute")
    return fault(
        f"Jobs wait ({', '.join(sorted({job.kind for job in stuck}))}), and no worker takes them.",
        "Start the server (`make serve`), or a worker: `edgewise work`, with the same DATABASE_URL and REDIS_URL.",
    )


def models_writable(scene: Scene) -> Finding:
    """Where trainings write versions."""
    try:
        scene.system.registry.check()
    except EdgewiseError as error:
        return fault(error.what, error.mend)
    return fine()


def models_shared(scene: Scene) -> Finding:
    """The server and whoever runs this must see one folder: by a mark in it, and by the weights that serve."""
    project = scene.project
    mend = "Give server, workers and terminals the same MODEL_DIR (and FINETUNED_MODEL_NAME): one folder, shared."
    there, here = project.connection.get("models"), scene.system.registry.mark()
    if there and here and there != here:
        return fault("Our server has another model folder than this process: what is trained is not served.", mend)
    if project.serving is not None:
        try:
            scene.system.registry.card(folder_name(project), project.serving)
        except NotFound as error:
            return fault(f"{error.what} Tasks are ranked without it.", mend)
    if not there:
        return skipped("the server has not been asked by Label Studio yet, and no version serves")
    return fine()


def base_model(scene: Scene) -> Finding:
    """BASELINE_MODEL_NAME, found without loading it."""
    try:
        return fine(find_base(scene.system.settings.baseline_model_name))
    except EdgewiseError as error:
        return fault(f"{error.what} No training can begin from it.", error.mend)


def mlflow(scene: Scene) -> Finding:
    """Only a mirror: away, what it is to show waits."""
    try:
        reach_mlflow(scene.system.settings.mlflow_tracking_uri)
    except EdgewiseError as error:
        return fault(error.what, error.mend)
    return fine()


HOUSE = (
    Check("database", "our database answers", database),
    Check("redis", "Redis answers", redis),
    Check("worker", "somebody does our jobs", worker),
    Check("models", "the model folder can be written to", models_writable),
    Check("shared", "server and workers share the model folder", models_shared),
    Check("base", "the base model is here or can be fetched", base_model),
    Check("mlflow", "MLflow answers", mlflow),
)
