"""Where the bytes of a file are, and opening them: the mount first, then a copy in a store.

Law: the mount is asked only for what has a copy in hot (a stub may stand there otherwise), and only believed when the size is right. What cannot be
reached in one place is tried in the next; when none is left, a NeveError says why. Store copies are read by version, with short-lived keys of
the project that renew themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from neve import records
from neve.client import Client
from neve.window import PIECE_BYTES, Window
from neve.wording import utc_json

WHOLE_BYTES = PIECE_BYTES
"""Files up to this size are fetched in one request; larger ones through a window."""
ASLEEP = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose bytes cannot be read without a recall."""

Handle = Path | BinaryIO


class UnreachableError(Exception):
    """One place did not give its bytes: the sentence is its reason. Never leaves this package."""


class Place(Protocol):
    """One copy of one file."""

    @property
    def source(self) -> str:
        """Where this is, for people."""

    def open(self) -> contextlib.AbstractContextManager[Handle]:
        """The bytes, as a path or a binary file; raises UnreachableError, also for a read that fails later."""


def data_folder() -> Path:
    """The folder below which datasets have their paths on this machine."""
    return Path(os.environ.get("NEVE_DATA") or "/data")


def readable_copies(dataset: records.Dataset, file: records.File) -> list[records.Copy]:
    """Copies that can be read without bringing them back, nearest first."""
    needs_recall = dataset.tier == "archive" and dataset.readable == "after_restore"
    known = [copy for copy in file.copies if copy.bucket is not None]
    hot = [copy for copy in known if copy.tier == "hot"]
    archive = [copy for copy in known if copy.tier == "archive" and copy.storage_class not in ASLEEP]
    return hot + ([] if needs_recall else archive)


def places(client: Client, dataset: records.Dataset, file: records.File) -> Iterator[tuple[records.Copy, Place]]:
    """Where `file` can be read, best first; made one by one, so that no keys are asked for while the mount serves."""
    for copy in readable_copies(dataset, file):
        if copy.tier == "hot":
            yield copy, MountPlace(data_folder() / dataset.prefix / file.path, file.size_bytes)
        yield copy, StorePlace(_stores.of(client, dataset.project), copy)


