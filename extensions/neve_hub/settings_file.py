"""The settings that `make run` starts with: written once, then the reader's own.

Law: a file that is there is never written over. One thing only is changed in it, and said: with another NEVE_PORT, the port
and the addresses that count from it move together.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from neve.private import write_private

from archiver.config import Settings
from neve_hub import store
from neve_hub.instance import Instance

_OFFSETS = (0, 1, 20, 81, 106)  # page, public S3, archiver, hub, store's S3: see neve_hub.instance


def first(here: Instance) -> str:
    """The text of a first neve.toml. The demo's data are three years old and shall be in all tiers at once: hence `acquired` and the short times."""
    text = json.dumps  # a JSON string is a TOML string
    secrets = here.secrets
    return f"""\
# Névé's settings on this machine, written at its first start: a store of its own on this disk, and demo data.
# neve.example.toml shows every setting with its default.
home = {text(str(here.home))}
port = {here.port}

[store]
endpoint_url = {text(here.s3_url)}
public_endpoint_url = {text(f"http://{here.public_host}:{here.s3_public_port}")}
region = {text(store.REGION)}
credentials_file = {text(str(secrets / "credentials"))}

# The three buckets share one disk here, so their "places" are names only: this is no redundancy.
[tiers.hot]
bucket = "neve-hot"
place = "hot"
keep = "P60D"

[tiers.archive]
bucket = "neve-archive"
place = "archive"
storage_class = "GLACIER_IR"
keep = "P730D"
back_within = "PT4H"

[tiers.deep]
bucket = "neve-deep"
place = "deep"
storage_class = "DEEP_ARCHIVE"
back_within = "P3D"
# This store reads everything at once. A recall that takes six seconds lets the waiting be seen.
recall = "always"
recall_wait = "PT6S"

[policy]
age_from = "acquired" # the demo's data are up to three years old: each goes where its age belongs
settle = "PT0S"
grace = "PT0S"

[worker]
pause = "PT1S"
recall_poll = "PT1S"

[api]
port = {here.port + 20}
hub_api_url = {text(here.hub_url + "/hub/api")}
hub_token_file = {text(str(secrets / "hub-token"))}
broker_role_arn = {text(store.ROLE_ARN)}
sts_endpoint_url = {text(here.s3_url)}

[team]
bucket = "neve-team"
role_arn = {text(store.TEAM_ROLE_ARN)}
"""


def write_first(here: Instance) -> Path:
    path = here.home / "neve.toml"
    write_private(path, first(here))
    return path


def moved(file: Path, settings: Settings) -> bool:
    """Whether the file was made for another port than the one that now wins; if so its numbers are moved."""
    text = file.read_text("utf-8")
    old = tomllib.loads(text).get("port")
    if old is None or old == settings.port or f":{old + 106}" not in text:
        return False
    moves = {str(old + offset): str(settings.port + offset) for offset in _OFFSETS}
    text = re.sub(r"(^port = |:)(\d+)\b", lambda found: found[1] + moves.get(found[2], found[2]), text, flags=re.MULTILINE)
    write_private(file, text)
    return True
