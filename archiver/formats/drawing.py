"""Arrays become previews: block means of an image, the least and greatest of each stretch of a line.

Law: bounded work and bounded size, whatever the array. Sizes are those of `Preview`; what is drawn is what is told in `plot`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from archiver.formats.preview import PREVIEW_MAX_BYTES, Preview
from archiver.formats.reading import without_blanks
from archiver.formats.times import iso

EDGE_MAX = 256  # pixels of the picture
GRID_MAX = 64  # values of the plot along an edge
POINTS_MAX = 1_000  # of all lines together
SERIES_MAX = 4  # more lines in one picture cannot be told apart
STRETCH_MAX = 65_536  # values of one stretch that are looked at; a longer line is sampled
BAND_MAX = 2**22  # pixels that are averaged at once
PIXELS_MAX = 2**26  # of one image that are averaged; of a larger one every second (third …) row and column
WHOLE_MAX = 2**20  # values of a line that are read at once
# viridis, in nine steps: even in lightness, readable by the colour-blind
_VIRIDIS = ((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37))
_COLOURS = ("#1f4e79", "#c4501b", "#3a7d44", "#7b4b94")

Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound; ours is looked at before anything is unpacked
Reader = Callable[[int, int], "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Axis:
    """One axis: its name, and its values where the file has them."""

    name: str
    units: str | None = None
    values: np.ndarray[Any, Any] | None = None

    def said(self) -> dict[str, Any]:
        ends = _finite(self.values) if self.values is not None and self.values.size else np.empty(0)
        span = dict(zip(("min", "max"), _short([ends.min(), ends.max()]), strict=True)) if ends.size else {}
        return without_blanks({"name": self.name, "units": self.units, **span})


@dataclass(frozen=True)
class Line:
    """A line of `count` values: `y(start, stop)` reads some, `x` likewise (without it, the index counts from x_start by x_step)."""

    name: str
    count: int
    y: Reader
    x: Reader | None = None
    units: str | None = None
    x_start: float = 0.0
    x_step: float = 1.0

    def at(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """x at these indices."""
        if self.x is None:
            return self.x_start + places * self.x_step
        return np.array([np.asarray(self.x(int(place), int(place) + 1), "f8")[0] for place in places])


def of_array(values: np.ndarray[Any, Any]) -> Reader:
    """A reader of an array that is in memory."""
    return lambda start, stop: values[start:stop]


def image(values: np.ndarray[Any, Any], signal: dict[str, Any], axes: list[Axis]) -> Preview | None:
    """A two-dimensional array of numbers as picture and plot; `signal` says its name, units, shape and frame."""
    if values.ndim != 2 or not values.size or values.dtype.kind not in "iufb":
        return None
    thin = math.ceil(math.sqrt(values.size / PIXELS_MAX))
    values = values[::thin, ::thin]
    mask = _masked(values)
    rows, columns = values.shape
    together = max(rows, columns) < 8 * min(rows, columns)  # else a strip: each edge by itself
    steps = [math.ceil((max(rows, columns) if together else edge) / EDGE_MAX) for edge in (rows, columns)]
    small = _block_means(values, steps[0], steps[1], mask)
    grid = _block_means(small, math.ceil(small.shape[0] / GRID_MAX), math.ceil(small.shape[1] / GRID_MAX), None)
    finite = _finite(small)
    if not finite.size:
        return None
    least, greatest = _ends(values, mask)
    shown = _short(grid.ravel(), 4)
    plot = {
        "kind": "image",
        "signal": {**signal, "min": _short([least])[0], "max": _short([greatest])[0]},
        "axes": [axis.said() for axis in axes],
        "values": [shown[start : start + grid.shape[1]] for start in range(0, grid.size, grid.shape[1])],
    }
    return _fitting(_colours(small, finite), plot)


def lines(kind: str, lines_: list[Line], axis: Axis, *, time: bool = False) -> Preview | None:
    """Lines over one axis as picture and plot. With `time`, x is in seconds since 1970."""
    series, drawn = [], []
    shown = [line for line in lines_ if line.count > 0][:SERIES_MAX]
    for line in shown:
        x, y, sampled = _envelope(line, POINTS_MAX // len(shown))
        if not _finite(y).size:
            continue
        drawn.append((x, y))
        said = {"name": line.name, "units": line.units, "count": line.count, "sampled": sampled or None}
        spelled = [_moment(value) for value in x] if time else _short(x, 9)
        series.append({**without_blanks(said), "x": spelled, "y": _short(y)})
    if not series:
        return None
    plot = {"kind": kind, "axes": [without_blanks({"name": axis.name, "units": axis.units, "time": time or None})], "series": series}
    return _fitting(_drawn(drawn, stacked=kind == "waveform"), plot)


def photo(picture: Image.Image) -> Preview:
    """A picture as a smaller one."""
    small = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    small.thumbnail((EDGE_MAX, EDGE_MAX))
    flat = Image.new("RGB", small.size, "white")
    flat.paste(small, mask=small if small.mode == "RGBA" else None)
    return _fitting(flat.quantize(256, dither=Image.Dither.NONE), None)


def _fitting(picture: Image.Image, plot: dict[str, Any] | None) -> Preview:
    """The preview, its plot and then its picture made smaller until both fit."""
    edge = EDGE_MAX
    while True:
        png = io.BytesIO()
        picture.save(png, "PNG")
        told_bytes = len(json.dumps(plot, allow_nan=False)) if plot else 0
        if png.tell() + told_bytes <= PREVIEW_MAX_BYTES:
            return Preview(png.getvalue(), plot)
        if plot and told_bytes > PREVIEW_MAX_BYTES // 3:  # very long names, or an image whose values need many digits
            plot = _thinner(plot)
            continue
        edge = edge * 3 // 4
        picture = picture.copy()
        picture.thumbnail((edge, edge), Image.Resampling.NEAREST)


def _thinner(plot: dict[str, Any]) -> dict[str, Any] | None:
    if plot["kind"] == "image" and len(plot["values"]) > 2:
        return {**plot, "values": [row[::2] for row in plot["values"][::2]]}
    if plot["kind"] != "image" and len(plot["series"]) > 1:
        return {**plot, "series": plot["series"][:-1]}
    return None


def _finite(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    flat = values.ravel()
    return flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat


def _masked(values: np.ndarray[Any, Any]) -> int | None:
    """The value that detectors give to pixels that do not count: the greatest of an unsigned type (DECTRIS)."""
    if values.dtype.kind != "u" or values.dtype.itemsize < 2:
        return None
    most = int(np.iinfo(values.dtype).max)
    return most if 0 < np.count_nonzero(values == most) < values.size // 2 else None


def _ends(values: np.ndarray[Any, Any], mask: int | None) -> tuple[float, float]:
    if mask is not None:
        values = values[values != mask]
    if values.dtype.kind == "f":
        values = _finite(values)
    return (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)


def _block_means(values: np.ndarray[Any, Any], row_step: int, column_step: int, mask: int | None) -> np.ndarray[Any, Any]:
    """Means of blocks of row_step × column_step, NaN where a block has no value; in bands, so that memory stays bounded."""
    rows, columns = values.shape
    starts = np.arange(0, columns, column_step)
    band = max(1, BAND_MAX // (columns * row_step)) * row_step
    done = []
    for top in range(0, rows, band):
        piece = values[top : top + band]
        good = np.isfinite(piece) if mask is None else piece != mask
        whole = np.where(good, piece, 0).astype("f8")
        inner = np.arange(0, piece.shape[0], row_step)
        with np.errstate(all="ignore"):  # sums of doubles near their end
            sums = np.add.reduceat(np.add.reduceat(whole, inner, 0), starts, 1)
            counts = np.add.reduceat(np.add.reduceat(good.astype("i8"), inner, 0), starts, 1)
            means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        done.append(np.where(np.isfinite(means), means, np.nan))
    return np.concatenate(done)


def _colours(small: np.ndarray[Any, Any], finite: np.ndarray[Any, Any]) -> Image.Image:
    """The picture in false colours: percentiles as ends, a logarithm where a few bright spots would leave all else dark."""
    low, middle, high = (float(value) for value in np.percentile(finite, (1, 50, 99.5)))
    shifted = np.where(np.isfinite(small), small, low)
    with np.errstate(all="ignore"):
        if low >= 0 and high > 50 * max(middle, 1e-300):
            scaled = np.log1p(np.clip(shifted - low, 0, high - low) / max((high - low) / 1e3, 1e-300)) / math.log1p(1e3)
        else:
            scaled = (shifted - low) / (high - low) if high - low > 0 and math.isfinite(high - low) else np.zeros_like(shifted)
        level = np.clip(np.nan_to_num(scaled), 0, 1) * 255
    picture = Image.fromarray(level.astype("u1"), "L")
    grow = EDGE_MAX // max(picture.size)
    if grow > 1:
        picture = picture.resize((picture.width * grow, picture.height * grow), Image.Resampling.NEAREST)
    places = np.linspace(0, len(_VIRIDIS) - 1, 256)
    channels = [np.interp(places, np.arange(len(_VIRIDIS)), [colour[index] for colour in _VIRIDIS]) for index in range(3)]
    coloured = Image.frombytes("P", picture.size, picture.tobytes())
    coloured.putpalette(np.stack(channels, 1).round().astype("u1").tobytes())
    return coloured


def _envelope(line: Line, points: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], bool]:
    """At most `points` points of a line: all, or the least and the greatest of each stretch, in order; a gap in a stretch is one too."""
    holes = False
    if line.count <= WHOLE_MAX:  # one read instead of one for each stretch
        whole = np.asarray(line.y(0, line.count), "f8")
        holes = not np.isfinite(whole).all()
        line = replace(line, y=of_array(whole), x=of_array(np.asarray(line.x(0, line.count))) if line.x else None)
    if line.count <= points:
        y = np.asarray(line.y(0, line.count), "f8")
        return line.at(np.arange(len(y))) if line.x is None else np.asarray(line.x(0, len(y)), "f8"), y, False
    stretch = -(-line.count // (points // (3 if holes else 2)))
    width = min(stretch, STRETCH_MAX)
    at_once = max(1, WHOLE_MAX // stretch) if width == stretch else 1  # stretches
    places, found = [], []
    for first in range(0, line.count, stretch * at_once):
        starts = np.arange(first, min(first + stretch * at_once, line.count), stretch)
        values = np.asarray(line.y(first, min(first + width * at_once, line.count)), "f8")
        values = np.concatenate([values, np.full(-len(values) % width, values[-1])]).reshape(len(starts), width)
        good = np.isfinite(values)
        marks = [np.where(good, values, np.inf).argmin(1), np.where(good, values, -np.inf).argmax(1)]
        if holes:
            marks.append(np.where(good.all(1), marks[0], good.argmin(1)))
        ends = np.sort(np.stack(marks), 0)
        once = np.concatenate([np.ones((1, len(starts)), bool), np.diff(ends, axis=0) > 0]).T
        places.append((ends + starts).T[once])
        found.append(values[np.arange(len(starts)), ends].T[once])
    return line.at(np.minimum(np.concatenate(places), line.count - 1)), np.concatenate(found), width < stretch


def _drawn(drawn: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]], *, stacked: bool) -> Image.Image:
    """Each line over its own height, one above the other where `stacked`: channels of a waveform look alike."""
    width, height, margin = EDGE_MAX * 2, EDGE_MAX * 5 // 4, 12  # twice the size, then halved: smooth lines
    xs = _finite(np.concatenate([x for x, _ in drawn]))
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((margin // 2, margin // 2, width - margin // 2, height - margin // 2), outline="#c8ccd0")
    left, right = (float(xs.min()), float(xs.max())) if xs.size else (0.0, 1.0)
    for index, (x, y) in enumerate(drawn):
        finite = _finite(y)
        low, high = float(finite.min()), float(finite.max())
        across = _scaled(x, left, right) * (width - 2 * margin) + margin
        band = (height - 2 * margin) / (len(drawn) if stacked else 1)
        down = margin + band * (index * stacked + 1 - _scaled(y, low, high))
        good = np.isfinite(across) & np.isfinite(down)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], good, [False])).astype("i1")))  # where runs of values begin and end
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            run = [(float(a), float(b)) for a, b in zip(across[start:stop], down[start:stop], strict=True)]
            if len(run) > 1:
                pen.line(run, fill=_COLOURS[index % len(_COLOURS)], width=3)
            else:
                pen.ellipse((run[0][0] - 3, run[0][1] - 3, run[0][0] + 3, run[0][1] + 3), fill=_COLOURS[index % len(_COLOURS)])
    return picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS).quantize(64, Image.Quantize.FASTOCTREE)


def _scaled(values: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        span = high - low
        return (values - low) / span if span > 0 and math.isfinite(span) else np.where(np.isfinite(values), 0.5, np.nan)


def _short(values: Any, digits: int = 6) -> list[float | None]:
    """Numbers in few characters; None for what JSON cannot say."""
    numbers = np.asarray(values, "f8")
    with np.errstate(all="ignore"):
        places = np.clip(digits - 1 - np.floor(np.log10(np.abs(np.where(numbers == 0, 1, numbers)))), -300, 300)
        # dividing by a whole power of ten gives the number that prints short; multiplying by its inverse would not
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        short = np.rint(numbers * up / down) / up * down
    return [value if math.isfinite(value) else None for value in np.where(np.isfinite(short), short, numbers).tolist()]


def _moment(seconds: float) -> str | None:
    try:
        return iso(datetime.fromtimestamp(float(seconds), UTC))
    except (ValueError, OverflowError, OSError):
        return None
