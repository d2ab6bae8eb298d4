"""Writes the demo's datasets and hands each to whoever takes it in: a function of the caller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from neve_hub.demo.simulate import DemoDataset, datasets, write

TakeIn = Callable[[DemoDataset, Path], None]  # a dataset, and the folder with its files


def write_all(into: Path, now: datetime, *, small: bool = False) -> list[dict[str, Any]]:
    """Write every dataset as INTO/<project>/<instrument>/<dataset>/… and INTO/manifest.json; the manifest's entries come back."""
    listed = []
    for dataset in datasets(now, small=small):
        folder = into / dataset.project / dataset.instrument / dataset.name
        listed.append(_entry(dataset, write(dataset, folder), into))
    (into / "manifest.json").write_text(json.dumps({"now": now.isoformat(), "datasets": listed}, indent=1) + "\n", "utf-8")
    return listed


def take_in(folder: Path, now: datetime, receive: TakeIn, *, small: bool = False) -> int:
    """Write one dataset after the other below `folder`, let `receive` have it, remove it; returns how many there were.

    What `receive` raises ends the loading; what it took in before stays.
    """
    plan = datasets(now, small=small)
    for dataset in plan:
        place = folder / dataset.project / dataset.instrument / dataset.name
        write(dataset, place)
        receive(dataset, place)
        shutil.rmtree(place)
    return len(plan)


def _entry(dataset: DemoDataset, paths: list[Path], into: Path) -> dict[str, Any]:
    files = [
        {"path": path.relative_to(into).as_posix(), "size_bytes": path.stat().st_size, "acquired_at": file.acquired_at.isoformat()}
        for path, file in zip(paths, dataset.files, strict=True)
    ]
    return {
        "project": dataset.project,
        "instrument": dataset.instrument,
        "name": dataset.name,
        "acquired_at": dataset.acquired_at.isoformat(),
        "files": files,
    }
