"""Who is in a project, and who is an admin: the hub says so, asked with the archiver's own token (scopes `read:groups`, `list:users`).

Law: a hub that does not answer is said, never taken for "nobody".
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, Self
from urllib.parse import quote

import httpx

from archiver.errors import HubUnavailable, WrongSetting
from archiver.sections import ApiSettings

_WITHIN_S = 10.0
_PAGE = 200


class People(Protocol):
    """Who is who. Raises `HubUnavailable`."""

    def members(self, project: str) -> AbstractSet[str]:
        """User names of a project's members: of the hub's group of that name."""

    def admins(self) -> AbstractSet[str]:
        """User names of the hub's admins."""


class HubPeople:
    """The real hub. Close it by `with`."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._http = httpx.Client(base_url=settings.hub_api_url.rstrip("/") + "/", timeout=_WITHIN_S, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._http.close()

    def members(self, project: str) -> AbstractSet[str]:
        found = self._get(f"groups/{quote(project, safe='')}", {}, none=404)
        return set() if found is None else {str(name) for name in found["users"]}

    def admins(self) -> AbstractSet[str]:
        found: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = self._get("users", {"offset": str(offset), "limit": str(_PAGE)})
            found |= {str(user["name"]) for user in page["items"] if user["admin"]}
            after = page["_pagination"]["next"]
            offset = None if after is None else int(after["offset"])
        return found

    def _get(self, path: str, params: dict[str, str], none: int | None = None) -> Any:
        headers = {"Authorization": f"token {own_token(self._settings)}", "Accept": "application/jupyterhub-pagination+json"}
        try:
            answer = self._http.get(path, params=params, headers=headers)
            if answer.status_code == none:
                return None
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise HubUnavailable(
                f"The hub did not say who is who: {str(error).splitlines()[0] if str(error) else type(error).__name__}.",
                "It is asked again; see that the hub runs and that the archiver's role there has the scopes read:groups and list:users.",
            ) from error


def own_token(settings: ApiSettings) -> str:
    """The service's own token. Raises `WrongSetting`."""
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    if not token and settings.hub_token_file is not None:
        try:
            token = settings.hub_token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongSetting(
                f"The hub's token file {settings.hub_token_file} cannot be read: {error}.", "Mend api.hub_token_file or the file's rights."
            ) from None
    if not token:
        raise WrongSetting("The archiver has no token for the hub.", "Name its file in api.hub_token_file, or set JUPYTERHUB_API_TOKEN.")
    return token
