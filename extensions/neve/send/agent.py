"""Settings of `neve watch`: one TOML file per inbox (`agent.example.toml` shows each with its default).

Law: an unknown key, a wrong type or a value that cannot be meant stops the start with its name; nothing is guessed. The key itself never stands in
the file, only where it is.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from neve.errors import NotConfigured, WrongUse
from neve.send.grouping import By, ByField, ByFolder, ByPattern, Grouping
from neve.send.ready import MANIFESTS, MARKERS, TEMPORARY, Names

_CHOICES = {"by": get_args(By), "events": ("auto", "off"), "delete_after": ("never", "two-copies")}
_LEAST = {"still_s": 1.0, "close_after_minutes": 0.0, "scan_minutes": 0.1, "poll_s": 1.0, "snapshot_minutes": 0.0, "delete_after_days": 0.0}


@dataclass(frozen=True)
class Agent:
    """What `neve watch` does with one inbox."""

    inbox: Path
    url: str = ""  # of the archiver; $NEVE_URL where empty
    key_file: str = ""  # holds the instrument's key; $NEVE_KEY_FILE or $NEVE_KEY where empty
    project: str = ""  # where a rule names none; empty: the one that the key may send to
    instrument: str = ""  # for a person's token only; a key knows its own
    journal: str = ""  # what was sent; empty: in the user's folder for programs' state
    markers: tuple[str, ...] = MARKERS  # names that say "what is named like me, or lies in my folder, is complete"
    manifests: tuple[str, ...] = MANIFESTS  # names of SHA-256 lists
    still_s: float = 30.0  # without a marker: unchanged for so long
    temporary: tuple[str, ...] = TEMPORARY  # names that wait until they are renamed
    by: By = "first-folder"
    pattern: str = ""  # for by = "pattern"
    field: str = ""  # for by = "field"
    project_field: str = ""  # the same, for the project
    close_after_minutes: float = 60.0  # a dataset without a marker closes when nothing new has come for so long
    scan_minutes: float = 10.0  # the whole inbox against the journal, whatever events say
    poll_s: float = 30.0  # the same where there are no events
    events: str = "auto"
    snapshot_minutes: float = 0.0  # of a file that waits because it is being written, a snapshot every so many minutes; 0: none
    snapshot_match: tuple[str, ...] = ()  # names of those files; empty: all of a format that says where it may be cut
    snapshot_spool: str = ""  # where the copies are made; empty: beside what this machine remembers
    delete_after: str = "never"
    delete_after_days: float = 0.0  # and not before so many days after it was sent

    def grouping(self) -> Grouping:
        """The rule that says which dataset a file belongs to. Raises WrongUse."""
        if self.by == "pattern":
            return ByPattern(self.pattern)
        folders = ByFolder(Names([*self.markers, *self.manifests]), self._is_folder, deepest=self.by == "deepest-folder")
        return ByField(self.field, self.project_field or None, folders) if self.by == "field" else folders

    def _is_folder(self, relative: bytes) -> bool:
        return self.inbox.joinpath(*os.fsdecode(relative).split("/")).is_dir()


def load(path: Path | None, **given: Any) -> Agent:
    """The settings in `path`, those `given` (not None) winning. Raises WrongUse, NotConfigured."""
    text: dict[str, Any] = {}
    if path is not None:
        try:
            text = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise NotConfigured(f"{path} cannot be read: {error.strerror or error}.", "Give --config FILE, or the inbox itself.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise WrongUse(f"{path} is no TOML: {error}.", "Correct it; a Windows path stands in single quotes: 'D:\\inbox'.") from error
    said = {**text, **{name: value for name, value in given.items() if value is not None}}
    if not said.get("inbox"):
        raise NotConfigured("Nobody said which folder is the inbox.", "Name it on the command line, or set `inbox` in the settings.")
    known = {item.name: item.default for item in fields(Agent)}
    if unknown := sorted(said.keys() - known.keys()):
        raise WrongUse(f"There is no setting {unknown[0]!r}.", f"There are: {', '.join(known)}.")
    values = {name: _checked(name, value, known[name]) for name, value in said.items()}
    inbox = values["inbox"].expanduser()
    if path is not None and "inbox" not in {name for name, value in given.items() if value is not None}:
        inbox = path.parent / inbox
    return _consistent(replace(Agent(**values), inbox=inbox.absolute()))


def _checked(name: str, value: Any, default: Any) -> Any:
    if name == "inbox" and isinstance(value, str | Path):
        return Path(value)
    if isinstance(default, tuple) and isinstance(value, list) and all(isinstance(item, str) and item for item in value):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if not _LEAST[name] <= value < 1e9:
            raise WrongUse(f"{name} = {value} cannot be.", f"The least is {_LEAST[name]:g}.")
        return float(value)
    if isinstance(default, str) and isinstance(value, str):
        if name in _CHOICES and value not in _CHOICES[name]:
            raise WrongUse(f"{name} = {value!r} cannot be.", f"It is one of {', '.join(_CHOICES[name])}.")
        return value
    kind = "a list of texts" if isinstance(default, tuple) else "a number" if isinstance(default, float) else "a text"
    raise WrongUse(f"{name} = {value!r} cannot be.", f"It is {kind}.")


def _consistent(agent: Agent) -> Agent:
    if not agent.inbox.is_dir():
        raise NotConfigured(f"{agent.inbox} is no folder.", "Make it, or mount what it lies on; then start again.")
    if (agent.by == "pattern") != bool(agent.pattern):
        raise WrongUse('by = "pattern" and `pattern` go together.', "Set both or neither.")
    if (agent.by == "field") != bool(agent.field) or (agent.project_field and not agent.field):
        raise WrongUse('by = "field" and `field` go together.', "Set both or neither.")
    if agent.delete_after_days and agent.delete_after == "never":
        raise WrongUse("delete_after_days without delete_after deletes nothing.", 'Set delete_after = "two-copies", or leave both out.')
    return agent
