"""A notebook per user: in a container where a Docker engine answers and has the image, else as a local process.

Law: the choice is made once, when `neve-run` starts, and said aloud. A container is never root, has no capability, gains no privilege, and
sees its own home, its user's /data and /shared and nothing else of this machine; a local process is no isolation at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from dockerspawner import DockerSpawner
from jupyterhub.spawner import SimpleLocalProcessSpawner, SpawnException
from traitlets import default

from neve_hub import homes, idle, mounts, oidc, rescue, shared, starting
from neve_hub.instance import LABEL, MARK, Instance, current
from neve_hub.names import safe_name

_TREE_S = 15.0
_LOOK_S = 20  # how often a running notebook is looked at, and its user's projects
_ANSWERS_S = 90.0  # from its own turn
_TURN_S = 1800  # with all who came before; the hub's own limit, whose message says nothing
_turns = starting.Turns(os.cpu_count() or 1)


async def _becomes(true: Callable[[], bool]) -> bool:
    """Whether it does within the time that mounts are given."""
    deadline = time.monotonic() + _TREE_S
    while not true():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class _Notebook:
    """What both kinds have: the environment of the contract, and /data and /shared wanted while they run."""

    user: Any
    log: Any
    authenticator: Any
    pending: Any
    rescue = False  # whether the next start is the rescue server's; said by `neve_hub.rescue`

    @property
    def here(self) -> Instance:
        return current()

    def _environment(self, data: str, shared_at: str, told: str) -> dict[str, str]:
        here = self.here
        found = {
            "NEVE_API_URL": f"http://{here.notebook_host}:{here.port}{here.api_path}",
            "NEVE_S3_URL": f"http://{here.notebook_host}:{here.s3_public_port}",
            "JUPYTERHUB_ACTIVITY_INTERVAL": str(idle.report_s(here)),
        }
        if here.settings.hub.home_quota is not None:
            found["NEVE_HOME_TOLD"] = f"{told}/{homes.FILE}"
        if self.rescue:
            return {**found, rescue.ENVIRONMENT: "1"}
        return {**found, "NEVE_DATA": data, "NEVE_SHARED": shared_at} if here.found.mounts else found

    async def _want_data(self) -> None:
        """Ask for the user's trees and wait until they stand; projects join them while the notebook starts."""
        here = self.here
        if not self._has_data:
            return
        mounts.want(here, self.user.name, [group.name for group in self.user.groups])
        if not await _becomes(lambda: all(tree.is_dir() for tree in self._trees)):
            raise RuntimeError("The data of your projects could not be mounted. Try again in a minute; if it stays so, tell an admin (log: mounts).")

    async def _see_data(self) -> None:
        """Wait until all of the user's projects stand in the trees, as a rule they do by now; one that cannot be mounted is not waited for."""
        here = self.here
        due = {tree / group.name for tree in self._trees for group in self.user.groups if mounts.PROJECT.fullmatch(group.name)}
        if self._has_data and not await _becomes(lambda: due <= mounts.mounted(here.data).keys()):
            self.log.warning("not all of %s and %s is mounted yet; what is missing appears when it can be mounted", *self._trees)

    @property
    def _has_data(self) -> bool:
        """Whether the next start, or the one that runs, shows /data and /shared."""
        return self.here.found.mounts and not self.rescue

    @property
    def _trees(self) -> tuple[Path, Path]:
        return mounts.tree(self.here, self.user.name), mounts.shared_tree(self.here, self.user.name)

    async def poll(self) -> Any:
        status = await super().poll()  # type: ignore[misc]  # the spawner's
        if self._has_data and not self.pending:
            await self._follow(runs=status is None)
        return status

    async def stop(self, now: bool = False) -> None:
        await super().stop(now)  # type: ignore[misc]
        mounts.release(self.here, self.user.name)

    async def _follow(self, *, runs: bool) -> None:
        """Where a notebook runs, /data and /shared follow its user's groups, also while nobody looks at it; where none does, they go."""
        if not runs:
            mounts.release(self.here, self.user.name)
            return
        if isinstance(self.authenticator, oidc.ProviderAuthenticator):
            await self.authenticator.ask_again(self.user)
        projects = [group.name for group in self.user.groups]
        if mounts.want(self.here, self.user.name, projects):
            self.log.info("%s now sees in /data and /shared: %s", self.user.name, ", ".join(sorted(projects)) or "no project")


