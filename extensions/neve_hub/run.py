"""`neve-run`: all of Névé on this machine, in the foreground, until Ctrl-C. Also `neve-run passwd USER`, `neve-run backup …`.

Law: nothing is half-started. Settings, ports and leftovers are looked at before anything runs; whatever was started is ended,
unmounted and removed on every way out; and what the last lines say is true when they are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psutil
from neve.postponed import GRAMMAR, postpone
from neve.private import write_private

from archiver import config
from archiver.errors import Conflict, PortInUse, PublicError, WrongSetting, WrongUse
from neve_hub import asking, engine, firewall, first_start, home_backup, homes, idle, mounts, processes, proxy, settings_file, store
from neve_hub.instance import Found, Instance
from neve_hub.passwords import Passwords
from neve_hub.processes import Program

_REPOSITORY = Path(__file__).resolve().parents[2]
_STORE_S = 60.0
_PAGE_S = 120.0
_WATCH_S = 5.0


def say(text: str) -> None:
    sys.stdout.write(f"névé: {text}\n")
    sys.stdout.flush()


# ── Before anything starts ───────────────────────────────────────────────────────────────────────────────────────────────


def _settings(named: Path | None) -> tuple[Instance, Path]:
    """The settings file, made at the first start, and what it says."""
    file = named or config.settings_file()  # the same places, in the same order, as the archiver looks
    if file is None:
        here = Instance(config.load())
        file = settings_file.write_first(here)
    settings = config.load(file)
    if settings_file.moved(file, settings):
        say(f"{file} now says port {settings.port}, as NEVE_PORT does")
        settings = config.load(file)
    if settings.port + 10108 > 65535:
        raise WrongSetting(f"port: {settings.port} leaves no room for the store's port, 10,108 above it.", "Choose one up to 55,427 (NEVE_PORT).")
    return Instance(settings), file.resolve()


@contextlib.contextmanager
def _alone(here: Instance) -> Iterator[None]:
    """Hold the folder: the lock goes with this process, however it ends, and is inherited by none."""
    here.run.mkdir(mode=0o700, exist_ok=True)
    with (here.run / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Conflict(
                f"Névé already runs from {here.home} (pid {lock.read().strip() or '?'}).", "Stop it, or set NEVE_HOME and NEVE_PORT for a second one."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _listener(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            with contextlib.suppress(psutil.Error):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another account's program"


def _check_ports(here: Instance) -> None:
    bind = here.settings.hub.bind
    ports: dict[int, tuple[str, str]] = {here.port: (bind, "the page"), here.s3_public_port: (bind, "the store's public S3")}
    ports |= {here.settings.api.port: (here.settings.api.host, "the archiver"), here.hub_port: ("127.0.0.1", "the hub")}
    ports |= {here.proxy_api_port: ("127.0.0.1", "the proxy's API")}
    if here.has_own_store:
        ports |= dict.fromkeys([*range(here.store_port, here.store_port + 9), here.store_port + 10008], ("127.0.0.1", "the store"))
    for port, (address, use) in ports.items():
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(
                        f"Port {port}, for {use}, is in use by {_listener(port)}.",
                        "Stop that program, or choose other ports with NEVE_PORT.",
                        port=port,
                    ) from None
                raise WrongSetting(f"hub.bind or port: {address}:{port}, for {use}, cannot be used: {error.strerror}.", "Choose another.") from None


def _look_around(here: Instance, *, build_image: bool) -> tuple[Found, list[str]]:
    """What this machine offers, and one line for each thing that it lacks: what, why, and what that costs."""
    hub, missing = here.settings.hub, []
    gateway, why = None, "switched off by hub.docker"
    if hub.docker != "never":
        try:
            gateway = _bridge(here, build_image=build_image)
        except engine.NoEngineError as error:
            why = str(error)
    if gateway is None:
        if hub.docker == "always":
            raise WrongSetting(f"hub.docker is always, but {why}.", "Start an engine (DOCKER_HOST names another), or set it to auto.")
        missing.append(f"no containers ({why}): notebooks are processes of this account, without limits, and their users can read each other's files")
    open_because = gateway and _wall(here, gateway)
    if open_because:
        missing.append(f"no firewall ({open_because}): notebooks reach this machine's other ports, its private networks and the cloud's metadata")
    if here.settings.backup.bucket:
        missing += _unsaved(gateway)
    why_not = "switched off by hub.mounts" if hub.mounts == "never" else mounts.missing()
    if why_not:
        if hub.mounts == "always":
            raise WrongSetting(f"hub.mounts is always, but {why_not}.", "Mend that, or set it to auto.")
        missing.append(f"no /data and no /shared ({why_not}): notebooks read through S3 only, not at a path, and members share no folder")
    if hub.home_quota is not None and (why_unmeasured := homes.missing(gateway)):
        missing.append(f"no quota of homes ({why_unmeasured}): hub.home_quota has no effect")
    return Found(gateway=gateway, mounts=why_not is None, firewall=gateway is not None and not open_because), missing


def _unsaved(gateway: str | None) -> list[str]:
    why = home_backup.missing() or homes.missing(gateway)
    return [f"no backups of homes ({why}): backup.bucket has no effect"] if why else []


def _saves_homes(here: Instance, gateway: str | None) -> bool:
    return here.settings.backup.bucket is not None and not _unsaved(gateway)


def _wall(here: Instance, gateway: str) -> str | None:
    """Put the notebooks' firewall up, or say why it is not there. On a laptop that is a warning; where others work, it stops the start."""
    hub = here.settings.hub
    if hub.firewall == "never":
        return "switched off by hub.firewall"
    try:
        firewall.put(here, gateway)
    except firewall.FirewallError as error:
        if hub.firewall == "auto" and here.is_local and hub.internet:
            firewall.take_away(here)  # half of the rules would be neither
            return error.detail
        raise WrongSetting(f"hub.firewall is {hub.firewall}, but {error.detail}.", f"{error.next_step} Or set it to never.") from None
    return None


