"""CSV, TSV and columns between blanks → pandas, by what the archiver found out about the file when it arrived.

Law: one description of a table, the archiver's (`metadata`: delimiter, encoding, decimal sign, columns with units, lines to skip); here it is only
applied. Times become times where they are written as ISO 8601 says; other spellings stay text rather than be guessed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from neve.errors import UnreadableData
from neve.local import whole

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

_COMMENT = ("#", "%", "!", "//", "*", "'")
_MISSING = ["na", "NA", "n/a", "N/A", "nan", "NaN", "null", "none", "None", "-", "--", "?", ""]


def read(handle: Path | BinaryIO, said: Mapping[str, Any]) -> pd.DataFrame:
    """The whole table. `attrs["units"]` has the columns' units, `attrs["header"]` what stands above them. Raises `UnreadableData`."""
    import pandas as pd  # noqa: PLC0415 - heavy

    if "skip_rows" not in said:
        raise UnreadableData("how its columns are written is not known (yet).", "Read it with pandas: its path is .path / its name.")
    lines = whole(handle).decode(said["encoding"], "replace").splitlines(keepends=True)[int(said["skip_rows"]) :]
    body = "".join(line for line in lines if line.strip() and not line.startswith(_COMMENT))
    delimiter = said.get("delimiter")
    try:
        frame = pd.read_csv(
            io.StringIO(body),
            sep=r"\s+" if delimiter is None else delimiter,
            header=None,
            names=_names(said),
            index_col=False,
            decimal="," if said.get("decimal_comma") else ".",
            na_values=_MISSING,
            skipinitialspace=True,
        )
    except pd.errors.ParserError as error:
        raise UnreadableData(f"its rows do not agree ({error}).", "Read it with pandas and on_bad_lines, from its path.") from None
    for name, column in zip(frame.columns, said["columns"], strict=False):
        if column["dtype"] == "time" and not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = _times(frame[name], said)
    frame.attrs.update(
        units={name: column["units"] for name, column in zip(frame.columns, said["columns"], strict=False) if column.get("units")},
        header=dict(said.get("header") or {}),
    )
    return frame


def _names(said: Mapping[str, Any]) -> list[str]:
    """A name for each column; the second of a name is told apart by its number."""
    names: list[str] = []
    described = [column["name"] for column in said["columns"]]
    for index in range(int(said["column_count"])):
        name = described[index] if index < len(described) else f"column {index + 1}"
        names.append(name if name not in names else f"{name} ({index + 1})")
    return names


def _times(column: pd.Series, said: Mapping[str, Any]) -> pd.Series:
    import pandas as pd  # noqa: PLC0415

    try:
        times = pd.to_datetime(column, format="ISO8601")
    except (ValueError, TypeError):
        return column
    if times.dt.tz is not None:
        return times.dt.tz_convert("UTC")
    zone = said.get("time_zone")
    return times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC") if zone else times
