"""Every night a copy of each home, and of what people share, goes into a bucket of its own: restic (encrypted, deduplicated), thinly wrapped.

Law: restic sees one home at a time and nothing else that is ours (bubblewrap): a home's owner who puts a link where a folder was a moment ago leads
it nowhere. It acts by an identity that reaches this bucket only. No secret stands in a command line. A night that was cut off, or failed, is made up
for; where backups were, and are no more, no new ones are begun in silence. `python -m neve_hub.home_backup` is the nights' process.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

from neve.private import write_private

from archiver import nights
from archiver.errors import Conflict, NotFound, PublicError, WrongUse
from neve_hub import homes, store
from neve_hub.background import log_plainly
from neve_hub.instance import Instance, current, secret
from neve_hub.names import safe_name

log = logging.getLogger("neve.home_backup")

NAME = "home-backup"
PASSWORD = "home-backup-password"  # noqa: S105 - a file's name
_SHARED = "shared"
_HOST = "neve"  # to restic; always the same, so that a machine that takes over finds what this one saved
_LOOK_S = 30.0
_AGAIN = timedelta(hours=1)  # after a night that failed
_PARTLY = 3  # restic's exit code for: a snapshot was made, and some files could not be read
_WORDS = 400  # of what restic said, told on


class BackupError(PublicError):
    """restic did not do what it should."""

    code = "backup-failed"
    title = "A backup failed"


@dataclass(frozen=True)
class Status:
    """How the nights went; times in ISO 8601."""

    tried_at: str = ""
    done_at: str = ""  # the last time that all was saved, and checked
    problem: str = ""  # of the last try
    saved: int = 0  # homes, and the shared folder, in the last good night


def missing() -> str | None:
    """Why backups cannot be made here, or None."""
    packages = {"restic": "restic", "bwrap": "bubblewrap"}
    lacking = [package for command, package in packages.items() if not shutil.which(command)]
    return f"not installed: {', '.join(lacking)} (Debian: apt-get install {' '.join(lacking)})" if lacking else None


def status(here: Instance) -> Status:
    try:
        return Status(**json.loads(_status_file(here).read_text("utf-8")))
    except FileNotFoundError:
        return Status()


def _status_file(here: Instance) -> Path:
    return nights.file(here.settings)


def _remember(here: Instance, said: Status) -> None:
    write_private(_status_file(here), json.dumps(asdict(said)))


# ── restic ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def environment(here: Instance) -> dict[str, str]:
    """All that restic is told beside its command line."""
    settings = here.settings
    endpoint = settings.store.endpoint_url or f"https://s3.{settings.store.region}.amazonaws.com"
    found = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/cache",
        "TMPDIR": "/cache",
        "RESTIC_CACHE_DIR": "/cache",
        "RESTIC_REPOSITORY": f"s3:{endpoint}/{settings.backup.bucket}/homes",
        "RESTIC_PASSWORD": secret(here, PASSWORD),
        "AWS_DEFAULT_REGION": settings.store.region,
    }
    key = store.credentials(here).get(settings.backup.profile) if settings.store.credentials_file else None
    if key:  # else the usual AWS chain
        found |= {"AWS_ACCESS_KEY_ID": key["aws_access_key_id"], "AWS_SECRET_ACCESS_KEY": key["aws_secret_access_key"]}
    return found


def _restic(here: Instance, *arguments: str, reads: tuple[Path, str] | None = None, writes: tuple[Path, str] | None = None) -> tuple[int, str]:
    """Its exit code and what it said. It sees programs, certificates, hosts' names, its cache, and one folder of ours at the place given."""
    cache = here.home / "cache" / "restic"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    sees = ["--ro-bind", "/usr", "/usr", "--dev", "/dev", "--bind", str(cache), "/cache"]
    for name in ("bin", "lib", "lib64"):
        root = Path("/") / name
        sees += ["--symlink", str(root.readlink()), str(root)] if root.is_symlink() else ["--ro-bind-try", str(root), str(root)]
    for name in ("ssl", "pki", "resolv.conf", "hosts", "nsswitch.conf"):
        sees += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    sees += ["--ro-bind", str(reads[0]), reads[1]] if reads else []
    sees += ["--bind", str(writes[0]), writes[1]] if writes else []
    command = ["bwrap", "--die-with-parent", *sees, "--chdir", "/", "restic", "--quiet", *arguments]
    done = subprocess.run(command, env=environment(here), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip()


def _must(here: Instance, *arguments: str) -> None:
    code, said = _restic(here, *arguments)
    if code:
        raise BackupError(f"`restic {arguments[0]}` ended with {code}: {said[-_WORDS:]}", "The reason is restic's; the next try is in an hour.")


def _open(here: Instance) -> None:
    """See that the repository is there; made where there never was one. A lock that a killed run left is taken away."""
    code, said = _restic(here, "cat", "config")
    if code and status(here).done_at:
        raise BackupError(
            f"The backups in {here.settings.backup.bucket} cannot be opened: {said[-_WORDS:]}",
            f"If they are lost and you want to begin anew, remove {_status_file(here)}.",
        )
    if code:
        made, why = _restic(here, "init")
        if made:
            raise BackupError(f"Backups cannot be begun: {why[-_WORDS:]} (and before: {said[-_WORDS:]})", "Mend the store, or [backup].")
    # Nobody else works on it, as our own lock says: a killed run's is not waited for, also where its number is another process's by now.
    _must(here, "unlock", "--remove-all")


def _sources(here: Instance) -> dict[str, Path]:
    """What is saved: where restic sees it → where it lies."""
    found = {f"/homes/{name}": place for name, place in sorted(homes.places(here).items())}
    shared = here.home / _SHARED
    return {**found, f"/{_SHARED}": shared} if shared.is_dir() else found


def night(here: Instance) -> Status:
    """Save all, forget what is old, check; how it went. Raises `Conflict` while another one is at it."""
    with _alone(here):
        before = replace(status(here), tried_at=_now())
        _remember(here, before)
        try:
            said = replace(before, **_saved(here), done_at=_now())
        except (PublicError, OSError, *homes.UNKNOWN) as error:
            said = replace(before, problem=str(error))
        _remember(here, said)
    (log.error if said.problem else log.info)("%s", said.problem or f"saved {said.saved} folders, and checked")
    return said


def _saved(here: Instance) -> dict[str, Any]:
    keep = here.settings.backup
    _open(here)
    sources, trouble = _sources(here), {}
    for seen, place in sources.items():
        code, said = _restic(here, "backup", "--host", _HOST, "--one-file-system", seen, reads=(place, seen))
        if code == _PARTLY:
            log.warning("%s: some files could not be read: %s", seen, said[-_WORDS:])
        elif code:
            trouble[seen] = said[-_WORDS:]
    if trouble:
        told = "; ".join(f"{seen}: {said}" for seen, said in trouble.items())
        raise BackupError(f"{len(trouble)} of {len(sources)} folders were not saved: {told}", "The next try is in an hour.")
    _must(
        here, "forget", "--host", _HOST, "--group-by", "host,paths", f"--keep-daily={keep.keep_daily}", f"--keep-weekly={keep.keep_weekly}", "--prune"
    )
    _must(here, "check")
    return {"saved": len(sources), "problem": ""}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _alone(here: Instance) -> Iterator[None]:
    with (here.run / "home-backup.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("A backup is being made, or a restore.", "Wait until it has ended.") from None
        yield


# ── Nights ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def due(said: Status, at: time_of_day, now: datetime) -> bool:
    """Whether the last night is still to be made up for, and it is time to try."""
    last = datetime.combine(now.date(), at, UTC)
    last = last if last <= now else last - timedelta(days=1)
    if said.done_at and datetime.fromisoformat(said.done_at) >= last:
        return False
    # A try that was cut off has no word of how it went: it is made up for at once.
    return not (said.problem and said.tried_at and datetime.fromisoformat(said.tried_at) > now - _AGAIN)


def main() -> None:
    log_plainly()
    here = current()
    os.nice(19)
    log.info("homes are saved to %s at %s UTC", here.settings.backup.bucket, here.settings.backup.at)
    while True:
        if due(status(here), here.settings.backup.at, datetime.now(UTC)):
            try:
                night(here)
            except Conflict as error:
                log.info("%s", error)
        time.sleep(_LOOK_S)


# ── `neve-run backup …` ──────────────────────────────────────────────────────────────────────────────────────────────────


def restore(here: Instance, seen: str, target: Path, snapshot: str = "latest") -> None:
    """Bring a folder back, as it was saved, to a place where there is nothing yet. Raises `WrongUse`, `NotFound`, `Conflict`, `BackupError`."""
    if os.path.lexists(target) or not target.parent.is_dir():
        raise WrongUse(f"{target} is there already, or the folder that it should be in is not.", "Name a new folder beside the old one.")
    if not re.fullmatch(r"latest|[0-9a-f]{8,64}", snapshot):
        raise WrongUse(f"{snapshot} is no snapshot.", "`neve-run backup list` tells them.")
    with _alone(here), tempfile.TemporaryDirectory(dir=target.parent, prefix=".neve-restore-") as work:
        code, said = _restic(
            here, "restore", snapshot, "--host", _HOST, "--path", seen, "--target", "/back", "--verify", writes=(Path(work), "/back")
        )
        if "no snapshot" in said or "no matching ID" in said:
            raise NotFound(f"There is no backup of {seen}" + ("." if snapshot == "latest" else f" called {snapshot}."), "`neve-run backup list`.")
        if code:
            raise BackupError(f"The restore ended with {code}: {said[-_WORDS:]}", "Mend that and start it again; nothing was put into place.")
        (Path(work) / seen.removeprefix("/")).rename(target)


def _now_command(here: Instance, _: argparse.Namespace) -> int:
    said = night(here)
    if said.problem:
        raise BackupError(said.problem, "")
    sys.stdout.write(f"saved {said.saved} folders, and checked\n")
    return 0


def _list_command(here: Instance, options: argparse.Namespace) -> int:
    code, said = _restic(
        here, "snapshots", "--no-lock", "--host", _HOST, "--json", *(["--path", _seen(options)] if options.user or options.shared else [])
    )
    if code:
        raise BackupError(f"`restic snapshots` ended with {code}: {said[-_WORDS:]}", "")
    for one in json.loads(said) or ():
        sys.stdout.write(f"{one['short_id']}  {one['time'][:19]}  {one['paths'][0]}\n")
    return 0


def _restore_command(here: Instance, options: argparse.Namespace) -> int:
    target = options.folder.absolute()
    restore(here, _seen(options), target, options.snapshot)
    sys.stdout.write(f"restored to {target}\n")
    return 0


def _seen(options: argparse.Namespace) -> str:
    return f"/{_SHARED}" if options.shared else f"/homes/{safe_name(options.user)}"


def add_commands(parsers: argparse._SubParsersAction[argparse.ArgumentParser], with_settings: Callable[..., Callable[..., int]]) -> None:
    """`with_settings` gives a command the instance that the options name."""
    backup = parsers.add_parser("backup", help="homes' backups: make one now, list them, bring a folder back").add_subparsers(required=True)
    backup.add_parser("now", help="make one now").set_defaults(do=with_settings(_now_command))
    listing = backup.add_parser("list", help="all snapshots, or one folder's")
    bringing = backup.add_parser("restore", help="bring a folder back, beside the old one")
    for parser, needed in ((listing, False), (bringing, True)):
        whose = parser.add_mutually_exclusive_group(required=needed)
        whose.add_argument("--user", help="whose home")
        whose.add_argument("--shared", action="store_true", help="what people share")
    listing.set_defaults(do=with_settings(_list_command))
    bringing.add_argument("folder", type=Path, help="a new folder")
    bringing.add_argument("--snapshot", default="latest", help="else the latest")
    bringing.set_defaults(do=with_settings(_restore_command))


if __name__ == "__main__":
    main()
