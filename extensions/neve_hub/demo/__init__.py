"""The demo's world: who works there, on what, with which instruments. `simulate` makes their data, `load` takes it in."""

from __future__ import annotations

PROJECTS = {
    "alpine-ice": "Ice cores and wind-packed snow from the Écrins",
    "battery-cycling": "Lithium-ion cells while they charge",
    "snow-physics": "Metamorphism of the seasonal snowpack",
}
INSTRUMENTS = {
    "saxs": "X-ray scattering camera with area detector",
    "xas": "X-ray absorption spectrometer",
    "weather": "Snow and weather stations",
}
# Members of projects; an admin sees all.
USERS: dict[str, tuple[str, ...]] = {
    "alice": ("alpine-ice", "snow-physics"),
    "bob": ("battery-cycling",),
    "admin": (),
}
ADMINS = frozenset({"admin"})
