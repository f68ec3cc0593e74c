"""A text that a task points at, fetched from Label Studio itself or from a host that the settings allow; else refused.

Knows addresses, and how a text must arrive: no redirect elsewhere, so large, in so much time, UTF-8. Knows nothing of
tasks. How a name is resolved once, and for how long a connection lives, is in pinned.py. Reasons name the host and no
more: an address may hold a secret.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import unquote

import httpcore
import httpx

from edgewise.errors import DataError, StudioUnavailable
from edgewise.services.pinned import Deadline, Resolve, Wire, pin, resolve

MOST_BYTES = 5_000_000
LIMIT_S = 10.0
MOST_REDIRECTS = 3
MOST_SILENT = 3  # a host that was silent so often is not asked again by the same Fetcher
PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Texts, and what storages say of files that they were not told of. Label Studio's page takes anything: we look inside.
TEXTS = frozenset(
    {"", "application/json", "application/xml", "application/csv", "application/octet-stream", "binary/octet-stream"}
)
MEND = "Correct the task's address, allow its host by ALLOWED_HOSTS, or import the text itself."

Place = tuple[str, int]  # host, port


class Fetcher:
    """Fetches texts. Several threads may share it."""

    def __init__(
        self, studio: str, authorization: Callable[[], str], allowed_hosts: Sequence[str], lookup: Resolve = resolve
    ) -> None:
        """studio: Label Studio's address, as settings have it. authorization: the header's value, for it alone.
        allowed_hosts: names or addresses, each of them at HTTP's and HTTPS's own port unless it says `:port`."""
        self._studio = httpx.URL(studio.rstrip("/") + "/").copy_with(userinfo=b"")
        self._authorization = authorization
        self._allowed = {place for host in allowed_hosts for place in _places(host)}
        self._lookup = lookup
        self._silent: Counter[Place] = Counter()

    def fetch(self, address: str, own_paths: Sequence[str]) -> str:
        """The text at an address; one without a host is Label Studio's. own_paths: beginnings of paths that may be
        asked of Label Studio, where our token opens more than a task may see.

        Raises DataError (why there is none), StudioUnavailable or StudioRefused (Label Studio is away, or refuses us).
        """
        url = _joined(self._studio, address)
        if url is None:
            raise DataError("The text could not be fetched: its address is none.", MEND)
        self._check(url, own_paths)
        place = _place(url)
        if self._silent[place] >= MOST_SILENT:
            raise _refusal(url, "it did not answer for other tasks just now")
        try:
            return _decoded(url, self._body(url, own_paths))
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            if self._is_studio(url):
                raise StudioUnavailable("Label Studio cannot be reached.", "Start it; we try again.") from error
            self._silent[place] += 1
            raise _refusal(url, "it cannot be reached") from error
        except httpcore.TimeoutException as error:
            self._silent[place] += 1
            raise _refusal(url, f"it took longer than {LIMIT_S:.0f} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _refusal(url, "it does not answer as HTTP has it") from error

    def _check(self, url: httpx.URL, own_paths: Sequence[str]) -> None:
        """Raises DataError for a place that is neither Label Studio's nor allowed."""
        if url.scheme not in PORTS or not url.host:
            raise DataError("The text could not be fetched: its address is not one of the web.", MEND)
        if url.userinfo:
            raise _refusal(url, "its address holds credentials")
        if self._is_studio(url):
            if not _is_below(url, [self._studio.path.rstrip("/") + path for path in own_paths]):
                raise _refusal(url, "it is not a file of this project in Label Studio")
        elif _place(url) not in self._allowed:
            raise _refusal(url, "it is neither Label Studio nor in ALLOWED_HOSTS")

    def _is_studio(self, url: httpx.URL) -> bool:
        return (url.scheme, _place(url)) == (self._studio.scheme, _place(self._studio))

    def _body(self, url: httpx.URL, own_paths: Sequence[str]) -> bytes:
        """The body of the first answer that is no redirect. One look-up serves them all."""
        deadline = Deadline(LIMIT_S)
        try:
            pinned = pin(url.host, PORTS[url.scheme] if url.port is None else url.port, self._lookup)
        except OSError:
            raise _refusal(url, "its name cannot be resolved") from None
        if not self._is_studio(url) and pinned.refused:
            raise _refusal(url, f"it is {pinned.refused}")
        with Wire(pinned, deadline) as wire:
            for _ in range(MOST_REDIRECTS + 1):
                with wire.get(url, self._headers(url)) as answer:
                    if answer.status not in REDIRECTS:
                        return _read(url, answer)
                    url = self._onward(url, answer, own_paths)
        raise _refusal(url, "it redirects too often")

    def _headers(self, url: httpx.URL) -> dict[str, str]:
        plain = {
            "Host": url.netloc.decode("ascii"),
            "Accept": "text/*, */*;q=0.1",
            "Accept-Encoding": "identity",  # what is unpacked may be a thousand times larger than what was sent
            "Connection": "close",
            "User-Agent": "edgewise",
        }
        return plain | ({"Authorization": self._authorization()} if self._is_studio(url) else {})

    def _onward(self, url: httpx.URL, answer: httpcore.Response, own_paths: Sequence[str]) -> httpx.URL:
        """Where a redirect leads. Raises DataError if that is another origin."""
        onward = _joined(url, _header(answer, b"location"))
        if onward is None:
            raise _refusal(url, "it redirects to what is no address")
        if (onward.scheme, _place(onward)) != (url.scheme, _place(url)):
            raise _refusal(url, "it redirects elsewhere")
        self._check(onward, own_paths)
        return onward


