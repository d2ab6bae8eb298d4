"""`neve://catalog.yaml`: the catalog that the archiver serves as a file, for fsspec, and so for `intake.open_catalog`.

Law: address and token are those of whoever opens it, from the environment. (intake's own HTTP would have to be given the token, and writes it into
the catalogs that it saves.) fsspec finds this by the entry point `fsspec.specs` and imports it when a `neve://` is opened, not before.
"""

from __future__ import annotations

import errno
from io import BytesIO
from typing import Any

from fsspec.spec import AbstractFileSystem

from neve.client import connect
from neve.errors import WrongUse

NAME = "catalog.yaml"


class ArchiverFiles(AbstractFileSystem):  # type: ignore[misc]
    """The one file. Raises NotSignedIn, NotConfigured, NotAllowed, ServiceUnavailable; FileNotFoundError for any other name."""

    protocol = "neve"
    cachable = False  # who asks may change

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> BytesIO:
        self.info(path)
        if mode != "rb":
            raise WrongUse("The archiver's catalog is not written to.", "cat.to_yaml_file(path) writes entries to a file of your own.")
        return BytesIO(connect().catalog_file())

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        if self._strip_protocol(path) != NAME:
            raise FileNotFoundError(errno.ENOENT, f"There is only neve://{NAME}", path)
        return {"name": NAME, "size": None, "type": "file"}

    def ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:  # noqa: ARG002 - there is one folder
        return [self.info(NAME)] if detail else [NAME]