class ContainerSpawner(_Notebook, DockerSpawner):
    """One container per user; its home is a volume that outlives it."""

    @default("object_name")
    def _object_name_default(self) -> str:
        return f"neve-{self.here.id}-notebook-{safe_name(self.user.name, self.name)}"

    def get_env(self) -> dict[str, str]:
        return {**super().get_env(), **self._environment("/data", "/shared", homes.SEEN)}

    async def start(self) -> tuple[str, int]:
        here = self.here
        await rescue.admit(self)
        await self._want_data()
        volumes: dict[str, Any] = {homes.volume(here, self.user.name): "/home/jovyan"}
        if here.settings.hub.home_quota is not None:
            volumes[str(homes.told(here, self.user.name))] = {"bind": homes.SEEN, "mode": "ro"}
        if self._has_data:
            # The parent of the mounts, so that a mount that was killed and comes back is seen inside (TRIED: rslave).
            volumes[str(mounts.tree(here, self.user.name))] = {"bind": "/data", "mode": "ro", "propagation": "rslave"}
            # "ro" would make what is mounted in it read-only too (Docker 25); the folder itself is root's, and the mounts are not.
            volumes[str(mounts.shared_tree(here, self.user.name))] = {"bind": "/shared", "mode": "rw", "propagation": "rslave"}
        self.volumes = volumes
        # Whatever the image says: as root it would own the folders that are mounted on.
        self.extra_create_kwargs = {"labels": {LABEL: here.id}, "user": f"{shared.ACCOUNT}:{shared.ACCOUNT}"}
        async with _turns.taken(self):
            address = await self._come_up(super().start())
        await self._see_data()
        return address

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the page says while one waits."""
        said = None
        while (before := _turns.before(self)) is not None:
            if before != said:
                others = f"{before} {'others start' if before > 1 else 'other starts'} before you" if before else "You are the next"
                yield {"progress": 10, "message": f"Many start their notebook now. {others}."}
            said = before
            await asyncio.sleep(1)
        yield {"progress": 30, "message": "Your notebook starts."}

    async def _come_up(self, started: Awaitable[tuple[str, int]]) -> tuple[str, int]:
        """Its address, once something answers there. Raises `SpawnException`; the hub stops what runs then, and never what has ended."""
        try:
            return await self._answering(*await started)
        except starting.ENGINE_ERRORS as error:
            failure = starting.not_made(error, self.image)
        except SpawnException as error:
            failure = error
        if self.object_id:
            with contextlib.suppress(*starting.ENGINE_ERRORS):  # the next start removes it
                await self.remove_object()
        raise failure

    async def _answering(self, ip: str, port: int) -> tuple[str, int]:
        deadline = time.monotonic() + _ANSWERS_S
        while True:
            container = await self.get_object()
            if container is None or not container["State"]["Running"]:
                raise starting.ended(container and container["State"], await self._last_words(), self.mem_limit)
            if await _answers(ip, port):
                return ip, port
            if time.monotonic() > deadline:
                raise starting.silent(_ANSWERS_S, await self._last_words())
            await asyncio.sleep(0.1)

    async def _last_words(self) -> str:
        if not self.object_id:
            return ""
        said: bytes = await self.docker("logs", self.object_id, tail=starting.LAST_LINES)
        return said.decode("utf-8", "replace").replace(self.api_token, "[token]").strip()


async def _answers(ip: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), 2)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class ProcessSpawner(_Notebook, SimpleLocalProcessSpawner):
    """A process of the account that runs the hub: for trying Névé out, and for people who trust each other."""

    notebook_dir: Any

    @default("home_dir")
    def _home_dir(self) -> str:
        return str(homes.folder(self.here, self.user.name))

    def get_env(self) -> dict[str, str]:
        env = super().get_env()
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        here, user = self.here, self.user.name
        seen = (mounts.tree(here, user), mounts.shared_tree(here, user), homes.told(here, user))
        return {**env, MARK: here.id, **self._environment(*map(str, seen))}

    def get_args(self) -> list[str]:
        return [*super().get_args(), *(["--allow-root"] if os.geteuid() == 0 else [])]

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        enter: Callable[[], None] = super().make_preexec_fn(name)

        def enter_and_write_nothing() -> None:
            enter()
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        return enter_and_write_nothing if self.rescue else enter

    async def start(self) -> tuple[str, int]:
        await rescue.admit(self)
        await self._want_data()
        Path(self.home_dir).mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - a local folder, at once
        self.notebook_dir = self.notebook_dir or self.home_dir
        address = await super().start()
        await self._see_data()
        return address


def configure(c: Any, here: Instance) -> None:
    """Everything about spawning that the hub must know, for the kind that was chosen."""
    hub, found = here.settings.hub, here.found
    c.Spawner.cmd = ["neve-singleuser"]
    c.Spawner.default_url = "/lab"
    c.Spawner.start_timeout = _TURN_S
    c.Spawner.http_timeout = 120
    c.Spawner.poll_interval = _LOOK_S
    c.Spawner.apply_user_options = rescue.apply
    if hub.profiles or hub.home_quota is not None:
        c.Spawner.options_form = rescue.form
        c.Spawner.options_from_form = rescue.from_form
    if found.gateway is None:
        c.JupyterHub.spawner_class = ProcessSpawner
        c.Spawner.hub_connect_url = here.hub_url
        return
    c.JupyterHub.spawner_class = ContainerSpawner
    c.Spawner.hub_connect_url = f"http://{found.gateway}:{here.port}"
    c.Spawner.cpu_limit = hub.cpu_limit
    c.Spawner.mem_limit = hub.memory_limit
    c.DockerSpawner.image = hub.image
    c.DockerSpawner.pull_policy = "never"
    c.DockerSpawner.network_name = here.network
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.remove = True
    c.DockerSpawner.extra_host_config = {
        "auto_remove": False,  # the hub removes it; the engine would take its last words with it
        "security_opt": ["no-new-privileges"],
        "cap_drop": ["ALL"],
        "pids_limit": 1024,  # a fork bomb stays its owner's problem
    }
