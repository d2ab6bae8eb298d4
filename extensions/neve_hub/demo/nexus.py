"""The part of a NeXus file that is the same for each of the demo's instruments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import h5py

SPEED_OF_LIGHT_KEV_ANGSTROM = 12.398419843  # h·c, CODATA 2018


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def group(parent: Any, name: str, nx_class: str, **attributes: Any) -> Any:
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    made.attrs.update(attributes)
    return made


def put(parent: Any, name: str, value: Any, units: str | None = None, **how: Any) -> Any:
    made = parent.create_dataset(name, data=value, **how)
    if units:
        made.attrs["units"] = units
    return made


def entry(file: Any, *, title: str, definition: str, start: datetime, end: datetime, user: str, proposal: str) -> Any:
    """The file's only entry, with what every measurement says."""
    file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "neve demo simulator", "file_time": iso(start)})
    made = group(file, "entry", "NXentry", default="data")
    put(made, "title", title)
    put(made, "definition", definition)
    put(made, "start_time", iso(start))
    put(made, "end_time", iso(end))
    put(made, "experiment_identifier", proposal)
    put(group(made, "user", "NXuser"), "name", user)
    return made


def source(instrument: Any) -> None:
    made = group(instrument, "source", "NXsource")
    put(made, "name", "Demo laboratory, Grenoble")
    put(made, "type", "Metal Jet X-ray")
    put(made, "probe", "x-ray")


def link(parent: Any, name: str, target: Any) -> None:
    """A second name for a dataset, with the attribute by which NeXus readers know the first."""
    target.attrs["target"] = target.name
    parent[name] = h5py.SoftLink(target.name)


__all__ = ["SPEED_OF_LIGHT_KEV_ANGSTROM", "entry", "group", "iso", "link", "put", "source"]
