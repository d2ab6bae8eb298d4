"""What the archiver answers, as records: datasets, files, copies, restores, short-lived keys. No I/O.

Law: members we do not know are skipped (a newer archiver may say more), a missing one is a KeyError that the client turns into a sentence.
Times are aware UTC, sizes bytes, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from html import escape
from typing import Any, TypeVar

from neve.wording import duration_text, size_text

READABLE = {
    "now": "at its path",
    "in_place": "from the archive, slower",
    "after_restore": "after it was brought back",
    "not_yet": "when it has arrived in full",
    "never": "never again: it was erased",
}
"""`Dataset.readable` and what it means."""

RESTORE_STATES = {
    "requested": "asked for",
    "awaiting_approval": "waiting for an admin's approval",
    "queued": "waiting for its turn",
    "recalling": "being fetched from the deep archive",
    "copying": "being copied",
    "ready": "ready",
    "partly_ready": "partly ready",
    "expired": "over",
    "denied": "denied",
    "cancelled": "cancelled",
    "failed": "failed",
}
"""`Restore.state` and its word for people."""

RUNNING = frozenset({"requested", "awaiting_approval", "queued", "recalling", "copying"})
"""States of a restore that something still follows by itself."""

OPEN = RUNNING | {"ready", "partly_ready"}
"""States of a restore that still keeps, or will keep, data in hot."""


@dataclass(frozen=True)
class Copy:
    """Bytes that lie in a store: one version of one key, or `size_bytes` of it from `offset_bytes` on (a bundle's member)."""

    tier: str
    bucket: str | None  # None: the tier is not set up any more
    key: str
    version_id: str | None
    storage_class: str
    size_bytes: int
    offset_bytes: int | None = None


@dataclass(frozen=True)
class File:
    """A file of a dataset; `path` is relative to the dataset's folder."""

    id: int
    path: str
    state: str
    size_bytes: int
    format: str | None
    metadata: Mapping[str, Any]
    metadata_state: str
    metadata_error: str | None
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Restore:
    """A wish to have a dataset, or files of it, back in hot."""

    id: int
    dataset_id: int
    dataset: str
    user: str
    state: str
    files_glob: str | None
    keep_days: int
    requested_at: datetime
    promised_by: datetime | None
    ready_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    files_total: int
    files_ready: int
    bytes_total: int
    bytes_ready: int
    errors: tuple[Mapping[str, str], ...]
    error: str | None

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it, or a file of it, failed; one line each."""
        lines = [f"{problem['path']}: {problem['reason']}" for problem in self.errors]
        return tuple([self.error, *lines] if self.error else lines)


@dataclass(frozen=True)
class Dataset:
    """One measurement. `path` is its folder as the archiver knows it, `prefix` the same below the data folder of any machine."""

    id: int
    project: str
    instrument: str
    name: str
    full_name: str
    state: str
    tier: str | None
    tiers: tuple[str, ...]
    prefix: str
    path: str
    title: str | None
    format: str | None
    metadata: Mapping[str, Any]
    size_bytes: int
    file_count: int
    received_at: datetime
    acquired_at: datetime | None
    closed_at: datetime | None
    hot_until: datetime | None
    readable: str
    back_within_s: int
    restore: Restore | None
    problem: str | None
    tags: tuple[str, ...]

    @property
    def when(self) -> datetime:
        """When it was measured, as far as known."""
        return self.acquired_at or self.received_at


@dataclass(frozen=True)
class Quote:
    """What bringing data back would mean. Nothing is brought back by it; `cost_text` names prices that nobody has set as unknown."""

    id: str
    expires_at: datetime
    datasets: tuple[str, ...]
    files: int
    size_bytes: int
    hot_bytes: int
    absent_bytes: int
    recall_bytes: int
    days: int
    cost_text: str
    ready_at_least_s: float
    ready_at_most_s: float
    ready_learned: bool
    fits: bool
    needs_approval: bool

    def __str__(self) -> str:
        if not self.absent_bytes:
            return f"{', '.join(self.datasets)}: all {size_text(self.size_bytes)} are in fast storage."
        until = duration_text(self.ready_at_most_s)
        range_text = f"{duration_text(self.ready_at_least_s)} to {until}, as it was before" if self.ready_learned else f"within {until}, as promised"
        parts = [
            f"{size_text(self.absent_bytes)} of {size_text(self.size_bytes)} to bring back",
            range_text,
            f"{self.days} days",
            f"cost {self.cost_text}",
        ]
        parts += [] if self.fits else ["more than your quota, or the room there is now"]
        parts += ["an admin has to approve it"] if self.needs_approval else []
        return f"{', '.join(self.datasets)}: {'; '.join(parts)}."


@dataclass(frozen=True)
class Hold:
    """A person's claim that data stays in hot until a day, for a reason. `state`: waiting (for a restore), in_force, ended."""

    id: int
    dataset: str
    user: str
    reason: str
    files_glob: str | None
    state: str
    until: datetime


@dataclass(frozen=True)
class Notice:
    """A message to you."""

    id: int
    kind: str
    created_at: datetime
    subject: str
    text: str
    seen: bool


@dataclass(frozen=True)
class Credentials:
    """Short-lived keys of one project's data. The keys never show in a repr."""

    project: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime
    endpoint_url: str | None  # None: AWS's own for the region
    region: str
    buckets: Mapping[str, str]


@dataclass(frozen=True)
class Link:
    """A file of a dataset, and a link that reads it for a while. In a bundle it begins at `offset_bytes` of what the link reads."""

    file_id: int
    path: str
    size_bytes: int
    sha256: str
    url: str = field(repr=False)
    offset_bytes: int


@dataclass(frozen=True)
class Comment:
    """What a person says of a dataset."""

    id: int
    user: str
    text: str
    created_at: datetime


@dataclass(frozen=True)
class Relative:
    """A dataset of a family."""

    id: int
    full_name: str
    project: str
    title: str | None
    state: str


@dataclass(frozen=True)
class Lineage:
    """What a dataset was made of (`ancestors`) and what was made of it (`descendants`), nearest first, as far as you may see.

    `edges`: (a dataset's id, the id of what it was made of). `cut`: there are more than are told."""

    dataset: Relative
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    edges: tuple[tuple[int, int], ...]
    cut: bool

    def lines(self) -> list[tuple[int, str]]:
        """The family as (depth, words); who comes a second time is named only."""
        known = {one.id: one for one in (self.dataset, *self.ancestors, *self.descendants)}
        told = [(0, _named(self.dataset))]
        for words, near in (
            ("made of", {child: [parent for c, parent in self.edges if c == child] for child, _ in self.edges}),
            ("made into", {parent: [child for child, p in self.edges if p == parent] for _, parent in self.edges}),
        ):
            seen = {self.dataset.id}
            ahead = [(2, number) for number in near.get(self.dataset.id, [])]
            told += [(1, words if ahead else f"{words}: nothing that is known here")]
            while ahead:
                depth, number = ahead.pop(0)
                told.append((depth, f"{known[number].full_name} (see above)" if number in seen else _named(known[number])))
                if number not in seen:
                    ahead = [*((depth + 1, further) for further in near.get(number, [])), *ahead]
                seen.add(number)
        return [*told, (1, "… and more, which is not told here")] if self.cut else told

    def __repr__(self) -> str:
        return "\n".join(f"{'  ' * depth}{words}" for depth, words in self.lines())

    def _repr_html_(self) -> str:
        rows = (f'<div style="padding-left:{2 * depth}em">{escape(words)}</div>' for depth, words in self.lines())
        return f'<div style="text-align:left">{"".join(rows)}</div>'


def _named(one: Relative) -> str:
    said = f"{one.full_name} in {one.project}" + (f": {one.title}" if one.title else "")
    return f"{said} (erased)" if one.state == "erased" else said


@dataclass(frozen=True)
class Page:
    """One page of datasets, newest first. `total` counts what fits, up to 10,000; `total_more`: there are more than that."""

    items: tuple[Dataset, ...]
    next_cursor: str | None
    total: int
    total_more: bool = False


@dataclass(frozen=True)
class Me:
    """Whom the token stands for."""

    name: str
    admin: bool
    projects: tuple[str, ...]
    scopes: tuple[str, ...]
    team_notebooks: bool  # whether this installation has them


R = TypeVar("R")


def _build(kind: type[R], data: Mapping[str, Any], **values: Any) -> R:
    for spec in fields(kind):  # type: ignore[arg-type]
        if spec.name in values:
            continue
        value = data[spec.name]
        if spec.name.endswith("_at") or spec.name in {"promised_by", "hot_until", "until"}:
            value = None if value is None else datetime.fromisoformat(value)
        elif isinstance(value, list):
            value = tuple(value)
        values[spec.name] = value
    return kind(**values)


def dataset(data: Mapping[str, Any]) -> Dataset:
    running = data["restore"]
    return _build(Dataset, data, restore=None if running is None else restore(running))


def file(data: Mapping[str, Any]) -> File:
    return _build(File, data, copies=tuple(_build(Copy, copy) for copy in data["copies"]))


def restore(data: Mapping[str, Any]) -> Restore:
    return _build(Restore, data)


def quote(data: Mapping[str, Any]) -> Quote:
    ready = data["ready"]
    return _build(
        Quote,
        data,
        datasets=tuple(data["datasets"]),
        cost_text=data["cost"]["text"],
        ready_at_least_s=ready["at_least_s"],
        ready_at_most_s=ready["at_most_s"],
        ready_learned=ready["learned"],
        fits=data["room"]["fits"] and all(quota["fits"] for quota in data["quotas"]),
    )


def hold(data: Mapping[str, Any]) -> Hold:
    return _build(Hold, data)


def notice(data: Mapping[str, Any]) -> Notice:
    return _build(Notice, data)


def credentials(data: Mapping[str, Any], project: str) -> Credentials:
    return _build(Credentials, data, project=project)


def me(data: Mapping[str, Any]) -> Me:
    return _build(Me, data)


def page(data: Mapping[str, Any]) -> Page:
    items = tuple(dataset(item) for item in data["items"])
    return Page(items=items, next_cursor=data["next_cursor"], total=data["total"], total_more=data.get("total_more", False))


def link(data: Mapping[str, Any]) -> Link:
    first = 0 if data["range"] is None else int(data["range"].removeprefix("bytes=").partition("-")[0])
    return _build(Link, data, offset_bytes=first)


def lineage(data: Mapping[str, Any]) -> Lineage:
    ancestors, descendants = (tuple(_build(Relative, one) for one in data[side]) for side in ("ancestors", "descendants"))
    edges = tuple((edge["dataset_id"], edge["derived_from_id"]) for edge in data["edges"])
    return Lineage(_build(Relative, data["dataset"]), ancestors, descendants, edges, data["cut"])


def comment(data: Mapping[str, Any]) -> Comment:
    return _build(Comment, data)