@dataclass(frozen=True)
class MountPlace:
    """A file below the data folder."""

    path: Path
    size_bytes: int

    @property
    def source(self) -> str:
        return str(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[Handle]:
        try:
            size = self._size()
            if size != self.size_bytes:
                raise UnreachableError(f"{self.path} has {size} bytes instead of {self.size_bytes}")
            probe = self.path.open("rb", buffering=0)
        except OSError as error:
            raise UnreachableError(f"{self.path}: {error.strerror or error}") from error
        try:
            with probe:  # open until the end: s3fs forgets what it has fetched when nobody has the file open any more
                probe.read(1)
                yield self.path
        except OSError as error:
            # The formats' libraries put the system's error into a text of their own ("errno = 5, error message = …").
            if error.errno is None and "errno = " not in str(error):
                raise
            raise UnreachableError(f"{self.path}: {error.strerror or error}") from error

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            # A mount remembers for some seconds that a file was absent; listing its folder makes it look again.
            os.listdir(self.path.parent)  # noqa: PTH208 - the listing itself is what is wanted
            return self.path.stat().st_size


@dataclass(frozen=True)
class StorePlace:
    """One version of an object in a store."""

    filesystem: Any
    copy: records.Copy

    @property
    def source(self) -> str:
        version = f"?versionId={self.copy.version_id}" if self.copy.version_id else ""
        return f"s3://{self.copy.bucket}/{self.copy.key}{version}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Handle]:
        if self.copy.size_bytes > WHOLE_BYTES:
            window = Window(self._ask, self.copy.size_bytes, self._origin)
            with window:
                try:
                    yield window
                except Exception:
                    if window.failure is None:
                        raise
                    with self._reasons():
                        raise window.failure from None
            return
        with self._reasons():
            body = self._ask(0, self.copy.size_bytes).result() if self.copy.size_bytes else b""
            if len(body) != self.copy.size_bytes:
                raise EOFError(f"{len(body)} bytes instead of {self.copy.size_bytes}")
        yield io.BytesIO(body)

    @property
    def _origin(self) -> int:
        """Where the file begins in its object: a member of a bundle stands somewhere in it."""
        return self.copy.offset_bytes or 0

    def _ask(self, start: int, end: int) -> Future[bytes]:
        """One GET of the version, under way at once."""
        # max_concurrency=1: s3fs would else ask for the size of the newest version first.
        asked = self.filesystem._cat_file(  # noqa: SLF001 - fsspec's name for what may be awaited
            f"{self.copy.bucket}/{self.copy.key}",
            version_id=self.copy.version_id or None,
            start=self._origin + start,
            end=self._origin + end,
            max_concurrency=1,
        )
        return asyncio.run_coroutine_threadsafe(asked, self.filesystem.loop)

    @contextlib.contextmanager
    def _reasons(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only when a store is used

        try:
            yield
        except EOFError as error:
            raise UnreachableError(f"{self.source} gave {error}") from error
        except (OSError, BotoCoreError, ClientError) as error:
            answer = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
            code = answer.get("Error", {}).get("Code") or errno.errorcode.get(getattr(error, "errno", None) or 0) or type(error).__name__
            raise UnreachableError(f"{self.source}: {code}") from error


class _Stores:
    """One S3 file system per client and project, so that keys and connections are shared by all reads."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, str], tuple[Client, Any]] = {}
        self._lock = threading.Lock()

    def of(self, client: Client, project: str) -> Any:
        with self._lock:
            key = (os.getpid(), id(client), project)  # s3fs works in the process that made it only
            if key not in self._known:
                # The client stands beside its file system, so that its id stays its own.
                self._known[key] = (client, _file_system(client, project))
            return self._known[key][1]


_stores = _Stores()


def endpoint_for(client: Client, keys: records.Credentials) -> str | None:
    """The store's address as seen from here: the spawner knows it best ($NEVE_S3_URL), else the archiver says (None: AWS's own)."""
    return (client.store_here or "").rstrip("/") or keys.endpoint_url


def keys_metadata(keys: records.Credentials) -> dict[str, str]:
    """Keys in the words of botocore's credentials that renew themselves."""
    return {
        "access_key": keys.access_key_id,
        "secret_key": keys.secret_access_key,
        "token": keys.session_token,
        "expiry_time": utc_json(keys.expires_at),
    }


def _file_system(client: Client, project: str) -> Any:
    import s3fs  # noqa: PLC0415 - only when a store is used
    from aiobotocore.credentials import AioCredentialResolver, AioRefreshableCredentials  # type: ignore[import-untyped] # noqa: PLC0415
    from aiobotocore.session import AioSession  # type: ignore[import-untyped] # noqa: PLC0415
    from botocore.credentials import CredentialProvider  # noqa: PLC0415

    keys = client.credentials(project)

    async def renew() -> dict[str, str]:
        return keys_metadata(await asyncio.to_thread(client.credentials, project))

    class ProjectKeys(CredentialProvider):
        METHOD = "neve"
        CANONICAL_NAME = "neve"

        async def load(self) -> Any:
            return AioRefreshableCredentials.create_from_metadata(keys_metadata(keys), refresh_using=renew, method="neve")

    session = AioSession()
    session.register_component("credential_provider", AioCredentialResolver([ProjectKeys()]))
    filesystem = s3fs.S3FileSystem(
        session=session,
        endpoint_url=endpoint_for(client, keys),
        client_kwargs={"region_name": keys.region},
        config_kwargs={
            "s3": {"addressing_style": "path"},
            # Other stores than AWS's choke on the checksums that clients add by default.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "retries": {"max_attempts": 2},
        },
        version_aware=True,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    # s3fs tries again on top of botocore, five times with growing pauses: another place, or a sentence, is better than half a minute.
    filesystem.retries = 2
    return filesystem
