"""One Névé on one machine: its folders, its ports, its id, and what it found here at its start.

Law: nothing is global. Every port counts from `settings.port`, every file lies below `settings.home`, and whatever has to
have a name of its own (container, volume, network) carries the instance's id, so that several run side by side.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from neve.private import write_private

from archiver.config import Settings, load

LABEL = "neve.instance"
MARK = "NEVE_INSTANCE"  # in the environment of every process of ours: how leftovers are told from strangers


@dataclass(frozen=True)
class Found:
    """What this machine offers, looked up once at the start; None and False have been said aloud."""

    gateway: str | None  # address of the notebooks' bridge, where containers reach us; None: notebooks are local processes
    mounts: bool  # whether /data and /shared are there
    firewall: bool  # whether containers reach only what they may


@dataclass(frozen=True)
class Instance:
    """Folders, ports and names that follow from the settings; `found` as `neve-run` wrote it."""

    settings: Settings

    @property
    def home(self) -> Path:
        return self.settings.home.resolve()

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    @property
    def data(self) -> Path:
        """A file system of its own with all mounts below it: `projects/<project>` and `users/<user>/<project>`, the same in `shared`."""
        return self.home / "data"

    @property
    def shared(self) -> Path:
        """What the members of each project share: a folder of the project's name."""
        return self.home / "shared"

    @property
    def wanted(self) -> Path:
        """One small file per running notebook: whose it is and which projects it sees."""
        return self.run / "mounts"

    @property
    def passwords(self) -> Path:
        return self.secrets / "passwords.json"

    @property
    def id(self) -> str:
        file = self.home / "instance-id"
        if not file.exists():
            write_private(file, secrets.token_hex(4))
        return file.read_text("utf-8").strip()

    @property
    def network(self) -> str:
        """The notebooks' network; its bridge has the same name, which may have 15 characters."""
        return f"neve-{self.id}"

    # Ports. The store takes ten from +100 on; its admin's second one is fixed by SeaweedFS at +10,000.
    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def s3_public_port(self) -> int:
        return self.port + 1

    @property
    def hub_port(self) -> int:
        return self.port + 81

    @property
    def proxy_api_port(self) -> int:
        return self.port + 82

    @property
    def store_port(self) -> int:
        return self.port + 100

    @property
    def s3_port(self) -> int:
        return self.store_port + 6

    @property
    def s3_url(self) -> str:
        return f"http://127.0.0.1:{self.s3_port}"

    @property
    def has_own_store(self) -> bool:
        """Whether the settings name the embedded store; another endpoint means that somebody else runs it."""
        return self.settings.store.endpoint_url == self.s3_url

    @property
    def bind(self) -> str:
        """The public address as it stands in a URL."""
        return f"[{self.settings.hub.bind}]" if ":" in self.settings.hub.bind else self.settings.hub.bind

    @property
    def binds_all(self) -> bool:
        return self.settings.hub.bind in {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    @property
    def is_local(self) -> bool:
        """Whether the page is reached from this machine only."""
        return self.settings.hub.bind in {"localhost", "::1"} or self.settings.hub.bind.startswith("127.")

    @property
    def public_host(self) -> str:
        return "127.0.0.1" if self.binds_all else self.bind

    @property
    def url(self) -> str:
        return f"http://{self.public_host}:{self.port}"

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.api.port}"

    @property
    def api_path(self) -> str:
        """Below which the archiver answers, without a slash at its end."""
        return self.settings.api.prefix.rstrip("/")

    @property
    def notebook_host(self) -> str:
        """Where a notebook reaches the proxy."""
        return self.found.gateway or self.public_host

    @property
    def found(self) -> Found:
        return Found(**json.loads((self.run / "found.json").read_text("utf-8")))

    def remember(self, found: Found) -> None:
        write_private(self.run / "found.json", json.dumps(asdict(found)))


def secret(here: Instance, name: str) -> str:
    """What stands in one of its secret files."""
    return (here.secrets / name).read_text("utf-8").strip()


def current() -> Instance:
    """The instance whose settings the environment or the working folder names."""
    return Instance(load())