def _places(host: str) -> list[Place]:
    """What an entry of ALLOWED_HOSTS allows; nothing where it is none."""
    bare = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    url = _joined(httpx.URL("http:"), f"http://{bare}")
    if url is None or not url.host:
        return []
    ports = PORTS.values() if url.port is None else [url.port]
    return [(url.host.casefold(), port) for port in ports]


def _joined(base: httpx.URL, address: str) -> httpx.URL | None:
    """An address as a browser would read it on that page; None if it is none, a name of half a character included."""
    try:
        url = base.join(address)
        return url if url.host is not None else None  # a name in punycode is only now found to be none
    except (httpx.InvalidURL, ValueError):
        return None


def _place(url: httpx.URL) -> Place:
    return url.host.casefold(), PORTS.get(url.scheme, 0) if url.port is None else url.port


def _is_below(url: httpx.URL, beginnings: Sequence[str]) -> bool:
    """Whether a path begins so, however a server or a proxy on the way may read it."""
    path = unquote(url.path)  # `path` is unquoted once already: what was quoted twice is refused below
    odd = path != url.path or "\\" in path or "//" in path or {".", ".."} & set(path.split("/"))
    return not odd and any(path.startswith(beginning) for beginning in beginnings)


def _read(url: httpx.URL, answer: httpcore.Response) -> bytes:
    if answer.status != 200:
        raise _refusal(url, f"it answers {answer.status}")
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        raise _refusal(url, "it answers packed, though we ask for plain text")
    kind = _header(answer, b"content-type").partition(";")[0].strip().lower()
    if kind not in TEXTS and not kind.startswith("text/"):
        raise _refusal(url, "it answers with something else than text")
    body = bytearray()
    for chunk in answer.iter_stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _refusal(url, f"it is larger than {MOST_BYTES // 1_000_000} MB")
    return bytes(body)


def _decoded(url: httpx.URL, body: bytes) -> str:
    """As the browser's `fetch(…).text()`: UTF-8 whatever the header says, the byte order mark dropped, line ends as
    they are. What is not UTF-8 is refused, where that would show U+FFFD."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refusal(url, "it is not UTF-8") from None
    if "\0" in text:
        raise _refusal(url, "it is not a text")
    return text


def _header(answer: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


def _refusal(url: httpx.URL, why: str) -> DataError:
    port = "" if url.port is None else f":{url.port}"
    return DataError(f"The text could not be fetched from {url.host[:100]}{port}: {why}.", MEND)
