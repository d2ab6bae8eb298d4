"""What there is to see of a file without opening it: a thumbnail and a few points to plot. Kept for ever, so small for ever."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

PREVIEW_MAX_BYTES = 100_000  # picture and plot together, the plot as ASCII JSON


@dataclass(frozen=True)
class Preview:
    """`png`: a picture of at most 256 × 256 pixels. `plot`: JSON-ready, no NaN (null stands for a missing value), one of

    - {"kind": "image", "signal": {name, units?, shape, frame?, min, max}, "axes": [{name, units?, min?, max?} rows, columns],
      "values": [[…]…] block means, at most 64 × 64}
    - {"kind": "line" | "waveform", "axes": [{name, units?, time?}], "series": [{name, units?, count, sampled?, x: […], y: […]}…]}
      at most 1,000 points in all: the least and the greatest of each stretch, so that no peak is lost; x in ISO 8601 where `time` is true.
    """

    png: bytes | None
    plot: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As it goes through the child's pipe."""
        return {"png": base64.b64encode(self.png).decode("ascii") if self.png else None, "plot": self.plot}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Preview:
        """The other way. Raises ValueError where it is no preview."""
        png, plot = said.get("png"), said.get("plot")
        if not isinstance(png, str | None) or not isinstance(plot, dict | None):
            raise ValueError("no preview")  # noqa: TRY004  what came through the pipe has the wrong value
        return cls(base64.b64decode(png, validate=True) if png else None, plot)
