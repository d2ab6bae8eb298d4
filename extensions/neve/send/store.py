"""PUTs to the store: bytes to addresses that the archiver signed, over connections that are kept.

Law: the address is a secret, so no message holds more of it than the host; only the headers that were signed go with it, no key, no cookie; no
redirect is followed. What a PUT meets: it stands there (its version), `Expired` (a new address is needed), `Gone` (the upload is), `Refused`, `Away`.

http.client instead of httpx: measured, 2,000 PUTs of 20 kB need 0.4–0.5 s of a core instead of 1.9–2.5 s, and that is what bounds small files.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urlsplit

import httpx

from neve.send.answers import Put

CHUNK_BYTES = 1 << 18  # sent at once: a socket's time limit counts for each
_IDLE_S = 4.0  # a connection idle for longer may have been ended by the other side
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_STANDS_THERE = 412

_tls_made = threading.Lock()
_tls: list[ssl.SSLContext] = []


class Away(Exception):
    """The store cannot be reached or is busy. `asked_s`: how long it asks to wait."""

    def __init__(self, reason: str, asked_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.asked_s = asked_s


class Expired(Exception):
    """The store does not take this address (any more): ask for a new one."""


class Gone(Exception):
    """The upload that the part belongs to is no more: ask about the file again."""


class Refused(Exception):
    """The store takes these bytes in no case."""


def tls_context() -> ssl.SSLContext:
    """Certificates that the machine trusts ($SSL_CERT_FILE included), and those that come with httpx for machines without any."""
    with _tls_made:
        if not _tls:
            context = httpx.create_ssl_context()
            context.load_default_certs()
            _tls.append(context)
        return _tls[0]


class Store:
    """Connections to the store, one per thread and host. `timeout_s`: how long one chunk, or the answer, may take.

    `through`: where the store answers as seen from here, if not at the address that was signed ($NEVE_S3_URL in a notebook's container); what was
    signed is asked for all the same.
    """

    def __init__(self, *, timeout_s: float = 60, through: str | None = None) -> None:
        self._timeout_s = timeout_s
        self._through = urlsplit(through) if through else None
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: set[http.client.HTTPConnection] = set()
        self._proxies = urllib.request.getproxies()

    def close(self) -> None:
        """End all connections; what is on its way ends with Away."""
        with self._lock:
            for connection in self._all:
                with contextlib.suppress(OSError):
                    if connection.sock is not None:
                        connection.sock.shutdown(2)
                connection.close()
            self._all.clear()

    def put(self, put: Put, size_bytes: int, chunks: Iterable[bytes | memoryview], moved: Callable[[int], None] = lambda _count: None) -> str | None:
        """Send `chunks`, `size_bytes` in all, and give the version that the store made (None: it names none, or something stood there before).

        `moved` is told each number of bytes when they have left. What `chunks` raises goes through (an OSError must not come from there).
        Raises Away, Expired, Gone, Refused.
        """
        parts = urlsplit(put.url)
        connection = self._connection(parts)
        try:
            _begin(connection, parts, put, size_bytes, absolute=parts.scheme == "http" and self._proxy(parts) is not None)
            broken = _body(connection, chunks, moved)
            response = connection.getresponse()  # after a broken body too: the store may have said why before it hung up
            body = response.read(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            self._drop(connection)
            raise Away(f"The store at {parts.hostname} cannot be reached ({error or type(error).__name__})") from None
        except BaseException:
            self._drop(connection)  # stopped half-way: what follows on it would be nonsense
            raise
        if broken is not None or response.will_close or not response.isclosed():
            self._drop(connection)
        if broken is not None and response.status < 300:
            raise Away(f"The connection to the store at {parts.hostname} was cut ({broken or type(broken).__name__})")
        return _version(parts, response, body)

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        kept: dict[tuple[str, str], http.client.HTTPConnection] = self._mine.__dict__.setdefault("kept", {})
        used: dict[tuple[str, str], float] = self._mine.__dict__.setdefault("used", {})
        key, now = (parts.scheme, parts.netloc), time.monotonic()
        connection = kept.get(key)
        if connection is None:
            connection = kept[key] = self._new(parts)
            with self._lock:
                self._all.add(connection)
        elif now - used[key] > _IDLE_S:
            connection.close()  # and opens itself anew
        used[key] = now
        return connection

    def _proxy(self, parts: SplitResult) -> SplitResult | None:
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or self._through is not None or urllib.request.proxy_bypass(parts.hostname or ""):
            return None
        return urlsplit(proxy if "://" in proxy else f"http://{proxy}")

    def _new(self, parts: SplitResult) -> http.client.HTTPConnection:
        through = self._proxy(parts)
        if through is not None:
            host, port = through.hostname or "", through.port or 3128
        else:
            there = self._through if self._through is not None and parts.scheme == self._through.scheme == "http" else parts
            host, port = there.hostname or "", there.port or 0
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port or 443, timeout=self._timeout_s, context=tls_context(), blocksize=CHUNK_BYTES
            )
            if through is not None:
                connection.set_tunnel(parts.hostname or "", parts.port or 443)
            return connection
        return http.client.HTTPConnection(host, port or 80, timeout=self._timeout_s, blocksize=CHUNK_BYTES)

    @staticmethod
    def _drop(connection: http.client.HTTPConnection) -> None:
        connection.close()  # opens itself anew when it is used again


def _begin(connection: http.client.HTTPConnection, parts: SplitResult, put: Put, size_bytes: int, *, absolute: bool) -> None:
    """Request line (`absolute`: as a proxy has it) and headers: those that were signed, nothing else but what HTTP needs."""
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    names = {name.lower() for name in put.headers}
    connection.putrequest("PUT", f"http://{parts.netloc}{target}" if absolute else target, skip_host=True, skip_accept_encoding=True)
    if "host" not in names:
        connection.putheader("Host", parts.netloc)
    for name, value in put.headers.items():
        if name.lower() != "content-length":
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(size_bytes))
    connection.endheaders()


def _body(connection: http.client.HTTPConnection, chunks: Iterable[bytes | memoryview], moved: Callable[[int], None]) -> OSError | None:
    """Sends the body; gives what broke the connection, if something did."""
    for chunk in chunks:
        try:
            connection.send(chunk)
        except OSError as error:
            return error
        moved(len(chunk))
    return None


def _version(parts: SplitResult, response: http.client.HTTPResponse, body: bytes) -> str | None:
    """What the store's answer means."""
    status = response.status
    if status < 300 or status == _STANDS_THERE:
        version = response.headers.get("x-amz-version-id") if status < 300 else None
        return None if version == "null" else version
    found = _CODE.search(body)
    code = found[1].decode() if found else ""
    said = f"The store at {parts.hostname} answers {status}{f' {code}' if code else ''}"
    if status == 404 and code in {"NoSuchUpload", ""}:
        raise Gone(said)
    if status in {401, 403}:
        raise Expired(said)
    if status >= 500 or status in {408, 409, 429} or code == "RequestTimeout":
        asked = response.headers.get("Retry-After", "")
        raise Away(said, float(asked) if asked.isascii() and asked.isdigit() else None)
    raise Refused(said)
