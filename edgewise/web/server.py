"""What answers HTTP: routes, credentials, limits, and errors as `what` and `mend`.

Knows Flask and the wire. What an answer says is the business of the `Backend` that it is given. Label Studio's own
calls come first, ours after them; /openapi.json lists all of them.
"""

import hmac
import json
import logging
import math
import re
import secrets
import time
import traceback
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgewise.errors import EdgewiseError, Forbidden, InputError, NotFound, Unauthorized
from edgewise.settings import Settings
from edgewise.web.dashboard import is_foreign, pages, refused_by_protocol
from edgewise.web.metrics import CONTENT_TYPE, Metrics
from edgewise.web.openapi import document
from edgewise.web.wire import (
    MAX_ID,
    SECRET_HEADER,
    START_TRAINING,
    Backend,
    InstructionsBody,
    Json,
    SamplesBody,
    WebhookEvent,
    parse_json,
    parse_predict,
    parse_setup,
    parse_webhook,
    read_body,
    render_predictions,
)

log = logging.getLogger(__name__)

VERBS = (
    "connect",
    "sync",
    "plan",
    "prelabel",
    "evaluate-llm",
    "label-errors",
    "saving",
    "train",
    "rank",
    "rollback",
    "pause",
    "resume",
    "forget",
    "doctor",
)

# Answered to anybody; the webhook looks at its own credentials, as Label Studio sends none of the basic kind with it.
PUBLIC = frozenset({"health", "ready", "webhook"})

# Label Studio sends all selected tasks in one POST, and takes no larger body itself (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_PREDICT_BYTES = 250_000_000
# A webhook may carry 5,000 imported tasks at once (WEBHOOK_BATCH_SIZE): room for 12 kB each.
MAX_WEBHOOK_BYTES = 64_000_000
# Ours are some hundred bytes; large labelling configs, in /setup, some ten thousand.
MAX_BODY_BYTES = 1_000_000
MAX_BYTES = {"predict": MAX_PREDICT_BYTES, "webhook": MAX_WEBHOOK_BYTES}

# A page of jobs that a person still reads, and the most that a script may ask for at once.
DEFAULT_JOBS = 50
MAX_JOBS = 500
# Options are a version's name, a reason: not documents.
MAX_OPTIONS = 20
MAX_OPTION_CHARACTERS = 200

PROJECT = f"/projects/<int(min=1, max={MAX_ID}):ls_id>"
SEE_ROUTES = "See /openapi.json for the routes and what they take."


def create_app(backend: Backend, settings: Settings) -> Flask:
    """The WSGI application over a backend, which it asks nothing until a request does."""
    app = Flask("edgewise", static_folder=None)
    guard = Guard(backend, settings)
    app.before_request(_begin)
    app.before_request(guard.check)
    app.register_error_handler(EdgewiseError, _on_purpose)
    app.register_error_handler(HTTPException, _by_protocol)
    app.register_error_handler(Exception, _unexpected)
    _add_calls_of_label_studio(app, backend, guard)
    _add_project_calls(app, backend)
    _add_report_calls(app, backend)
    _add_job_calls(app, backend)
    _add_pages_for_machines(app, backend)
    app.register_blueprint(pages(backend, settings))
    return app


def _add_calls_of_label_studio(app: Flask, backend: Backend, guard: "Guard") -> None:
    @app.get("/health")
    def health() -> Response:
        return _answer({"status": "UP"})

    @app.post("/setup")
    def setup() -> Response:
        return _answer({"model_version": backend.setup(parse_setup(_body(), _called_as()))})

    @app.post("/predict")
    def predict() -> Response:
        asked = parse_predict(_body())
        answered = render_predictions(backend.predict(asked), len(asked.tasks))
        return Response(answered, mimetype="application/json")

    @app.post("/webhook")
    def webhook() -> Response:
        event = parse_webhook(_body())
        if event is None:
            return _answer({"status": "ignored"})
        guard.check_webhook(event)
        if event.action == START_TRAINING:
            backend.start_training(event)
        else:
            backend.hint(event)
        return _answer({"status": "noted"}, 201)

    @app.get("/versions")
    def versions() -> Response:
        return _answer({"versions": backend.versions()})


