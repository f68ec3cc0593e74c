"""What may be fetched and what may not, against real servers on this machine; a look-up that lies stands for DNS."""

import gzip
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgewise.errors import DataError, StudioUnavailable
from edgewise.services import fetching, pinned
from edgewise.services.fetching import MOST_BYTES, Fetcher
from edgewise.services.pinned import pin, resolve
from tests.http_stand_in import PLAIN, Answer, Site, new_site

TOKEN = "Token 5ecre7"
OWN = ("/data/upload/1/",)


@pytest.fixture
def sites() -> Iterator[Callable[[], Site]]:
    """Starts servers; ends them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(new_site())


@pytest.fixture
def studio(sites: Callable[[], Site]) -> Site:
    return sites()


@pytest.fixture
def files(sites: Callable[[], Site]) -> Site:
    return sites()


def fetcher(studio: Site, *allowed: str, lookup: pinned.Resolve = resolve) -> Fetcher:
    return Fetcher(studio.url, lambda: TOKEN, allowed, lookup)


def refused(studio: Site, address: str, *allowed: str, lookup: pinned.Resolve = resolve) -> str:
    """Why an address is not fetched."""
    with pytest.raises(DataError) as raised:
        fetcher(studio, *allowed, lookup=lookup).fetch(address, OWN)
    assert "5ecre7" not in str(raised.value)
    return raised.value.what


@contextmanager
def raw_server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each connection what no HTTP library would; its host and port."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                try:
                    behave(connection)
                except OSError:
                    continue  # the client has hung up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_label_studios_own_file_is_fetched_with_our_token(studio: Site) -> None:
    for address in ("/data/upload/1/a.txt", f"{studio.url}/data/upload/1/a.txt"):
        assert fetcher(studio).fetch(address, OWN) == "Anna lives in Paris."
    assert studio.asked == [("/data/upload/1/a.txt", TOKEN)] * 2


def test_an_allowed_host_is_asked_without_our_token(studio: Site, files: Site) -> None:
    assert fetcher(studio, files.place).fetch(f"{files.url}/a.txt?signature=x", OWN) == "Anna lives in Paris."
    assert files.asked == [("/a.txt?signature=x", None)]


def test_line_ends_stay_and_the_byte_order_mark_goes_as_in_a_browser(studio: Site) -> None:
    text = "a\r\nb\rc\n\n👍 é"
    studio.answers["/data/upload/1/a.txt"] = (200, PLAIN, b"\xef\xbb\xbf" + text.encode())
    assert fetcher(studio).fetch("/data/upload/1/a.txt", OWN) == text


def test_five_megabytes_are_fetched_and_one_byte_more_is_not(studio: Site) -> None:
    studio.answers["/data/upload/1/a.txt"] = (200, PLAIN, b"a" * MOST_BYTES)
    assert len(fetcher(studio).fetch("/data/upload/1/a.txt", OWN)) == MOST_BYTES
    studio.answers["/data/upload/1/a.txt"] = (200, PLAIN, b"a" * (MOST_BYTES + 1))
    assert "larger than 5 MB" in refused(studio, "/data/upload/1/a.txt")


def test_another_host_is_not_asked(studio: Site, files: Site) -> None:
    assert "ALLOWED_HOSTS" in refused(studio, f"{files.url}/a.txt")
    assert "ALLOWED_HOSTS" in refused(studio, f"{files.url}/a.txt", "127.0.0.1"), "another port than HTTP's own"
    assert "ALLOWED_HOSTS" in refused(studio, f"//{files.place}/a.txt")
    assert "ALLOWED_HOSTS" in refused(studio, f"http://sub.{files.place}/a.txt", files.place)
    assert files.asked == []


def test_another_port_of_label_studios_host_is_not_label_studio(studio: Site, files: Site) -> None:
    assert "ALLOWED_HOSTS" in refused(studio, f"http://127.0.0.1:{urlsplit(files.url).port}/data/upload/1/a.txt")
    assert "ALLOWED_HOSTS" in refused(studio, f"https://{studio.place}/data/upload/1/a.txt"), "another scheme"
    assert files.asked == studio.asked == []


@pytest.mark.parametrize("trick", ["http://{studio}@{evil}/a", "http://{studio}\\@{evil}/a", "http://u:p@{studio}/a"])
def test_credentials_in_an_address_are_refused(studio: Site, files: Site, trick: str) -> None:
    assert "fetched" in refused(studio, trick.format(studio=studio.place, evil=files.place), files.place)
    assert files.asked == studio.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "gopher://127.0.0.1/a",
        "http://",
        "http:///a",
        "http://[::1",
        "http://a\tb/",
    ],
)
def test_what_is_no_address_of_the_web_is_refused(studio: Site, address: str) -> None:
    assert "could not be fetched" in refused(studio, address)
    assert studio.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/1/export",
        "/data/upload/2/a.txt",
        "/data/upload/1/../2/a.txt",
        "/data/upload/1/../../../api/users",
        "/data/upload/1/%2e%2e/2/a.txt",
        "/data/upload/1/%252e%252e/2/a.txt",
        "/data/upload/1/%25252e%25252e/2/a.txt",
        "/data/upload/1/..%2f2/a.txt",
        "/data/upload/1/..\\2/a.txt",
        "/data/upload/1//a.txt",
    ],
)
def test_our_token_opens_nothing_of_label_studio_but_files_of_the_project(studio: Site, path: str) -> None:
    for address in (path, f"{studio.url}{path}"):
        assert "not a file of this project" in refused(studio, address)
    assert studio.asked == []


@pytest.mark.parametrize(
    "target", ["{files}/a.txt", "file:///etc/passwd", "//{place}/a.txt", "https://{studio}/data/upload/1/b"]
)
def test_a_redirect_elsewhere_is_not_followed(studio: Site, files: Site, target: str) -> None:
    onward = target.format(files=files.url, place=files.place, studio=studio.place)
    studio.answers["/data/upload/1/a.txt"] = (302, {"Location": onward}, b"")
    assert "redirects elsewhere" in refused(studio, "/data/upload/1/a.txt", files.place)
    assert files.asked == [], "our token would have gone there"


def test_an_allowed_hosts_redirect_to_another_allowed_host_is_not_followed(studio: Site, files: Site) -> None:
    files.answers["/a.txt"] = (307, {"Location": f"{studio.url}/data/upload/1/a.txt"}, b"")
    assert "redirects elsewhere" in refused(studio, f"{files.url}/a.txt", files.place, studio.place)
    assert studio.asked == []


def test_three_redirects_on_one_origin_are_followed_and_no_fourth(studio: Site) -> None:
    for n in range(4):
        studio.answers[f"/data/upload/1/{n}"] = (301, {"Location": str(n + 1)}, b"")
    assert fetcher(studio).fetch("/data/upload/1/1", OWN) == "Anna lives in Paris."
    assert "too often" in refused(studio, "/data/upload/1/0")


def test_a_redirect_to_label_studios_api_or_login_is_not_followed(studio: Site) -> None:
    studio.answers["/data/upload/1/a.txt"] = (302, {"Location": "/user/login/?next=/"}, b"")
    assert "not a file of this project" in refused(studio, "/data/upload/1/a.txt")
    assert [path for path, _ in studio.asked] == ["/data/upload/1/a.txt"]


def test_a_name_is_looked_up_once_however_often_it_redirects(studio: Site, files: Site) -> None:
    """A second answer, were it asked for, would lead to where clouds keep credentials."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    files.answers["/a.txt"] = (302, {"Location": "/b.txt"}, b"")
    address = f"http://localhost:{urlsplit(files.url).port}/a.txt"
    allowed = f"localhost:{urlsplit(files.url).port}"
    assert fetcher(studio, allowed, lookup=rebinding).fetch(address, OWN) == "Anna lives in Paris."
    assert asked == ["localhost"]
    assert [path for path, _ in files.asked] == ["/a.txt", "/b.txt"]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "127.0.0.1", "127.1.2.3", "::1", "fe80::1%eth0", "::ffff:169.254.169.254",
        "::ffff:127.0.0.1", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::", "100.100.100.200",
        "fd00:ec2::254", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_an_allowed_name_that_leads_to_this_machine_or_to_metadata_is_refused(studio: Site, address: str) -> None:
    for found in ([address], ["10.0.0.1", address]):
        what = refused(studio, "http://files.internal/a", "files.internal", lookup=partial(one_of, found))
        assert "this machine" in what or "no host of texts" in what


