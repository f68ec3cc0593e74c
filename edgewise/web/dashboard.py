"""Pages for people: all projects, one project, and the button that goes back to an earlier version.

Rendered here and complete without a script; web/static/dashboard.js draws the curve and keeps the page up to date. A
page asks nothing of any other server, and its headers hold it to that. Knows Flask; what is shown is made in page.py.
"""

import hmac
import secrets
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from edgewise.errors import EdgewiseError, Forbidden, InputError
from edgewise.settings import Settings
from edgewise.web import page
from edgewise.web.backend import Backend
from edgewise.web.wire import MAX_ID, Json

COOKIE = "edgewise_csrf"
FIELD = "csrf"
PROJECT = f"/<int(min=1, max={MAX_ID}):ls_id>"
RECENT_REPORTS = 20  # the newest forecast is looked for among so many

# Everything from this server, scripts and styles from files alone, and in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def pages(backend: Backend, settings: Settings) -> Blueprint:
    """The dashboard's routes over a backend. studio links: LABEL_STUDIO_HOST, as a browser would have to know it."""
    blueprint = Blueprint(
        "dashboard", __name__, url_prefix="/dashboard", static_folder="static", template_folder="templates"
    )
    for function in (
        page.count,
        page.score,
        page.share,
        page.moment,
        page.dollars,
        page.short,
        page.doing,
        page.ranged,
    ):
        blueprint.add_app_template_filter(function)
    blueprint.after_request(_harden)
    blueprint.register_error_handler(EdgewiseError, _refusal)
    blueprint.register_error_handler(HTTPException, refused_by_protocol)
    studio = settings.label_studio_host.rstrip("/")

    @blueprint.get("", strict_slashes=False)
    def projects() -> str:
        return render_template("projects.html", projects=backend.projects())

    @blueprint.get(PROJECT)
    def project(ls_id: int) -> Response:
        token = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
        shown = page.project(backend.status(ls_id), backend.numbers(ls_id), newest_plan(backend, ls_id))
        asked = request.args.get("asked", "")
        response = make_response(
            render_template("project.html", **shown, studio=studio, csrf=token, field=FIELD, asked=asked)
        )
        response.set_cookie(
            COOKIE, token, httponly=True, samesite="Strict", secure=request.is_secure, path=url_for(".projects")
        )
        return response

    @blueprint.post(f"{PROJECT}/rollback")
    def rollback(ls_id: int) -> AnyResponse:
        _check_form()
        version = request.form.get("version", "")
        if not page.is_version(version):
            raise InputError("The form names no version.", "Use the button beside a version.")
        backend.enqueue(ls_id, "rollback", {"version": version})
        return redirect(url_for(".project", ls_id=ls_id, asked=version, _anchor="versions"), 303)

    return blueprint


def newest_plan(backend: Backend, ls_id: int) -> Json | None:
    """What the last `plan` forecast, if there is one among the newest reports."""
    for one in backend.reports(ls_id, RECENT_REPORTS):
        if one["kind"] == "plan":
            return backend.report(ls_id, one["id"])
    return None


def is_foreign() -> bool:
    """Whether another site's page made the browser send this: then nothing may change. Scripts name no origin."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc != request.host


def _check_form() -> None:
    """The form must come from a page of ours: it holds what the cookie holds, which no other site can read or set."""
    kept, given = request.cookies.get(COOKIE, ""), request.form.get(FIELD, "")
    if not kept or not hmac.compare_digest(kept.encode(), given.encode("utf-8", "surrogatepass")):
        raise Forbidden("The form does not come from this page, or the page is too old.", "Reload it and try again.")


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "dashboard.static":
        response.headers["Cache-Control"] = "no-store"
    return response


def _refusal(error: EdgewiseError) -> tuple[str, int, dict[str, str]]:
    return _told(error.what, error.mend, error.status)


def refused_by_protocol(error: HTTPException) -> Any:
    """What Flask refuses by itself, as a page: wrong addresses above all."""
    if error.code is None or error.code < 400:
        return error
    return _told(f"{error.name}.", "Go back to the list of projects.", error.code)


def _told(what: str, mend: str, status: int) -> tuple[str, int, dict[str, str]]:
    headers = {"WWW-Authenticate": 'Basic realm="edgewise"'} if status == 401 else {}
    return render_template("error.html", what=what, mend=mend), status, headers
