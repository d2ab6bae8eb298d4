"""What `neve send` offers: the files at and below the given paths, with the sums that manifests among them or given with --sums say they must have.

Law: a manifest that lies among the files counts without being named; one that cannot be read, and a file that it names and that is not there, are
failures: a dataset that is not what its manifest says is not closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from neve.errors import WrongUse
from neve.send.source import Skipped, Source, local_path, name_of, scan, shown
from neve.send.sums import is_manifest, read_sums, sums_below


class Offer:
    """`sums` grows while `sources()` is gone through: a folder's manifests are read before its files come."""

    def __init__(self, paths: list[Path], manifest: Path | None) -> None:
        for path in paths:
            if not os.path.lexists(path):
                raise WrongUse(f"There is no {shown(path)}.", "Name files or folders that are there.")
        if next(scan(paths, lambda _skipped: None), None) is None:
            raise WrongUse(f"There is no file at {', '.join(map(shown, paths))} that can be read.", "Name files, or folders that hold some.")
        self.paths = paths
        self.sums: dict[bytes, str] = {}
        self._skipped: list[Skipped] = []
        self._missing: dict[bytes, Path] = {}
        if manifest is not None:
            self._given(local_path(manifest))

    def sources(self) -> Iterator[Source | Skipped]:
        """Files, and what is left out, as they are found."""
        for path in self.paths:
            beside = local_path(path).with_name(f"{path.name}.sha256") if path.is_file() else None
            if beside is not None and beside.is_file():
                self._read(beside, b"")
        for source in scan(self.paths, self._skipped.append, self._folder):
            yield from self._left_out()
            self._missing.pop(source.name, None)
            yield source
        yield from self._left_out()
        for name, manifest in self._missing.items():
            yield Skipped(manifest, f"names {shown(name)}, which is not there", failed=True)

    def _left_out(self) -> Iterator[Skipped]:
        yield from self._skipped
        self._skipped.clear()

    def _folder(self, folder: Path, prefix: bytes, names: list[str]) -> None:
        for name in names:
            if is_manifest(name) and (folder / name).is_file() and not (folder / name).is_symlink():
                self._read(folder / name, prefix)

    def _read(self, manifest: Path, prefix: bytes) -> None:
        try:
            sums = read_sums(manifest)
        except WrongUse as error:
            self._skipped.append(Skipped(manifest, f"cannot be used: {error.detail}", failed=True))
            return
        except OSError as error:
            self._skipped.append(Skipped(manifest, f"cannot be read ({error.strerror})", failed=True))
            return
        for name, sha256 in sums.items():
            whole = os.path.normpath(prefix + name).replace(os.sep.encode(), b"/")
            if not whole.startswith((b"../", b"/")):
                self._expect(manifest, whole, sha256)

    def _given(self, manifest: Path) -> None:
        """--sums: its names are those of the files on the disk, from its folder; where none is among what is sent, names in the dataset."""
        try:
            sums = read_sums(manifest)
        except OSError as error:
            raise WrongUse(f"{shown(manifest)} cannot be read ({error.strerror}).", "Name a checksum manifest with --sums.") from None
        found: dict[bytes, str] = {}
        for path in map(local_path, self.paths):
            if path.is_dir():
                found |= sums_below(manifest, sums, path)
            else:
                name = name_of(PurePath(path.name))
                beside = sums_below(manifest, sums, path.parent)
                found |= {name: beside[name]} if name in beside else {}
        for name, sha256 in (found or sums).items():
            self._expect(manifest, name, sha256)

    def _expect(self, manifest: Path, name: bytes, sha256: str) -> None:
        if self.sums.setdefault(name, sha256) != sha256:
            self._skipped.append(Skipped(manifest, f"says another SHA-256 of {shown(name)} than another manifest", failed=True))
        self._missing[name] = manifest
