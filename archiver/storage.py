"""A tier over S3: the only code that speaks to a store.

Law: what is written is written only where nothing stands (`If-None-Match: *`); what is read, proven, copied or ended is named
by version. A missing object is `None`, a store that cannot be used is `StoreUnavailable` with a sentence, a cold object is
`NotReadable`; nothing else is swallowed. SHA-256 is ours and is the identity; an ETag never is (multipart ETags are no MD5).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from awscrt import checksums
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from archiver.config import Settings
from archiver.errors import StoreUnavailable, WrongSetting
from archiver.flow import Answer, Asked, Broken, Flow, Looked, Refused, ahead, quoted
from archiver.identity import Identity, client, keys, trusted
from archiver.pace import Pace
from archiver.sections import COLD_CLASSES, MAX_PARTS, TierSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READ_BYTES = 2**20
_AHEAD, _AHEAD_BYTES = 16, 2**25
_PARTS_AHEAD = 2
_MISSING = frozenset(
    {"404", "NoSuchKey", "NoSuchVersion", "NoSuchUpload", "NotFound", "405", "MethodNotAllowed", "ObjectLockConfigurationNotFoundError"}
)
_SAME_LOCK = timedelta(minutes=10)  # an end this much earlier is the same one: it was reckoned when the bytes were sent
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_SIGNED_HEADERS = ("if-none-match", "x-amz-storage-class")
_BROWSERS = {
    "ID": "neve-upload",
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["PUT"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["x-amz-version-id"],
    "MaxAgeSeconds": 3600,
}
_SYSTEMIC = frozenset({"AccessDenied", "403", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


class AlreadyThere(Exception):
    """An object stands at the key already, so nothing was written."""


class NotReadable(Exception):
    """The version is cold: it must be recalled before it can be read."""


class Vanished(Exception):
    """The version is not in the store."""


@dataclass(frozen=True)
class Digest:
    """What bytes are: their count, SHA-256 (hex) and CRC64NVME (base64 of 8 big-endian bytes, as S3 writes it)."""

    size_bytes: int
    sha256: str
    crc64nvme: str


class Digester:
    """Computes a `Digest` as bytes go by."""

    def __init__(self) -> None:
        self._size = 0
        self._sha = hashlib.sha256()
        self._crc = 0

    def update(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._sha.update(chunk)
        self._crc = checksums.crc64nvme(chunk, self._crc)

    def digest(self) -> Digest:
        return Digest(self._size, self._sha.hexdigest(), base64.b64encode(self._crc.to_bytes(8, "big")).decode())


@dataclass(frozen=True)
class Head:
    """What the store says of one version. `sha256` (hex) and `crc64nvme` are the store's own full-object checksums, where it has them."""

    version_id: str
    size_bytes: int
    storage_class: str
    recalling: bool
    readable_until: datetime | None
    sha256: str | None
    crc64nvme: str | None
    locked_until: datetime | None

    @property
    def readable(self) -> bool:
        return self.storage_class not in COLD_CLASSES or self.readable_until is not None


@dataclass(frozen=True)
class Listed:
    """A key as a listing shows it."""

    key: str
    size_bytes: int


@dataclass(frozen=True)
class Standing:
    """A version or a delete marker at a key."""

    version_id: str
    size_bytes: int
    is_marker: bool


@dataclass(frozen=True)
class Signed:
    """A request that whoever holds it may make, until it ends. It shows in no repr: it is a key."""

    url: str = field(repr=False)
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A part of an upload, as the store has it."""

    size_bytes: int
    etag: str


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way."""

    key: str
    upload_id: str
    begun_at: datetime


