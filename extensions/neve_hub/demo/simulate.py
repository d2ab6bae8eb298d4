"""What the demo laboratory measured in the three years before `now`: a plan of datasets, and the files of each.

Law: the plan depends on `now` and nothing else, a dataset's content on its place in the plan; the times inside the files are
the times of the plan. Ages are spread so that hot (60 days), archive (2 years) and deep each hold a good part, and keep days of
distance from those borders, so that no dataset changes tier while somebody looks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from neve_hub.demo import saxs, weather, xas

SEED = 1874  # the year in which Forel measured the névé of the Rhône glacier
# (count, youngest, oldest) in days, per tier of the default policy
AGES = ((25, 1.0, 54.0), (22, 68.0, 700.0), (13, 745.0, 1090.0))
AGES_SMALL = ((5, 1.0, 54.0), (4, 68.0, 700.0), (3, 745.0, 1090.0))
# Who measures what; taken in turn, so that each tier meets each of them.
SUBJECTS = (
    ("saxs", "battery-cycling", "graphite"),
    ("xas", "battery-cycling", "nickel"),
    ("weather", "snow-physics", "lautaret"),
    ("saxs", "alpine-ice", "ice"),
    ("xas", "alpine-ice", "dust"),
    ("saxs", "snow-physics", "snow"),
    ("weather", "alpine-ice", "galibier"),
    ("xas", "battery-cycling", "manganese"),
)


@dataclass(frozen=True)
class DemoFile:
    """A file of a dataset: its name, when it begins, and what writes it."""

    name: str
    acquired_at: datetime
    write: Callable[[Path], None]


@dataclass(frozen=True)
class DemoDataset:
    """One measurement. `acquired_at` (aware UTC, whole seconds) is when its first file begins."""

    project: str
    instrument: str
    name: str
    acquired_at: datetime
    files: tuple[DemoFile, ...]


def datasets(now: datetime, *, small: bool = False) -> Sequence[DemoDataset]:
    """The plan, oldest first: about 60 datasets and 100 MB; with `small` 12 of at most 5 MB together."""
    chance = random.Random(SEED)  # noqa: S311  repeatable on purpose
    ages = [age for count, youngest, oldest in (AGES_SMALL if small else AGES) for age in _spread(chance, count, youngest, oldest)]
    plan = []
    for index, age_days in enumerate(sorted(ages, reverse=True)):
        instrument, project, subject = SUBJECTS[index % len(SUBJECTS)]
        # People measure by day, and instruments do not start on the microsecond.
        started = now.astimezone(UTC) - timedelta(days=age_days)
        hour = 7 + chance.randrange(11) if instrument != "weather" else 0
        acquired_at = started.replace(hour=hour, minute=chance.randrange(60) if hour else 0, second=0, microsecond=0)
        name = f"{instrument}-{acquired_at:%Y-%m-%d}-{subject}-{index // len(SUBJECTS) + 1:02d}"
        plan.append(DemoDataset(project, instrument, name, acquired_at, _files(instrument, subject, name, acquired_at, now, SEED + index, small)))
    return plan


def _spread(chance: random.Random, count: int, youngest: float, oldest: float) -> list[float]:
    """Ages in days, one in each of `count` equal stretches."""
    stretch = (oldest - youngest) / count
    return [youngest + stretch * (step + chance.random()) for step in range(count)]


def _files(instrument: str, subject: str, name: str, start: datetime, now: datetime, seed: int, small: bool) -> tuple[DemoFile, ...]:
    if instrument == "saxs":
        return (DemoFile(f"{name}.nxs", start, partial(saxs.write, name=name, subject=subject, start=start, seed=seed, small=small)),)
    if instrument == "weather":
        days = min(21.0, (now.astimezone(UTC) - start) / timedelta(days=1))
        return (DemoFile(f"{name}.nc", start, partial(weather.write, station=subject, start=start, days=days, seed=seed, small=small)),)
    scans = []
    for scan in range(2 if small else 5):
        at = start + scan * xas.SCAN_TIME
        writer = partial(xas.write, title=f"{name} scan {scan + 1}", subject=subject, start=at, seed=seed, scan=scan)
        scans.append(DemoFile(f"scan-{scan + 1:03d}.nxs", at, writer))
    return tuple(scans)


def write(dataset: DemoDataset, folder: Path) -> list[Path]:
    """Write the files of `dataset` into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in dataset.files:
        file.write(folder / file.name)
    return [folder / file.name for file in dataset.files]
