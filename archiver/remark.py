"""Tags, comments and lineage: what people say of datasets.

Law: only members of a dataset's project say something of it, whoever may read it. Comments are text, never markup; each is its author's, who alone
(or an admin) changes or removes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from archiver.archive import Archive
from archiver.errors import Conflict, NotFound, WrongUse
from archiver.ledger import Transaction
from archiver.model import Comment, Dataset, DatasetState

TAGS_MOST = 32
COMMENTS_MOST = 500
COMMENT_CHARACTERS = 4000
PARENTS_MOST = 100
GENERATIONS, NODES_MOST = 20, 500
_TAG = re.compile(r"[a-z0-9À-ÿ](?:[a-z0-9À-ÿ_.-]{0,38}[a-z0-9À-ÿ])?")


def tag_of(text: str) -> str:
    """A tag as it is kept: a short word in lower case. Raises `WrongUse`."""
    tag = text.strip().lower()
    if not _TAG.fullmatch(tag):
        raise WrongUse(f"{text[:60]!r} cannot be a tag.", "Use 1 to 40 letters or digits, with '-', '_' or '.' between them.")
    return tag


def say(
    archive: Archive,
    user: str,
    dataset_id: int,
    *,
    only: Collection[str] | None = None,
    add: Collection[str] = (),
    remove: Collection[str] = (),
    comment: str | None = None,
) -> None:
    """Set a dataset's tags to `only` (None: those it has), then remove and add; comment on it.

    Raises `WrongUse`, `Conflict`; then nothing has changed.
    """
    text = None if comment is None else _checked(comment)
    base = None if only is None else {tag_of(one) for one in only}
    added, removed = {tag_of(one) for one in add}, {tag_of(one) for one in remove}
    with archive.ledger.begin(user) as tx:
        dataset = _living(tx, dataset_id)
        tx.hold_still(dataset_id)
        tags = (set(tx.tags_of([dataset_id])[dataset_id]) if base is None else base) - removed | added
        if len(tags) > TAGS_MOST:
            raise WrongUse(f"A dataset has {TAGS_MOST} tags at most.", "Remove some of them first.")
        tx.set_tags(dataset, tags)
        if text is not None:
            _add_comment(tx, user, dataset_id, text)


def comment(archive: Archive, user: str, dataset_id: int, text: str) -> Comment:
    """Say something of a dataset. Raises `WrongUse`, `Conflict`."""
    text = _checked(text)
    with archive.ledger.begin(user) as tx:
        _living(tx, dataset_id)
        return _add_comment(tx, user, dataset_id, text)


def _add_comment(tx: Transaction, user: str, dataset_id: int, text: str) -> Comment:
    tx.hold_still(dataset_id)
    if tx.comment_counts([dataset_id]).get(dataset_id, 0) >= COMMENTS_MOST:
        raise Conflict(f"A dataset has {COMMENTS_MOST} comments at most.", "Change one of yours, or remove it.")
    return tx.add_comment(dataset_id, user, text)


def change_comment(archive: Archive, user: str, comment_id: int, text: str, *, admin: bool) -> Comment:
    """Raises `NotFound`, `Conflict` (it is another's), `WrongUse`."""
    text = _checked(text)
    with archive.ledger.begin(user) as tx:
        return tx.change_comment(_own(tx, user, comment_id, admin=admin), text)


def remove_comment(archive: Archive, user: str, comment_id: int, *, admin: bool) -> None:
    """Raises `NotFound`, `Conflict` (it is another's)."""
    with archive.ledger.begin(user) as tx:
        tx.remove_comment(_own(tx, user, comment_id, admin=admin))


def _own(tx: Transaction, user: str, comment_id: int, *, admin: bool) -> Comment:
    found = tx.comment(comment_id)
    if found.user != user and not admin:
        raise Conflict(f"Comment {comment_id} is {found.user}'s.", "Write one of your own.")
    return found


def _living(tx: Transaction, dataset_id: int) -> Dataset:
    found = tx.dataset(dataset_id)
    if found.state is DatasetState.ERASED:
        raise Conflict(f"{found.full_name} was erased.", "Nothing more is said of it.")
    return found


def _checked(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if not any(lines) or len(text) > COMMENT_CHARACTERS or not all(line.replace("\t", " ").isprintable() for line in lines):
        raise WrongUse(f"A comment has 1 to {COMMENT_CHARACTERS} printable characters.", "Write it as plain text.")
    return "\n".join(lines)


# lineage


def parents_of(tx: Transaction, references: Iterable[str], projects: Sequence[str] | None) -> list[Dataset]:
    """The datasets that something was made of. `projects`: those the asker may see. Raises `NotFound`, `Ambiguous`, `WrongUse`."""
    found = {parent.id: parent for parent in (tx.find_dataset(reference, projects) for reference in references)}
    if len(found) > PARENTS_MOST:
        raise WrongUse(f"A dataset is made of {PARENTS_MOST} others at most.", "Name those that matter.")
    return list(found.values())


@dataclass(frozen=True)
class Family:
    """Datasets around one: `edges` are (dataset, what it was made of). `cut`: there are more than are shown."""

    ancestors: Sequence[Dataset]
    descendants: Sequence[Dataset]
    edges: Sequence[tuple[int, int]]
    cut: bool


def lineage(tx: Transaction, dataset: Dataset, projects: Sequence[str] | None) -> Family:
    """What a dataset was made of, and what was made of it, as far as the asker may see (`projects`; None: all).

    What they may not see is left out, with what lies behind it: neither its number nor that there is anything is told.
    """
    edges: list[tuple[int, int]] = []
    sides, cut = [], False
    for follow, far in ((tx.parents, 1), (tx.children, 0)):
        found: dict[int, Dataset] = {}
        front = [dataset.id]
        for _ in range(GENERATIONS):
            steps = follow(front)
            known = tx.datasets_numbered({step[far] for step in steps})
            seen = {i: d for i, d in known.items() if projects is None or d.project in projects}
            edges += [step for step in steps if step[far] in seen]
            front = [i for i in seen if i not in found and i != dataset.id]
            cut |= len(found) + len(front) > NODES_MOST
            front = front[: NODES_MOST - len(found)]
            found |= {i: seen[i] for i in front}
            if not front:
                break
        else:
            cut = True
        sides.append(found)
    shown = {dataset.id, *sides[0], *sides[1]}
    return Family(list(sides[0].values()), list(sides[1].values()), [edge for edge in dict.fromkeys(edges) if shown.issuperset(edge)], cut)


def comment_of(tx: Transaction, comment_id: int, dataset_id: int) -> Comment:
    """A comment of this dataset. Raises `NotFound`."""
    found = tx.comment(comment_id)
    if found.dataset_id != dataset_id:
        raise NotFound(f"There is no comment number {comment_id}.", "Look it up in the dataset's comments.")
    return found
