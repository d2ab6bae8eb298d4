"""A dataset as an intake reader: `.read()`, `.to_dask()`, `.path`, `.files`.

Law: each read asks the archiver first where the data are now, reads whole (nothing that stays open can fail later), and tells in one line
when it read an archive copy in place. What cannot be read says why as a NeveError: ColdDataError, StillArriving, UnreadableData, StoreUnavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from intake.readers.readers import BaseReader

from neve import images, netcdf, nexus, records, scans, seismic, tables
from neve.client import Client, connect
from neve.errors import ColdDataError, NeveError, NotFound, StillArriving, StoreUnavailable, UnreadableData
from neve.sources import Handle, UnreachableError, data_folder, places, readable_copies
from neve.wording import size_text, tier_text, time_text

if TYPE_CHECKING:
    import xarray as xr

    from neve.restores import Restoration

FORMATS = ("nexus", "hdf5", "netcdf4", "netcdf3")
"""Formats that `.read()` makes labelled arrays of."""
IMAGES = ("edf", "cbf", "tiff", "marccd", "mar345", "png", "jpeg")
"""Formats that `.read()` makes an `Image` of: numpy with its header."""
TABLES = ("csv", "tsv", "columns")
TEXTS = (*TABLES, "spec", "mca")
"""Formats that `.read()` makes a table of (pandas)."""
READABLE = (*FORMATS, *IMAGES, *TEXTS, "miniseed")
_OUTPUTS = {
    **dict.fromkeys(FORMATS, "xarray:Dataset"),
    **dict.fromkeys(IMAGES, "neve.images:Image"),
    **dict.fromkeys(TEXTS, "pandas:DataFrame"),
    "miniseed": "builtins:list",
}

T = TypeVar("T")


class DatasetReader(BaseReader):  # type: ignore[misc]
    """One dataset of the catalog. `name` is its full name; `metadata` what the catalog knows of it (tier, size, dates, and what its files say)."""

    imports = {"xarray", "h5py", "netCDF4", "h5netcdf", "s3fs", "pandas", "fabio", "pymseed"}  # noqa: RUF012 - intake's own form
    output_instance = "xarray:Dataset"

    def __init__(self, dataset: str, url: str | None = None, *, metadata: dict[str, Any] | None = None, output_instance: str | None = None) -> None:
        """`dataset`: full name; `url`: the archiver ($NEVE_API_URL). The token comes from the environment: it is never kept here."""
        super().__init__(metadata=metadata, output_instance=output_instance, dataset=dataset, url=url)
        self._given: Client | None = None
        self._seen: records.Dataset | None = None

    @classmethod
    def of(cls, client: Client, dataset: records.Dataset) -> DatasetReader:
        """The reader of a dataset that was just looked up."""
        made = _OUTPUTS.get(dataset.format or "")
        reader = cls(dataset.full_name, client.url, metadata=entry_metadata(dataset), output_instance=made)
        reader._given = client
        reader._seen = dataset
        return reader

    def __getattr__(self, name: str) -> Any:
        # intake would make a pipeline out of any misspelt name; those that are meant are made with .apply(…) and .transform.
        raise AttributeError(f"A dataset has no {name!r}; it has .read(), .to_dask(), .h5(), .path, .files, .metadata and .restore().")

    def __call__(self, **changes: Any) -> DatasetReader:
        other = type(self)(**{**self.kwargs, **changes}, metadata=self.metadata)
        if not changes:
            other.__dict__.update({name: self.__dict__[name] for name in ("_given", "_seen")})
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the client, which holds a token, and without what was seen: whoever unpickles it looks for themselves.
        return _again, (dict(self.kwargs), dict(self.metadata), self.output_instance)

    @property
    def name(self) -> str:
        return str(self.kwargs["dataset"])

    @property
    def path(self) -> Path:
        """The dataset's folder on this machine: always the same, whether its files are there now or not."""
        return data_folder() / self._record().prefix

    @property
    def files(self) -> list[str]:
        """Names of its files, relative to `path`, in order."""
        return [file.path for file in self.client().files(self._record().id)]

    @property
    def info(self) -> records.Dataset:
        """What the archiver knows of it at this moment."""
        return self._refresh()

    def restore(self, files: str | None = None, days: int | None = None) -> Restoration:
        """Ask for it back into fast storage; see `neve.restore`."""
        from neve.restores import restore_dataset  # noqa: PLC0415 - not needed for reading

        return restore_dataset(self.client(), self._refresh(), files, days)

    def _read(self, file: str | None = None, scan: str | None = None, **_kwargs: Any) -> Any:
        """What one file holds, in memory: `file` by name, else the first that neve can read. `scan`: of a SPEC file, `"3"` or `"3.2"`.

        NeXus, HDF5 and netCDF: an xarray Dataset; images: an `Image` (numpy with its header); CSV, columns, SPEC, MCA: a pandas DataFrame;
        miniSEED: an ObsPy stream where ObsPy is installed, else a list of `Trace`.
        """

        def load(handle: Handle, found: records.File, source: str) -> Any:
            return _load(handle, found, source, scan)

        return self.from_anywhere(file, load)

    def to_dask(self, file: str | None = None) -> xr.Dataset:
        """The same as `.read()`, but its arrays are dask arrays, in whole chunks of the file, read when computed; each is found like a read is.

        For NeXus, HDF5 and netCDF; images, tables and traces are read whole. Workers in other processes read as who they are there ($NEVE_API_URL,
        $JUPYTERHUB_API_TOKEN): no token goes with the task.
        """
        from neve.chunked import Arrays, lazy  # noqa: PLC0415 - dask is heavy

        return lazy(Arrays(self, file))

    @contextmanager
    def h5(self, file: str | None = None) -> Iterator[Any]:
        """`with cat[name].h5() as f:` the file as h5py has it, wherever it lies, open until the block ends. For all that has no plot of its own."""
        dataset, found = self._chosen(file, ("nexus", "hdf5", "netcdf4"))
        if found.format not in {"nexus", "hdf5", "netcdf4"}:
            raise UnreadableData(f"{found.path} of {dataset.full_name} is no HDF5 ({found.format or 'unknown format'}).", "Try .read(), or .path.")
        reasons: list[str] = []
        for copy, place in places(self.client(), dataset, found):
            given, own = False, None
            try:
                with place.open() as handle:
                    opened = _understood(lambda handle, _file, _source: nexus.open_h5(handle), handle, dataset, found, place.source)
                    self._say_where(copy, dataset, found)
                    with opened:
                        given = True
                        try:
                            yield opened
                        except OSError as error:
                            if error.errno is None:
                                raise  # HDF5's: the place failed, or the bytes
                            own = error
            except UnreachableError as error:
                reasons.append(str(error))
                if given:
                    break
            else:
                if own is not None:
                    raise own
                return
        raise self._unreachable(reasons)

    def from_anywhere(
        self, name: str | None, use: Callable[[Handle, records.File, str], T], *, quiet: bool = False, keep: ExitStack | None = None
    ) -> T:
        """`use(handle, file, source)` on the first place that gives the file's bytes. `keep` takes over what is open then, else it is closed."""
        reasons: list[str] = []
        for _ in range(2):  # a copy may go, or come, between the question and the read: then ask once more
            dataset, file = self._chosen(name, READABLE)
            reasons = []
            for copy, place in places(self.client(), dataset, file):
                try:
                    with ExitStack() as opened:
                        handle = opened.enter_context(place.open())
                        result = _understood(use, handle, dataset, file, place.source)
                        if keep is not None:
                            keep.push(opened.pop_all())
                except UnreachableError as error:
                    reasons.append(str(error))
                    continue
                if not quiet:
                    self._say_where(copy, dataset, file)
                return result
        raise self._unreachable(reasons)

    @staticmethod
    def _say_where(copy: records.Copy, dataset: records.Dataset, file: records.File) -> None:
        if copy.tier != "hot":
            _tell(f"{dataset.full_name} was read in place from the {tier_text(copy.tier)} ({size_text(file.size_bytes)}).")

    def _unreachable(self, reasons: list[str]) -> NeveError:
        if any("InvalidObjectState" in reason for reason in reasons):
            return self._cold(self._refresh())
        return StoreUnavailable(
            f"{self.name} cannot be reached now: {'; '.join(reasons)}.",
            "Try again in a moment; if it stays so, tell whoever runs your Névé.",
            reasons,
        )

    def _chosen(self, name: str | None, formats: tuple[str, ...]) -> tuple[records.Dataset, records.File]:
        dataset = self._refresh()
        return dataset, self._file(dataset, name, formats)

    def _file(self, dataset: records.Dataset, name: str | None, formats: tuple[str, ...]) -> records.File:
        """The file to read, known to have a copy that can be read; unnamed, the first of the first of `formats` that there is."""
        if dataset.readable == "never":
            raise NotFound(f"{dataset.full_name} was erased: nothing of it is left.", "Its history on the catalog page says when.")
        files = self.client().files(dataset.id)
        if name is None:
            known = [file for file in files if file.format in formats]
            with_arrays = [file for file in known if file.format in FORMATS]  # a measurement, rather than the log beside it
            chosen = next(iter(with_arrays or known or files), None)
        else:
            chosen = next((file for file in files if file.path == name), None)
        if (dataset.state == "open" and dataset.readable == "not_yet") or (chosen is not None and chosen.state != "received"):
            raise StillArriving(f"{dataset.full_name} is still arriving: {dataset.file_count} file(s) so far.", "Read it when it has been closed.")
        if chosen is None and name is not None:
            listed = ", ".join(file.path for file in files[:5]) + (", …" if len(files) > 5 else "")
            raise NotFound(f"{dataset.full_name} has no file {name!r}.", f"It has: {listed}." if files else "It has no files.")
        if chosen is None:
            raise UnreadableData(f"{dataset.full_name} has no files.", "Choose another dataset.")
        if not readable_copies(dataset, chosen):
            raise self._cold(dataset)
        return chosen

    def _cold(self, dataset: records.Dataset) -> NeveError:
        if dataset.tier is None and dataset.problem:
            return StoreUnavailable(f"{dataset.full_name} has no full copy: {dataset.problem}.", "Tell whoever runs your Névé.")
        running = None
        if dataset.restore is not None and dataset.restore.running:
            running = records.RESTORE_STATES[dataset.restore.state]
            if dataset.restore.promised_by is not None:
                running += f", promised by {time_text(dataset.restore.promised_by)}"
        return ColdDataError(dataset.full_name, dataset.tier or "deep", dataset.back_within_s, running)

    def client(self) -> Client:
        return self._given or connect(self.kwargs["url"])

    def _record(self) -> records.Dataset:
        """What was known last: enough for what never changes."""
        return self._seen or self._refresh()

    def _refresh(self) -> records.Dataset:
        self._seen = self.client().find(self.name) if self._seen is None else self.client().dataset(self._seen.id)
        self.metadata = entry_metadata(self._seen)
        return self._seen

    def __repr__(self) -> str:
        seen = self.metadata
        if not seen:
            return f"<Dataset {self.name}>"
        # From a YAML file the times come as text.
        day = {name: str(seen[name])[:10] for name in ("when", "hot_until") if seen.get(name)}
        until = f" until {day['hot_until']}" if "hot_until" in day and seen["tier"] == "hot" else ""
        return (
            f"<Dataset {self.name}: {size_text(seen['size_bytes'])} in {seen['file_count']} file(s), {day['when']}, {tier_text(seen['tier'])}{until}>"
        )


