"""Scattering images: powder rings on a falling background, seen by a detector of 487 by 619 pixels of 172 µm.

The geometry is that of a wide-angle camera (0.8 Å, 180 mm), so that the rings of hexagonal ice (1.61, 1.71, 1.83 Å⁻¹) and of graphite
while lithium enters it (1.88 → 1.70 Å⁻¹: graphite, LiC12, LiC6) lie on the detector. q = 4π/λ · sin(½ atan(r/L)).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neve_hub.demo import nexus

WAVELENGTH_ANGSTROM = 0.8
DISTANCE_M = 0.18
PIXEL_M = 172e-6
FRAME_TIME = timedelta(seconds=60)

# (project's user, proposal, sample)
_ABOUT = {
    "graphite": ("Bob Charge", "battery-cycling", "graphite anode, LP57 electrolyte"),
    "ice": ("Alice Névé", "alpine-ice", "ice core, Glacier Blanc, 14 m"),
    "snow": ("Alice Névé", "snow-physics", "wind-packed snow, Col du Lautaret"),
}
# rings of ice Ih: (q in 1/Å, height): planes 100, 002, 101
_ICE = ((1.611, 1.0), (1.712, 0.55), (1.826, 0.8))
# stages of lithium in graphite: (state of charge, q in 1/Å): C, LiC12, LiC6
_STAGES = ((0.0, 1.876), (0.5, 1.790), (1.0, 1.698))


def write(path: Path, *, name: str, subject: str, start: datetime, seed: int, small: bool) -> None:
    """One NeXus file (NXsas): the images over time and their profile over q."""
    frames, size = (4, (155, 122)) if small else (22, (619, 487))
    pixel_m = PIXEL_M * 487 / size[1]  # the small detector covers the same angle with larger pixels
    center = (size[1] / 2 + 3.4, size[0] / 2 - 2.1)
    y, x = np.indices(size)
    q = 4 * np.pi / WAVELENGTH_ANGSTROM * np.sin(np.arctan(np.hypot(x - center[0], y - center[1]) * pixel_m / DISTANCE_M) / 2)
    chance = np.random.default_rng(seed)
    exposure = 14 * chance.uniform(0.8, 1.2)
    images = np.empty((frames, *size), np.int32)
    # The pattern depends on q alone: worked out once per fine step of q, not once per pixel.
    fine_q = np.linspace(0, q.max(), 4096)
    step_of = np.rint(q / fine_q[1]).astype(np.intp)
    lit = np.hypot(x - center[0], y - center[1]) >= 9 * PIXEL_M / pixel_m  # behind the beamstop it is dark
    for frame in range(frames):
        images[frame] = chance.poisson((_intensity(subject, fine_q, frame / (frames - 1)) * exposure)[step_of] * lit)
    edges = np.linspace(0.05, 2.4, 251 if not small else 101)
    ring = np.digitize(q.ravel(), edges)  # 0 and edges.size lie outside
    pixels = np.bincount(ring, minlength=edges.size + 1)[1:-1]
    profile = np.stack([np.bincount(ring, image.ravel(), edges.size + 1)[1:-1] for image in images]) / np.maximum(pixels, 1)
    _save(path, name, subject, start, images, edges, profile, center, pixel_m)


def _intensity(subject: str, q: np.ndarray[Any, Any], progress: float) -> np.ndarray[Any, Any]:
    """Counts per pixel: Porod's falling background, air, and rings; `progress` goes from 0 to 1 over the measurement."""
    intensity: np.ndarray[Any, Any] = 0.02 / np.maximum(q, 0.04) ** 3 + 0.35
    if subject == "graphite":
        charge = progress
        for stage, place in _STAGES:
            share = max(0.0, 1 - abs(charge - stage) / 0.5)
            intensity += 3.2 * share * np.exp(-0.5 * ((q - place) / 0.012) ** 2)
        return intensity
    # Ice coarsens while it is watched: sharper and higher rings; snow has finer grains than ice from a core.
    width = (0.011 if subject == "ice" else 0.020) * (1 - 0.3 * progress)
    for place, height in _ICE:
        intensity += 3.0 * height * (0.011 / width) * np.exp(-0.5 * ((q - place) / width) ** 2)
    return intensity


def _save(
    path: Path,
    name: str,
    subject: str,
    start: datetime,
    images: np.ndarray[Any, Any],
    edges: np.ndarray[Any, Any],
    profile: np.ndarray[Any, Any],
    center: tuple[float, float],
    pixel_m: float,
) -> None:
    user, proposal, sample_name = _ABOUT[subject]
    frames = len(images)
    with h5py.File(path, "w") as file:
        entry = nexus.entry(file, title=name, definition="NXsas", start=start, end=start + frames * FRAME_TIME, user=user, proposal=proposal)
        instrument = nexus.group(entry, "instrument", "NXinstrument")
        nexus.put(instrument, "name", "saxs")
        nexus.source(instrument)
        monochromator = nexus.group(instrument, "monochromator", "NXmonochromator")
        nexus.put(monochromator, "wavelength", WAVELENGTH_ANGSTROM, "angstrom")
        nexus.put(monochromator, "energy", nexus.SPEED_OF_LIGHT_KEV_ANGSTROM / WAVELENGTH_ANGSTROM, "keV")
        detector = nexus.group(instrument, "detector", "NXdetector")
        counts = nexus.put(detector, "data", images, "counts", chunks=(1, *images.shape[1:]), compression="gzip", compression_opts=3, shuffle=True)
        for key, value, units in (
            ("distance", DISTANCE_M, "m"),
            ("x_pixel_size", pixel_m, "m"),
            ("y_pixel_size", pixel_m, "m"),
            ("beam_center_x", center[0], "pixel"),
            ("beam_center_y", center[1], "pixel"),
            ("count_time", FRAME_TIME.total_seconds(), "s"),
        ):
            nexus.put(detector, key, value, units)
        sample = nexus.group(entry, "sample", "NXsample")
        nexus.put(sample, "name", sample_name)
        nexus.put(sample, "temperature", 298.0 if subject == "graphite" else 263.0, "K")
        time_s = np.arange(frames) * FRAME_TIME.total_seconds()
        data = nexus.group(entry, "data", "NXdata", signal="data", axes=["time", "y", "x"])
        nexus.link(data, "data", counts)
        nexus.put(data, "time", time_s, "s")
        nexus.put(data, "y", (np.arange(images.shape[1]) - center[1]) * pixel_m * 1e3, "mm")
        nexus.put(data, "x", (np.arange(images.shape[2]) - center[0]) * pixel_m * 1e3, "mm")
        averaged = nexus.group(entry, "profile", "NXdata", signal="I", axes=["time", "q"])
        nexus.put(averaged, "I", profile.astype(np.float32), "counts/pixel")
        nexus.put(averaged, "time", time_s, "s")
        nexus.put(averaged, "q", (edges[:-1] + edges[1:]) / 2, "1/angstrom")
