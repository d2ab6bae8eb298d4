"""Profiles for every other S3 program: the managed part of ~/.aws/config.

Law: no key is written, only the command that gets one (`credential_process = neve credentials P`), so profiles never grow old. Where there are
team notebooks, `neve-team-P` is the profile that reads and writes those of the project P. What stands
outside the marks is somebody else's and stays, byte for byte; a profile that somebody made under a project's name wins. The file is
replaced in one step, mode 0600.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from neve.client import Client
from neve.errors import NeveError
from neve.private import write_private
from neve.sources import endpoint_for
from neve.wording import utc_json

BEGIN = "# >>> Névé: written at each start, changes between these marks are lost >>>"
END = "# <<< Névé <<<"
TEAM = "neve-team-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*")
_SECTION = re.compile(r"^\[\s*(?:profile\s+)?(?P<quote>['\"]?)(?P<name>[^\]]*?)(?P=quote)\s*\]", re.MULTILINE)


@dataclass(frozen=True)
class Written:
    """What was done: `profiles` now work; `kept` are those whose name a profile of the user's own has."""

    path: Path
    profiles: tuple[str, ...]
    kept: tuple[str, ...]


def config_path() -> Path:
    """$AWS_CONFIG_FILE, else ~/.aws/config."""
    return Path(os.environ.get("AWS_CONFIG_FILE") or Path.home() / ".aws" / "config").expanduser()


def process_json(client: Client, project: str, *, team: bool = False) -> dict[str, str | int]:
    """What AWS's clients expect of a credential_process. (AWS SDKs and Tools Reference Guide, "Process credential provider".)"""
    keys = client.credentials(project, team=team)
    return {
        "Version": 1,
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "SessionToken": keys.session_token,
        "Expiration": utc_json(keys.expires_at),
    }


def configure(client: Client) -> Written:
    """Write a profile for each project you may read. Running it again changes nothing but what changed on the server."""
    path = config_path()
    try:
        # A link (home folders are often full of them) stays one.
        path = path.resolve()
        before = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise NeveError(f"{path} cannot be read ({_why(error)}).", "Mend or move it, then run `neve credentials --configure`.") from None
    foreign = _outside(before, path)
    taken = {match["name"] for match in _SECTION.finditer(foreign)}
    wanted = _wanted(client)
    ours = {name: of for name, of in wanted.items() if name not in taken}
    managed = _managed(client, ours) if ours else ""
    after = foreign if not managed else f"{foreign}{'' if not foreign or foreign.endswith(chr(10)) else chr(10)}{managed}"
    if after != before:
        try:
            write_private(path, after)
        except OSError as error:
            raise NeveError(
                f"{path} cannot be written ({_why(error)}).", "Free some space in your home, then run `neve credentials --configure`."
            ) from None
    elif path.exists():
        path.chmod(0o600)
    return Written(path, tuple(ours), tuple(name for name in wanted if name in taken))


def _wanted(client: Client) -> dict[str, tuple[str, bool]]:
    """Profiles: of which project, and whether of its team notebooks."""
    me = client.me()
    readable = [name for name in sorted(client.projects()) if _NAME.fullmatch(name)]
    team = [name for name in sorted(me.projects) if _NAME.fullmatch(name)] if me.team_notebooks else []
    return {**{name: (name, False) for name in readable}, **{f"{TEAM}{name}": (name, True) for name in team}}


def _outside(text: str, path: Path) -> str:
    """The file without the managed part."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if mark == BEGIN and not inside:
            inside = True
        elif mark == END and inside:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        # Whose the lines after a lost end mark are cannot be known: better none is touched.
        raise NeveError(
            f"{path} has Névé's first mark but not its last ({END}).", "Delete that part of the file, then run `neve credentials --configure`."
        )
    return "".join(kept)


def _managed(client: Client, profiles: dict[str, tuple[str, bool]]) -> str:
    first, of_team = next(iter(profiles.values()))
    keys = client.credentials(first, team=of_team)  # region and endpoint are the same for all
    endpoint = endpoint_for(client, keys)
    where = [] if endpoint is None else [f"endpoint_url = {endpoint}"]
    lines = [BEGIN]
    for name, (project, team) in profiles.items():
        lines += [
            f"[profile {name}]",
            f"credential_process = {shlex.quote(str(_neve()))} credentials {project}{' --team' if team else ''}",
            f"region = {keys.region}",
            *where,
            # Other stores than AWS's choke on the checksums that clients add by default.
            "request_checksum_calculation = when_required",
            "response_checksum_validation = when_required",
            "s3 =",
            "    addressing_style = path",
            "",
        ]
    return "\n".join([*lines, END, ""])


def _neve() -> Path:
    """This installation's own command: the PATH of who reads the profile may have another, or none."""
    return Path(sys.executable).with_name("neve")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
