"""One call to Label Studio's HTTP API: credentials, retries, and what its answers mean as our errors.

Knows status codes, tokens and JSON, and nothing of projects or tasks. No message holds a token or a body: bodies may
hold task text. httpx and not label-studio-sdk: that takes 1.6 s and 157 MB to import in the process that answers
annotators, and has no call for half of what we need.
"""

import base64
import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from edgewise.errors import EdgewiseError, NotFound, StudioRefused, StudioUnavailable

Json = dict[str, Any]

REFRESH_BEFORE_S = 60.0  # an access token lives 300 s; one that ends on the way is worth a 401
CONNECT_TIMEOUT_S = 5.0
TRIES = 3
LONGEST_PAUSE_S = 2.0
REPEATABLE = frozenset({"GET", "PATCH", "DELETE"})  # sent twice they do what they do once; a POST may do it twice
ADDRESS = "Correct LABEL_STUDIO_HOST: it starts with http:// or https://."
UNRESOLVED = "can't resolve hostname"  # Label Studio answers 500 with it
PROTECTED = ("reserved network address", "the provided url was not allowed")
OPEN_NETWORK = (
    "Start Label Studio with USE_DEFAULT_BANNED_SUBNETS=false and "
    "USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16,fe80::/10 (your own network is allowed then, cloud metadata is not)."
)
NEW_TOKEN = "Make a new access token in Label Studio (Account & Settings) and put it into LABEL_STUDIO_API_KEY."


class NotSent(StudioUnavailable):
    """No connection came about: Label Studio has seen nothing of the call, so any call may be repeated."""


class NoAnswer(StudioUnavailable):
    """The call may have been carried out or not: time-out, broken connection, 5xx, garbage."""


class Protected(StudioRefused):
    """Label Studio's network protection refuses an address that we gave it."""


class Credentials:
    """The Authorization header for a token of either kind, told apart by form. Several threads may share it.

    A personal access token is a JWT and only good for fetching access tokens; anything else is a legacy token, sent
    as it is.
    """

    def __init__(self, token: str, client: httpx.Client) -> None:
        self._token = token.strip()
        self._client = client
        self._lock = threading.Lock()
        self._access = ""
        self._good_until = 0.0  # on the monotonic clock

    @property
    def renewable(self) -> bool:
        """True for a personal access token."""
        return bool(_claims(self._token))

    def header(self) -> str:
        """The header's value. Raises StudioRefused when there is no token or Label Studio takes it no longer."""
        if not self._token:
            raise StudioRefused("There is no token for Label Studio.", "Set LABEL_STUDIO_API_KEY.")
        if not (self._token.isascii() and self._token.isprintable()):
            raise StudioRefused(
                "The token for Label Studio has characters that no token has.",
                "Copy it into LABEL_STUDIO_API_KEY again.",
            )
        if not self.renewable:
            return f"Token {self._token}"
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._access, life_s = self._fetch()
                self._good_until = time.monotonic() + max(life_s - REFRESH_BEFORE_S, life_s / 2)
            return f"Bearer {self._access}"

    def renew(self, refused: str) -> None:
        """Forget the access token in the header `refused`, unless another thread has renewed it already."""
        with self._lock:
            if refused == f"Bearer {self._access}":
                self._good_until = 0.0

    def _fetch(self) -> tuple[str, float]:
        """A fresh access token and how many seconds it lives, by its own claims: the two clocks may differ."""
        call = Call("POST", "api/token/refresh/")
        response = send(self._client, call.method, call.path, json={"refresh": self._token})
        if response.status_code in (400, 401, 403):
            raise StudioRefused(
                "Label Studio does not take the personal access token: expired, revoked, or not its own.",
                NEW_TOKEN,
            )
        access = field(interpret(response, call), "access", call.path)
        claims = _claims(access) if isinstance(access, str) else {}
        if not isinstance(access, str) or not isinstance(claims.get("exp"), int | float):
            raise garbage(call.path)
        return access, float(claims["exp"]) - float(claims.get("iat", time.time()))


