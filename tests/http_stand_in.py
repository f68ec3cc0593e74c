"""Servers for tests that Label Studio is not, or not quite: any answer, none at all, a proxy that loses them."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from examples.label_studio import RunningStudio

PLAIN = {"Content-Type": "text/plain"}

Answer = tuple[int, dict[str, str], bytes]
Forward = Callable[[], Answer]
Respond = Callable[[str, str, bytes, dict[str, str]], Answer | None]


@dataclass
class Site:
    """A server of texts: what it answers by path, and what it was asked with which credentials."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def respond(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        self.asked.append((path, headers.get("Authorization")))
        return self.answers.get(path, (200, PLAIN, b"Anna lives in Paris."))

    @property
    def place(self) -> str:
        """host:port"""
        return urlsplit(self.url).netloc


@contextmanager
def new_site(certificate: Path | None = None, key: Path | None = None) -> Iterator[Site]:
    """A running one; with a certificate by TLS."""
    site = Site()
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    with serving(site.respond, tls) as url:
        site.url = url
        yield site


@contextmanager
def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An HTTP server in a thread; `respond` answers (method, path, body, headers), or None to hang up."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = respond(self.command, self.path, body, dict(self.headers))
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Nobody wants to read it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def proxy(label_studio: RunningStudio, meddle: Callable[[str, str, Forward], Answer | None]) -> Iterator[str]:
    """Label Studio behind a proxy under the prefix /studio; `meddle` decides about (method, path, forward)."""
    with httpx.Client(base_url=label_studio.url, timeout=120) as onward:

        def respond(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
            def forward() -> Answer:
                kept: dict[str, str] = {
                    name: headers[name] for name in ("Authorization", "Content-Type") if name in headers
                }
                answer = onward.request(method, path.removeprefix("/studio"), content=body, headers=kept)
                return answer.status_code, {"Content-Type": answer.headers.get("Content-Type", "")}, answer.content

            return meddle(method, path, forward)

        with serving(respond) as url:
            yield f"{url}/studio/"


def as_json(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
