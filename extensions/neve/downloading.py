"""Taking data home: `neve.download`, `neve download`. Files come straight from the store by short-lived links, several at once.

Law: a file stands under its name only when its bytes are what was received (SHA-256). What was cut short stands beside it as `NAME.neve-part` and is
gone on with; what is there already, and right, is not fetched again; what is there and is something else is never overwritten. Names stay inside
the folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx
from httpx_retries import Retry, RetryTransport

from neve import records
from neve.client import Client, connect
from neve.errors import Conflict, NeveError, StoreUnavailable

PART = ".neve-part"
_AT_ONCE = 4
_PIECE_BYTES = 2**20
_TRIES = 5
_NOT_IN_NAMES = frozenset('<>:"|?*\\') if os.name == "nt" else frozenset()

Progress = Callable[[int], object]


@dataclass
class Downloaded:
    """What came of it: `folder`, how many files and bytes were fetched, how many were there already, and why others are missing."""

    folder: Path
    fetched: int = 0
    already: int = 0
    size_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def download(
    name: str,
    to: str | Path = ".",
    files: str | None = None,
    *,
    progress: Progress = lambda _bytes: None,
    url: str | None = None,
    token: str | None = None,
) -> Downloaded:
    """Fetch a dataset, or its files that match the glob `files`, into a folder of its name in `to`. Done again, it goes on where it was.

    `progress` is called with bytes as they come. Raises ColdDataError, NotFound, ServiceUnavailable; why one file could not be had stands in
    `failed`.
    """
    client = connect(url, token)
    dataset = client.find(name)
    done = Downloaded(Path(to) / _part(dataset.name))
    lock = threading.Lock()
    taken: dict[Path, int] = {}
    retries = Retry(total=_TRIES, backoff_factor=0.5)
    with httpx.Client(transport=RetryTransport(retry=retries), timeout=60, follow_redirects=True) as http, ThreadPoolExecutor(_AT_ONCE) as pool:

        def one(link: records.Link, target: Path) -> None:
            try:
                fetched = _fetch(client, http, dataset, link, target, progress)
            except NeveError as error:
                with lock:
                    done.failed[link.path] = str(error)
                return
            except OSError as error:
                with lock:
                    done.failed[link.path] = f"{target} cannot be written ({error.strerror or error})."
                return
            with lock:
                done.fetched += fetched
                done.already += not fetched
                done.size_bytes += link.size_bytes if fetched else 0

        waiting = threading.BoundedSemaphore(4 * _AT_ONCE)  # links that wait for long would be too old
        for link in client.links(dataset.id, files):
            target = _target(done.folder, link, taken)
            waiting.acquire()
            pool.submit(one, link, target).add_done_callback(lambda _done: waiting.release())
    return done


def _target(folder: Path, link: records.Link, taken: dict[Path, int]) -> Path:
    """Where a file goes: below the folder whatever it is called; of two that this machine cannot tell apart, the second has its number."""
    target = folder.joinpath(*(_part(part) for part in PurePosixPath(link.path).parts))
    known = Path(str(target).casefold())
    if taken.setdefault(known, link.file_id) != link.file_id:
        target = target.with_name(f"{target.name}~{link.file_id}")
    return target


def _part(name: str) -> str:
    """One name of a path, as this machine can have it."""
    plain = "".join("_" if char in _NOT_IN_NAMES or ord(char) < 32 or char == "/" else char for char in name)
    if os.name == "nt":
        plain = plain.rstrip(". ")
    return plain if plain not in {"", ".", ".."} else "_"


def _fetch(client: Client, http: httpx.Client, dataset: records.Dataset, link: records.Link, target: Path, progress: Progress) -> bool:
    """Have a file at `target`; returns whether it had to be fetched. Raises Conflict, StoreUnavailable, OSError."""
    if target.exists():
        if target.stat().st_size == link.size_bytes and _digest(target).hexdigest() == link.sha256:
            progress(link.size_bytes)
            return False
        raise Conflict(f"{target} is there, and is another file than {link.path}.", "Move it away, or download into another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(target.name + PART)
    for attempt in range(2):
        had = half.stat().st_size if half.exists() else 0
        if had > link.size_bytes:
            half.unlink()
            had = 0
        digest = _digest(half) if had else hashlib.sha256()
        progress(had)
        _append(client, http, dataset, link, half, digest, had, progress)
        if digest.hexdigest() == link.sha256:
            half.replace(target)
            return True
        half.unlink()  # what stood there before was another file's, or the bytes are wrong: once more from the beginning
        progress(-link.size_bytes)
        if attempt == 0 and had == 0:
            break
    raise StoreUnavailable(f"{link.path} came with another SHA-256 than was received.", "Tell whoever runs your Névé; the archiver has other copies.")


def _append(
    client: Client, http: httpx.Client, dataset: records.Dataset, link: records.Link, half: Path, digest: hashlib._Hash, had: int, progress: Progress
) -> None:
    """Fetch what is missing. A link that is too old is asked for anew; a line that is cut is gone on with."""
    reason = ""
    for _ in range(_TRIES):
        if had == link.size_bytes:
            half.touch()
            return
        start = link.offset_bytes + had
        url, headers = _from_here(client, link.url)
        headers["Range"] = f"bytes={start}-{link.offset_bytes + link.size_bytes - 1}"
        try:
            with (
                http.stream("GET", url, headers=headers) as answer,
                half.open("ab") as file,
            ):
                if answer.status_code in {401, 403}:
                    link = next(iter(client.links(dataset.id, link.path)))
                    continue
                if answer.status_code != 206 and not (answer.status_code == 200 and start == 0):
                    reason = f"the store answered {answer.status_code}"
                    continue
                for came in answer.iter_bytes(_PIECE_BYTES):
                    piece = came[: link.size_bytes - had]  # a store that takes no notice of the range gives more
                    file.write(piece)
                    digest.update(piece)
                    had += len(piece)
                    progress(len(piece))
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
    if had != link.size_bytes:
        raise StoreUnavailable(
            f"{link.path} was cut off at {had} of {link.size_bytes} bytes ({reason}).", "Start the download again: it goes on there."
        )


def _from_here(client: Client, url: str) -> tuple[str, dict[str, str]]:
    """A link as it is asked for from here: at the store's address here, for the host that was signed."""
    signed, here = urlsplit(url), urlsplit(client.store_here or "")
    if not here.netloc or signed.scheme != here.scheme:
        return url, {}
    return signed._replace(netloc=here.netloc).geturl(), {"Host": signed.netloc}


def _digest(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
