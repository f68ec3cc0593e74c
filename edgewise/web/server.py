"""What answers HTTP: routes, and errors as `what` and `mend`.

Knows Flask and the wire; who may call is guard.py's business, and what an answer says that of the `Backend` that it is
given. Label Studio's own calls come first, ours after them; /openapi.json lists all of them.
"""

import json
import logging
import math
import re
import secrets
import time
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgewise.errors import EdgewiseError, InputError, NotFound
from edgewise.logs import begin
from edgewise.settings import Settings
from edgewise.web.backend import Backend
from edgewise.web.dashboard import pages, refused_by_protocol
from edgewise.web.guard import Guard
from edgewise.web.metrics import CONTENT_TYPE, Metrics
from edgewise.web.openapi import document
from edgewise.web.wire import (
    MAX_ID,
    START_TRAINING,
    InstructionsBody,
    Json,
    SamplesBody,
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
    "improve",
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

# Machines ask for these all the time.
QUIET = frozenset({"health", "ready", "metrics"})
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


def _add_calls_of_label_studio(app: Flask, backend: Backend, guard: Guard) -> None:
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
        return _told(counted, response)

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


def _begin() -> None:
    g.started_s = time.monotonic()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if re.fullmatch(r"[A-Za-z0-9._:+/=-]{1,64}", given) else secrets.token_hex(8)
    begin(request=g.request_id)


def _told(counted: Metrics, response: Response) -> Response:
    """The answer with its request's id, counted and logged."""
    endpoint, elapsed_s = request.endpoint or "unknown", time.monotonic() - g.started_s
    counted.record(endpoint, response.status_code, elapsed_s)
    if "error_kind" in g:
        counted.record_error(g.error_kind)
    level = logging.DEBUG if endpoint in QUIET and response.status_code < 400 else logging.INFO
    facts = {"endpoint": endpoint, "status": response.status_code, "ms": round(1000 * elapsed_s)}
    log.log(level, "%s %s: %d, %d ms", request.method, *facts.values(), extra={"facts": facts})
    response.headers["X-Request-ID"] = g.request_id
    return response


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
    if status == 429:
        response.headers["Retry-After"] = str(g.get("retry_after_s", 60))
    return response


def _on_purpose(error: EdgewiseError) -> Response:
    g.error_kind = type(error).__name__
    return _error(error.what, error.mend, error.status)


def _by_protocol(error: HTTPException) -> Any:
    """What Flask refuses by itself: unknown routes and methods, large bodies, broken requests."""
    if error.code is None or error.code < 400:
        return error
    if request.path.startswith("/dashboard/"):
        return refused_by_protocol(error)
    g.error_kind = type(error).__name__
    what, mend = f"{error.name}.", SEE_ROUTES
    if error.code == 413:
        what = f"The body is larger than {request.max_content_length} bytes."
        mend = "Send less at once."
    if error.code == 411:
        what, mend = "The body comes in chunks, and its sender is unknown.", "Send it whole, with a Content-Length."
    response = _error(what, mend, error.code)
    if error.code == 405:
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    return response


def _unexpected(error: Exception) -> Response:
    """A mistake of ours. The log gets its place and kind; an exception's words may quote a task: nobody gets those."""
    g.error_kind = type(error).__name__
    log.error("unexpected, in %s:", request.endpoint, exc_info=error)
    return _error(
        f"Something unexpected happened, in request {g.request_id}.", "Look for that id in the server's log.", 500
    )
