"""Many small requests to one bucket at once, through AWS's C runtime: a fifth of the processor time that boto3 takes for each.

Law: it asks and hands on what was answered, error or not; what an error means is said in storage.py alone. Signing, connections, retries
with backoff and the watch over connections that stand still are the runtime's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Generic, TypeVar
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from awscrt.auth import AwsCredentials, AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientBootstrap, ClientTlsContext, TlsContextOptions
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType, S3ResponseError, create_default_s3_signing_config
from botocore.credentials import Credentials

_WAIT_S = 300.0
"""For one answer, retries and all. The runtime ends a connection that stands still for 30 s; this is for what it does not see."""

Answer = TypeVar("Answer")


class Refused(Exception):
    """The store answered with an error: S3's code, or the status where it says no more."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Broken(Exception):
    """There was no answer, or not a whole one."""


@dataclass(frozen=True)
class Looked:
    """What stands at a key: the newest version and its size."""

    version_id: str
    size_bytes: int


class _Heard:
    """What a request is answered with. Apart from `Asked`: the runtime keeps it alive as long as the request, and it must not do the same."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []

    def on_headers(self, headers: Iterable[tuple[str, str]], **_: object) -> None:
        self.headers = {name.lower(): value for name, value in headers}

    def on_body(self, chunk: bytes, **_: object) -> None:
        self.body.append(chunk)


class Asked(Generic[Answer]):
    """A request under way."""

    def __init__(self, client: S3Client, operation: str, request: HttpRequest, made: Callable[[Mapping[str, str], bytes], Answer]) -> None:
        self._heard, self._made = _Heard(), made
        self._request = client.make_request(
            type=S3RequestType.DEFAULT,
            operation_name=operation,
            request=request,
            on_headers=self._heard.on_headers,
            on_body=self._heard.on_body,
        )

    def result(self) -> Answer:
        """Wait for the answer. Raises `Refused`, `Broken`."""
        try:  # asked for, never raised as it is: a traceback would keep this request alive in a circle that runs through C
            failed = self._request.finished_future.exception(_WAIT_S)
        except TimeoutError as error:
            self._request.cancel()
            raise Broken("it did not answer in time") from error
        if isinstance(failed, S3ResponseError):
            raise _refused(failed.body or b"", failed.status_code) from failed
        if failed is not None:
            raise Broken(getattr(failed, "message", "") or str(failed)) from failed
        return self._made(self._heard.headers, b"".join(self._heard.body))


class Flow:
    """One bucket, spoken to with one identity."""

    def __init__(self, url: str, region: str, keys: Credentials, trusted: str | None, connections: int) -> None:
        """`url`: where the bucket's objects stand. `trusted`: a file of certificates instead of the system's."""
        at = urlsplit(url)
        self._host, self._path = at.netloc, at.path.rstrip("/")

        def current() -> AwsCredentials:
            held = keys.get_frozen_credentials()  # renewed when they are about to end
            return AwsCredentials(held.access_key, held.secret_key, held.token)

        self._client = S3Client(
            bootstrap=ClientBootstrap.get_or_create_static_default(),
            region=region,
            tls_mode=S3RequestTlsMode.ENABLED if at.scheme == "https" else S3RequestTlsMode.DISABLED,
            tls_connection_options=None if trusted is None else _trusting(trusted),
            signing_config=create_default_s3_signing_config(region=region, credential_provider=AwsCredentialsProvider.new_delegate(current)),
            max_active_connections_override=connections,
        )

    def read(self, key: str, version: str) -> Asked[bytes]:
        """Begin to read a whole version; `version` is a query (`?versionId=…`), or empty. It is all in memory when it is there."""
        request = HttpRequest("GET", self._at(key) + version, HttpHeaders([("Host", self._host)]))
        return Asked(self._client, "GetObject", request, lambda _, body: body)

    def look(self, key: str) -> Asked[Looked]:
        """Begin to ask what stands at a key; that nothing does is `Refused` with 404."""
        return Asked(self._client, "HeadObject", HttpRequest("HEAD", self._at(key), HttpHeaders([("Host", self._host)])), _looked)

    def put(self, key: str, content: bytes, headers: Mapping[str, str]) -> Asked[str]:
        """Begin to write these bytes; the result is the version's id."""
        said = HttpHeaders([("Host", self._host), ("Content-Length", str(len(content))), *headers.items()])
        request = HttpRequest("PUT", self._at(key), said, BytesIO(content))
        return Asked(self._client, "PutObject", request, lambda answered, _: answered.get("x-amz-version-id", "null"))

    def copy(self, key: str, source: str, headers: Mapping[str, str]) -> Asked[str]:
        """Begin to copy `source` (`bucket/key?versionId=…`, quoted) to a key here; the result is the new version's id."""
        said = [("Host", self._host), ("Content-Length", "0"), ("x-amz-copy-source", source), *headers.items()]
        return Asked(self._client, "CopyObject", HttpRequest("PUT", self._at(key), HttpHeaders(said)), _copied)

    def _at(self, key: str) -> str:
        return f"{self._path}/{quote(key)}"


def ahead(begin: Iterable[Callable[[], Answer]], at_once: int) -> Iterator[Answer]:
    """What each call returns, in order, called up to `at_once` before it is taken: how many are under way together."""
    rest = iter(begin)
    begun = deque(each() for each in islice(rest, at_once))
    while begun:
        yield begun.popleft()
        begun.extend(each() for each in islice(rest, 1))


def quoted(bucket: str, key: str, version: str) -> str:
    """A source to copy from."""
    return quote(f"/{bucket}/{key}") + version


def _looked(headers: Mapping[str, str], _body: bytes) -> Looked:
    return Looked(headers.get("x-amz-version-id", "null"), int(headers.get("content-length", 0)))


def _copied(headers: Mapping[str, str], body: bytes) -> str:
    """A copy's answer can be an error under a 200, which was sent before the copying began."""
    try:
        root = ET.fromstring(body)  # noqa: S314  # from our own store; expat bounds what entities may grow to
    except ET.ParseError as error:
        raise Broken("the answer to a copy was cut short") from error
    if not root.tag.endswith("CopyObjectResult"):
        raise _refused(body, 200)
    return headers.get("x-amz-version-id", "null")


def _refused(body: bytes, status: int) -> Refused:
    try:
        said = {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(body)}  # noqa: S314
    except ET.ParseError:
        said = {}
    return Refused(said.get("Code", str(status)), said.get("Message", ""))


def _trusting(bundle: str) -> object:
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=bundle)
    return ClientTlsContext(options).new_connection_options()
