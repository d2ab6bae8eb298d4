"""The archiver's side of sending, over HTTP: datasets, uploads, proofs, receipts.

Law: the key is sent to the archiver only (no redirect is followed) and stands in no message. Every call may be repeated, so every call is: an
archiver that is away, busy or full is waited for without end (`patience`), said once. A refusal is an error with its sentence: a wrong or revoked
key, too large, over quota, a wrong checksum. At first contact, what answers and is no archiver is an error too; later it is one that is away.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import httpx

from neve.client import Bearer, checked_url
from neve.errors import NotConfigured, NotSignedIn, ServiceUnavailable, WrongUse, from_problem
from neve.send import answers
from neve.send.answers import Arrivals, Dataset, Done, DoneItem, Instrument, Item, Pack, Put, Receipt, SnapshotItem
from neve.send.events import path_members
from neve.send.patience import Patience
from neve.send.source import Source
from neve.send.store import tls_context

GROUP = 200  # files in one question
NUMBERS = 100  # part addresses in one question
_AWAY = {408, 429, 502, 503, 504, 507}
_FAULTS = 6  # times that a 500 is asked again: it may be a bug that stays
_KEY = "Ask whoever runs your Névé for the instrument's key, and whether it was revoked."

T = TypeVar("T")


class Reception:
    """A connection to one archiver as one instrument (or person). Thread-safe.

    `url`: the archiver's address; `key`: the instrument's key; `patience`: how it waits, shared with the store's side.
    """

    def __init__(self, url: str, key: str, patience: Patience | None = None, *, timeout_s: float = 60) -> None:
        if not url:
            raise NotConfigured("Nobody said where the archiver is.", "Give --url, or set $NEVE_URL.")
        self.url = checked_url(url)
        key = key.strip()
        if not key:
            raise NotConfigured("There is no key to send with.", "Give --key-file, or set $NEVE_KEY_FILE or $NEVE_KEY.")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise NotSignedIn("The key holds characters that no key has.", "The key file holds the one line that `archiver instruments add` printed.")
        self.patience = patience or Patience()
        self.tls = tls_context()
        self._met = False
        self._knows_packs = True  # until it says otherwise
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            auth=Bearer(key),
            timeout=httpx.Timeout(timeout_s, connect=10),
            verify=self.tls,
            limits=httpx.Limits(max_connections=16, keepalive_expiry=4),  # servers end idle connections after 5 s
            headers={"Accept": "application/json"},
        )

    def __repr__(self) -> str:
        return f"<Reception at {self.url}>"

    def close(self) -> None:
        self._http.close()

    def using(self, patience: Patience) -> Self:
        """The same connection for one sending, whose waiting is its own."""
        other = copy.copy(self)
        other.patience = patience
        return other

    def instrument(self) -> Instrument:
        """Who this key is; the archiver notes that it was seen."""
        return self._call(answers.parse_instrument, "GET", "instrument")

    def report(self, waiting: int, oldest_waiting_s: int | None, message: str) -> None:
        """Tell the archiver's admins what waits here."""
        self._call(lambda _answer: None, "POST", "instrument/report", {"waiting": waiting, "oldest_waiting_s": oldest_waiting_s, "message": message})

    def open(self, name: str, project: str | None = None, instrument: str | None = None, about: Mapping[str, Any] | None = None) -> Dataset:
        """The dataset of this name, opened if there is none. `project=None`: the one of the key's rule; `instrument` and `about` (title,
        derived_from) are for people's tokens."""
        asked = {"name": name, "project": project, "instrument": instrument, **(about or {})}
        return self._call(answers.parse_dataset, "POST", "datasets", asked)

    def ask(self, dataset_id: int, files: Sequence[tuple[Source, str | None]], *, packs: bool = False) -> tuple[list[Item], list[Pack]]:
        """What is to be done with up to 200 files, each with its SHA-256 where it is known, in their order. `state` of each answer:

        known: a file of this path and size is received: ask again with its SHA-256; received: this very content is there; verifying: sent, being
        proven; put: send all to `put`; parts: send in parts of `part_bytes`, except those in `done`; pack: send it with the others of the pack
        `pack_id`, which is among the packs that are answered. `packs`: whether small files may go so; an archiver that knows none is asked without.
        Raises the refusal for all where one of them is refused (TooLarge, ChecksumMismatch, …).
        """
        asked = [
            {
                **path_members(source.name),
                "size_bytes": source.size_bytes,
                "mtime": answers.iso(source.mtime_ns),
                "mark": source.mark,
                "sha256": sha256,
            }
            for source, sha256 in files
        ]

        def parse(answer: Any) -> tuple[list[Item], list[Pack]]:
            return answers.parse_asked(answer, len(files))

        path = f"datasets/{dataset_id}/uploads"
        if packs and self._knows_packs:
            try:
                return self._call(parse, "POST", path, {"files": asked, "packs": True})
            except WrongUse as error:
                if not _is_about(error, "packs"):
                    raise
                self._knows_packs = False
        return self._call(parse, "POST", path, {"files": asked})

    def pack_done(self, pack: Pack, files: Mapping[int, str], version_id: str | None) -> str:
        """Say that a pack stands in the store; `files`: number → SHA-256 of every member. Gives verifying, received, or missing (it does not: ask
        again). Raises NotFound where it was taken apart, ChecksumMismatch (with `file_id`) where another sum was told of a member before."""
        told = [{"file_id": file_id, "sha256": sha256} for file_id, sha256 in files.items()]

        def parse(answer: Any) -> str:
            state = str(answer["state"])
            if state not in {"verifying", "received", "missing"} or int(answer["pack_id"]) != pack.pack_id:
                raise ValueError(f"state {state} of pack {answer['pack_id']}")
            return state

        return self._call(parse, "POST", f"datasets/{pack.dataset_id}/packs/{pack.pack_id}/done", {"files": told, "version_id": version_id})

    def parts(self, dataset_id: int, file_id: int, numbers: Sequence[int]) -> dict[int, Put]:
        """Addresses for up to 100 parts, valid for an hour."""
        return self._parts(f"datasets/{dataset_id}/uploads/{file_id}/parts", numbers)

    def _parts(self, path: str, numbers: Sequence[int]) -> dict[int, Put]:
        return self._call(
            lambda answer: {int(item["number"]): answers.parse_put(item) for item in answer["items"]}, "POST", path, {"numbers": list(numbers)}
        )

    def done(self, dataset_id: int, files: Sequence[Done]) -> dict[int, DoneItem]:
        """Say that all bytes of up to 200 files stand in the store."""
        told = [{"file_id": file.file_id, "sha256": file.sha256, "version_id": file.version_id} for file in files]

        def parse(answer: Any) -> dict[int, DoneItem]:
            items = [DoneItem(int(item["file_id"]), str(item["state"]), item.get("error")) for item in answer["items"]]
            return {item.file_id: item for item in items}

        return self._call(parse, "POST", f"datasets/{dataset_id}/uploads/done", {"files": told})

    def announce(self, dataset_id: int, name: bytes, size_bytes: int, mark: str, taken_at: str, mtime_ns: int) -> SnapshotItem:
        """What is to be done with a snapshot of the growing file `name`. `state` of the answer:

        put: send all to `put`; parts: send in parts of `part_bytes`, except those in `done`; shown: one with this mark is; busy: not now.
        """
        asked = {**path_members(name), "size_bytes": size_bytes, "mark": mark, "taken_at": taken_at, "mtime": answers.iso(mtime_ns)}
        return self._call(lambda answer: answers.parse_snapshot(answer["items"][0]), "POST", f"datasets/{dataset_id}/snapshots", {"files": [asked]})

    def snapshot_parts(self, item: SnapshotItem, numbers: Sequence[int]) -> dict[int, Put]:
        """As `parts`, for a snapshot."""
        return self._parts(f"datasets/{item.dataset_id}/snapshots/{item.snapshot_id}/parts", numbers)

    def snapshot_done(self, item: SnapshotItem, sha256: str, version_id: str | None) -> str:
        """Say that all of a snapshot stands in the store: gives `verifying`, `shown`, or `missing` (it does not)."""
        told = {"snapshot_id": item.snapshot_id, "sha256": sha256, "version_id": version_id}
        path = f"datasets/{item.dataset_id}/snapshots/done"
        return self._call(lambda answer: str(answer["items"][0]["state"]), "POST", path, {"files": [told]})

    def arrivals(self, dataset_id: int, cursor: str | None = None) -> Arrivals:
        """What of a dataset is not received yet."""
        return self._call(answers.parse_arrivals, "GET", f"datasets/{dataset_id}/uploads", params={"cursor": cursor} if cursor else {})

    def close_dataset(self, dataset_id: int) -> dict[int, tuple[str, str]]:
        """Ask that a dataset, and those that continue it, be closed: number → (name, state). Ask again until all are `closed`."""
        return self._call(
            lambda answer: {int(item["id"]): (str(item["name"]), str(item["state"])) for item in answer["items"]},
            "POST",
            f"datasets/{dataset_id}/close",
            {},
        )

    def receipts(self, dataset_id: int) -> Iterator[Receipt]:
        """The receipts of a dataset's received files, fetched page by page."""
        cursor: str | None = None
        while True:
            params = {"cursor": cursor} if cursor else {}
            page, cursor = self._call(
                lambda answer: ([answers.parse_receipt(item) for item in answer["items"]], answer["next_cursor"]),
                "GET",
                f"datasets/{dataset_id}/receipts",
                params=params,
            )
            yield from page
            if cursor is None:
                return

    # How it is done

    def _call(
        self, parse: Callable[[Any], T], method: str, path: str, body: Mapping[str, Any] | None = None, params: Mapping[str, str] | None = None
    ) -> T:
        attempt = faults = 0
        dropped = False
        while True:
            self.patience.check()
            asked_s: float | None = None
            try:
                response = self._http.request(method, path, json=body, params=params)
            except httpx.TransportError as error:
                if not dropped and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
                    dropped = True  # a kept connection that ended just now is no outage
                    continue
                reason = self._away(error)
            else:
                answer = _json(response)
                if response.is_success and (answer is not None or response.status_code == 204):
                    self._met = True
                    self.patience.good("archiver")
                    return self._parsed(parse, answer)
                faults += response.status_code == 500
                reason, asked_s = self._refused(response, answer, faults)
            self.patience.wait("archiver", reason, attempt, asked_s)
            attempt += 1

    def _away(self, error: httpx.TransportError) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            reason = f"The certificate of {self.url} cannot be trusted ({error})"
            if not self._met:
                raise ServiceUnavailable(f"{reason}.", "Look at the address; the certificate of an authority of your own goes into $SSL_CERT_FILE.")
            return reason
        if isinstance(error, httpx.TimeoutException):
            return f"The archiver at {self.url} does not answer"
        return f"The archiver at {self.url} cannot be reached ({error or type(error).__name__})"

    def _refused(self, response: httpx.Response, answer: Any, faults: int) -> tuple[str, float | None]:
        """Why it is to be waited for and how long the archiver asks to wait; raises where waiting is of no use."""
        status, problem = response.status_code, answer if isinstance(answer, dict) and "code" in answer else None
        if status in _AWAY or (status == 500 and faults < _FAULTS):
            detail = str(problem.get("detail") or "") if problem else ""
            return detail.rstrip(".") or f"The archiver at {self.url} answers {status}", _seconds(response.headers.get("Retry-After"))
        if problem is not None:
            raise from_problem(status, problem)
        if status in {401, 403}:
            raise NotSignedIn(f"The archiver at {self.url} does not know this key.", _KEY)
        # Neither an answer nor a refusal of the archiver: a proxy that lost its route, a page of something else at this address.
        detail = f"What answers at {self.url} is not the archiver (status {status})"
        if self._met:
            return detail, None
        raise ServiceUnavailable(f"{detail}.", "Look at the address (--url, $NEVE_URL).")

    def _parsed(self, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            detail = f"The archiver at {self.url} answered something that this version of neve does not understand ({type(error).__name__}: {error})."
            raise ServiceUnavailable(detail, "Install the version of neve that fits the archiver's.") from None


def _is_about(error: WrongUse, field: str) -> bool:
    """Whether what is refused is this member of the request."""
    errors = error.extra.get("errors")
    return isinstance(errors, list) and any(isinstance(one, dict) and one.get("field") == field for one in errors)


def _json(response: httpx.Response) -> Any:
    if response.headers.get("content-type", "").partition(";")[0].strip() not in {"application/json", "application/problem+json"}:
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