def _bridge(here: Instance, *, build_image: bool) -> str:
    try:
        return engine.bridge(here)
    except engine.NoImageError:
        script = _REPOSITORY / "images" / "singleuser" / "build.sh"
        if not build_image or not script.exists():
            raise engine.NoImageError(f"the Docker engine has no image {here.settings.hub.image}; `make image` builds it") from None
        say(f"building the notebook image {here.settings.hub.image}, once; this takes some minutes")
        if subprocess.run([str(script), here.settings.hub.image], check=False, stdin=subprocess.DEVNULL).returncode:
            raise engine.NoImageError("the notebook image does not build, see above") from None
    return engine.bridge(here)


# ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _programs(here: Instance, found: Found) -> list[Program]:
    python = sys.executable
    hub = [python, "-m", "neve_hub.hub", "-f", str(_REPOSITORY / "jupyterhub_config.py")]
    programs = [
        Program("traefik", proxy.command(here), 200),
        # Started once buckets and ledger are there; the page does not wait for them.
        Program("archiver", ["archiver", "serve"], 400, autostart=False),
        Program("worker", ["archiver", "worker"], 400, autostart=False, stop_wait_s=30),
        Program("reaper", ["archiver", "reaper"], 400, autostart=False, stop_wait_s=30),
        # The hub stops its notebooks itself, one by one.
        Program("hub", hub, 500, stop_wait_s=40, group=False),
    ]
    if here.has_own_store:
        programs.append(Program("store", store.command(here), 100, stop_wait_s=30))
    if idle.stops(here):
        programs.append(Program(idle.NAME, [python, "-m", "neve_hub.idle"], 600, autostart=False))
    if here.settings.hub.home_quota is not None and not homes.missing(found.gateway):
        programs.append(Program(homes.NAME, [python, "-m", "neve_hub.homes"], 600))
    if _saves_homes(here, found.gateway):
        programs.append(Program(home_backup.NAME, [python, "-m", "neve_hub.home_backup"], 600, autostart=False))
    if found.mounts:
        programs.append(Program("mounts", [python, "-m", "neve_hub.mounts"], 300, group=False))
    return programs


