"""Series of the snow and weather stations: netCDF with CF conventions, one value a minute, time in UTC.

One station writes netCDF-4, the older one classic netCDF-3, as such stations do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import netCDF4
import numpy as np


@dataclass(frozen=True)
class _Station:
    title: str
    latitude: float
    longitude: float
    altitude_m: float
    file_format: Literal["NETCDF4", "NETCDF3_CLASSIC"]


_STATIONS = {
    "lautaret": _Station("Col du Lautaret, snow and weather", 45.035, 6.405, 2058.0, "NETCDF4"),
    "galibier": _Station("Galibier, weather above the ice", 45.064, 6.408, 2642.0, "NETCDF3_CLASSIC"),
}
# (name, units, CF standard name, long name)
_SERIES = (
    ("air_temperature", "degC", "air_temperature", "Air temperature at 2 m"),
    ("snow_height", "m", "surface_snow_thickness", "Height of snow"),
    ("relative_humidity", "percent", "relative_humidity", "Relative humidity at 2 m"),
    ("wind_speed", "m s-1", "wind_speed", "Wind speed at 10 m"),
)


def _walk(chance: np.random.Generator, minutes: int, memory: float) -> np.ndarray[Any, Any]:
    """Noise that remembers, of standard deviation about 1: first order, one step an hour, straight lines between."""
    steps = np.empty(minutes // 60 + 2)
    value = 0.0
    for index in range(steps.size):
        value = memory * value + float(chance.normal()) * (1 - memory**2) ** 0.5
        steps[index] = value
    return np.interp(np.arange(minutes) / 60, np.arange(steps.size), steps)


def series(station: str, start: datetime, minutes: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """The measured quantities, one value a minute from `start`."""
    chance = np.random.default_rng(seed)
    at = _STATIONS[station]
    day = np.arange(minutes) / 1440
    hour = (start.hour + start.minute / 60 + day * 24) % 24
    season = np.cos(2 * np.pi * (start.timetuple().tm_yday + day - 25) / 365.25)  # 1 at the end of January
    front = _walk(chance, minutes, 0.985)
    temperature = 14 - 0.0063 * (at.altitude_m - 600) - 9 * season + 3.2 * np.sin(2 * np.pi * (hour - 9) / 24) + 3 * front
    # Snow falls when fronts are cold, melts by degree-days, and settles.
    height = np.empty(minutes)
    snow = max(0.0, 1.1 * float(season[0]) + 0.4)
    for first in range(0, minutes, 60):
        warmth, cold = float(temperature[first]), max(0.0, -float(front[first]) - 0.4)
        after = max(0.0, snow * (1 - 3.6e-4) + (2.4e-3 * cold if warmth < 1 else 0.0) - 1.5e-4 * max(0.0, warmth))
        height[first : first + 60] = np.linspace(snow, after, 60, endpoint=False)[: minutes - first]
        snow = after
    return {
        "air_temperature": temperature + chance.normal(0, 0.08, minutes),
        "snow_height": np.maximum(0, height + chance.normal(0, 0.002, minutes) * (height > 0)),
        "relative_humidity": np.clip(68 - 14 * front - 8 * np.sin(2 * np.pi * (hour - 9) / 24) + chance.normal(0, 0.6, minutes), 8, 100),
        "wind_speed": np.abs(4 + 2.5 * _walk(chance, minutes, 0.9) + chance.normal(0, 0.5, minutes)),
    }


def write(path: Path, *, station: str, start: datetime, days: float, seed: int, small: bool) -> None:
    """One netCDF file from `start`, `days` long, at most three days with `small`."""
    minutes = max(60, int(min(days, 3 if small else days) * 1440))
    about = _STATIONS[station]
    packed: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True} if about.file_format == "NETCDF4" else {}
    with netCDF4.Dataset(path, "w", format=about.file_format) as file:
        file.setncatts({"title": about.title, "institution": "Demo laboratory, Grenoble", "Conventions": "CF-1.11", "featureType": "timeSeries"})
        file.createDimension("time", minutes)
        time = file.createVariable("time", "f8", ("time",), **packed)
        time.setncatts({"standard_name": "time", "axis": "T", "calendar": "standard", "units": f"minutes since {start:%Y-%m-%d %H:%M:%S} UTC"})
        time[:] = np.arange(minutes)
        for name, units, value in (
            ("latitude", "degrees_north", about.latitude),
            ("longitude", "degrees_east", about.longitude),
            ("altitude", "m", about.altitude_m),
        ):
            place = file.createVariable(name, "f8", ())
            place.setncatts({"standard_name": name, "units": units})
            place[...] = value
        measured = series(station, start, minutes, seed)
        for name, units, standard_name, long_name in _SERIES:
            made = file.createVariable(name, "f4", ("time",), **packed)
            made.setncatts({"units": units, "standard_name": standard_name, "long_name": long_name, "coordinates": "latitude longitude altitude"})
            made[:] = measured[name].astype(np.float32).round(2 if name != "snow_height" else 3)
