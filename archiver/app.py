"""The only assembly: settings become a ledger, tiers and the verbs that work with them."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from archiver import batch, buckets, closing, describe, guards, markers, policy, reception
from archiver.archive import Archive, utc_now
from archiver.config import Settings
from archiver.errors import LedgerUnavailable, PortInUse, PublicError, WrongSetting
from archiver.identity import Identity, has_profile
from archiver.ledger import Ledger
from archiver.model import Dataset, Restore, Transfer, TransferState
from archiver.reaper import Reaper
from archiver.reception import Arrival, Source
from archiver.storage import Tier
from archiver.worker import Worker

_TOGETHER = 100
"""So many small files are written down and received together, at most."""


def open_archive(
    settings: Settings,
    clock: Callable[[], datetime] = utc_now,
    after_commit: Callable[[list[str]], None] | None = None,
    *,
    check: bool = True,
    wall: Callable[[], datetime] = utc_now,
) -> Archive:
    """The archive these settings describe. Raises `LedgerUnavailable` unless its ledger is there and of this revision (`check`).

    `clock`: the time it acts at; `wall`: this machine's clock, which drops are guarded by.
    """
    ledger = Ledger(settings.ledger_url, clock, after_commit)
    if check:
        try:
            ledger.check_revision()
        except LedgerUnavailable:
            ledger.dispose()
            raise
    return Archive(settings, ledger, {name: Tier(name, settings) for name in settings.tiers}, wall)


def acting_as(archive: Archive, identity: Identity) -> Archive:
    """The same archive, its stores spoken to as another of our identities."""
    return replace(archive, tiers={name: Tier(name, archive.settings, identity) for name in archive.tiers})


def look_for_cycles_rarely() -> None:
    """For processes that do our work: rows by the ten thousand are alive at a time and none is part of a cycle, but Python's collector would
    look at them every 700 objects, for a fifth of the time of a bundle."""
    gc.set_threshold(50_000, 20, 20)


def setup(archive: Archive) -> list[str]:
    """Make or upgrade the ledger and make the buckets with their markers; can be repeated. Returns what was made.

    Raises `WrongSetting` when a bucket carries another tier's marker, or a tier is lost that holds copies; `StoreUnavailable`.
    """
    archive.settings.home.mkdir(parents=True, exist_ok=True)
    archive.ledger.upgrade()
    markers.check_tiers(archive)
    with archive.ledger.read() as tx:
        holding = tx.tiers_in_use()
    made = []
    for name, tier in acting_as(archive, Identity.SETUP).tiers.items():
        if tier.ensure_bucket():
            made.append(f"bucket {tier.bucket}")
        if markers.mark(tier, holds=name in holding):
            made.append(f"marker of {name}")
        if name == policy.HOT and tier.let_browsers_send():
            made.append(f"rule for browsers of {tier.bucket}")
    made += buckets.ensure(archive.settings)
    with archive.ledger.begin() as tx:
        tx.set_note("tiers", " ".join(archive.settings.tiers))
        if tx.note(guards.SEEN) is None:
            guards.believe(tx, archive.wall())
    return made


def ingest(
    archive: Archive, project: str, instrument: str, name: str, paths: Sequence[Path], progress: Callable[[Arrival, int], None] = lambda _a, _n: None
) -> tuple[list[Dataset], list[Arrival]]:
    """Receive local files as a dataset and close it: returns the datasets they went to and what became of each file.

    `progress(arrival, bytes)` is called after each file. Can be repeated after any failure: what was received is not sent again.
    Raises `PublicError`; the dataset is then still open and what was received stays received.
    """
    sources = reception.scan(paths)
    with _alone(archive, instrument, name):
        return _ingest(archive, project, instrument, name, sources, progress)


@contextmanager
def _alone(archive: Archive, instrument: str, name: str) -> Iterator[None]:
    """One sender per dataset: a second waits for the first, and then finds everything there. The lock goes with the process."""
    folder = archive.spool / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / hashlib.sha256(repr((instrument, name)).encode()).hexdigest()).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ingest(
    archive: Archive, project: str, instrument: str, name: str, sources: Sequence[Source], progress: Callable[[Arrival, int], None]
) -> tuple[list[Dataset], list[Arrival]]:
    arrivals = send(archive, project, instrument, name, sources, progress)
    datasets = []
    for dataset_id in dict.fromkeys(a.dataset_id for a in arrivals):
        waits = closing.close(archive, dataset_id)
        if waits is not None:
            raise _not_received(waits)
        with archive.ledger.read() as tx:
            datasets.append(tx.dataset(dataset_id))
    return datasets, arrivals


def send(
    archive: Archive,
    project: str,
    instrument: str,
    name: str,
    sources: Sequence[Source],
    progress: Callable[[Arrival, int], None] = lambda _a, _n: None,
) -> list[Arrival]:
    """Receive local files into a dataset, which stays open. Raises `PublicError`; what was received stays received."""
    arrivals: list[Arrival] = []
    for group in _groups(sources):
        registered = reception.register(archive, project, instrument, name, group)
        _arrive(archive, [arrival.transfer_id for arrival in registered if arrival.transfer_id is not None])
        arrivals += registered
        for arrival in registered:
            progress(arrival, arrival.source.size_bytes)
    return arrivals


def _groups(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """In order; small ones that follow each other are received together."""
    group: list[Source] = []
    for source in sources:
        small = source.size_bytes < batch.BELOW_BYTES
        if group and (not small or len(group) == _TOGETHER):
            yield group
            group = []
        group.append(source)
        if not small:
            yield group
            group = []
    if group:
        yield group


def _arrive(archive: Archive, transfer_ids: Sequence[int]) -> None:
    with archive.ledger.read() as tx:
        planned = tx.transfers_numbered(transfer_ids)
    for ended in batch.arrive(archive, planned):
        if ended.state is not TransferState.PROVEN:
            raise _not_received(ended)


def _not_received(ended: Transfer) -> PublicError:
    return PublicError(ended.error or f"Transfer {ended.id} is {ended.state}.", "Run the same command again: what was received is not sent twice.")


def work(archive: Archive, *, once: bool = False) -> None:
    """Run the worker: until nothing is due (`once`), or until SIGTERM or SIGINT, after which what is under way is finished."""
    markers.check_settings(archive)
    worker = Worker(archive)
    if once:
        worker.settle()
        return
    worker.run(_until_told())


def reap(archive: Archive, *, once: bool = False) -> None:
    """Run the reaper, as `work` runs the worker. Raises `WrongSetting` where its identity is not on this machine."""
    store = archive.settings.store
    if not has_profile(store, store.reaper_profile):
        where = store.credentials_file or "AWS's configuration of this account"
        raise WrongSetting(
            f"The reaper's keys are not on this machine: {where} has no profile {store.reaper_profile!r}.",
            "Run `archiver reaper` where they are, or name the profile in store.reaper_profile.",
        )
    own = acting_as(archive, Identity.REAPER)
    markers.check_settings(own)
    reaper = Reaper(own)
    if once:
        reaper.settle()
    else:
        reaper.run(_until_told())


def _until_told() -> threading.Event:
    """Set at SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def wait_for_restore(archive: Archive, restore_id: int, *, quiet: bool) -> Restore:
    """Wait until a restore is ready, partly ready or has ended, with a progress bar unless `quiet`."""
    with Progress(console=Console(stderr=True), disable=quiet or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("requested")
        while True:
            with archive.ledger.read() as tx:
                restore = tx.restore(restore_id)
                shown = describe.restores(tx, [restore])[0]
            bar.update(task, description=restore.state, total=shown["bytes_total"] or 1, completed=shown["bytes_ready"])
            if restore.ready_at is not None or restore.ended_at is not None:
                return restore
            time.sleep(0.5)


def listen(host: str, port: int) -> socket.socket:
    """A socket whose connections send at once. Raises `PortInUse`."""
    try:
        listener = socket.create_server((host, port), backlog=256)
    except OSError as error:
        raise PortInUse(f"{host}:{port} cannot be listened on: {error.strerror}.", "End what listens there, or set api.port.") from None
    # Each connection inherits it. Without it an answer's body waits, 40 ms, until the client has acknowledged its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(archive: Archive) -> None:
    """Answer the API and the pages until SIGTERM or SIGINT. A store or hub that is down is told by /health, it does not stop the start.

    Raises `PortInUse`, `WrongSetting` (no token for the hub, a lost tier, another tier's bucket).
    """
    import uvicorn  # noqa: PLC0415  # the other commands start without a web server

    from archiver.auth import JupyterHub  # noqa: PLC0415
    from archiver.pages import create_site  # noqa: PLC0415

    markers.check_settings(archive, wait_for_stores=False)
    api = archive.settings.api
    site = create_site(archive, JupyterHub(api))
    listener = listen(api.host, api.port)
    gc.freeze()  # what is there by now stays: going through it takes as long as a whole search
    with listener:
        uvicorn.Server(uvicorn.Config(site, log_level="warning", access_log=False)).run(sockets=[listener])