def _provider(here: Instance) -> str | None:
    """Look for the facility's login, with what only installations that have one must import; returns a sentence when it is away."""
    postpone(*GRAMMAR)
    from neve_hub import oidc  # noqa: PLC0415

    return oidc.discover(here)


def _write_secrets(here: Instance) -> None:
    for name in ("hub-token", "hub-crypt-key", asking.TOKEN, idle.TOKEN, home_backup.PASSWORD):
        if not (here.secrets / name).exists():
            write_private(here.secrets / name, os.urandom(32).hex())
    if here.has_own_store:
        store.configure(here)
    credentials = here.settings.store.credentials_file
    if credentials and credentials.exists():
        key = store.credentials(here).get(here.settings.hub.mounts_profile)
        if key:
            write_private(here.secrets / "s3fs-passwd", f"{key['aws_access_key_id']}:{key['aws_secret_access_key']}\n")


def _clean(here: Instance) -> None:
    """End, unmount and remove whatever of this instance is still there."""
    processes.sweep(here)
    mounts.take_away(here)
    for file in here.wanted.glob("*.json"):
        file.unlink()
    engine.remove_containers(here)
    firewall.take_away(here)  # last: no container runs without


def _wait_for(supervisor: processes.Supervisor, name: str, url: str, *, well: bool = True) -> bool:
    """Until a program answers at `url`, with a success where it shall be `well`. False: it does not stay up, or takes too long."""
    deadline = time.monotonic() + _PAGE_S
    while True:
        with contextlib.suppress(httpx.HTTPError):  # not yet
            if httpx.get(url, timeout=5).is_success or not well:
                return True
        if name in supervisor.given_up() or time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _interrupted(*_: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # once is enough: stopping in order takes some seconds
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    here, file = _settings(options.config)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    for folder in (here.home, here.run, here.log, here.secrets, here.wanted, here.home / "hub"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(here):
        _clean(here)  # of a run that was killed
        _check_ports(here)
        first_start.environment(here, file)
        supervisor = None
        try:
            found, missing = _look_around(here, build_image=options.build_image)
            here.remember(found)
            if here.settings.login.issuer and (away := _provider(here)):
                missing.append(away)
            _write_secrets(here)
            proxy.configure(here, found.gateway)
            first, made = not first_start.done(here), {}
            if first:
                made = first_start.people(here, demo=options.demo != "none")
            supervisor = processes.Supervisor(here, _programs(here, found))
            _set_up(here, supervisor, first=first, demo=options.demo)
            _summary(here, made, missing)
            _watch(here, supervisor)
        except KeyboardInterrupt:
            say("stopping")
            return 0
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if supervisor:
                supervisor.stop()
            _clean(here)
            say("stopped")


def _set_up(here: Instance, supervisor: processes.Supervisor, *, first: bool, demo: str) -> None:
    if here.has_own_store:
        store.wait(here, seconds=_STORE_S)
    first_start.archiver("setup")
    supervisor.start("archiver")
    supervisor.start("worker")
    supervisor.start("reaper")
    if not _wait_for(supervisor, "hub", f"{here.url}/hub/login"):
        raise processes.ProcessError(f"The login page did not come up within {_PAGE_S:g} s.", f"The hub's log: {here.log / 'hub.log'}")
    if idle.stops(here):
        supervisor.start(idle.NAME)
    if _saves_homes(here, here.found.gateway):
        supervisor.start(home_backup.NAME)
    # The hub goes on without it, which is said later; what is ill at its first look tells so itself.
    _wait_for(supervisor, "archiver", f"{here.api_url}{here.api_path}/health", well=False)
    if not first:
        return
    if demo != "none":
        say(f"the login page is up at {here.url}; loading the demo data" + ("" if here.settings.login.issuer else ", passwords follow"))
        first_start.load_demo(here, say, small=demo == "small")
    first_start.finish(here)


def _watch(here: Instance, supervisor: processes.Supervisor) -> NoReturn:
    """Stay in the foreground, and say so when a part does not come up any more: the others go on without it."""
    said: set[str] = set()
    found, wall = here.found, _Wall()
    while True:
        if found.gateway and found.firewall:
            wall.keep(here, found.gateway)
        for name in set(supervisor.given_up()) - said:
            said.add(name)
            say(f"{name} does not stay up and was given up; the others go on. Its log: {here.log / name}.log")
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.process.wait(_WATCH_S)


class _Wall:
    """The notebooks' firewall while Névé runs. That it cannot be looked after is said once, and tried again: what stands goes on standing."""

    def __init__(self) -> None:
        self._stood = ""  # how it looked when it was put up; at first put up again, as much may have happened since the start
        self._troubled = False

    def keep(self, here: Instance, gateway: str) -> None:
        """Put it up again when its rules are not what they were, or should be others."""
        try:
            stands = firewall.look(here, gateway)
            if stands != self._stood:
                firewall.put(here, gateway)
                if self._stood:
                    say("the notebooks' firewall was put up anew: a network has changed, or another program had taken its rules away")
                self._stood = firewall.look(here, gateway)
            if self._troubled:
                say("the notebooks' firewall is looked after again")
            self._troubled = False
        except (PublicError, OSError, psutil.Error) as error:
            if not self._troubled:
                say(f"the notebooks' firewall cannot be looked after: {error}")
            self._troubled = True


def _summary(here: Instance, made: dict[str, str], missing: list[str]) -> None:
    say(f"ready at {here.url}   (data, settings and logs: {here.home})")
    if here.settings.login.issuer:
        say(f"people log in at {here.settings.login.issuer}")
    elif made:
        say("users and their passwords, shown this once (a new one: neve-run passwd USER):")
        for user, password in made.items():
            say(f"    {user:<12} {password}")
    else:
        users = ", ".join(sorted(Passwords(here.passwords).users()))
        say(f"users: {users}   (passwords were shown at the first start; a new one: neve-run passwd USER)")
    for line in missing:
        say(f"missing: {line}")
    say("Ctrl-C stops everything")


# ── Command line ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _passwd(options: argparse.Namespace) -> int:
    here, _ = _settings(options.config)
    if here.settings.login.issuer:
        raise WrongUse(f"People log in at {here.settings.login.issuer}: there are no passwords here.", "Add or reset the person there.")
    passwords = Passwords(here.passwords)
    new = options.add and options.user not in passwords.users()
    sys.stdout.write((passwords.add(options.user, admin=options.admin) if new else passwords.reset(options.user)) + "\n")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="neve-run", description="All of Névé on this machine, until Ctrl-C.")
    parser.add_argument("--config", type=Path, help="settings file (else $NEVE_CONFIG, ./neve.toml, $NEVE_HOME/neve.toml)")
    parser.add_argument("--build-image", action="store_true", help="build the notebook image if a Docker engine lacks it")
    parser.add_argument("--demo", choices=["full", "small", "none"], default="full", help="what the first start loads")
    parser.set_defaults(do=_run)
    parsers = parser.add_subparsers()
    home_backup.add_commands(parsers, lambda do: lambda options: do(_settings(options.config)[0], options))
    passwd = parsers.add_parser("passwd", help="give a user a new password, and print it")
    passwd.add_argument("user")
    passwd.add_argument("--add", action="store_true", help="make the user if there is none of that name")
    passwd.add_argument("--admin", action="store_true", help="with --add: an admin")
    passwd.set_defaults(do=_passwd)
    options = parser.parse_args()
    try:
        code = options.do(options)
    except KeyboardInterrupt:  # before anything was started
        code = 0
    except PublicError as error:
        sys.stderr.write(f"neve-run: {error}\n")
        code = error.exit_code
    except OSError as error:
        sys.stderr.write(f"neve-run: {error.filename or 'The system'}: {error.strerror or error}. Mend that and start again.\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
