"""gunicorn's threaded worker, made patient: a request gets a thread when it is here, not while it drips in.

gunicorn gives each new connection a thread and reads there, without a limit of time: as many slow clients as there are
threads, and nobody else is answered. Here requests are gathered in the loop that waits for connections anyway. Knows
where a request ends; what it means is for gunicorn's own parser, which reads the same bytes afterwards.
"""

import re
import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http import get_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

# A request of usual size is here within that, or its connection is closed. Label Studio's sends it in one go.
GATHER_S = 20.0
# Large bodies go on being read in a thread: /predict and webhooks alone take them, and ask for credentials first. Label
# Studio itself waits 100 s for an answer. An answer must be taken in the same time.
TRANSFER_S = 100.0
LINGER_S = 2.0
GATHERED_BYTES = 1_000_000
MAX_HEAD_BYTES = 64_000
BLOCK = 1 << 16

_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,4000})[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:[^\r\n]*chunked[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_EXPECTED = re.compile(rb"^expect:[ \t]*100-continue[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Gathered:
    """The bytes of one request so far, and whether they are all."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.body_at = 0  # 0: the head is not whole yet
        self._chunk_at = 0
        self._length: int | None = 0  # None: in chunks

    def add(self, data: bytes) -> None:
        """More of it."""
        looked_until = max(0, len(self.data) - 3)
        self.data += data
        if not self.body_at:
            end = self.data.find(b"\r\n\r\n", looked_until)
            if end >= 0:
                self._read_head(bytes(self.data[: end + 2]))
                self.body_at = self._chunk_at = end + 4

    @property
    def is_whole(self) -> bool:
        """Nothing more is to come; or it is so much that a thread reads on."""
        if not self.body_at:
            return False
        if len(self.data) - self.body_at >= GATHERED_BYTES:
            return True
        if self._length is None:
            return self._has_last_chunk()
        return len(self.data) - self.body_at >= self._length

    @property
    def is_headless(self) -> bool:
        """More than any head, and no end of it."""
        return not self.body_at and len(self.data) > MAX_HEAD_BYTES

    @property
    def waits_for_us(self) -> bool:
        """The sender holds the body back until told to go on."""
        return bool(self.body_at and _EXPECTED.search(self.data, 0, self.body_at))

    def _read_head(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self._length = None if _CHUNKED.search(head) else int(length[1]) if length else 0

    def _has_last_chunk(self) -> bool:
        """Walk on over the chunks that are here. What is no chunk is whole: the parser will say what is wrong."""
        while (end := self.data.find(b"\r\n", self._chunk_at)) >= 0:
            try:
                size = int(bytes(self.data[self._chunk_at : end]).partition(b";")[0], 16)
            except ValueError:
                return True
            if size <= 0:
                return self.data.startswith(b"\r\n", end + 2) or self.data.find(b"\r\n\r\n", end + 2) >= 0
            if end + 2 + size + 2 > len(self.data):
                return False
            self._chunk_at = end + 2 + size + 2
        return False


class _Timed(SocketUnreader):  # type: ignore[misc]  # gunicorn is untyped
    """Reads what is left of a request, until its time is up."""

    until_s = 0.0

    def chunk(self) -> bytes:
        """The next bytes. Raises TimeoutError."""
        self.sock.settimeout(max(0.001, self.until_s - time.monotonic()))
        try:
            data: bytes = super().chunk()
        finally:
            self.sock.settimeout(TRANSFER_S)
        return data


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose requests come gathered."""

    worker: "PatientWorker"

    parser: Any

    def begin(self) -> None:
        """Wait for a request."""
        self.sock.setblocking(False)
        self.gathered = Gathered()
        self.timeout = time.monotonic() + GATHER_S

    def hand_over(self) -> None:
        """Give the parser what was gathered. Called once it is whole."""
        if self.parser is None:
            self.parser = get_parser(self.cfg, self.sock, self.client)
            self.parser.unreader = _Timed(self.sock)
        self.parser.unreader.unread(bytes(self.gathered.data))
        self.gathered = Gathered()
        self.data_ready = True

    def init(self) -> None:
        """Called in the thread, before the request is parsed: from now on everything takes its time at most."""
        super().init()
        self.sock.settimeout(TRANSFER_S)
        self.parser.unreader.until_s = time.monotonic() + TRANSFER_S

    def close(self, graceful: bool = False) -> None:
        """Close it. graceful: so that the answer arrives; gunicorn would wait for that, and everybody with it."""
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """`gunicorn --worker-class edgewise.web.patient.PatientWorker`. No TLS: that is a proxy's business."""

    pending_conns: deque[_Connection]

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._lingering: deque[_Connection] = deque()

    def accept(self, listener: socket.socket) -> None:
        """A new connection: wait for its request."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        conn = _Connection(self.cfg, client, address, listener.getsockname())
        conn.worker = self
        self._await(conn)

    def on_client_socket_readable(self, conn: Any, client: socket.socket) -> None:
        """A kept connection brings its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn does; but who only keeps a connection open does not hold up our end."""
        if not self.alive:
            timeout = min(timeout, 0.1)
            for conn in [*self.keepalived_conns, *(one for one in self.pending_conns if not one.gathered.data)]:
                (self.keepalived_conns if conn in self.keepalived_conns else self.pending_conns).remove(conn)
                self._forget(conn)
        super().wait_for_and_dispatch_events(timeout)
        while self._lingering and (not self.alive or self._lingering[0].timeout < time.monotonic()):
            self._forget(self._lingering.popleft())

    def linger(self, conn: _Connection) -> None:
        """Say that no more comes from us, and throw away what still comes from the caller, until it closes as well."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        self.nr_conns += 1  # gunicorn has counted it as gone
        conn.timeout, conn.swallowed = time.monotonic() + LINGER_S, 0
        self._lingering.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._swallow, conn))

    def _swallow(self, conn: _Connection, client: socket.socket) -> None:
        data = _received(client)
        if data is None:
            return
        conn.swallowed += len(data)
        if not data or conn.swallowed > GATHERED_BYTES:
            self._lingering.remove(conn)
            self._forget(conn)

    def _forget(self, conn: _Connection) -> None:
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _await(self, conn: _Connection) -> None:
        conn.begin()
        self.pending_conns.append(conn)  # gunicorn closes those whose time is up, the first ones first
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._gather, conn))

    def _gather(self, conn: _Connection, client: socket.socket) -> None:
        """Some more of a request is here."""
        data = _received(client)
        if data is None:
            return
        had_head = bool(conn.gathered.body_at)
        conn.gathered.add(data)
        if data and not conn.gathered.is_whole and not conn.gathered.is_headless:
            if conn.gathered.waits_for_us and not had_head:
                with suppress(OSError):
                    client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self.pending_conns.remove(conn)
        if data and conn.gathered.is_whole:
            self.poller.unregister(client)
            conn.hand_over()
            self.enqueue_req(conn)
            return
        if conn.gathered.is_headless:
            with suppress(OSError):
                client.send(_TOO_LARGE)
        self._forget(conn)


def _received(client: socket.socket) -> bytes | None:
    """What has come; nothing if the caller is gone, None if nothing has come after all."""
    try:
        return client.recv(BLOCK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
