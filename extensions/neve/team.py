"""Team notebooks of one project in S3, as a Jupyter contents manager: what s3contents gives, mended.

Law: every save is a version of its object and every delete a marker, so that nothing is lost here; nothing is cached, so that what others save is
seen at once; a model's hash and time are taken before its content, so that a save by somebody else in between is met as a conflict and never missed.
Names are keys as they are: no glob, no escape. Blocking: called from threads.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

import boto3
import nbformat
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.session import get_session
from s3contents.genericfs import GenericFS
from s3contents.genericmanager import GenericContentsManager, base_directory_model, base_model
from tornado.web import HTTPError

from neve.client import Client
from neve.sources import endpoint_for, keys_metadata

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEEP = ".s3keep"  # s3contents' name for the empty object that makes a folder
CHECKPOINTS = 50  # newest versions offered to go back to
_PARTS = TransferConfig(use_threads=False)


class TeamFiles(GenericFS):  # type: ignore[misc]
    """The folder `<project>/` of the team's bucket, by paths below it. Raises botocore's errors, and 400 for what can be no name."""

    def __init__(self, client: Client, project: str) -> None:
        super().__init__()
        self.project = project
        self.s3, self.bucket = _connected(client, project)

    def key(self, path: str) -> str:
        path = path.strip("/")  # Jupyter says “/name” in a project's own folder
        if path and not named(path):
            raise HTTPError(400, f"“{path}” can be no name of a team notebook.")
        return f"{self.project}/{path}"

    def head(self, path: str) -> Any:
        """What the store says of a file, None if there is none."""
        try:
            return self.s3.head_object(Bucket=self.bucket, Key=self.key(path)) if path else None
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    def isfile(self, path: str) -> bool:
        return self.head(path) is not None

    def isdir(self, path: str) -> bool:
        return not path or bool(self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.key(path)}/", MaxKeys=1).get("Contents"))

    def lstat(self, path: str) -> dict[str, Any]:
        head = self.head(path)
        return {"ST_MTIME": head["LastModified"], "SIZE": head["ContentLength"]} if head else {"ST_MTIME": None, "SIZE": 0}

    def pages(self, prefix: str, **more: Any) -> Any:
        return self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **more)

    def tree(self, path: str) -> list[str]:
        """Everything at and below a path, by what follows it: "" the file itself, "/a/b" a file below, "/a/" a folder that may be empty."""
        prefix = self.key(path)
        below = [item["Key"].removeprefix(prefix) for page in self.pages(f"{prefix}/") for item in page.get("Contents", [])]
        folders_as_such = [key.removesuffix(KEEP) if key.endswith(f"/{KEEP}") else key for key in below]
        return [*([""] if self.isfile(path) else []), *dict.fromkeys(folders_as_such)]

    def get_object(self, path: str) -> Any:
        return self.s3.get_object(Bucket=self.bucket, Key=self.key(path))

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Any]:
        with contextlib.closing(self.get_object(path)["Body"]) as body:
            yield body

    def put(self, path: str, file: IO[bytes]) -> None:
        """A file of any size, in parts where it is big."""
        self.s3.upload_fileobj(file, self.bucket, self.key(path), Config=_PARTS)

    def copy(self, old: str, new: str, version: str | None = None) -> None:
        """Within the project, in the store itself; of an older version: it becomes the newest, as one more."""
        source = {"Bucket": self.bucket, "Key": self.key(old), **({"VersionId": version} if version else {})}
        self.s3.copy(source, self.bucket, self.key(new), Config=_PARTS)  # type: ignore[arg-type]

    def read(self, path: str, format: str | None) -> tuple[str, str]:  # noqa: A002 - Jupyter's word
        with self.open(path) as body:
            content = body.read()
        if format != "base64":
            try:
                return content.decode("utf-8"), "text"
            except UnicodeError:
                if format == "text":
                    raise HTTPError(400, f"{path} is not UTF-8 encoded", reason="bad format") from None
        return base64.b64encode(content).decode("ascii"), "base64"

    def write(self, path: str, content: str, format: str | None) -> None:  # noqa: A002 - Jupyter's word
        self.s3.put_object(Bucket=self.bucket, Key=self.key(path), Body=decoded(path, content, format))

    def mkdir(self, path: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.key(path)}/{KEEP}", Body=b"")

    def rm(self, path: str) -> None:
        self.remove(path, self.tree(path))

    def remove(self, path: str, entries: Iterable[str]) -> None:
        """Mark these entries of a tree as deleted; the versions stay."""
        for entry in entries:
            key = self.key(path) + entry
            for name in (key, f"{key}{KEEP}") if key.endswith("/") else (key,):
                self.s3.delete_object(Bucket=self.bucket, Key=name)

    def versions(self, path: str) -> list[Any]:
        """Of a file, newest first."""
        key = self.key(path)
        # The exact name sorts before all that begin with it.
        found = self.s3.list_object_versions(Bucket=self.bucket, Prefix=key, MaxKeys=1000).get("Versions", [])
        return [version for version in found if version["Key"] == key][:CHECKPOINTS]


class TeamNotebooks(GenericContentsManager):  # type: ignore[misc]
    """s3contents over `TeamFiles`. Signatures of trust and hooks are the caller's: SQLite's connections stay in their thread."""

    def __init__(self, client: Client, project: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._fs = TeamFiles(client, project)

    def mark_trusted_cells(self, nb: Any, path: str = "") -> None:
        """The caller's."""

    def get(self, path: str, content: bool = True, type: str | None = None, format: str | None = None) -> dict[str, Any]:  # noqa: A002 - Jupyter's words
        head = self.fs.head(path)  # before the content
        if head is None and not self.fs.isdir(path):
            raise HTTPError(404, f"There is no “{path}” in the team notebooks of {self.fs.project}.")
        if (head is None) != (type == "directory") and type is not None:
            raise HTTPError(400, f"“{path}” is a {'folder' if head is None else 'file'}, not a {type}.", reason="bad type")
        kind = type or ("directory" if head is None else "notebook" if path.endswith(".ipynb") else "file")
        try:
            model: dict[str, Any] = super().get(path, content, kind, format)
        except ValueError as error:
            raise HTTPError(400, f"“{path}” cannot be read as a notebook ({error}).") from error
        if head is not None:
            etag = head["ETag"].strip('"')
            model |= {"created": head["LastModified"], "last_modified": head["LastModified"], "hash": etag, "hash_algorithm": "etag"}
        return model

    def _directory_model_from_path(self, path: str, content: bool = False) -> dict[str, Any]:
        model = _folder(path)
        if not content:
            return model
        model |= {"format": "json", "content": []}
        above = f"{path}/" if path else ""
        for page in self.fs.pages(self.fs.key(path).rstrip("/") + "/", Delimiter="/"):
            for item in page.get("CommonPrefixes", []):
                model["content"].append(_folder(above + item["Prefix"].split("/")[-2]))
            for item in page.get("Contents", []):
                name = item["Key"].rpartition("/")[2]
                seen = {"type": "notebook" if name.endswith(".ipynb") else "file", "size": item["Size"]}
                model["content"].append(base_model(above + name) | seen | {"created": item["LastModified"], "last_modified": item["LastModified"]})
        model["content"] = [item for item in model["content"] if named(item["path"]) and item["name"] != KEEP]
        return model

    def save(self, model: dict[str, Any], path: str) -> dict[str, Any]:
        kind = model.get("type")
        if kind not in {"file", "directory", "notebook"} or (kind != "directory" and "content" not in model):
            raise HTTPError(400, "A save needs a type (file, directory or notebook) and, but for a directory, a content.")
        if self.fs.isfile(path) if kind == "directory" else self.fs.isdir(path):
            raise HTTPError(409, f"There is a {'file' if kind == 'directory' else 'folder'} called “{path}” already.")
        if kind == "directory":
            if not self.fs.isdir(path):
                self.fs.mkdir(path)
        elif kind == "file":
            self._save_file(model, path)
        else:
            # As Jupyter writes notebooks: by lines, and without what is of this session only.
            self.fs.write(path, nbformat.writes(nbformat.from_dict(model["content"]), version=nbformat.NO_CONVERT) + "\n", "text")
            self.validate_notebook_model(model)
        return self.get(path, content=False, type=kind) | ({"message": model["message"]} if "message" in model else {})


