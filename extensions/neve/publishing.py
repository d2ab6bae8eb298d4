"""A scientist's own result as a dataset: `neve.publish`. It is kept, found, proven and brought back like what an instrument measured.

Law: what is published is sent as an instrument sends (neve.send): proven before this returns, resumed when it is done again, nothing overwritten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from neve import records
from neve.client import Client, connect
from neve.errors import NeveError, WrongUse
from neve.progress import bytes_bar
from neve.readers import DatasetReader
from neve.send.events import Event
from neve.send.journal import Journal
from neve.send.offer import Offer
from neve.send.patience import Patience, Stop
from neve.send.sender import send
from neve.send.store import Store

Made = str | DatasetReader | records.Dataset


class NotPublished(NeveError):
    """Files of a result were not received: the dataset stays open, and publishing it again goes on."""

    code = "not-published"


def publish(
    path: str | Path | Iterable[str | Path],
    title: str,
    derived_from: Made | Iterable[Made] = (),
    *,
    name: str | None = None,
    project: str | None = None,
    url: str | None = None,
    token: str | None = None,
) -> DatasetReader:
    """Send a file, a folder, or several of them, as a dataset of their own, closed when all is proven; returns its reader.

    `title`: what it is, in words. `derived_from`: the datasets that it was made of; the result tells of them, and they of it. `name`: default, the
    file's name without its ending; `project`: default, that of what it was made of, or yours if you are in one only.
    Raises NotFound, Ambiguous (what it was made of), NotAllowed, WrongUse, NotPublished.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if not paths or not title.strip():
        raise WrongUse("There is nothing to publish." if not paths else "A result without a title is found by nobody.", "Give a path and a title.")
    client = connect(url, token)
    parents = [_dataset(client, one) for one in ([derived_from] if isinstance(derived_from, Made) else derived_from)]
    chosen = project or _project(client, parents)
    about = {"title": title.strip(), "derived_from": [parent.full_name for parent in parents]}
    offer = Offer(paths, None)
    with bytes_bar(shown=True) as bar, contextlib.closing(Journal(None, client.url)) as journal:
        show = _moving(bar(name or paths[0].name, None))
        with contextlib.closing(client.reception(Patience(show, Stop()))) as reception:
            store = Store(through=client.store_here)
            outcome = send(reception, journal, chosen, name or paths[0].stem, offer.sources(), about=about, store=store, sums=offer.sums, report=show)
    if outcome.failed:
        said = "\n  ".join(failure.sentence for failure in outcome.failures[:20])
        raise NotPublished(f"{outcome.failed} file(s) of {outcome.dataset.full_name} were not received:\n  {said}\n", "Publish it again: it goes on.")
    return DatasetReader.of(client, client.dataset(outcome.dataset.id))


def _moving(advance: Callable[[int], object]) -> Callable[[Event], None]:
    """What a sending says, as bytes that have come further."""
    seen = [0]

    def show(event: Event) -> None:
        if event.kind == "progress":
            done = int(event.about["bytes_done"])
            advance(done - seen[0])
            seen[0] = done

    return show


def _dataset(client: Client, made_of: Made) -> records.Dataset:
    if isinstance(made_of, records.Dataset):
        return made_of
    return client.find(made_of if isinstance(made_of, str) else made_of.name)


def _project(client: Client, parents: list[records.Dataset]) -> str:
    mine = client.me().projects
    found = {parent.project for parent in parents} & set(mine) or set(mine)
    if len(found) != 1:
        raise WrongUse(f"Which project it belongs to is not clear: {', '.join(sorted(found)) or 'you are in none'}.", "Give project=….")
    return found.pop()
