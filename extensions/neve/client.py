"""The archiver's REST API for Python: the only place of `neve` that speaks HTTP to it.

Law: answers become records (`neve.records`), refusals become typed errors (`neve.errors`); the token is sent to the archiver only (no redirects
are followed) and never stands in a repr or an error. Only GET is tried again: asking twice for a restore would be two restores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from httpx_retries import Retry, RetryTransport

from neve import records
from neve.errors import Ambiguous, NeveError, NotConfigured, NotFound, NotSignedIn, ServiceUnavailable, WrongUse, from_problem

if TYPE_CHECKING:
    from neve.send.patience import Patience
    from neve.send.reception import Reception

_AGAIN = "Try again in a moment; if it stays so, tell whoever runs your Névé."
_PAGE = 200  # the most that the API gives at once

T = TypeVar("T")


class Bearer(httpx.Auth):
    """Puts the token on each request. An object of its own, so that it is in no default header that might be printed."""

    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class Client:
    """A connection to one archiver as one person.

    `url`: the archiver's address ($NEVE_API_URL); `token`: a hub token ($JUPYTERHUB_API_TOKEN). Methods raise `NeveError`s. Thread-safe.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout_s: float = 15, retries: int = 3) -> None:
        self.url = checked_url(url or os.environ.get("NEVE_API_URL", ""))
        token = (token or os.environ.get("JUPYTERHUB_API_TOKEN", "")).strip()
        if not token:
            raise NotSignedIn("There is no token to sign in with ($JUPYTERHUB_API_TOKEN).", "Open this in a notebook of the hub, or give token=….")
        if not token.isascii() or not token.isprintable():
            raise NotSignedIn("The token holds characters that no token has.", "Copy it again from the hub's page “Token”.")
        self._timeout_s = timeout_s
        self._auth = Bearer(token)
        retry = Retry(total=retries, allowed_methods=["GET"], backoff_factor=0.3, max_backoff_wait=5, total_timeout=10)
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            auth=self._auth,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5)),
            transport=RetryTransport(retry=retry),
            headers={"Accept": "application/json"},
        )

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def close(self) -> None:
        self._http.close()

    def reception(self, patience: Patience) -> Reception:
        """The same archiver as this person sends data to it."""
        from neve.send.reception import Reception  # noqa: PLC0415 - only for who sends

        return Reception(self.url, self._auth.token, patience)

    @property
    def store_here(self) -> str | None:
        """Where the store answers as seen from here, if the spawner said so ($NEVE_S3_URL); what is signed for another address is asked for there."""
        return os.environ.get("NEVE_S3_URL") or None if self.url == os.environ.get("NEVE_API_URL", "").rstrip("/") else None

    # Reading

    def me(self) -> records.Me:
        return self._parsed(records.me, self._send("GET", "me"))

    def projects(self) -> list[str]:
        """Names of the projects whose data you may read."""
        return self._parsed(lambda answer: [str(item["name"]) for item in answer["items"]], self._send("GET", "projects"))

    def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """What the API answers, as it is: `path` below `/api/v1/`."""
        return (
            self._send(method, path, params=dict(query or {}), json=body) if body is not None else self._send(method, path, params=dict(query or {}))
        )

    def catalog_file(self) -> bytes:
        """`catalog.yaml`, the catalog as a file for intake."""
        response = self._exchange("GET", "catalog.yaml", headers={"Accept": "application/yaml"})
        if response.is_success and _kind(response) == "application/yaml":
            return response.content
        raise self._refusal(response, _json_of(response))

    def page(self, filters: Mapping[str, str], limit: int = 50, cursor: str | None = None) -> records.Page:
        """One page of datasets, newest first. `filters`: q, name, project, instrument, tier, state, from, to."""
        params = {**filters, "limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return self.page_of(self._send("GET", "datasets", params=params))

    def page_of(self, answer: Any) -> records.Page:
        """A page that was asked for as it is, by `ask`."""
        return self._parsed(records.page, answer)

    def datasets(self, filters: Mapping[str, str], page_size: int = _PAGE) -> Iterator[records.Dataset]:
        """All datasets that fit, fetched page by page as they are asked for."""
        cursor: str | None = None
        while True:
            page = self.page(filters, page_size, cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def dataset(self, dataset_id: int) -> records.Dataset:
        return self._parsed(records.dataset, self._send("GET", f"datasets/{dataset_id}"))

    def find(self, name: str) -> records.Dataset:
        """The dataset called `name` (bare or `instrument/name`), else NotFound with the nearest names, or Ambiguous."""
        if not name or not name.isprintable():
            raise WrongUse(f"{name!r} is no dataset name.", "Names look like run42 or saxs/run42.")
        page = self.page({"name": name}, limit=20)
        if not page.items:
            raise self._unknown(name)
        if page.total > 1:
            candidates = [item.full_name for item in page.items]
            raise Ambiguous(f"{page.total} datasets are called {name}.", f"Say which: {_either(candidates)}.", candidates)
        return page.items[0]

    def files(self, dataset_id: int) -> list[records.File]:
        """All files of a dataset, in order of their paths."""
        found: list[records.File] = []
        cursor: str | None = None
        while True:
            params = {"limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {})
            answer = self._send("GET", f"datasets/{dataset_id}/files", params=params)
            found += self._parsed(lambda answer: [records.file(item) for item in answer["items"]], answer)
            cursor = self._parsed(lambda answer: answer["next_cursor"], answer)
            if cursor is None:
                return sorted(found, key=lambda file: file.path)

    def links(self, dataset_id: int, files: str | None = None) -> Iterator[records.Link]:
        """Links by which a dataset's files are read, those that match `files`, page by page as they are asked for. Raises ColdDataError."""
        cursor: str | None = None
        while True:
            params = {"limit": str(_PAGE)} | ({"path": files} if files else {}) | ({"cursor": cursor} if cursor else {})
            answer = self._send("GET", f"datasets/{dataset_id}/links", params=params)
            yield from self._parsed(lambda answer: [records.link(item) for item in answer["items"]], answer)
            cursor = self._parsed(lambda answer: answer["next_cursor"], answer)
            if cursor is None:
                return

    def tag(self, dataset_id: int, add: Sequence[str], remove: Sequence[str]) -> records.Dataset:
        """Give a dataset tags, and take others from it."""
        asked = {"add_tags": list(add), "remove_tags": list(remove)}
        return self._parsed(records.dataset, self._send("PATCH", f"datasets/{dataset_id}", json=asked))

    def comment(self, dataset_id: int, text: str) -> records.Comment:
        return self._parsed(records.comment, self._send("POST", f"datasets/{dataset_id}/comments", json={"text": text}))

    def comments(self, dataset_id: int) -> list[records.Comment]:
        """What people say of a dataset, oldest first."""
        answer = self._send("GET", f"datasets/{dataset_id}/comments", params={"limit": str(_PAGE)})
        return self._parsed(lambda answer: [records.comment(item) for item in answer["items"]], answer)

    def lineage(self, dataset_id: int) -> records.Lineage:
        """What a dataset was made of, and what was made of it."""
        return self._parsed(records.lineage, self._send("GET", f"datasets/{dataset_id}/lineage"))

    # Restores and keys

    def restore(self, restore_id: int) -> records.Restore:
        return self._parsed(records.restore, self._send("GET", f"restores/{restore_id}"))

    def my_restores(self, dataset_id: int | None = None) -> list[records.Restore]:
        """Your own restores, newest first."""
        params = {"mine": "true", "limit": str(_PAGE)} | ({} if dataset_id is None else {"dataset": str(dataset_id)})
        answer = self._send("GET", "restores", params=params)
        found = self._parsed(lambda answer: [records.restore(item) for item in answer["items"]], answer)
        return sorted(found, key=lambda restore: restore.id, reverse=True)

    def ask_restore(self, dataset: str, files: str | None = None, days: int | None = None) -> records.Restore:
        """Ask for `dataset` (full name), or its files that match the glob `files`, to be hot for `days` from ready (None: the archiver's default)."""
        return self._parsed(records.restore, self._send("POST", "restores", json={"dataset": dataset, "files": files, "days": days}))

    def take_up_quote(self, quote_id: str) -> records.Restore:
        """Ask for what a quote of yours said. Raises QuoteExpired, QuoteChanged, OverQuota, NoRoom."""
        return self._parsed(lambda answer: records.restore(answer["items"][0]), self._send("POST", "restores", json={"quote": quote_id}))

    def quote(self, dataset: str, files: str | None = None, days: int | None = None) -> records.Quote:
        """What bringing `dataset` (full name), or its files that match, back for `days` would mean. Nothing is brought back."""
        return self._parsed(records.quote, self._send("POST", "quotes", json={"dataset": dataset, "files": files, "days": days}))

    def extend_restore(self, restore_id: int, days: int) -> records.Restore:
        """Keep a restore `days` longer."""
        return self._parsed(records.restore, self._send("POST", f"restores/{restore_id}/extend", json={"days": days}))

    def cancel_restore(self, restore_id: int) -> records.Restore:
        return self._parsed(records.restore, self._send("POST", f"restores/{restore_id}/cancel"))

    def hold(self, dataset: str, until: str, reason: str, files: str | None = None) -> records.Hold:
        """Keep `dataset` (full name), or its files that match, in hot until a day (`2026-09-01`) or time, for a reason."""
        asked = {"dataset": dataset, "until": until, "reason": reason, "files": files}
        return self._parsed(records.hold, self._send("POST", "holds", json=asked))

    def holds(self, dataset_id: int | None = None) -> list[records.Hold]:
        """Holds in force, newest first: all of a dataset, or your own."""
        params = {"limit": str(_PAGE)} | ({"mine": "true"} if dataset_id is None else {"dataset": str(dataset_id)})
        return self._parsed(lambda answer: [records.hold(item) for item in answer["items"]], self._send("GET", "holds", params=params))

    def end_hold(self, hold_id: int) -> records.Hold:
        return self._parsed(records.hold, self._send("DELETE", f"holds/{hold_id}"))

    def notices(self) -> list[records.Notice]:
        """Messages to you, newest first."""
        answer = self._send("GET", "me/notices/messages", params={"limit": str(_PAGE)})
        return self._parsed(lambda answer: [records.notice(item) for item in answer["items"]], answer)

    def notices_seen(self, up_to: int) -> None:
        """Say that the messages up to this number have been read."""
        self._send("POST", "me/notices/seen", json={"up_to": up_to})

    def credentials(self, project: str, *, team: bool = False) -> records.Credentials:
        """Fresh short-lived keys that read `project`'s data; `team`: that read and write its team notebooks."""
        answer = self._send("POST", "credentials", json={"project": project, **({"for": "team"} if team else {})})
        return self._parsed(lambda answer: records.credentials(answer, project), answer)

    # How it is done

    def _send(self, method: str, path: str, **options: Any) -> Any:
        response = self._exchange(method, path, **options)
        answer = _json_of(response)
        if response.is_success and answer is not None:
            return answer
        raise self._refusal(response, answer)

    def _exchange(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise ServiceUnavailable(f"The archiver at {self.url} did not answer within {self._timeout_s:g} s.", _AGAIN) from None
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"The archiver at {self.url} cannot be reached ({error or type(error).__name__}).", _AGAIN) from None

    def _refusal(self, response: httpx.Response, answer: Any) -> NeveError:
        if not response.is_success and isinstance(answer, dict) and "code" in answer:
            return from_problem(response.status_code, answer)
        if response.status_code == 401:
            return NotSignedIn("Your sign-in is not known any more.", "Stop your server in the hub's control panel and start it again.")
        # Neither an answer nor a refusal of the archiver: a proxy that lost its route, a page of something else at this address.
        return ServiceUnavailable(f"What answers at {self.url} is not the archiver (status {response.status_code}).", _AGAIN)

    def _parsed(self, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except (KeyError, TypeError, ValueError) as error:
            detail = f"The archiver at {self.url} answered something that this version of neve does not understand ({type(error).__name__}: {error})."
            raise ServiceUnavailable(detail, "Restart your server to get the version that fits.") from None

    def _unknown(self, name: str) -> NotFound:
        nearest = self._nearest(name)
        hint = f"Did you mean {_either(nearest)}?" if nearest else "neve.catalog() lists what you may read."
        return NotFound(f"There is no dataset {name} among those you may read.", hint, nearest)

    def _nearest(self, name: str) -> list[str]:
        """Up to three existing names that look like `name`, or begin so."""
        answer = self._send("GET", "datasets/complete", params={"prefix": name, "limit": "3"})
        return self._parsed(lambda answer: [str(near) for near in answer["near"] or answer["names"]], answer)


def _json_of(response: httpx.Response) -> Any:
    """What it says, if it is the archiver's JSON."""
    if _kind(response) not in {"application/json", "application/problem+json"}:
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip()


def checked_url(url: str) -> str:
    """An archiver's address in its plain form; raises NotConfigured where it can be none."""
    if not url:
        raise NotConfigured("Nobody said where the archiver is ($NEVE_API_URL).", "Open this in a notebook of the hub, or give url=….")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NotConfigured(f"{url!r} is no address of an archiver.", "It looks like https://data.example.org/services/archiver.")
    if parts.username or parts.password:
        raise NotConfigured("The archiver's address holds a user name or password.", "Give the token or key apart from it.")
    return quote(url, safe=":/%[]@-._~").rstrip("/")


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


_connected: dict[tuple[str, str], Client] = {}
_connecting = threading.Lock()


def connect(url: str | None = None, token: str | None = None) -> Client:
    """The client for an address and token; the same one each time, so that its connections are used again."""
    key = (url or os.environ.get("NEVE_API_URL", ""), token or os.environ.get("JUPYTERHUB_API_TOKEN", ""))
    with _connecting:
        if key not in _connected:
            _connected[key] = Client(*key)
        return _connected[key]


def disconnect() -> None:
    """Close the connections that `connect` keeps; the next use makes new ones."""
    with _connecting:
        while _connected:
            _connected.popitem()[1].close()


def credentials(project: str, *, url: str | None = None, token: str | None = None) -> records.Credentials:
    """Short-lived S3 keys that read `project`'s data, for programs of your own. They end at `expires_at`."""
    return connect(url, token).credentials(project)