def test_metadata_is_refused_even_if_it_is_named(studio: Site) -> None:
    assert "no host of texts" in refused(studio, "http://169.254.169.254/latest/", "169.254.169.254")


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.0.9", "172.17.0.2", "fd12::1", "93.184.216.34"])
def test_an_allowed_name_may_lead_to_a_private_network(address: str) -> None:
    assert pin("files.internal", 80, lambda host, port: [address]).refused == ""


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("localhost", "::1"), ("::1", "::1")])
def test_this_machine_may_be_meant_by_who_says_so(host: str, address: str) -> None:
    assert pin(host, 80, lambda host, port: [address]).refused == ""


def test_an_entry_without_a_port_allows_the_webs_own_two(studio: Site) -> None:
    for address in ("http://files.internal:8000/a", "https://files.internal:80443/a"):
        assert refused(studio, address, "files.internal", "[::1]", "", "::", "bad host/")
    for address in ("http://files.internal/a", "https://files.internal/a", "http://FILES.internal:80/a"):
        assert "resolved" in refused(studio, address, "Files.Internal", lookup=nowhere)


def one_of(found: Sequence[str], host: str, port: int) -> Sequence[str]:
    """A look-up that finds just these."""
    return found


def nowhere(host: str, port: int) -> Sequence[str]:
    """A look-up that finds nothing."""
    raise socket.gaierror


