"""Whether the archiver can do its work: its ledger, its stores, and whether a worker keeps up.

Law: it answers fast, whatever hangs; one probe per part is under way at most, however often it is asked. Strangers may ask, so
nothing is said but what is ill; the log has the reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from datetime import timedelta

from archiver import silence
from archiver.api import models
from archiver.archive import Archive
from archiver.errors import PublicError
from archiver.ledger.findings import SHOUTED
from archiver.policy import HOT

log = logging.getLogger(__name__)

_WITHIN_S = 3.0
_FULL = 0.98
_WORKER_LATE = timedelta(minutes=15)


class WorkerLate(PublicError):
    """Datasets wait for a worker longer than they should."""

    code = "worker-late"
    title = "No worker keeps up"


class DataHarmed(PublicError):
    """Copies that nothing replaces, or that others cover."""

    code = "data-harmed"
    title = "Copies are not as they should be"


class DrillFailed(PublicError):
    """A rehearsal of a restore did not give the data back."""

    code = "drill-failed"
    title = "The last drill failed"


class InstrumentSilent(PublicError):
    """Nothing is heard of an instrument that should measure."""

    code = "instrument-silent"
    title = "An instrument is silent"


class HotFull(PublicError):
    """Fast storage holds what it may: what is sent waits."""

    code = "hot-full"
    title = "Fast storage is full"


@dataclass(frozen=True)
class Seen:
    """What a probe found. `detail`: what is told to anybody; `sentence`: what an admin may read, empty where all is well."""

    name: str
    ok: bool
    detail: str = ""
    sentence: str = ""


class Health:
    """The probes of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._probes: dict[str, Callable[[], object]] = {"ledger": archive.ledger.check_revision, "worker": self._worker}
        self._probes |= {"copies": self._copies, "drills": self._drills, "instruments": self._instruments, "room": self._room}
        self._probes |= {f"store of tier {name}": tier.ping for name, tier in archive.tiers.items()}
        self._pool = ThreadPoolExecutor(len(self._probes), thread_name_prefix="health")
        self._running: dict[str, Future[object]] = {}
        self._lock = threading.Lock()

    def look(self) -> models.Health:
        """What anybody may be told."""
        checks = [models.Check(name=one.name, ok=one.ok, detail=one.detail) for one in self.look_closely()]
        return models.Health(status="ok" if all(check.ok for check in checks) else "ill", checks=checks)

    def look_closely(self) -> list[Seen]:
        """Probe everything at once; what has not answered after three seconds is ill."""
        with self._lock:
            for name, probe in self._probes.items():
                if name not in self._running or self._running[name].done():
                    self._running[name] = self._pool.submit(probe)
            asked = dict(self._running)
        return [self._result(name, future) for name, future in asked.items()]

    @staticmethod
    def _result(name: str, probe: Future[object]) -> Seen:
        try:
            probe.result(_WITHIN_S)
        except TooLate:
            late = f"no answer within {_WITHIN_S:g} s"
            return Seen(name, ok=False, detail=late, sentence=f"There was {late}.")
        except PublicError as error:
            log.warning("%s is ill: %s", name, error)
            return Seen(name, ok=False, detail=error.title, sentence=str(error))
        except Exception:
            log.exception("%s is ill by a fault of ours", name)
            return Seen(name, ok=False, detail="a fault of the archiver", sentence="It is a fault of the archiver; its log has the reason.")
        return Seen(name, ok=True)

    def _worker(self) -> None:
        with self._archive.ledger.read() as tx:
            since = tx.waiting_since()
            if since is not None and tx.at - since > _WORKER_LATE:
                raise WorkerLate(f"A dataset waits since {since:%Y-%m-%d %H:%M} UTC.", "See that `archiver worker` runs.")

    def _copies(self) -> None:
        with self._archive.ledger.read() as tx:
            found = tx.findings(kinds=SHOUTED, limit=1)
        if found:
            raise DataHarmed(f"{found[0].key} in {found[0].tier} is {found[0].kind}: {found[0].detail}.", "`archiver status` counts them.")

    def _drills(self) -> None:
        with self._archive.ledger.read() as tx:
            for failed in tx.failed_drills():
                raise DrillFailed(f"Drill {failed.id} from {failed.tier} failed: {failed.error}.", "`archiver drills` lists them.")

    def _instruments(self) -> None:
        with self._archive.ledger.read() as tx:
            for instrument, span in silence.silent(tx, self._archive.settings.reception):
                raise InstrumentSilent(f"Nothing was heard of {instrument.name} for {span}.", "See that `neve watch` runs there.")

    def _room(self) -> None:
        most = self._archive.settings.policy.hot_capacity_bytes
        if most is None:
            return
        with self._archive.ledger.read() as tx:
            held = tx.bytes_in(HOT)
        if held >= most * _FULL:
            raise HotFull(f"Fast storage holds {held} of {most} bytes.", "Make room, or raise policy.hot_capacity_bytes.")

    def close(self) -> None:
        """Begin no more probes; one that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
