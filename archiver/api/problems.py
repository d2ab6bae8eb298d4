"""Errors on their way out: every one is an RFC 9457 problem with a code, a sentence and the next step.

Law: what is no `PublicError` is a fault of ours; it is logged with its traceback and shown as `internal`, without a word of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from archiver.errors import NotFound, PublicError, WrongUse
from archiver.ledger.store import Moved

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 5
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Internal(PublicError):
    """A fault of ours."""

    code = "internal"
    title = "A fault of the archiver"

    def __init__(self) -> None:
        super().__init__("The archiver made a mistake.", "Try again; if it stays, tell an admin when it happened: the log has the reason.")


class MethodNotAllowed(PublicError):
    """The address is right, the method is not."""

    code = "method-not-allowed"
    title = "Not with this method"
    status = 405
    exit_code = 2


class Refused(PublicError):
    """HTTP itself was used wrongly: a body too large, a header too much."""

    code = "wrong-use"
    title = "The request is not right"
    exit_code = 2

    def __init__(self, status: int, detail: str, next_step: str) -> None:
        super().__init__(detail, next_step)
        self.status = status  # type: ignore[misc]


class BodyTooLarge(PublicError):
    """More was sent than any request here needs."""

    code = "wrong-use"
    title = "The request is not right"
    status = 413
    exit_code = 2


class Problem(BaseModel):
    """An error, after RFC 9457. Programs read `code`, people `detail` and `next_step`; some errors have members of their own."""

    model_config = ConfigDict(extra="allow")
    media_type: ClassVar[str] = MEDIA_TYPE

    type: str = Field(description="`urn:neve:error:` and the code.")
    title: str = Field(description="The kind of error in a few words.")
    status: int = Field(description="HTTP status.")
    code: str = Field(description="Stable word for programs.")
    detail: str = Field(description="One sentence: what is wrong.")
    next_step: str = Field(description="One sentence: what to do now.")


def declared(*errors: type[PublicError]) -> dict[int | str, dict[str, Any]]:
    """How a route declares the errors it may answer, for openapi.json."""
    by_status: dict[int, list[type[PublicError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: {"model": Problem, "description": " Or: ".join(f"`{e.code}`: {(e.__doc__ or e.title).strip().splitlines()[0]}" for e in several)}
        for status, several in by_status.items()
    }


def public(error: Exception) -> PublicError:
    """The error to show for one that was raised; what is not public becomes `Internal`."""
    if isinstance(error, PublicError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, Moved):
        return error.shown()
    if isinstance(error, HTTPException):
        return _http(error)
    return Internal()


def _validation(error: RequestValidationError) -> WrongUse:
    """One sentence that names the first wrong field; all of them in `errors`. What was sent is not repeated."""
    found = []
    for one in error.errors():
        where, *path = (str(part) for part in one["loc"])
        field = ".".join(path) if path and one["type"] != "json_invalid" else f"the {where}"
        what = {
            "missing": "is missing",
            "extra_forbidden": "is not known here",
            "json_invalid": "is not valid JSON",
        }.get(one["type"]) or "is wrong: " + str(one["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
        found.append({"field": field, "message": f"{_shown(field)} {what}."})
    return WrongUse(found[0]["message"], "Mend the request; openapi.json describes each field.", errors=found)


def _shown(field: str) -> str:
    """A field's name as it may stand in a sentence: names come from the sender and may be anything."""
    return "".join(c if c.isprintable() else "?" for c in field[:80])


def _http(error: HTTPException) -> PublicError:
    if error.status_code == 404:
        return NotFound("There is nothing at this address.", "See openapi.json for the addresses there are.")
    if error.status_code == 405:
        return MethodNotAllowed("This address does not know that method.", f"Use {(error.headers or {}).get('Allow') or 'another one'}.")
    if error.status_code == 400:
        return WrongUse("The body cannot be read.", "Send JSON, as openapi.json describes it.")
    if error.status_code == 413:
        return BodyTooLarge("The request is too large.", "Send less; no request here needs more than some kilobytes.")
    return Refused(error.status_code, "The request cannot be read.", "Mend the request; openapi.json describes each field.")


def headers_for(error: PublicError, raised: Exception) -> dict[str, str]:
    """What HTTP wants beside the status."""
    headers = dict(raised.headers or {}) if isinstance(raised, HTTPException) else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in {429, 503, 507}:
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    return headers


def _allowed(request: Request) -> str:
    """Every method that this address knows: a router tells those of the first route that fits it, no more."""
    routes = request.app.router.routes
    return ", ".join(m for m in _METHODS if any(route.matches({**request.scope, "method": m})[0] is Match.FULL for route in routes))


def respond(request: Request, raised: Exception) -> Response:
    """The exception handler of the API."""
    if isinstance(raised, HTTPException) and raised.status_code == 405:
        raised = HTTPException(405, headers={"Allow": _allowed(request)})
    error = public(raised)
    if error.status >= 500 and not isinstance(error, Internal):
        log.warning("%s: %s", error.code, error)
    body = json.dumps(error.problem(), ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    return Response(body, error.status, headers_for(error, raised), MEDIA_TYPE)


def mend_openapi(document: dict[str, Any]) -> Mapping[str, Any]:
    """FastAPI gives every answer the route's media type; errors have their own. A body may be too large wherever there is one."""
    for methods in document["paths"].values():
        for operation in methods.values():
            answers = operation["responses"]
            if "requestBody" in operation:
                ((_, too_large),) = declared(BodyTooLarge).items()
                known = answers.setdefault("413", {"content": dict(answers["422"]["content"]), "description": ""})
                known["description"] = " Or: ".join(filter(None, (known["description"], too_large["description"])))
            for status, answer in answers.items():
                if (
                    status.startswith(("4", "5"))
                    and "application/json" in answer.get("content", {})
                    and answer["content"]["application/json"].get("schema", {}).get("$ref", "").endswith("/Problem")
                ):
                    answer["content"] = {MEDIA_TYPE: answer["content"].pop("application/json")}
    return document