class Tier:
    """One tier of the settings. Raises `StoreUnavailable` from every method when the store does not answer or refuses."""

    def __init__(self, name: str, settings: Settings, identity: Identity = Identity.EVERYDAY) -> None:
        self.name = name
        self.identity = identity
        self.settings: TierSettings = settings.tiers[name]
        self.bucket = self.settings.bucket
        self.endpoint_url = settings.tier_endpoint(name)
        self._store = settings.store
        self._part_bytes = settings.worker.part_bytes
        self._copy_in_parts_above_bytes = settings.worker.copy_in_parts_above_bytes
        self._connections = settings.worker.parallel * 2 + 4
        self._pace = Pace(self.settings.bandwidth_bytes_s)

    @cached_property
    def client(self) -> S3Client:
        return client(self._store, self.identity, self.endpoint_url, self._connections)

    @cached_property
    def _outside(self) -> tuple[str, Credentials]:
        """Where others reach this bucket's objects, and the keys with which what they send is signed."""
        reached_at = self.settings.endpoint_url or self._store.public_endpoint_url or self.endpoint_url
        return self._objects_at(client(self._store, self.identity, reached_at)), self._keys()

    @cached_property
    def _flow(self) -> Flow:
        held = self._keys()
        return Flow(self._objects_at(self.client).rstrip("/"), self._store.region, held, trusted(self._store), self._connections)

    def _keys(self) -> Credentials:
        held = keys(self._store, self.identity)
        if held is None:
            raise self._unavailable("there are no keys for it", "Set store.credentials_file, or give this machine a role.")
        return held

    def _objects_at(self, speaker: S3Client) -> str:
        """The address before an object's key, as this client forms it."""
        probe: str = speaker.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": "x"})
        return probe.partition("?")[0].removesuffix("x")

    # setting up

    def ensure_bucket(self) -> bool:
        """Make the bucket, versioned, unless it is there; returns whether it was made."""
        made = False
        if self._call("head_bucket") is None:
            location = {"LocationConstraint": self._store.region} if self.endpoint_url is None and self._store.region != "us-east-1" else None
            lock = {"ObjectLockEnabledForBucket": True} if self.settings.lock else {}
            self._call("create_bucket", **({"CreateBucketConfiguration": location} if location else {}), **lock)
            made = True
        self._call("put_bucket_versioning", VersioningConfiguration={"Status": "Enabled"})
        if self.settings.lock and not self.can_lock():
            raise WrongSetting(
                f"tiers.{self.name}.lock is set, but the bucket {self.bucket} was made without Object Lock.",
                "Name a new bucket, which `archiver setup` makes with it, turn Object Lock on where the store can, or leave `lock` out.",
            )
        return made

    def let_browsers_send(self) -> bool:
        """Have pages of any origin make the requests that are signed here (CORS); returns whether that was new. Other rules of the bucket stay.

        An origin is no right: whoever has no signed request is refused, and no cookie goes to a store.
        """
        try:
            rules = self.client.get_bucket_cors(Bucket=self.bucket)["CORSRules"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchCORSConfiguration":
                raise self._unavailable(str(error)) from error
            rules = []
        except BotoCoreError as error:
            raise self._unavailable(str(error)) from error
        if any(rule.items() >= _BROWSERS.items() for rule in rules):
            return False
        kept = [rule for rule in rules if rule.get("ID") != _BROWSERS["ID"]]
        self._call("put_bucket_cors", CORSConfiguration={"CORSRules": [*kept, _BROWSERS]})
        return True

    @property
    def outside_origin(self) -> str:
        """The origin (`https://host:port`) to which what is sent from outside goes."""
        address = urlsplit(self._outside[0])
        return f"{address.scheme}://{address.netloc}"

    def lets_browsers_send(self) -> bool:
        """Whether the store, as it is reached from outside, lets a page of another origin send. Raises `StoreUnavailable`."""
        asked = {"Origin": "https://hub.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": ",".join(_SIGNED_HEADERS)}
        try:
            answer = httpx.options(f"{self._outside[0]}.neve/doctor", headers=asked, timeout=10, verify=self._trusted())
        except httpx.HTTPError as error:
            raise self._unavailable(
                f"browsers and instruments are sent to {self.outside_origin}, which does not answer ({error})", "Mend store.public_endpoint_url."
            ) from error
        allowed = answer.headers.get("Access-Control-Allow-Origin") in {"*", asked["Origin"]}
        return answer.is_success and allowed and "PUT" in answer.headers.get("Access-Control-Allow-Methods", "")

    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=trusted(self._store)) if trusted(self._store) else httpx.create_ssl_context()

    def can_lock(self) -> bool:
        """Whether the bucket was made with Object Lock."""
        answer = self._call("get_object_lock_configuration") or {}
        return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    def ping(self) -> datetime | None:
        """The store's own time; raises `StoreUnavailable` when the bucket cannot be used."""
        answer = self._call("list_objects_v2", MaxKeys=1)
        if answer is None:
            raise self._unavailable(f"the bucket {self.bucket} is not there", "Run `archiver setup`, or mend the tier's bucket in neve.toml.")
        return _date(answer)

    # reading

    def head(self, key: str, version_id: str | None = None) -> Head | None:
        """What stands at the key (in that version), or None."""
        answer = self._call("head_object", Key=key, ChecksumMode="ENABLED", **_version(version_id))
        if answer is None:
            return None
        recalling, until = _parse_restore(answer.get("Restore"))
        full = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        sha = answer.get("ChecksumSHA256")
        return Head(
            version_id=answer.get("VersionId", "null"),
            size_bytes=answer["ContentLength"],
            storage_class=answer.get("StorageClass", "STANDARD"),
            recalling=recalling,
            readable_until=until,
            sha256=base64.b64decode(sha).hex() if sha and full and "-" not in sha else None,
            crc64nvme=answer.get("ChecksumCRC64NVME") if full else None,
            locked_until=answer.get("ObjectLockRetainUntilDate"),
        )

    def read(self, key: str, version_id: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of one version, in pieces. Raises `NotReadable`, `Vanished`."""
        if length == 0:
            return
        span = {"Range": f"bytes={start}-{start + length - 1}"} if length is not None else {}
        answer = self._call("get_object", Key=key, **_version(version_id), **span)
        if answer is None:
            raise Vanished(f"{self.bucket}/{key} ({version_id})")
        try:
            yield from answer["Body"].iter_chunks(_READ_BYTES)
        except (BotoCoreError, OSError) as error:
            raise self._unavailable(f"the connection broke while reading {key}: {error}") from error
        finally:
            answer["Body"].close()

    def fetch(self, wanted: Sequence[tuple[str, str]], largest_bytes: int) -> Iterator[bytes]:
        """The whole bytes of small versions (key, version), in order. Raises `NotReadable`, `Vanished`.

        They are asked for ahead, so many that memory holds no more than 32 MiB of them; none is larger than `largest_bytes`.
        """
        at_once = min(max(_AHEAD_BYTES // max(largest_bytes, 1), 1), _AHEAD)
        for read in ahead((partial(self.begin_read, key, version_id) for key, version_id in wanted), at_once):
            yield read()

    def begin_read(self, key: str, version_id: str) -> Callable[[], bytes]:
        """Begin to read a small version whole; the call waits for it, and raises `NotReadable`, `Vanished`."""
        asked = self._flow.read(key, _query(version_id))
        return partial(self._answer, "get_object", key, asked)

    def _whole(self, key: str, version_id: str) -> bytes:
        return b"".join(self.read(key, version_id))

    def digest(self, key: str, version_id: str, size_bytes: int, begun: Callable[[], bytes] | None = None) -> Digest:
        """Read all bytes of one version back, be they `size_bytes` or not, and say what they are. Raises `NotReadable`, `Vanished`.

        `begun`: by `begin_read`.
        """
        digester = Digester()
        for chunk in self.read_back(key, version_id, size_bytes) if begun is None else [begun()]:
            digester.update(chunk)
        return digester.digest()

    def read_back(self, key: str, version_id: str, size_bytes: int) -> Iterator[bytes]:
        """All bytes of one version, in pieces. Raises `NotReadable`, `Vanished`.

        A large one is asked for in parts, two at a time: one answer that holds it all costs SeaweedFS (4.48) twice the processor time.
        """
        step = self.part_bytes(size_bytes)
        if size_bytes <= step:
            yield from self.read(key, version_id)
            return
        head = self.head(key, version_id)  # how many there are in fact
        if head is None:
            raise Vanished(f"{self.bucket}/{key} ({version_id})")
        if not head.readable:
            raise NotReadable(f"{self.bucket}/{key}")
        with ThreadPoolExecutor(_PARTS_AHEAD, thread_name_prefix="reading") as pool:
            ask = (partial(pool.submit, self._part, key, version_id, start, length) for start, length in _spans(head.size_bytes, step))
            for part in ahead(ask, _PARTS_AHEAD):
                yield part.result()

    # listing

    def page(self, token: str | None = None, prefix: str = "") -> tuple[list[Listed], str | None]:
        """Up to 1,000 keys and the token of what follows (None: nothing does), in the store's own order.

        Keys under a delete marker are not shown. SeaweedFS (4.48) lists by folder, so keys are not sorted, and its listing of versions
        leaves keys out where a page ends; this one, gone through by its own tokens, was seen to be whole.
        """
        answer = self._call("list_objects_v2", Prefix=prefix, MaxKeys=1000, **({"ContinuationToken": token} if token else {}))
        if answer is None:
            raise self._unavailable(f"the bucket {self.bucket} is not there", "Run `archiver setup`, or mend the tier's bucket in neve.toml.")
        found = [Listed(entry["Key"], entry["Size"]) for entry in answer.get("Contents", ())]
        return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

    def listed(self, prefix: str) -> Iterator[Listed]:
        """All keys that begin with `prefix`, page by page."""
        token: str | None = None
        while True:
            page, token = self.page(token, prefix)
            yield from page
            if token is None:
                return

    def newest(self, key: str) -> bytes | None:
        """The bytes of what stands at a key, for small objects; None when nothing does, or it cannot be read at once."""
        head = self.head(key)
        try:
            return None if head is None else self._whole(key, head.version_id)
        except (NotReadable, Vanished):
            return None

    def standing(self, key: str) -> list[Standing]:
        """All versions and delete markers at one key (among the first 1,000 of keys that begin with it)."""
        answer = self._call("list_object_versions", Prefix=key, MaxKeys=1000) or {}
        versions = [Standing(e["VersionId"], e["Size"], is_marker=False) for e in answer.get("Versions", ()) if e["Key"] == key]
        return versions + [Standing(e["VersionId"], 0, is_marker=True) for e in answer.get("DeleteMarkers", ()) if e["Key"] == key]

    # writing

    def put(self, key: str, size_bytes: int, source: Iterator[bytes], storage_class: str, lock_until: datetime | None = None) -> str:
        """Write `source` (pieces of at most `part_bytes(size)`) where nothing stands; returns the version.

        Raises `AlreadyThere`. What `source` raises passes through, and nothing is left behind. Where the class can't be read
        back, the store is asked for its own checksum; where the version is locked until a day, stores want one too.
        """
        lock = _lock(lock_until)
        source = self._pace.paced(source)
        cold = storage_class in COLD_CLASSES or lock_until is not None
        if size_bytes <= self.part_bytes(size_bytes):
            body = b"".join(source)
            sums = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(hashlib.sha256(body).digest()).decode()} if cold else {}
            answer = self._write("put_object", Key=key, Body=body, StorageClass=storage_class, IfNoneMatch="*", **sums, **lock)
            return str(answer.get("VersionId", "null"))
        upload_id = self._begin_upload(key, storage_class, lock_until)
        try:
            parts = []
            digester = Digester()
            for number, chunk in enumerate(source, start=1):
                digester.update(chunk)
                part = {"ChecksumAlgorithm": "CRC64NVME"} if cold else {}
                answer = self._write("upload_part", Key=key, UploadId=upload_id, PartNumber=number, Body=chunk, **part)
                parts.append({"PartNumber": number, "ETag": answer["ETag"], **({"ChecksumCRC64NVME": answer["ChecksumCRC64NVME"]} if cold else {})})
            whole = {"ChecksumCRC64NVME": digester.digest().crc64nvme, "ChecksumType": "FULL_OBJECT"} if cold else {}
            answer = self._write("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*", **whole)
        finally:  # also what was begun by a request whose answer was lost
            self.abort_uploads(key, {key})
        return str(answer.get("VersionId", "null"))

    def read_text(self, key: str) -> str | None:
        """A small text object of ours, as it is now; None when nothing stands there."""
        try:
            return self.begin_read(key, "null")().decode()
        except Vanished:
            return None

    def put_text(self, key: str, text: str) -> str:
        """Write a small text object, over whatever stands there (our stubs and markers only)."""
        answer = self._write("put_object", Key=key, Body=text.encode(), ContentType="text/plain; charset=utf-8")
        return str(answer.get("VersionId", "null"))

    def copy_from(
        self, source: Tier, key: str, source_version_id: str, size_bytes: int, storage_class: str, lock_until: datetime | None = None
    ) -> str:
        """Copy one version from another tier to the same key here, where nothing stands; returns the version.

        Server-side when both tiers share an endpoint, else streamed. A copy in one request is not locked (SeaweedFS 4.48 ignores it
        there, moto wants a checksum of bytes we do not send): see `lock`. Raises `AlreadyThere`, `NotReadable`, `Vanished`.
        """
        if source.endpoint_url != self.endpoint_url:
            return self.put(key, size_bytes, source.parts(key, source_version_id, size_bytes, self.part_bytes(size_bytes)), storage_class, lock_until)
        where: dict[str, Any] = {"Bucket": source.bucket, "Key": key, "VersionId": source_version_id}
        cold = storage_class in COLD_CLASSES
        if size_bytes <= self._copy_in_parts_above_bytes:
            sums = {"ChecksumAlgorithm": "SHA256"} if cold else {}
            answer = self._write("copy_object", Key=key, CopySource=where, StorageClass=storage_class, IfNoneMatch="*", **sums)
            return str(answer.get("VersionId", "null"))
        upload_id = self._begin_upload(key, storage_class, lock_until)
        try:
            parts = self._parts_copied(key, upload_id, where, size_bytes, cold=cold)
            answer = self._write("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        finally:  # also what was begun by a request whose answer was lost
            self.abort_uploads(key, {key})
        return str(answer.get("VersionId", "null"))

    def copy_over(self, from_key: str, version_id: str, key: str, size_bytes: int, storage_class: str) -> str:
        """Copy one version to another key of this bucket, over whatever stands there (snapshots only): readers see the one before, or this one.

        Returns the version. Raises `Vanished`.
        """
        where: dict[str, Any] = {"Bucket": self.bucket, "Key": from_key, **_version(version_id)}
        if size_bytes <= self._copy_in_parts_above_bytes:
            answer = self._write("copy_object", Key=key, CopySource=where, StorageClass=storage_class)
            return str(answer.get("VersionId", "null"))
        upload_id = self._begin_upload(key, storage_class, None)
        try:
            parts = self._parts_copied(key, upload_id, where, size_bytes, cold=False)
            answer = self._write("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
        finally:  # also what was begun by a request whose answer was lost
            self.abort_uploads(key, {key})
        return str(answer.get("VersionId", "null"))

    def _parts_copied(self, key: str, upload_id: str, where: Mapping[str, Any], size_bytes: int, *, cold: bool) -> list[dict[str, Any]]:
        """Copy a version into an upload, part by part; returns the parts as its completion names them."""
        parts = []
        step = max(self._part_bytes, -(-size_bytes // MAX_PARTS))
        for number, start in enumerate(range(0, size_bytes, step), start=1):
            span = f"bytes={start}-{min(start + step, size_bytes) - 1}"
            answer = self._write("upload_part_copy", Key=key, UploadId=upload_id, PartNumber=number, CopySource=where, CopySourceRange=span)
            result = answer["CopyPartResult"]
            sums = {"ChecksumCRC64NVME": result["ChecksumCRC64NVME"]} if cold and "ChecksumCRC64NVME" in result else {}
            parts.append({"PartNumber": number, "ETag": result["ETag"], **sums})
        return parts

    def begin_copy(self, source: Tier, key: str, source_version_id: str, storage_class: str) -> Callable[[], str]:
        """Begin to copy a small version as `copy_from` does, from a tier on the same endpoint; the call waits for it, and returns the version.

        It raises as `copy_from` does.
        """
        headers = {"x-amz-storage-class": storage_class, "If-None-Match": "*"}
        if storage_class in COLD_CLASSES:
            headers["x-amz-checksum-algorithm"] = "SHA256"
        asked = self._flow.copy(key, quoted(source.bucket, key, _query(source_version_id)), headers)
        return partial(self._answer, "copy_object", key, asked)

    def begin_look(self, key: str) -> Callable[[], Looked | None]:
        """Begin to see what stands at a key; the call says it, None when nothing does."""
        asked = self._flow.look(key)

        def there() -> Looked | None:
            try:
                return self._answer("head_object", key, asked)
            except Vanished:
                return None

        return there

    def begin_put(self, key: str, content: bytes, storage_class: str) -> Callable[[], str]:
        """Begin to write small content where nothing stands; the call waits for it, and returns the version. It raises `AlreadyThere`."""
        asked = self._flow.put(key, content, {"x-amz-storage-class": storage_class, "If-None-Match": "*"})
        return partial(self._answer, "put_object", key, asked)

    # what others send by themselves: each request is signed for one key, one size, one hour

    def signed_put(self, key: str, size_bytes: int, storage_class: str, valid: timedelta) -> Signed:
        """A PUT of so many bytes to a key at which nothing stands."""
        return self._signed("PUT", key, size_bytes, {}, {"If-None-Match": "*", "x-amz-storage-class": storage_class}, valid)

    def signed_part(self, key: str, upload_id: str, number: int, size_bytes: int, valid: timedelta) -> Signed:
        """A PUT of one part, of so many bytes, of an upload that `begin_upload` began."""
        return self._signed("PUT", key, size_bytes, {"partNumber": str(number), "uploadId": upload_id}, {}, valid)

    def signed_get(self, key: str, version_id: str, valid: timedelta, save_as: str | None = None) -> Signed:
        """A GET of one version; what answers is never shown in a browser as what it says it is, but kept (under the name `save_as`)."""
        kept = "attachment" if save_as is None else f"attachment; filename*=UTF-8''{quote(save_as, safe='')}"
        query = {"response-content-disposition": kept, "response-content-type": "application/octet-stream"}
        return self._signed("GET", key, None, query | ({} if version_id == "null" else {"versionId": version_id}), {}, valid)

    def _signed(
        self, method: str, key: str, size_bytes: int | None, query: Mapping[str, str], headers: Mapping[str, str], valid: timedelta
    ) -> Signed:
        """By botocore's signer alone: its whole way of making a request takes ten times as long, and there are hundreds."""
        base, held = self._outside
        asked = f"?{urlencode(query)}" if query else ""
        length = {} if size_bytes is None else {"Content-Length": str(size_bytes)}
        request = AWSRequest(method, f"{base}{quote(key)}{asked}", {**headers, **length})
        signer = S3SigV4QueryAuth(held.get_frozen_credentials(), "s3", self._store.region, expires=int(valid.total_seconds()))
        signer.add_auth(request)
        return Signed(str(request.url), headers)

    def begin_upload(self, key: str, storage_class: str) -> str:
        """Begin an upload whose parts others send; earlier ones at this key end. Returns its id."""
        return self._begin_upload(key, storage_class, None)

    def parts_sent(self, key: str, upload_id: str) -> dict[int, Part]:
        """The parts of an upload that are there, by number. Raises `Vanished` when it has ended."""
        found: dict[int, Part] = {}
        after = 0
        while True:
            answer = self._write("list_parts", Key=key, UploadId=upload_id, PartNumberMarker=after)
            found |= {part["PartNumber"]: Part(part["Size"], part["ETag"]) for part in answer.get("Parts", ())}
            if not answer.get("IsTruncated"):
                return found
            after = int(answer["NextPartNumberMarker"])

    def complete_upload(self, key: str, upload_id: str, parts: Mapping[int, Part]) -> str:
        """Make one object of an upload's parts, where nothing stands; returns its version. Raises `AlreadyThere`, `Vanished`."""
        said = {"Parts": [{"PartNumber": number, "ETag": parts[number].etag} for number in sorted(parts)]}
        answer = self._write("complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload=said, IfNoneMatch="*")
        return str(answer.get("VersionId", "null"))

    def lock(self, key: str, version_id: str, until: datetime) -> None:
        """See that a version is locked until then, or longer. Raises `Vanished`."""
        head = self.head(key, version_id)
        if head is None:
            raise Vanished(f"{self.bucket}/{key} ({version_id})")
        if head.locked_until is None or head.locked_until < until - _SAME_LOCK:
            kept = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
            self._write("put_object_retention", Key=key, Retention=kept, **_version(version_id))

    def part_bytes(self, size_bytes: int) -> int:
        """The size of the pieces in which an object of this size is sent."""
        return max(self._part_bytes, -(-size_bytes // MAX_PARTS))

    def parts(self, key: str, version_id: str, size_bytes: int, step: int, offset_bytes: int = 0) -> Iterator[bytes]:
        """`size_bytes` of one version from `offset_bytes` on, in pieces of `step`, each asked for by range, so that memory holds one."""
        for start, length in _spans(size_bytes, step):
            yield self._part(key, version_id, offset_bytes + start, length)

    def _part(self, key: str, version_id: str, start: int, length: int) -> bytes:
        part = b"".join(self.read(key, version_id, start, length))
        if len(part) != length:
            raise self._unavailable(f"{key} ended early: {len(part)} of {length} bytes at {start}")
        return part

    def _begin_upload(self, key: str, storage_class: str, lock_until: datetime | None) -> str:
        """Begin a multipart upload; what a process that died left of an earlier one is ended, else it is billed for ever."""
        self.abort_uploads(key, {key})
        checked = storage_class in COLD_CLASSES or lock_until is not None
        checksum = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if checked else {}
        return str(self._write("create_multipart_upload", Key=key, StorageClass=storage_class, **checksum, **_lock(lock_until))["UploadId"])

    def uploads(self, prefix: str = "") -> Iterator[Upload]:
        """The multipart uploads under way at keys that begin with `prefix`, page by page."""
        after: dict[str, str] = {}
        while True:
            answer = self._call("list_multipart_uploads", Prefix=prefix, **after) or {}
            for found in answer.get("Uploads", ()):
                yield Upload(found["Key"], found["UploadId"], found["Initiated"])
            if not answer.get("IsTruncated") or not answer.get("NextKeyMarker"):
                return
            after = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def abort_uploads(self, prefix: str, keys: Collection[str]) -> int:
        """End the multipart uploads under way at these keys, which all begin with `prefix`; returns how many there were."""
        found = [upload for upload in self.uploads(prefix) if upload.key in keys]
        for upload in found:
            self.abort(upload)
        return len(found)

    def abort(self, upload: Upload) -> None:
        """End an upload and its parts; that it has ended already is no error."""
        self._call("abort_multipart_upload", Key=upload.key, UploadId=upload.upload_id)

    # ending

    def delete_versions(self, versions: Sequence[tuple[str, str]], *, bypass: bool | None = None) -> dict[tuple[str, str], str]:
        """End up to 1,000 versions (key, version) in one request; returns those that the store kept, each with its reason.

        That one is gone already is no error. `bypass`: whether governance locks are passed by (default: by the reaper, where the
        tier locks).
        """
        past_locks = self.identity is Identity.REAPER and self.settings.lock is not None if bypass is None else bypass
        header = {"BypassGovernanceRetention": True} if past_locks else {}
        entries = [{"Key": key, **_version(version_id)} for key, version_id in versions]
        answer = self._write("delete_objects", Delete={"Objects": entries, "Quiet": True}, **header) if entries else {}
        kept: dict[tuple[str, str], str] = {}
        for error in answer.get("Errors", ()):
            if error.get("Code") in _GONE:
                continue
            why = f"{error.get('Code')}: {error.get('Message', '')}".rstrip(": .")
            # An error that does not name its version, or its key, is taken to mean every one that it can mean.
            kept |= {(k, v): why for k, v in versions if error.get("Key") in {None, k} and error.get("VersionId") in {None, v}}
        return kept

    def delete_version(self, key: str, version_id: str) -> None:
        """End one version; that it is gone already is no error."""
        for why in self.delete_versions([(key, version_id)]).values():
            raise self._unavailable(f"{key} cannot be ended: {why}", "Check the rights of this identity, and the bucket's locks.")

    def delete_all_versions(self, key: str, but: str | None = None) -> None:
        """End everything at a key (our stubs, probes and snapshots only), one version excepted."""
        for standing in self.standing(key):
            if standing.version_id != but:
                self.delete_version(key, standing.version_id)

    # recalling

    def ask_recall(self, key: str, version_id: str) -> bool:
        """Ask a cold store to make a version readable; that it is already under way is a success.

        Returns False when this store knows no recalls.
        """
        days = max(1, -(-int(self.settings.recall_keep.total_seconds()) // 86_400))
        request = {"Days": days, "GlacierJobParameters": {"Tier": self.settings.recall_speed}}
        try:
            self.client.restore_object(Bucket=self.bucket, Key=key, RestoreRequest=request, **_version(version_id))  # type: ignore[arg-type]
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "RestoreAlreadyInProgress":
                return True
            if code in {"405", "MethodNotAllowed", "NotImplemented", "InvalidObjectState"}:
                return False
            if code in {"404", "NoSuchKey", "NoSuchVersion"}:
                raise Vanished(f"{self.bucket}/{key} ({version_id})") from error
            raise self._unavailable(str(error)) from error
        except BotoCoreError as error:
            raise self._unavailable(str(error)) from error
        return True

    # one place where errors become ours

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            said = error.response.get("Error", {})
            refusal = self._refusal(operation, arguments.get("Key"), str(said.get("Code", "")), said.get("Message", ""))
            if refusal is None:
                return None
            raise refusal from error
        except BotoCoreError as error:
            raise self._unavailable(str(error)) from error
        return answer

    def _answer(self, operation: str, key: str, asked: Asked[Answer]) -> Answer:
        try:
            return asked.result()
        except Refused as error:
            raise self._refusal(operation, key, error.code, str(error)) or Vanished(f"{operation} {self.bucket}/{key}") from error
        except Broken as error:
            raise self._unavailable(f"{operation} {key}: {error}") from error

    def _refusal(self, operation: str, key: str | None, code: str, message: str) -> Exception | None:
        """What an error of the store's means; None when it means that nothing is there."""
        if code in {"InvalidObjectState", "ObjectNotInActiveTierError"}:  # a GET's and a copy's word for it
            return NotReadable(f"{self.bucket}/{key}")
        if code in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
            return AlreadyThere(f"{self.bucket}/{key}")
        if operation == "get_object" and code == "InvalidArgument":  # AWS's word for a version that cannot be
            return None
        if code in _MISSING or (code == "NoSuchBucket" and operation in {"head_bucket", "list_objects_v2"}):
            return None
        hint = "Check the tier's bucket and the keys in the settings." if code in _SYSTEMIC else "It is tried again by itself."
        return self._unavailable(f"{operation}: {message or code}", hint)

    def _write(self, operation: str, **arguments: Any) -> dict[str, Any]:
        answer = self._call(operation, **arguments)
        if answer is None:  # a copy whose source is gone, or an upload that somebody ended
            raise Vanished(f"{operation} {self.bucket}/{arguments.get('Key')}")
        return answer

    def _unavailable(self, why: str, next_step: str = "See that the store runs; what was under way is tried again by itself.") -> StoreUnavailable:
        return StoreUnavailable(f"The store of tier {self.name} ({self.endpoint_url or 'AWS'}) cannot be used: {why.rstrip('.')}.", next_step)


def _spans(size_bytes: int, step: int) -> Iterator[tuple[int, int]]:
    """Where each part of so many bytes begins, and its length."""
    return ((start, min(step, size_bytes - start)) for start in range(0, size_bytes, step))


def _lock(until: datetime | None) -> dict[str, Any]:
    return {} if until is None else {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}


def _version(version_id: str | None) -> dict[str, str]:
    return {} if version_id in {None, "null"} else {"VersionId": str(version_id)}


def _query(version_id: str) -> str:
    return "" if version_id == "null" else f"?versionId={quote(version_id, safe='')}"


def _date(answer: dict[str, Any]) -> datetime | None:
    value = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(value).astimezone(UTC) if value else None


def _parse_restore(header: str | None) -> tuple[bool, datetime | None]:
    """S3's `ongoing-request="false", expiry-date="…"`: whether a recall runs, and until when the object is readable."""
    if not header:
        return False, None
    if 'ongoing-request="true"' in header:
        return True, None
    _, _, rest = header.partition('expiry-date="')
    return False, parsedate_to_datetime(rest.partition('"')[0]).astimezone(UTC) if rest else None
