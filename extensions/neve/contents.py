"""What the lab's file browser shows: the home, and below `team/<project>/` the team notebooks in S3 of the projects that one is a member of.

Law: a path leads to one side, found out once, here. The home needs nobody: it works while the archiver and the store are away. `team/` is there where
the archiver has them; a folder of one's own of that name wins. S3 is waited for in threads, and each refusal is a sentence.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server.services.contents.manager import copy_pat
from tornado.web import HTTPError, authenticated
from traitlets import default

from neve import errors, records
from neve.client import Client
from neve.saving import can_replace, replacing

if TYPE_CHECKING:
    from neve.team import TeamNotebooks

TEAM = "team"
AWAY = "NEVE-AWAY.txt"
ASK_AGAIN_S = 15.0
HOME_WAITS_S = 1.0  # for the archiver to say whether there are team notebooks
SILENT_S = 60.0  # an upload whose next piece does not come for so long has been given up

T = TypeVar("T")
Model = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A path below `team/`: `path` in the notebooks of `project`; "" is its folder, no project is `team` itself."""

    project: str = ""
    path: str = ""
    notebooks: TeamNotebooks | None = None

    @property
    def there(self) -> TeamNotebooks:
        """Of something in a project's folder: the folder itself, and `team`, are nobody's to change."""
        if self.notebooks is None or not self.path:
            raise HTTPError(403, f"“{TEAM}” and its projects' folders are the archiver's. Make, move and delete what is inside a project's folder.")
        return self.notebooks

    def shown(self, model: Model) -> Model:
        """A project's model as the file browser knows it."""
        path = f"{TEAM}/{self.project}/{model['path']}".rstrip("/")
        inside = model["content"]
        listed = [self.shown(item) for item in inside] if model["type"] == "directory" and inside is not None else inside
        return {**model, "path": path, "name": path.rpartition("/")[2], "content": listed}


@dataclass
class Upload:
    """A big file that comes in pieces, one after another."""

    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    pieces: int = 0
    heard_at: float = 0.0


