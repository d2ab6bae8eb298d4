"""/data and /shared: on this host a mount per project, by s3fs or of a folder, and per user two trees of binds into them.

Law: what is mounted follows what is wanted, looked at twice a second and when that changes, whatever was killed in between; one mount
that hangs holds up no other; a folder that is not mounted is not there, so nobody reads or writes beneath it; and what somebody has lost
is not read or written on through a file or folder that was held open.

`$NEVE_HOME/data` is a small file system in memory that shares its mounts: a container that has `users/<user>` as /data and
`shared/users/<user>` as /shared (propagation `rslave`) sees each mount come and go. It outlives this process, as running
containers hold on to it; `neve-run` takes it away at its end. Wanted is one file per running notebook, written by the spawner,
and in everybody's /data what is public.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from neve.private import write_private

from archiver.config import Settings
from neve_hub import asking, public, shared
from neve_hub.background import log_plainly, told_to_stop
from neve_hub.instance import Instance, current
from neve_hub.names import safe_name

log = logging.getLogger("neve.mounts")

PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")  # groups of other names are no projects
_TICK_S = 0.5
_GLANCES = 10  # in a tick, at what is wanted: one stat each
_HANGS_S = 5.0  # statvfs is answered by the s3fs process itself, without the store: this long means it is stuck
_RETRY_S = 5.0
_LEFT_FREE_MB = 256  # of the disk, whatever is read: what is beyond is fetched again (and with less, nothing new can be mounted)
_LEND_AGAIN_S = 30.0
_LOOKS = 6  # as often a notebook's processes that hold what it lost are looked for; then all of it goes


def missing() -> str | None:
    """Why this machine cannot mount, or None."""
    if os.geteuid() != 0:
        return "Névé does not run as root"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if not shutil.which("s3fs"):
        return "s3fs is not installed (Debian: apt-get install s3fs)"
    return None


def mounted(below: Path) -> dict[Path, str]:
    """Every mount at or below a folder → its device, from the kernel's own list: touches no mount, so it never hangs."""
    found: dict[Path, str] = {}
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        fields = line.split(" ")
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if place == below or below in place.parents:
            found[place] = fields[2]
    return found


def want(here: Instance, user: str, projects: list[str]) -> bool:
    """Say that this user's notebook shall see these projects, and whether that is new. Called by the spawner."""
    file, said = here.wanted / f"{safe_name(user)}.json", json.dumps({"user": user, "projects": sorted(projects)})
    if file.exists() and file.read_text("utf-8") == said:
        return False
    write_private(file, said)
    return True


def release(here: Instance, user: str) -> None:
    """Say that this user's notebook is gone."""
    (here.wanted / f"{safe_name(user)}.json").unlink(missing_ok=True)


def tree(here: Instance, user: str) -> Path:
    """The folder that is the user's /data."""
    return here.data / "users" / safe_name(user)


def shared_tree(here: Instance, user: str) -> Path:
    """The folder that is the user's /shared."""
    return here.data / "shared" / "users" / safe_name(user)


def take_away(here: Instance) -> None:
    """Unmount everything of this instance, however stale. s3fs processes end when their mount goes."""
    for place in sorted(mounted(here.data), key=lambda path: len(path.parts), reverse=True):
        _mount_tool("umount", "-l", str(place))


def _mount_tool(*command: str, quiet: bool = False) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        log.warning("%s took longer than 10 s", " ".join(command))
        return False
    if done.returncode and not quiet:
        log.warning("%s: %s", " ".join(command), done.stderr.strip())
    return done.returncode == 0


def s3fs_command(settings: Settings, passwd_file: Path, project: str, place: Path, disk: Path) -> list[str]:
    """What shows a project's folder of hot at `place`, in the foreground. What was read of a file lies on `disk` while it is open."""
    options = (
        f"passwd_file={passwd_file},url={settings.tier_endpoint('hot') or 'https://s3.' + settings.store.region + '.amazonaws.com'},"
        f"endpoint={settings.store.region},use_path_request_style,allow_other,uid={shared.ACCOUNT},gid={shared.ACCOUNT},umask=0222,complement_stat,ro,"
        f"stat_cache_expire=5,connect_timeout=10,readwrite_timeout=60,retries=3,tmpdir={disk},ensure_diskfree={_LEFT_FREE_MB}"
    )
    return ["s3fs", f"{settings.tiers['hot'].bucket}:/{project}", str(place), "-f", "-o", options]


@dataclass
class _Project:
    """One s3fs process and what is known of it."""

    process: subprocess.Popen[bytes] | None = None
    probe: Future[object] | None = None
    asked_at: float = 0.0
    retry_at: float = 0.0
    ready: bool = False