def _add_project_calls(app: Flask, backend: Backend) -> None:
    @app.post("/select_samples")
    def select_samples() -> Response:
        body = read_body(SamplesBody, parse_json(_body()))
        return _answer(backend.select_samples(body.project_id, body.limit, body.strategy, body.threshold))

    @app.get(f"{PROJECT}/status")
    def status(ls_id: int) -> Response:
        return _answer(backend.status(ls_id))

    @app.get(f"{PROJECT}/numbers")
    def numbers(ls_id: int) -> Response:
        return _answer(backend.numbers(ls_id))

    @app.get(f"{PROJECT}/instructions")
    def instructions(ls_id: int) -> Response:
        return _answer(backend.instructions(ls_id))

    @app.put(f"{PROJECT}/instructions")
    def put_instructions(ls_id: int) -> Response:
        return _answer(backend.put_instructions(ls_id, read_body(InstructionsBody, parse_json(_body())).text))

    @app.post(f"{PROJECT}/<verb>")
    def enqueue(ls_id: int, verb: str) -> Response:
        if verb not in VERBS:
            raise NotFound("There is no verb of that name.", f"Use one of {', '.join(VERBS)}.")
        return _answer(backend.enqueue(ls_id, verb, _options(_body())), 202)


def _add_report_calls(app: Flask, backend: Backend) -> None:
    @app.get(f"{PROJECT}/llm_runs")
    def llm_runs(ls_id: int) -> Response:
        return _answer({"runs": backend.llm_runs(ls_id)})

    @app.get(f"{PROJECT}/reports")
    def reports(ls_id: int) -> Response:
        return _answer({"reports": backend.reports(ls_id, _limit(request.args.get("limit")))})

    @app.get(f"{PROJECT}/reports/<report_id>")
    def report(ls_id: int, report_id: str) -> Response:
        return _answer(backend.report(ls_id, _job_id(report_id)))


def _add_job_calls(app: Flask, backend: Backend) -> None:
    @app.get("/jobs")
    def jobs() -> Response:
        return _answer({"jobs": backend.jobs(_limit(request.args.get("limit")))})

    @app.get("/jobs/<job_id>")
    def job(job_id: str) -> Response:
        return _answer(backend.job(_job_id(job_id)))

    @app.post("/jobs/<job_id>/cancel")
    def cancel_job(job_id: str) -> Response:
        return _answer(backend.cancel(_job_id(job_id)))