class Contents(AsyncLargeFileManager):
    """Jupyter's own manager of local files, and `neve.team` below `team/`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._own = os.path.lexists(os.path.join(self.root_dir, TEAM))  # noqa: PTH118 - Jupyter's paths are strings
        self._asking = asyncio.Lock()
        self._ask_at = 0.0
        self._client: Client | None = None
        self._me: records.Me | None = None
        self._refusal: errors.NeveError | None = None
        self._projects: dict[str, TeamNotebooks] = {}
        self._uploads: dict[str, Upload] = {}

    @default("files_handler_class")
    def _files_handler_class_default(self) -> type[AuthenticatedFileHandler]:
        return Download

    @contextmanager
    def atomic_writing(self, os_path: str, *args: Any, **how: Any) -> Iterator[IO[Any]]:
        """What is saved is never seen in part; Jupyter's own way where nothing may take a file's place. Refusals are 403."""
        path = Path(os_path).resolve()  # a link stays one
        alone = self.use_atomic_writing and can_replace(path)
        with self.perm_to_403(os_path), replacing(path, *args, **how) if alone else super().atomic_writing(os_path, *args, **how) as file:
            yield file

    # Where a path leads

    async def place(self, path: str) -> Place | None:
        """Where a path leads; None is the home. Raises 403 for a project that is not one's own, 503 while nobody knows."""
        parts = [part for part in path.split("/") if part]
        if self._own or parts[:1] != [TEAM]:
            return None
        await self._ask()
        if self._refusal and not (self._me and isinstance(self._refusal, errors.ServiceUnavailable)):
            raise _refused(self._refusal)
        if self._me is None or not self._me.team_notebooks:
            return None
        if len(parts) == 1:
            return Place()
        project = parts[1]
        if project not in self._me.projects:
            raise HTTPError(403, f"There is no project “{project}” among yours. Its admins can make you a member; then open your server anew.")
        if project not in self._projects:
            self._projects[project] = await self.wait(_connected, self._client, project, self.log)
        return Place(project, "/".join(parts[2:]), self._projects[project])

    async def _ask(self) -> None:
        """Who one is, asked at most every `ASK_AGAIN_S`. While the archiver is away its last word holds: the store's keys decide."""
        async with self._asking:
            if time.monotonic() < self._ask_at:
                return
            try:
                self._client = self._client or Client(timeout_s=6, retries=1)
                self._me, self._refusal = await asyncio.to_thread(self._client.me), None
            except errors.NeveError as error:
                self._refusal = error
                self.log.warning("neve: team notebooks: %s", error)
            self._ask_at = time.monotonic() + ASK_AGAIN_S

    async def wait(self, do: Callable[..., T], *args: Any, **options: Any) -> T:
        """What a thread does, its errors as sentences."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only members need it

        try:
            return await asyncio.to_thread(do, *args, **options)
        except errors.NeveError as error:
            raise _refused(error) from error
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            words = {400: "The store does not take such a name.", 403: "The store refuses this to you.", 404: "There is no such file any more."}
            detail = words.get(status, f"The store could not do this ({error.response['Error']['Code']}). Try again in a moment.")
            raise HTTPError(status if status in words else 503, detail) from error
        except BotoCoreError as error:
            raise HTTPError(503, f"The store of team notebooks cannot be reached ({type(error).__name__}). Try again in a moment.") from error
        except OSError as error:
            raise HTTPError(500, f"This cannot be read or written in your home ({error.strerror}).") from error

    # What is there

    async def file_exists(self, path: str) -> bool:
        place = await self.place(path)
        if place is None:
            return await super().file_exists(path)
        return place.notebooks is not None and await self.wait(place.notebooks.file_exists, place.path)

    async def dir_exists(self, path: str) -> bool:
        place = await self.place(path)
        if place is None:
            return await super().dir_exists(path)
        return place.notebooks is None or await self.wait(place.notebooks.dir_exists, place.path)

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,  # noqa: A002 - Jupyter's word
        format: str | None = None,  # noqa: A002 - Jupyter's word
        require_hash: bool = False,
    ) -> Model:
        try:
            place = await self.place(path)
            if place is not None:
                return await self._in_team(place, path, content, type, format)
        except HTTPError as error:
            # The lab shows no refusal of a listing, but it shows a file.
            folder, _, name = path.strip("/").rpartition("/")
            if error.status_code == 503 and name == AWAY:
                return _note(folder, str(error.log_message) if content else None)
            if error.status_code == 503 and content and type in {None, "directory"}:
                return _folder(path.strip("/")) | {"content": [_note(path.strip("/"), None)], "format": "json"}
            raise
        model = await super().get(path, content, type, format, require_hash)
        return model if path.strip("/") or not content else await self._with_team(model)

    async def _in_team(self, place: Place, path: str, content: bool, type: str | None, format: str | None) -> Model:  # noqa: A002 - Jupyter's words
        if place.notebooks is None:
            if type not in {None, "directory"}:
                raise HTTPError(400, f"{TEAM} is a folder, not a {type}", reason="bad type")
            folders = [_folder(f"{TEAM}/{name}") for name in sorted(self._me.projects)] if content and self._me else None
            return _folder(TEAM) | {"content": folders, "format": "json" if content else None}
        model = await self.wait(place.notebooks.get, place.path, content, type, format)
        if model["type"] == "notebook" and content:
            self.mark_trusted_cells(model["content"], path)
        elif model["type"] == "directory" and content:
            model["content"] = [one for one in model["content"] if self.should_list(one["name"]) and (self.allow_hidden or one["name"][0] != ".")]
        self.emit(data={"action": "get", "path": path})
        return place.shown(model)

    async def _with_team(self, home: Model) -> Model:
        """The home's listing, and `team` unless there is none; while nobody knows, opening it says why."""
        if not self._own:
            await asyncio.wait([asyncio.ensure_future(self._ask())], timeout=HOME_WAITS_S)
        if self._own or (self._me and not self._me.team_notebooks):
            return home
        return {**home, "content": [one for one in home["content"] if one["name"] != TEAM] + [_folder(TEAM)]}

    async def get_kernel_path(self, path: str, model: Any = None) -> str:
        """A team notebook's kernel starts in the home: there is no folder of S3 to start it in."""
        return await super().get_kernel_path(path, model) if await self.place(path) is None else ""

    async def increment_filename(self, filename: str, path: str = "", insert: str = "") -> str:
        place = await self.place(path)
        if place is None or place.notebooks is None:
            return await super().increment_filename(filename, path, insert)
        return await self.wait(place.notebooks.increment_filename, filename, place.path, insert)

    # What is changed

    async def save(self, model: Model, path: str = "") -> Model:
        place = await self.place(path)
        if place is None:
            return await super().save(model, path)
        there = place.there
        if model.get("chunk") is not None:
            return await self._piece(place, model, path)
        self.run_pre_save_hooks(model=model, path=path)
        if model.get("type") == "notebook" and "content" in model:
            import nbformat  # noqa: PLC0415 - at hand in the server

            self.check_and_sign(nbformat.from_dict(model["content"]), path)
        saved = await self.wait(there.save, model, place.path)
        self.emit(data={"action": "save", "path": path})
        return place.shown(saved)

    async def _piece(self, place: Place, model: Model, path: str) -> Model:
        """One piece of a big file; the last (-1) puts all of them into the store as one version."""
        from neve.team import decoded  # noqa: PLC0415 - only members need it

        number, now = model["chunk"], time.monotonic()
        if model.get("type") != "file" or "content" not in model:
            raise HTTPError(400, "A piece of a file needs type “file” and a content.")
        self._uploads = {name: one for name, one in self._uploads.items() if now - one.heard_at < SILENT_S}
        if number == 1 and path not in self._uploads:
            self.run_pre_save_hooks(model=model, path=path)
            self._uploads[path] = Upload()
        upload = self._uploads.get(path)
        if upload is None or number not in {upload.pieces + 1, -1}:
            raise HTTPError(409, f"A piece of “{path}” is missing, or it is being uploaded twice. Upload it again in a minute.")
        upload.file.write(decoded(path, model["content"], model.get("format")))
        upload.pieces, upload.heard_at = upload.pieces + 1, now
        if number != -1:
            seen = {"created": datetime.now(UTC), "last_modified": datetime.now(UTC), "size": upload.file.tell()}
            return _folder(path) | seen | {"type": "file", "writable": True}
        with self._uploads.pop(path).file as file:
            file.seek(0)
            await self.wait(place.there.fs.put, place.path, file)
        self.emit(data={"action": "save", "path": path})
        return await self.get(path, content=False, type="file")

    async def delete(self, path: str) -> None:
        place = await self.place(path)
        if place is None:
            await super().delete(path)
        else:
            await self.wait(place.there.delete_file, place.path)
            self.emit(data={"action": "delete", "path": path})

    async def rename(self, old_path: str, new_path: str) -> None:
        old_path, new_path = old_path.strip("/"), new_path.strip("/")
        old, new = await self.place(old_path), await self.place(new_path)
        if old is None and new is None:
            await super().rename(old_path, new_path)
        elif old_path != new_path:
            await self._transfer(old_path, new_path, move=True)
            if old is None:
                await self.checkpoints.delete_all_checkpoints(old_path)
            self.emit(data={"action": "rename", "path": new_path, "source_path": old_path})

    async def copy(self, from_path: str, to_path: str | None = None) -> Model:
        above, _, name = from_path.strip("/").rpartition("/")
        goal = above if to_path is None else to_path.strip("/")
        if await self.place(from_path) is None and await self.place(goal) is None:
            return await super().copy(from_path, to_path)
        if await self.dir_exists(goal):
            goal = f"{goal}/{await self.increment_filename(copy_pat.sub('.', name), goal, insert='-Copy')}".strip("/")
        await self._transfer(from_path.strip("/"), goal, move=False)
        self.emit(data={"action": "copy", "path": goal, "source_path": from_path})
        return await self.get(goal, content=False)

    async def _transfer(self, old_path: str, new_path: str, *, move: bool) -> None:
        from neve.moving import HomeFiles, transfer  # noqa: PLC0415 - only members need it

        old, new, home = await self.place(old_path), await self.place(new_path), HomeFiles(self._get_os_path)
        source, target = (place.there.fs if place else home for place in (old, new))
        above = new_path.rpartition("/")[0]
        if not (await self.file_exists(old_path) or await self.dir_exists(old_path)):
            raise HTTPError(404, f"There is no “{old_path}”.")
        if await self.file_exists(new_path) or await self.dir_exists(new_path):
            raise HTTPError(409, f"There is a “{new_path}” already.")
        if not old_path or f"{new_path}/".startswith(f"{old_path}/") or not await self.dir_exists(above):
            raise HTTPError(400, f"“{old_path}” cannot be put into “{above}”: that is no folder, or lies within it.")
        await self.wait(transfer, source, old.path if old else old_path, target, new.path if new else new_path, move=move)

    # Checkpoints of team notebooks are the versions that the store keeps

    async def create_checkpoint(self, path: str) -> Model:
        place = await self.place(path)
        return await super().create_checkpoint(path) if place is None else (await self._versions(place))[-1]

    async def list_checkpoints(self, path: str) -> list[Model]:
        place = await self.place(path)
        return await super().list_checkpoints(path) if place is None else await self._versions(place)

    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        place = await self.place(path)
        if place is None:
            await super().restore_checkpoint(checkpoint_id, path)
        elif checkpoint_id not in (kept := [one["id"] for one in await self._versions(place)]):
            raise HTTPError(404, f"There is no such version of “{path}”.")
        elif checkpoint_id != kept[-1]:
            await self.wait(place.there.fs.copy, place.path, place.path, bytes.fromhex(checkpoint_id).decode())

    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        if await self.place(path) is not None:
            raise HTTPError(403, "Versions of team notebooks stay: nobody's notebook may delete them.")
        await super().delete_checkpoint(checkpoint_id, path)

    async def _versions(self, place: Place) -> list[Model]:
        """Newest last, as Jupyter has them. An id is the version's in hex: Jupyter's addresses take word characters only."""
        found = await self.wait(place.there.fs.versions, place.path)
        if not found:
            raise HTTPError(404, f"There is no “{place.path}” in the team notebooks of {place.project}.")
        return [{"id": one["VersionId"].encode().hex(), "last_modified": one["LastModified"]} for one in found[::-1]]