@dataclass(frozen=True, slots=True)
class Call:
    """A call that can be sent, and sent again. `path` has no leading slash; `timeout_s` None is the client's own."""

    method: str
    path: str
    params: Mapping[str, str | int] | None = None
    body: object = None
    timeout_s: float | None = None
    gone: type[EdgewiseError] = NotFound  # what a 404 in Label Studio's own words means
    anonymous: bool = False  # sent without the token


class Http:
    """Calls of one Label Studio, over kept connections. Several threads may share it."""

    def __init__(self, address: str, token: str, timeout_s: float, tries: int = TRIES) -> None:
        """`address` may hold a path prefix. Proxies of the environment are used, but never for this machine."""
        try:
            self._client = httpx.Client(
                base_url=address.rstrip("/") + "/",
                timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                headers={"User-Agent": "edgewise", "Accept": "application/json"},
                follow_redirects=False,  # a token must not travel to wherever an answer points
                mounts={"all://localhost": None, "all://127.0.0.1": None},
            )
        except httpx.InvalidURL as error:
            raise StudioRefused("The address of Label Studio is not one.", ADDRESS) from error
        self._credentials = Credentials(token, self._client)
        self._tries = tries
        self.clock: datetime | None = None  # the server's own, at its last answer

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()

    @property
    def has_personal_token(self) -> bool:
        """Told by its form: True for a personal access token, False for a legacy token."""
        return self._credentials.renewable

    def authorization(self) -> str:
        """The Authorization header of now. Raises StudioUnavailable, StudioRefused."""
        return self._credentials.header()

    def ask(self, call: Call) -> Any:
        """The answer's JSON, None for an empty one. Repeats what is safe to repeat: three tries, short pauses.

        Raises StudioUnavailable, StudioRefused, or what `call.gone` says.
        """
        retried = NotSent if call.method not in REPEATABLE else StudioUnavailable
        attempts = Retrying(
            retry=retry_if_exception_type(retried),
            stop=stop_after_attempt(self._tries),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE_S),
            reraise=True,
        )
        return attempts(self._once, call)

    def _once(self, call: Call) -> Any:
        if call.anonymous:
            return interpret(self._send(call, ""), call)
        header = self._credentials.header()
        response = self._send(call, header)
        if response.status_code == 401 and self._credentials.renewable:
            self._credentials.renew(header)
            response = self._send(call, self._credentials.header())
        return interpret(response, call)

    def _send(self, call: Call, header: str) -> httpx.Response:
        options: Json = {"params": call.params, "headers": {"Authorization": header} if header else {}}
        if call.timeout_s is not None:
            options["timeout"] = httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S)
        if call.body is not None:
            options["json"] = call.body
        response = send(self._client, call.method, call.path, **options)
        with suppress(KeyError, ValueError):  # an answer without a date leaves the last one
            self.clock = parsedate_to_datetime(response.headers["Date"])
        return response