@dataclass
class Mounts:
    """Makes what is mounted true to what is wanted."""

    here: Instance
    passwd_file: Path
    projects: dict[str, _Project] = field(default_factory=dict)
    _lost: dict[Path, int] = field(default_factory=dict)  # views of /shared that somebody holds on to → looks
    _lend_again: dict[str, float] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, thread_name_prefix="probe"))

    def prepare(self) -> None:
        """Make the shared file system, or take over the one that running containers hold; unmount what a dead run left.

        Views of /shared stay: they never go stale, and what was lost meanwhile is to be lost with all that is held open in it.
        """
        data = self.here.data
        before = mounted(data)
        for place in sorted(before, key=lambda path: len(path.parts), reverse=True):
            if place != data and data / "shared" / "users" not in place.parents:
                _mount_tool("umount", "-l", str(place))
        if data not in before:
            data.mkdir(mode=0o700, exist_ok=True)
            # 0700: what s3fs shows to every account (allow_other, for the containers' user) stays behind this door.
            if not (
                _mount_tool("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "neve", str(data))
                and _mount_tool("mount", "--make-rshared", str(data))
            ):
                raise SystemExit(f"{data} could not be mounted; notebooks have no /data and no /shared.")
        for part in ("projects", "users", "shared", "shared/projects", "shared/users"):
            (data / part).mkdir(mode=0o755, exist_ok=True)

    def members(self) -> dict[str, set[str]]:
        """User's folder → the projects that they are members of."""
        users: dict[str, set[str]] = {}
        for file in self.here.wanted.glob("*.json"):
            try:
                projects = json.loads(file.read_text("utf-8"))["projects"]
            except FileNotFoundError:
                continue  # released between listing and reading
            users[file.stem] = {project for project in projects if PROJECT.fullmatch(project)}
        return users

    def reconcile(self) -> None:
        members = self.members()
        self._reconcile_shared(members)
        for_all = {project for project in public.known(self.here) if PROJECT.fullmatch(project)}
        users = {user: projects | for_all for user, projects in members.items()}
        wanted = set().union(*users.values()) if users else set()
        places = mounted(self.here.data)
        for name in wanted | set(self.projects):
            self._reconcile_project(name, places, wanted=name in wanted)
        self._reconcile_users(users, mounted(self.here.data))

    def _reconcile_project(self, name: str, places: dict[Path, str], *, wanted: bool) -> None:
        project = self.projects.setdefault(name, _Project())
        place = self.here.data / "projects" / name
        if not wanted:
            self._end(project, place, places)
            del self.projects[name]
            return
        if project.process is None:
            if time.monotonic() >= project.retry_at:
                self._start(name, project, place)
        elif project.process.poll() is not None or self._hangs(project, place if place in places else None):
            log.warning("s3fs of %s is dead or hangs (%s); mounting it again", name, project.process.poll())
            was_ready = project.ready
            self._end(project, place, places)
            project.retry_at = 0.0 if was_ready else time.monotonic() + _RETRY_S
            if was_ready:
                self._start(name, project, place)
        else:
            project.ready = place in places

    def _start(self, name: str, project: _Project, place: Path) -> None:
        place.mkdir(mode=0o555, exist_ok=True)
        # In the foreground (-f) and in a session of its own: it is our child, and ends when we say so.
        command = s3fs_command(self.here.settings, self.passwd_file, name, place, self.here.run)
        project.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def _hangs(self, project: _Project, place: Path | None) -> bool:
        """Ask the mount a question in another thread; an answer that takes too long, or ENOTCONN, means that it is dead."""
        if place is None:
            return False
        now = time.monotonic()
        if project.probe is None:
            project.probe, project.asked_at = self._pool.submit(os.statvfs, place), now
        elif project.probe.done():
            failed = project.probe.exception() is not None
            project.probe = None
            return failed
        return now - project.asked_at > _HANGS_S

    def _end(self, project: _Project, place: Path, places: dict[Path, str]) -> None:
        for bind, device in places.items():
            if place in places and device == places[place] and bind != place:
                self._unbind(bind)
        if place in places:
            _mount_tool("umount", "-l", str(place))
        if project.process:
            project.process.kill()  # read-only: there is nothing to flush, and a kill answers whoever waits on a hanging mount
            project.process.wait()
        project.process, project.probe, project.ready = None, None, False
        if place.exists():
            place.rmdir()

    def _unbind(self, bind: Path, *, lazily: bool = True) -> bool:
        """Take a user's view of a project away, here and in their container; whether nobody held on to something in it."""
        free = _mount_tool("umount", "--no-canonicalize", str(bind), quiet=True)
        if free or (lazily and _mount_tool("umount", "-l", str(bind))):
            bind.rmdir()
        return free

    def _reconcile_users(self, users: dict[str, set[str]], places: dict[Path, str]) -> None:
        root = self.here.data / "users"
        source = {name: places.get(self.here.data / "projects" / name) for name, project in self.projects.items() if project.ready}
        for bind, device in places.items():
            if bind.parent.parent != root or (bind.name in users.get(bind.parent.name, ()) and source.get(bind.name) == device):
                continue
            if not self._unbind(bind) and bind.name in self.projects:
                # An open file or a working folder would be read on for as long as the mount lives: others get a new one.
                log.warning("%s was held open in %s, which lost it: it is mounted anew", bind.name, bind.parent.name)
                self._end(self.projects[bind.name], self.here.data / "projects" / bind.name, mounted(self.here.data))
                return  # what was seen before is no more; the rest has its turn at the next look
        self._show(self.here.data, users, source, places)

    def _show(self, root: Path, users: dict[str, set[str]], source: Mapping[str, str | None], places: dict[Path, str]) -> None:
        """Bind what is wanted, and there, into the users' trees."""
        for user, projects in users.items():
            folder = root / "users" / user
            folder.mkdir(mode=0o555, exist_ok=True)
            for project in sorted(projects):
                bind = folder / project
                if source.get(project) and places.get(bind) != source[project]:
                    bind.mkdir(mode=0o555, exist_ok=True)
                    _mount_tool("mount", "--bind", str(root / "projects" / project), str(bind))

    def _reconcile_shared(self, members: dict[str, set[str]]) -> None:
        root = self.here.data / "shared"
        wanted = set().union(*members.values()) if members else set()
        there = mounted(root)
        for name in sorted(wanted):
            if root / "projects" / name not in there:
                self._lend(name, root / "projects" / name)
        places = mounted(root)
        lost = [view for view in places if view.parent.parent == root / "users" and view.name not in members.get(view.parent.name, ())]
        self._lost = {view: self._lost.get(view, 0) + 1 for view in lost}
        for view in lost:
            self._lose(view, looks=self._lost[view])
        self._show(root, members, {place.name: device for place, device in places.items() if place.parent == root / "projects"}, places)
        for place in places:
            if place.parent == root / "projects" and place.name not in wanted and _mount_tool("umount", "-l", str(place)):
                place.rmdir()

    def _lend(self, name: str, place: Path) -> None:
        """Mount a project's folder, from where users' views get what it may not do: setuid, devices, mounts of this machine that come later."""
        if time.monotonic() < self._lend_again.get(name, 0.0):
            return
        try:
            folder = shared.folder(self.here, name)
            place.mkdir(mode=0o555, exist_ok=True)
            if _mount_tool("mount", "--bind", "--make-private", "-o", "nosuid,nodev", str(folder), str(place)):
                return
            _mount_tool("umount", "-l", str(place), quiet=True)  # half of it would be without its guards
        except OSError as error:
            log.warning("there is no /shared/%s: %s", name, error)
        self._lend_again[name] = time.monotonic() + _LEND_AGAIN_S

    def _lose(self, view: Path, *, looks: int) -> None:
        """Take a view of /shared away together with what is held open in it. The kernel counts the holders, in containers too, and however hidden."""
        if self._unbind(view, lazily=False) or looks == 1:
            return  # somebody may just have passed by
        device = mounted(self.here.data)[self.here.data]
        if looks <= _LOOKS:
            if ended := shared.end(self.here, view, device):
                log.warning("%s was held open in %s, which lost it: processes of the notebook were ended: %d", view.name, view.parent.name, ended)
            return  # the next look tells whether that was all
        if shared.end(self.here, view, device, all_that_see_it=True):
            log.warning("%s was held open in %s, which lost it, where it cannot be seen: the notebook was ended", view.name, view.parent.name)
        self._unbind(view)

    def end(self) -> None:
        places = mounted(self.here.data)
        for name, project in self.projects.items():
            self._end(project, self.here.data / "projects" / name, places)


def _changed(here: Instance) -> int:
    """When what is wanted changed last, ns; 0 where that cannot be told."""
    try:
        return here.wanted.stat().st_mtime_ns
    except OSError:
        return 0


def _waited(here: Instance, seen: int, stop: Event) -> bool:
    """Wait for the next look, which comes at once when what is wanted has changed since `seen`: a start waits for it. False: it is the end."""
    for _ in range(_GLANCES):
        if stop.wait(_TICK_S / _GLANCES):
            return False
        if _changed(here) != seen:
            break
    return True


def main() -> None:
    log_plainly()
    stop = told_to_stop()
    here = current()
    mounts = Mounts(here, here.secrets / "s3fs-passwd")
    mounts.prepare()
    log.info("mounting below %s", here.data)
    asking.follow("public projects", lambda: public.ask(here), log, stop)
    try:
        seen = 0
        while _waited(here, seen, stop):
            seen = _changed(here)  # before the look: what comes meanwhile is looked at then
            try:
                mounts.reconcile()
            except OSError:
                log.exception("a look at the mounts failed; the next one is due")
    finally:
        mounts.end()
        os._exit(0)  # a probe that hangs in the kernel must not keep us


if __name__ == "__main__":
    main()