def test_the_first_address_of_a_name_that_answers_is_taken(studio: Site, files: Site) -> None:
    allowed = f"localhost:{urlsplit(files.url).port}"
    both = fetcher(studio, allowed, lookup=lambda host, port: ["::1", "127.0.0.1"])
    assert both.fetch(f"http://{allowed}/a.txt", OWN) == "Anna lives in Paris."


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, PLAIN | {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 50_000_000)), "packed"),
        ((200, {"Content-Type": "image/png"}, b"PNG"), "something else than text"),
        ((200, {"Content-Type": "application/octet-stream"}, b"\x7fELF\0\0"), "not a text"),
        ((200, PLAIN, os.urandom(2000) + b"\xff"), "not UTF-8"),
        ((200, {"Content-Type": "text/plain; charset=latin-1"}, "é".encode("latin-1")), "not UTF-8"),
        ((404, PLAIN, b"secret"), "404"),
        ((206, PLAIN, b"half"), "206"),
        ((302, PLAIN, b""), "too often"),
        ((302, PLAIN | {"Location": "http://[::1"}, b""), "no address"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused(studio: Site, answer: Answer, why: str) -> None:
    studio.answers["/data/upload/1/a.txt"] = answer
    what = refused(studio, "/data/upload/1/a.txt")
    assert why in what
    assert "secret" not in what


def test_a_reason_names_the_host_and_neither_path_nor_query(studio: Site, files: Site) -> None:
    files.answers["/hidden?signature=5ecre7"] = (403, PLAIN, b"")
    what = refused(studio, f"{files.url}/hidden?signature=5ecre7", files.place)
    assert files.place in what
    assert "hidden" not in what


@pytest.mark.parametrize("slow", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_byte_now_and_then_gains_no_time(studio: Site, monkeypatch: pytest.MonkeyPatch, slow: bytes) -> None:
    """Each read would come in time; all of them do not, in the headers as little as in the body."""
    monkeypatch.setattr(fetching, "LIMIT_S", 1.0)

    def drip(connection: socket.socket) -> None:
        connection.sendall(slow)
        for _ in range(40):
            connection.sendall(b"a")
            time.sleep(0.1)

    with raw_server(drip) as place:
        began = time.monotonic()
        assert "longer than" in refused(studio, f"http://{place}/a", place)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "words", [b"", b"what is this?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"]
)
def test_what_is_no_http_is_refused(studio: Site, words: bytes) -> None:
    with raw_server(lambda connection: connection.sendall(words)) as place:
        assert "HTTP" in refused(studio, f"http://{place}/a", place)


def test_a_host_that_is_silent_is_not_waited_for_again_and_again(studio: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    asking = fetcher(studio, place)
    told = []
    for _ in range(4):
        with pytest.raises(DataError) as raised:
            asking.fetch(f"http://{place}/a", OWN)
        told.append(raised.value.what)
    assert ["cannot be reached" in what for what in told] == [True, True, True, False]


@given(st.text("http:/[]@%\\.?#axn-\u00fc\u3002\ud800\0\n \u200d0123456789") | st.text())
@example("http://xn--a/")
@example("/data/upload/1/\ud800")
@example("http:////\u200d[3 ")
@example("http://" + "a" * 70_000)
def test_whatever_stands_there_is_refused_with_a_reason(odd: str) -> None:
    for address in (odd, f"http://{odd}", f"http://files.lan/{odd}", f"http://files.lan{odd}"):
        with pytest.raises(DataError):
            Fetcher("http://studio.lan", lambda: TOKEN, (odd, "files.lan"), nowhere).fetch(
                address, ("/data/upload/1/",)
            )


def test_a_label_studio_that_is_away_is_no_fault_of_the_task() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(StudioUnavailable):
        Fetcher(url, lambda: TOKEN, ()).fetch("/data/upload/1/a.txt", OWN)


def test_a_proxy_of_the_environment_is_not_asked(studio: Site, files: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look the name up for itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, files.url)
    assert fetcher(studio).fetch("/data/upload/1/a.txt", OWN)
    assert files.asked == []


def test_a_certificate_for_another_name_gets_neither_our_token_nor_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to an address, and the certificate must be the name's."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=studio.internal", "-addext", "subjectAltName=DNS:studio.internal"]
    subprocess.run([*new, *named, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    pinned._tls.cache_clear()
    with new_site(certificate, key) as site:
        port = urlsplit(site.url).port
        for name in ("studio.internal", "other.internal"):
            ours = Fetcher(f"https://{name}:{port}", lambda: TOKEN, (), lambda host, port: ["127.0.0.1"])
            if name == "studio.internal":
                assert ours.fetch("/data/upload/1/a.txt", OWN) == "Anna lives in Paris."
            else:
                with pytest.raises(StudioUnavailable):
                    ours.fetch("/data/upload/1/a.txt", OWN)
        assert site.asked == [("/data/upload/1/a.txt", TOKEN)]
    pinned._tls.cache_clear()