def _again(kwargs: dict[str, Any], metadata: dict[str, Any], output_instance: str) -> DatasetReader:
    return DatasetReader(**kwargs, metadata=metadata, output_instance=output_instance)


def entry_metadata(dataset: records.Dataset) -> dict[str, Any]:
    """What an entry of the catalog tells without being read."""
    own = ("project", "instrument", "title", "format", "tier", "readable", "size_bytes", "file_count", "received_at", "acquired_at", "hot_until")
    return {**{name: getattr(dataset, name) for name in own}, "when": dataset.when, "measured": dict(dataset.metadata)}


def _understood(use: Callable[[Handle, records.File, str], T], handle: Handle, dataset: records.Dataset, file: records.File, source: str) -> T:
    """`use(handle)`, with what the formats' libraries raise for bytes they do not understand as UnreadableData."""
    where = f"{file.path} of {dataset.full_name}"
    if file.format not in READABLE:
        raise UnreadableData(f"{where} holds no arrays that neve knows ({file.format or 'unknown format'}).", f"Its bytes are at {source}.")
    try:
        return use(handle, file, source)
    except UnreadableData as error:
        raise UnreadableData(f"{where}: {error.detail}", f"{error.next_step} Its bytes are at {source}.") from None
    except (NeveError, UnreachableError):
        raise
    except Exception as error:  # for damaged bytes the libraries raise anything: AssertionError (fabio), SyntaxError (Pillow), struct.error
        if isinstance(error, OSError) and (error.errno is not None or "errno = " in str(error)):
            raise  # the place failed, not the format
        known = f"; on arrival: {file.metadata_error}" if file.metadata_error else ""
        raise UnreadableData(f"{where} cannot be understood ({error}{known}).", f"Its bytes are kept as they came, at {source}.") from error


def _load(handle: Handle, file: records.File, source: str, scan: str | None) -> Any:
    kind = str(file.format)
    if scan is not None and kind != "spec":
        raise UnreadableData(f"only SPEC files have scans; this is {kind}.", "Leave scan= out.")
    if kind in FORMATS:
        data = netcdf.read(handle, 3 if kind == "netcdf3" else 4) if kind.startswith("netcdf") else nexus.read(handle)
        data.encoding["source"] = source
        return data
    if kind in IMAGES:
        return images.read(handle, kind)
    if kind in TABLES:
        return tables.read(handle, file.metadata)
    if kind == "miniseed":
        return seismic.read(handle)
    return scans.read_spec(handle, scan) if kind == "spec" else scans.read_mca(handle)


def _tell(sentence: str) -> None:
    """One line for the person: below the cell in a notebook, else on stderr."""
    stream = sys.stdout if "ipykernel" in sys.modules else sys.stderr
    stream.write(f"{sentence}\n")
    stream.flush()
