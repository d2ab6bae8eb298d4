"""What a sending tells while it runs. With `--json` each is one line on stdout: `{"event": NAME, "at": ISO 8601 UTC, …}`.

| event      | members                                                                                                                      |
|------------|------------------------------------------------------------------------------------------------------------------------------|
| `opened`   | `dataset` (full name), `dataset_id`, `project`: the dataset that is sent into                                                  |
| `skipped`  | `source`, `reason`, `failed`: left out by the scan; `failed` true: it was data and could not be read                           |
| `progress` | `bytes_sent`, `bytes_done` (with what the archiver had), `files_done`: since the beginning, at most once a second              |
| `sent`     | `path`, `size_bytes`, `sha256`, `dataset_id`, `file_id`: all bytes of a file are there, and wait for their proof                |
| `already`  | `path`, `size_bytes`, `dataset_id`, `file_id`: the archiver had it, nothing was sent                                           |
| `changed`  | `path`, `reason`: the file changed while it was sent and starts again                                                          |
| `failed`   | `path`, `reason`: the file is not received; the rest goes on                                                                   |
| `waiting`  | `reason`: network, archiver or store are away, or reception is full; said once, whatever follows, until `again`                |
| `again`    | `after_s`: it goes on                                                                                                         |
| `journal`  | `reason`: the journal of what was sent cannot be used; nothing but time is lost                                              |
| `proving`  | `received`, `verifying`, `sending`: all is sent; files of the dataset in each state                                            |
| `closed`   | `dataset`, `state`: `closed` when it is                                                                                       |
| `end`      | `dataset`, `state`, `sent`, `already`, `failed`, `bytes_sent`, `ok`: the last line of a sending that came to its end            |
| `error`    | `code`, `detail`, `next_step`: the last line of one that could not go on                                                       |

`path` is the name in the dataset as text; where the bytes are no UTF-8, `path_base64` holds them and `path` shows them escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from neve.send.source import shown
from neve.wording import utc_json


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind`: a name of the table above; `about`: its members."""

    kind: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`."""
        return {"event": self.kind, "at": utc_json(datetime.now(UTC)), **self.about}


def path_members(name: bytes) -> dict[str, str]:
    """How a name in a dataset stands in the API's JSON and in events: `path`, or `path_base64` where it is no text."""
    try:
        return {"path": name.decode()}
    except UnicodeDecodeError:
        return {"path_base64": base64.b64encode(name).decode()}


def of_file(kind: str, name: bytes, **about: Any) -> Event:
    """An event about a file of the dataset."""
    return Event(kind, {"path": shown(name), **path_members(name), **about})


def sentence(event: Event) -> str:
    """What is said of an event to people while it runs; empty for those that the bar or the summary show."""
    about = event.about
    match event.kind:
        case "waiting":
            return f"{about['reason']}; waiting, and going on by itself."
        case "again":
            return "It goes on."
        case "changed":
            return f"{about['path']} {about['reason']}; it starts again."
        case "journal":
            return f"The journal of what was sent {about['reason']}."
        case "skipped" if not about["failed"]:
            return f"{about['source']} {about['reason']}."
    return ""
