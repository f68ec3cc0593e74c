"""A connection to the very addresses that a name was resolved to, once, and for a time that is over when it is over.

httpcore is what httpx connects with; its network backend is the public place where both can be held: a second look-up
cannot answer otherwise (DNS rebinding), and a server that sends a byte now and then gains nothing. No proxy is used:
it would look the name up for itself.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Self

import httpcore
import httpx

from edgewise.settings import is_loopback

CONNECT_S = 3.0  # for each address of a name
# Where clouds tell machines their credentials, on addresses that look like others.
METADATA = frozenset(
    ip_address(one) for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)

Resolve = Callable[[str, int], Sequence[str]]


class Deadline:
    """A moment by which everything must be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most_s: float | None = None) -> float:
        """Seconds that are left, at most so many. Raises httpcore.ReadTimeout when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left if most_s is None else min(left, most_s)


@dataclass(frozen=True, slots=True)
class Pinned:
    """Where a name leads. refused: what is wrong with going there, in words; '' if nothing is."""

    addresses: tuple[str, ...]
    refused: str


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def pin(host: str, port: int, lookup: Resolve) -> Pinned:
    """Look a name up, once. Raises OSError if it cannot be."""
    try:
        addresses = tuple(lookup(host, port))
    except UnicodeError as error:  # a label that is too long or empty
        raise OSError("no name") from error
    reasons = (_refused(ip_address(one.partition("%")[0]), host) for one in addresses)
    return Pinned(addresses, next(filter(None, reasons), ""))


def _refused(address: IPv4Address | IPv6Address, host: str) -> str:
    """Why nobody may be sent to an address by a name; '' if he may. A private network is what one names hosts in."""
    real = _inner(address)
    if real.is_loopback:
        return "" if is_loopback(host) else "another name for this machine"
    odd = real.is_link_local or real.is_multicast or real.is_unspecified or real.is_reserved
    return "on an address that no host of texts has" if odd or real in METADATA else ""


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that some IPv6 addresses are another writing of."""
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address.sixtofour or address


class Wire:
    """Answers from a pinned place, until the deadline; in a `with`. Every call has a connection of its own: one that is
    kept would serve a name that its certificate was not checked for."""

    def __init__(self, pinned: Pinned, deadline: Deadline) -> None:
        backend = _Backend(pinned.addresses, deadline)
        self._pool = httpcore.ConnectionPool(_tls(), max_keepalive_connections=0, network_backend=backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @contextmanager
    def get(self, url: httpx.URL, headers: Mapping[str, str]) -> Iterator[httpcore.Response]:
        """GET, the body not read yet. Raises httpcore's errors."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with self._pool.stream("GET", target, headers=list(headers.items())) as answer:
            yield answer


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Backend(httpcore.NetworkBackend):
    """Connects to the addresses that it was given, whatever name is asked for."""

    def __init__(self, addresses: Sequence[str], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError("the name has no address")
        for address in self._addresses:
            try:
                left = self._deadline.left(CONNECT_S)
                return _Stream(
                    self._sockets.connect_tcp(address, port, left, local_address, socket_options), self._deadline
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection on which nothing waits longer than the deadline allows."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(CONNECT_S)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