class Download(AuthenticatedFileHandler):
    """`/files/…`: of the home as Jupyter does it, of team notebooks piece by piece from the store."""

    @authenticated
    @authorized
    async def get(self, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        contents: Contents = self.contents_manager  # type: ignore[assignment]
        place = await contents.place(path)
        if place is None:
            await super().get(path, include_body=include_body)  # type: ignore[misc]
            return
        self.check_xsrf_cookie()
        if not contents.allow_hidden and await contents.is_hidden(path):
            raise HTTPError(404)
        name = place.path.rpartition("/")[2]
        answer = await contents.wait(place.there.fs.get_object, place.path)
        self.absolute_path = name  # what Jupyter looks at to say the type
        self.set_header("Content-Type", self.get_content_type())
        self.set_header("Content-Length", str(answer["ContentLength"]))
        if name.endswith(".ipynb") or self.get_argument("download", None):
            self.set_attachment_header(name)
        with answer["Body"] as body:
            while include_body and (piece := await asyncio.to_thread(body.read, 1 << 20)):
                self.write(piece)
                await self.flush()


def _connected(client: Client, project: str, log: Any) -> TeamNotebooks:
    from neve.team import TeamNotebooks  # noqa: PLC0415 - boto3 and s3contents take seconds, and only members need them

    return TeamNotebooks(client, project, log=log)


def _folder(path: str) -> Model:
    """The model of a folder that nobody but the archiver changes."""
    name = path.rpartition("/")[2]
    undated = {"created": "", "last_modified": ""}  # the lab takes text, and shows no time for none
    seen = {"type": "directory", **undated, "writable": False, "size": None}
    return {"name": name, "path": path, "content": None, "format": None, "mimetype": None, **seen}


def _note(folder: str, said: str | None) -> Model:
    """The model of a file that says why a folder cannot be shown."""
    seen = {"type": "file", "mimetype": "text/plain", "hash": AWAY, "hash_algorithm": AWAY}
    return _folder(f"{folder}/{AWAY}") | seen | {"content": said, "format": said and "text"}


def _refused(error: errors.NeveError) -> HTTPError:
    known = {errors.NotFound: 404, errors.NotAllowed: 403, errors.NotSignedIn: 403}
    return HTTPError(next((status for kind, status in known.items() if isinstance(error, kind)), 503), str(error))