def _folder(path: str) -> dict[str, Any]:
    """S3 knows no time of a folder: the lab takes an empty text, and shows none."""
    return {**base_directory_model(path), "created": "", "last_modified": ""}


def named(path: str) -> bool:
    """Whether each part of a path is a name: S3 takes others as keys, which lead elsewhere in a folder or an address."""
    return all(part not in {"", ".", ".."} for part in path.split("/"))


def decoded(path: str, content: str, format: str | None) -> bytes:  # noqa: A002 - Jupyter's word
    """The bytes of a model's content."""
    try:
        return base64.b64decode(content, validate=True) if format == "base64" else content.encode("utf-8")
    except ValueError as error:
        raise HTTPError(400, f"“{path}” is not in the encoding it says ({error}).") from error


def _connected(client: Client, project: str) -> tuple[S3Client, str]:
    """A client whose keys renew themselves, and the bucket."""
    keys = client.credentials(project, team=True)

    def renew() -> dict[str, str]:
        return keys_metadata(client.credentials(project, team=True))

    renewed = RefreshableCredentials.create_from_metadata(keys_metadata(keys), refresh_using=renew, method="neve")
    session = get_session()
    session.register_component("credential_provider", SimpleNamespace(load_credentials=lambda: renewed))
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # Other stores than AWS's choke on the checksums that clients add by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"max_attempts": 2, "mode": "standard"},
        connect_timeout=5,
    )
    s3 = boto3.Session(botocore_session=session).client("s3", endpoint_url=endpoint_for(client, keys), region_name=keys.region, config=config)
    return s3, keys.buckets["team"]
