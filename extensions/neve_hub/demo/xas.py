"""Absorption scans across a K edge: background, edge with white line, and the EXAFS of two shells.

χ(k) = Σ N·S0²/(k·R²) · exp(-2·s²·k² - 2R/λ) · sin(2kR + φ), with k = √(0.2625 · (E - E0)) in 1/Å for E in eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neve_hub.demo import nexus

SCAN_TIME = timedelta(minutes=12)


@dataclass(frozen=True)
class _Edge:
    """An absorbing element in its surroundings. `shells`: (atoms, distance in Å, s² in Å²). `shift_ev`: of the edge per scan."""

    element: str
    energy_ev: float
    user: str
    proposal: str
    sample: str
    shells: tuple[tuple[float, float, float], ...]
    shift_ev: float


_EDGES = {
    "nickel": _Edge("Ni", 8333.0, "Bob Charge", "battery-cycling", "LiNi0.8Mn0.1Co0.1O2 cathode", ((6, 1.94, 0.006), (6, 2.87, 0.007)), 0.4),
    "manganese": _Edge("Mn", 6539.0, "Bob Charge", "battery-cycling", "LiMn2O4 cathode", ((6, 1.91, 0.005), (6, 2.88, 0.006)), 0.3),
    "dust": _Edge(
        "Fe", 7112.0, "Alice Névé", "alpine-ice", "Saharan dust filtered from ice core meltwater", ((6, 2.01, 0.009), (4, 3.05, 0.011)), 0.0
    ),
}


def absorption(subject: str, energy_ev: np.ndarray[Any, Any], scan: int) -> np.ndarray[Any, Any]:
    """µ·d without noise."""
    edge = _EDGES[subject]
    above = energy_ev - edge.energy_ev - edge.shift_ev * scan  # oxidation moves the edge up
    k = np.sqrt(0.2625 * np.maximum(above, 0.05))
    chi = sum(
        (0.9 * n / (k * r**2) * np.exp(-2 * s2 * k**2 - 2 * r / 7) * np.sin(2 * k * r - 0.6 - 0.25 * k) for n, r, s2 in edge.shells),
        np.zeros_like(k),
    )
    step = 0.5 + np.arctan(above / 1.4) / np.pi
    white_line = 0.55 * np.exp(-0.5 * ((above - 6) / 2.8) ** 2)
    # Victoreen's fall of the background, and χ only where scattering theory holds
    return 0.35 * (edge.energy_ev / energy_ev) ** 2.7 + step * (1 + chi * np.clip((above - 25) / 30, 0, 1)) + white_line


def write(path: Path, *, title: str, subject: str, start: datetime, seed: int, scan: int) -> None:
    """One NeXus file (NXxas): one scan."""
    edge = _EDGES[subject]
    energy = edge.energy_ev + np.concatenate([np.arange(-150, -20, 5.0), np.arange(-20, 40, 0.4), np.arange(40, 900, 2.5)])
    chance = np.random.default_rng([seed, scan])
    monitor = chance.poisson(2.0e6 * (1 - 0.02 * np.linspace(0, 1, energy.size)))
    mu = absorption(subject, energy, scan)
    transmitted = chance.poisson(monitor * np.exp(-mu))
    with h5py.File(path, "w") as file:
        entry = nexus.entry(
            file, title=title, definition="NXxas", start=start, end=start + SCAN_TIME - timedelta(seconds=30), user=edge.user, proposal=edge.proposal
        )
        instrument = nexus.group(entry, "instrument", "NXinstrument")
        nexus.put(instrument, "name", "xas")
        nexus.source(instrument)
        measured = nexus.put(nexus.group(instrument, "monochromator", "NXmonochromator"), "energy", energy, "eV")
        counts = nexus.put(nexus.group(instrument, "absorbed_beam", "NXdetector"), "data", transmitted, "counts")
        incoming = nexus.put(nexus.group(instrument, "incoming_beam", "NXdetector"), "data", monitor, "counts")
        nexus.put(entry, "element", edge.element)
        nexus.put(entry, "edge", "K")
        nexus.put(nexus.group(entry, "sample", "NXsample"), "name", edge.sample)
        data = nexus.group(entry, "data", "NXdata", signal="mu", axes=["energy"])
        nexus.put(data, "mu", np.log(incoming[()] / counts[()]), "1")
        nexus.link(data, "energy", measured)
