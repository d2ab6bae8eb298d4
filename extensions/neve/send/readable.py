"""Whether an HDF5 file opens as any other and its datasets can be read, asked in a process of its own: a library that crashes on a half-written
file must not take the agent with it.

It needs `h5py`, which the agent itself does without.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_LONGEST_S = 600.0
_ASK = "import sys; from neve.send.readable import look; look(sys.argv[1])"


def can_be_asked() -> bool:
    """Whether `h5py` is here."""
    return importlib.util.find_spec("h5py") is not None


def why_not(path: Path) -> str:
    """Why the file cannot be read; empty when it can."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", _ASK, str(path)], env=env, capture_output=True, text=True, errors="replace", timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"reading it took longer than {_LONGEST_S:.0f} seconds"
    if ended.returncode == 0:
        return ""
    said = ended.stderr.strip().splitlines()
    return said[-1][:300] if said else f"reading it ended with {ended.returncode}"


def look(path: str) -> None:
    """Open the file as readers do, and read the last piece of every dataset. Raises what stands in the way."""
    import h5py  # noqa: PLC0415 - not the agent's

    with h5py.File(path, "r") as file:
        file.visititems(lambda _name, found: _last(found) if isinstance(found, h5py.Dataset) else None)


def _last(dataset: Any) -> None:
    """Read the last chunk, or the last row, of a dataset. What lies in other files is not looked for."""
    shape = dataset.shape
    if shape is None or not all(shape) or dataset.is_virtual or dataset.external:
        return
    last = tuple(length - 1 for length in shape)
    if dataset.chunks is None:
        dataset[last]
        return
    at = tuple(place // step * step for place, step in zip(last, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks():  # as it stands: its filter may not be installed here
        info = dataset.id.get_chunk_info_by_coord(at)
        if info.size:
            dataset.id.read_direct_chunk(at)
