"""Who may call what, how often, and with how large a body. What it refuses, it refuses before a body is read.

Knows Flask's request, credentials and limits. Knows nothing of what the calls do.
"""

import hmac
import secrets
from collections.abc import Collection
from hashlib import blake2b
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import g, request
from werkzeug.exceptions import LengthRequired

from edgewise.errors import Forbidden, TooMany, Unauthorized
from edgewise.settings import Settings, is_loopback
from edgewise.web.backend import Backend
from edgewise.web.dashboard import is_foreign
from edgewise.web.rates import Rates
from edgewise.web.wire import SECRET_HEADER, START_TRAINING, WebhookEvent

# Answered to anybody, whatever else is refused.
HEARTBEATS = frozenset({"health", "ready"})

# Without basic auth: the webhook looks at its own credentials, as Label Studio sends none of the basic kind with it.
PUBLIC = HEARTBEATS | {"webhook"}

# What Label Studio calls while people label.
STUDIO = frozenset({"setup", "predict", "webhook", "versions"})

# Label Studio sends all selected tasks in one POST, and takes no larger body itself (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_PREDICT_BYTES = 250_000_000
# A webhook may carry 5,000 imported tasks at once (WEBHOOK_BATCH_SIZE): room for 12 kB each.
MAX_WEBHOOK_BYTES = 64_000_000
# Ours are some hundred bytes; large labelling configs, in /setup, some ten thousand.
MAX_BODY_BYTES = 1_000_000
MAX_BYTES = {"predict": MAX_PREDICT_BYTES, "webhook": MAX_WEBHOOK_BYTES}


class Guard:
    """Basic auth guards everything but `PUBLIC` where BASIC_AUTH_USER is set; without it only this machine may call,
    unless ALLOW_ANONYMOUS says otherwise."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._basic = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
        self._anybody = settings.allow_anonymous
        self._names = {settings.host.casefold(), *(host.casefold() for host in settings.allowed_hosts)}
        self._rates = Rates(settings.calls_per_minute)
        self._salt = secrets.token_bytes(16)

    @property
    def _open(self) -> bool:
        return not self._basic[0]

    def check(self) -> None:
        """Raises Unauthorized, Forbidden or TooMany for a request that is not answered; sets the limit of its body."""
        endpoint = request.endpoint or ""
        request.max_content_length = MAX_BYTES.get(endpoint, MAX_BODY_BYTES)
        if endpoint in HEARTBEATS:
            return
        self._count(endpoint)
        if self._open and not self._anybody:
            self._check_place()
        if request.method not in ("GET", "HEAD", "OPTIONS") and is_foreign():
            # A browser that has seen our dashboard adds the credentials by itself.
            raise Forbidden("A page of another site sent this.", "Call from a script, or from our own dashboard.")
        if endpoint == "webhook":
            self._limit_webhook()
        elif not (self._open or self._knows_basic()):
            raise Unauthorized(
                "The call carries no credentials, or wrong ones.",
                "Use basic auth with BASIC_AUTH_USER and BASIC_AUTH_PASS of this server.",
            )

    def check_webhook(self, event: WebhookEvent) -> None:
        """Raises Unauthorized for a webhook that is not from our Label Studio.

        START_TRAINING is a direct call and brings basic auth, if there is any. Events bring the secret that `connect`
        put on the webhook; until it has, they are believed, as they only make us look.
        """
        secret = self._backend.webhook_secret(event.ls_id)
        if secret is not None and _brings_one_of([secret]):
            return
        if not self._open and self._knows_basic():
            return
        believed = self._open if event.action == START_TRAINING else secret is None
        if not believed:
            raise Unauthorized(
                "The webhook carries no credentials, or wrong ones.",
                f"Run `connect` for project {event.ls_id}, and give Label Studio our user and password.",
            )

    def _count(self, endpoint: str) -> None:
        """Raises TooMany. A webhook that is refused here loses no label: the next sync reads what it told of."""
        caller = request.remote_addr or ""
        wait_s = self._rates.count_studio(caller) if endpoint in STUDIO else self._rates.count_ours(caller)
        if wait_s:
            g.retry_after_s = wait_s
            raise TooMany("So many calls a minute are too many.", f"Wait {wait_s} s, or raise CALLS_PER_MINUTE.")

    def _check_place(self) -> None:
        """Nobody need say who they are, so only this machine may call, and no page may pretend to by a name of its
        own that it made mean this machine (DNS rebinding)."""
        if not is_loopback(request.remote_addr or "localhost"):
            raise Unauthorized(
                "This server has no credentials, so it answers only to its own machine.",
                "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or allow it with ALLOW_ANONYMOUS=true.",
            )
        name = _name(request.host)
        if "." in name and not name.endswith(".localhost") and not _is_address(name) and name not in self._names:
            raise Forbidden(
                "This server has no credentials, and is not known by the name that it was called by.",
                "Call it by its address, set BASIC_AUTH_USER and BASIC_AUTH_PASS, or put the name into ALLOWED_HOSTS.",
            )

    def _limit_webhook(self) -> None:
        """A body that is read before we know the project is small, unless its sender knows a secret of ours."""
        size = request.content_length
        if size is not None and size <= MAX_BODY_BYTES:
            return
        trusted = _brings_one_of(self._backend.webhook_secrets()) or (not self._open and self._knows_basic())
        if trusted:
            return
        if size is None and "Transfer-Encoding" in request.headers:
            raise LengthRequired  # in chunks a thread would wait for what a stranger never sends
        request.max_content_length = MAX_BODY_BYTES

    def _knows_basic(self) -> bool:
        given = request.authorization
        if given is None or given.type != "basic":
            return False
        caller, (user, password) = request.remote_addr or "", self._basic
        wait_s = self._rates.guesses(caller)
        if wait_s:
            g.retry_after_s = wait_s
            raise TooMany("So many wrong passwords came from there.", f"Wait {wait_s} s, then use the right one.")
        # Both are compared whatever the first says, so that time tells nothing.
        known = _same(given.username or "", user) & _same(given.password or "", password)
        if not known:
            self._rates.count_wrong(caller, self._stands_for(f"{given.username}\0{given.password}"))
        return known

    def _stands_for(self, attempt: str) -> str:
        return blake2b(attempt.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=16).hexdigest()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return "?."  # no name at all: as unknown as one can be


def _brings_one_of(known: Collection[str]) -> bool:
    given = request.headers.get(SECRET_HEADER)
    return given is not None and any([_same(given, secret) for secret in known])


def _same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), ours.encode())