def send(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """Send once. Raises NotSent or NoAnswer, told apart by whether Label Studio can have seen the call."""
    try:
        return client.request(method, path, **options)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise StudioRefused("The address of Label Studio is not one.", ADDRESS) from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSent(
            "Label Studio cannot be reached.", "Start it, or correct LABEL_STUDIO_HOST; we try again by ourselves."
        ) from error
    except httpx.RequestError as error:
        raise NoAnswer(
            f"Label Studio did not answer {method} {path} ({type(error).__name__}).",
            "See whether it is overloaded or was restarted; we try again by ourselves.",
        ) from error


def interpret(response: httpx.Response, call: Call) -> Any:
    """The JSON of a good answer; otherwise the error that the answer means."""
    status, where = response.status_code, f"{call.method} {call.path}"
    if status == 204:
        return None
    if response.is_success:
        return read(response, call.path)
    if response.is_redirect:
        raise StudioRefused(
            f"Label Studio redirects {where} elsewhere.", "Set LABEL_STUDIO_HOST to the address your browser shows."
        )
    if status in (401, 403):
        raise garbage(call.path) if call.anonymous else _denied(response, where)
    if status == 404:
        raise _missing(response, call)
    if UNRESOLVED in _detail(response):
        raise StudioRefused(
            "Label Studio cannot find the host of the address that it was given.",
            "Use a name that Label Studio's machine or container can look up, or an IP address.",
        )
    if status >= 500 or status == 429:
        raise NoAnswer(f"Label Studio answers {where} with {status}.", "See its log; we try again by ourselves.")
    raise StudioRefused(
        f"Label Studio refuses {where} with {status}{_fields(response)}.", "See Label Studio's log for its reason."
    )


def read(response: httpx.Response, path: str = "") -> Any:
    """The answer's JSON. Raises NoAnswer for anything else: a proxy's error page, a login form, half a body."""
    try:
        return response.json()
    except ValueError as error:
        raise garbage(path or response.request.url.path) from error


def garbage(path: str) -> NoAnswer:
    """The error for an answer that Label Studio never gives."""
    return NoAnswer(
        f"What answers {path} is not Label Studio, or not a version that we know: it answers garbage.",
        "Correct LABEL_STUDIO_HOST, or repair the proxy in front of Label Studio.",
    )


def _denied(response: httpx.Response, where: str) -> StudioRefused:
    if "legacy token authentication has been disabled" in _detail(response):
        return StudioRefused(
            "Label Studio has legacy tokens switched off.",
            "Switch them on (Organization > API Tokens Settings), or use a personal access token.",
        )
    if response.status_code == 401:
        return StudioRefused("Label Studio does not know the token.", NEW_TOKEN)
    if any(words in _detail(response) for words in PROTECTED):
        return Protected("Label Studio's network protection refuses the address.", OPEN_NETWORK)
    return StudioRefused(
        f"The token's owner may not {where} in Label Studio.", "Use the token of somebody who manages the project."
    )


def _missing(response: httpx.Response, call: Call) -> EdgewiseError:
    """A 404 counts only in Label Studio's own words: a proxy's, or a wrong prefix's, must not erase a project here."""
    if not _detail(response):
        return garbage(call.path)
    return call.gone(
        f"Label Studio has no {call.path} (any more).",
        "If nobody deleted it, see whether LABEL_STUDIO_HOST and LABEL_STUDIO_API_KEY are the right ones.",
    )


def _detail(response: httpx.Response) -> str:
    """The lower-case `detail` of an error in Label Studio's own form, else ''."""
    try:
        body = response.json()
    except ValueError:
        return ""
    own = isinstance(body, dict) and body.get("status_code") == response.status_code and "detail" in body
    return str(body["detail"]).lower() if own else ""


def _fields(response: httpx.Response) -> str:
    """Names of the fields that Label Studio finds wrong; never what it says of them, as that quotes values."""
    try:
        body = response.json()
    except ValueError:
        return ""
    errors = body.get("validation_errors") if isinstance(body, dict) else None
    return f" (because of {', '.join(sorted(map(str, errors)))})" if isinstance(errors, dict) else ""


def _claims(token: str) -> Json:
    """What a JWT says of itself; empty for what is no JWT. Nothing is verified: that is Label Studio's business."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def as_dict(answer: Any, path: str) -> Json:
    """The answer, if it is an object. Raises NoAnswer."""
    if not isinstance(answer, dict):
        raise garbage(path)
    return answer


def as_list(answer: Any, path: str) -> list[Any]:
    """The answer, if it is a list. Raises NoAnswer."""
    if not isinstance(answer, list):
        raise garbage(path)
    return answer


def field(answer: Any, name: str, path: str) -> Any:
    """A field of the answer, if it is an object that has it. Raises NoAnswer."""
    if not isinstance(answer, dict) or name not in answer:
        raise garbage(path)
    return answer[name]