def _add_pages_for_machines(app: Flask, backend: Backend) -> None:
    counted = Metrics(backend.metrics)

    @app.after_request
    def record(response: Response) -> Response:
        counted.record(request.endpoint or "unknown", response.status_code, time.monotonic() - g.started_s)
        return response

    @app.get("/ready")
    def ready() -> Response:
        state = backend.ready()
        return _answer(state, 200 if state.get("ready") is True else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(counted.page(), content_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return _answer(document(VERBS))


class Guard:
    """Who may call what. Basic auth guards everything but `PUBLIC` where BASIC_AUTH_USER is set."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._basic = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())

    @property
    def _open(self) -> bool:
        return not self._basic[0]

    def check(self) -> None:
        """Raises Unauthorized for a request without our basic credentials, and Forbidden for what a page of another
        site sends: a browser that has seen our dashboard adds the credentials to that by itself."""
        if request.method not in ("GET", "HEAD", "OPTIONS") and is_foreign():
            raise Forbidden("A page of another site sent this.", "Call from a script, or from our own dashboard.")
        if not (self._open or request.endpoint in PUBLIC or self._knows_basic()):
            raise Unauthorized(
                "The call carries no credentials, or wrong ones.",
                "Use basic auth with BASIC_AUTH_USER and BASIC_AUTH_PASS of this server.",
            )

    def check_webhook(self, event: WebhookEvent) -> None:
        """Raises Unauthorized for a webhook that is not from our Label Studio.

        START_TRAINING is a direct call and brings basic auth, if there is any. Events bring the secret that `connect`
        put on the webhook; until it has, they are believed, as they only make us look.
        """
        if not self._open and self._knows_basic():
            return
        secret = self._backend.webhook_secret(event.ls_id)
        given = request.headers.get(SECRET_HEADER)
        if secret is not None and given is not None and _same(given, secret):
            return
        believed = self._open if event.action == START_TRAINING else secret is None
        if not believed:
            raise Unauthorized(
                "The webhook carries no credentials, or wrong ones.",
                f"Run `connect` for project {event.ls_id}, and give Label Studio our user and password.",
            )

    def _knows_basic(self) -> bool:
        given = request.authorization
        if given is None or given.type != "basic":
            return False
        user, password = self._basic
        # Both are compared whatever the first says, so that time tells nothing.
        return _same(given.username or "", user) & _same(given.password or "", password)


def _same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours.encode())


def _begin() -> None:
    g.started_s = time.monotonic()
    request.max_content_length = MAX_BYTES.get(request.endpoint or "", MAX_BODY_BYTES)


def _body() -> bytes:
    raw = request.get_data(cache=False)
    if request.content_length is None and len(raw) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge  # werkzeug cuts a chunked body off there and says nothing
    return raw


def _called_as() -> str:
    """Our address as the caller knows it: scheme, Host header, prefix."""
    if not request.host:
        raise InputError("The Host header is none.", "Call this server by its name or address.")
    return request.url_root.rstrip("/")


def _answer(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, allow_nan=False), status, mimetype="application/json")


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_JOBS
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= MAX_JOBS:
        raise InputError(f"limit: not a whole number from 1 to {MAX_JOBS}.", "Correct it, or leave it out.")
    return int(given)


def _job_id(given: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given):
        raise NotFound("There is no such job.", "GET /jobs lists them.")
    return given


def _options(raw: bytes) -> Json:
    """A verb's options: a JSON object of plain values and lists of them, or no body at all."""
    options = parse_json(raw) if raw.strip() else {}
    if not isinstance(options, dict) or len(options) > MAX_OPTIONS:
        raise InputError(f"The body is not a JSON object of at most {MAX_OPTIONS} options.", SEE_ROUTES)
    for position, (name, value) in enumerate(options.items()):
        values = value if isinstance(value, list) else [value]
        words = f"{name} {' '.join(map(str, values))}"  # printable: no line breaks, no NUL, no half characters
        if not all(map(_is_plain, values)) or len(words) > MAX_OPTION_CHARACTERS or not words.isprintable():
            raise InputError(
                f"Option {position + 1} is not a name with a short text, a number, true, false, null or some of them.",
                SEE_ROUTES,
            )
    return options


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, int | str) or (isinstance(value, float) and math.isfinite(value))


def _error(what: str, mend: str, status: int) -> Response:
    response = _answer({"error": {"what": what, "mend": mend}}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="edgewise"'
    return response


def _on_purpose(error: EdgewiseError) -> Response:
    return _error(error.what, error.mend, error.status)


def _by_protocol(error: HTTPException) -> Any:
    """What Flask refuses by itself: unknown routes and methods, large bodies, broken requests."""
    if error.code is None or error.code < 400:
        return error
    if request.path.startswith("/dashboard/"):
        return refused_by_protocol(error)
    what, mend = f"{error.name}.", SEE_ROUTES
    if error.code == 413:
        what = f"The body is larger than {request.max_content_length} bytes."
        mend = "Send less at once."
    response = _error(what, mend, error.code)
    if error.code == 405:
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    return response


def _unexpected(error: Exception) -> Response:
    """A mistake of ours. The log gets its place and kind; an exception's words may quote a task: nobody gets those."""
    number = secrets.token_hex(6)
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("request %s to %s: %s\n%s", number, request.endpoint, type(error).__name__, frames)
    return _error(
        f"Something unexpected happened, in request {number}.", "Look for that number in the server's log.", 500
    )
